"""Private servers of real MySQL, fetched once into the user's cache (see mysql_download) and initialised once.

Initialising takes up to ten seconds, so a data directory is made once per version and copied for every server.
"""

from __future__ import annotations

import shutil
import subprocess
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from sandbox import mysql_download
from sandbox.mysql_family import MySqlFamilyEndpoint, MySqlFamilyServer, account_options
from sandbox.process import SandboxError, exclusive
from sandbox.server import run_client


def describe_binaries() -> str:
    """Which MySQL would be started, for a header line."""
    root = mysql_download.prefix() / "root"
    if not root.exists():
        return f"to be fetched into {root.parent} when a test asks for it"
    return run_client([*Installation(root).command("sbin/mysqld"), "--version"]).split("Ver ", 1)[1].strip()


class Installation:
    """An unpacked MySQL: how its programs are called through the loader that came with them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def _loader(self) -> list[str]:
        loaders = sorted(self.root.glob("usr/lib/*-linux-gnu*/ld-linux-*.so.*"))
        if not loaders:
            raise SandboxError(f"no ld-linux in {self.root}; remove {self.root.parent} to fetch MySQL again")
        return [str(loaders[0]), "--library-path", str(loaders[0].parent)]

    def command(self, program: str) -> list[str]:
        """How to call a program, given by its path under usr."""
        defaults = ["--no-defaults"] if program == "sbin/mysqld" else []
        return [*self._loader, str(self.root / "usr" / program), *defaults]

    def server_command(self) -> list[str]:
        """How to call the server, with the places it would otherwise look for on the system."""
        usr = self.root / "usr"
        return [
            *self.command("sbin/mysqld"),
            f"--basedir={usr}",
            f"--plugin-dir={usr / 'lib/mysql/plugin'}",
            f"--lc-messages-dir={usr / 'share/mysql'}",
            f"--character-sets-dir={usr / 'share/mysql/charsets'}",
            "--innodb-redo-log-capacity=64M",
        ]

    def data_template(self) -> Path:
        """A freshly initialised data directory, made once."""
        template = self.root.with_name("data")
        with exclusive(template.with_name("data.lock")):
            if not template.exists():
                unfinished = template.with_name("data.unfinished")
                shutil.rmtree(unfinished, ignore_errors=True)
                options = ["--initialize-insecure", *account_options(), f"--datadir={unfinished}"]
                command = [*self.server_command(), *options]
                result = subprocess.run(command, capture_output=True, text=True, check=False)
                if result.returncode:
                    raise SandboxError(f"mysqld --initialize failed: {result.stderr.strip()[-2000:]}")
                (unfinished / "auto.cnf").unlink(missing_ok=True)  # every server gets an identity of its own
                unfinished.rename(template)
        return template


class MySqlEndpoint(MySqlFamilyEndpoint):
    """A MySQL server at an address."""

    client_names: ClassVar[tuple[str, ...]] = ("mysql", "mariadb")
    dump_names: ClassVar[tuple[str, ...]] = ("mysqldump", "mariadb-dump")
    # Real schemas have rows that may outgrow a page (gitlab) and references to columns that are not unique (koha).
    lenient: ClassVar[str] = (
        "SET SESSION innodb_strict_mode = OFF;\n/*!80400 SET SESSION restrict_fk_on_non_standard_key = OFF */;\n"
    )

    def dump(self, dbname: str, *, schema_only: bool = False) -> str:
        """The dump tool's plain SQL, to be run under the settings that such a schema needs."""
        return self.lenient + super().dump(dbname, schema_only=schema_only)


class MySqlServer(MySqlEndpoint, MySqlFamilyServer):
    """A private MySQL. Raises MySqlUnavailable where it cannot be had."""

    dump_options: ClassVar[tuple[str, ...]] = ("--no-tablespaces", "--set-gtid-purged=OFF")

    def prepare(self) -> None:
        """Fetch the server if it is not in the cache."""
        self._installation = Installation(mysql_download.fetch())

    def initialise(self, data: Path) -> None:
        """Copy the data directory that was made once."""
        shutil.copytree(self._installation.data_template(), data)

    def server_command(self) -> list[str]:
        """The server without what a scratch server does not need."""
        options = ["--mysqlx=OFF", "--innodb-doublewrite=OFF", "--performance-schema=OFF"]
        return [*self._installation.server_command(), *options]

    @property
    def client_command(self) -> list[str]:
        """The client that was fetched along with the server."""
        return self._installation.command("bin/mysql")

    @property
    def dump_command(self) -> list[str]:
        """The dump tool that was fetched along with the server."""
        return self._installation.command("bin/mysqldump")
