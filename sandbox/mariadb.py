"""Private MariaDB servers, from Debian's packages, which are installed on the way when root is there to do it.

mariadb-server-core starts no service and makes no account. mariadb-client is there for mariadb-dump.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from sandbox import apt
from sandbox.mysql_family import MySqlFamilyEndpoint, MySqlFamilyServer, account_options, find_program
from sandbox.process import SandboxError
from sandbox.server import run_client

PACKAGES = ("mariadb-server-core", "mariadb-client")
_PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb", "mariadb-dump")


def describe_binaries() -> str:
    """Which MariaDB would be started, for a header line."""
    try:
        return run_client([find_program(("mariadbd",)), "--no-defaults", "--version"]).split("Ver ", 1)[1].strip()
    except SandboxError:
        return f"to be installed when a test asks for it ({' '.join(PACKAGES)})"


class MariaDbEndpoint(MySqlFamilyEndpoint):
    """A MariaDB server at an address."""

    client_names: ClassVar[tuple[str, ...]] = ("mariadb", "mysql")
    dump_names: ClassVar[tuple[str, ...]] = ("mariadb-dump", "mysqldump")


class MariaDbServer(MariaDbEndpoint, MySqlFamilyServer):
    """A private MariaDB."""

    def prepare(self) -> None:
        """Install Debian's packages where a program is missing."""
        apt.install_unless(_has_programs, PACKAGES)

    def initialise(self, data: Path) -> None:
        """Run mariadb-install-db, which takes 0.4 s in memory and 5 s on a slow disk.

        In a tmpdir of its own: the server that it starts removes every temporary table it finds there.
        """
        command = [
            find_program(("mariadb-install-db",)),
            "--no-defaults",
            *account_options(),
            "--force",
            "--skip-name-resolve",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--innodb-log-file-size=64M",
            f"--datadir={data}",
        ]
        with TemporaryDirectory(prefix="subset-my-") as temporary:
            command.append(f"--tmpdir={temporary}")
            result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise SandboxError(f"mariadb-install-db failed: {(result.stderr or result.stdout).strip()[-2000:]}")

    def server_command(self) -> list[str]:
        """The server without any of the machine's option files."""
        options = ["--innodb-doublewrite=0", "--innodb-log-file-size=64M"]
        return [find_program(("mariadbd",)), "--no-defaults", *options]

    def _account_statements(self) -> str:
        """Besides root@localhost, mariadb-install-db leaves a root without password for every loopback address."""
        others = "DELETE FROM mysql.global_priv WHERE User IN ('', 'root') AND Host <> 'localhost';\n"
        return f"{super()._account_statements()}{others}FLUSH PRIVILEGES;\n"


def _has_programs() -> bool:
    try:
        return all(find_program((name,)) for name in _PROGRAMS)
    except SandboxError:
        return False
