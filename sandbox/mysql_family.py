"""What MySQL and MariaDB have in common: addresses, drivers, clients, and how a private server of theirs is started."""

from __future__ import annotations

import contextlib
import os
import shutil
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pymysql

from sandbox.process import SandboxError, Supervised, scratch_directory, start_on_free_port
from sandbox.server import Endpoint, new_password, run_client, script_bytes

_PORT_TAKEN = ("Address already in use", "Bind on TCP/IP port")
_DUMP_OPTIONS = ("--routines", "--triggers", "--events", "--single-transaction", "--hex-blob", "--skip-comments")

# --no-defaults gives MariaDB latin1, and a durable scratch server is a slow one.
SCRATCH_OPTIONS = (
    "--bind-address=127.0.0.1",
    "--character-set-server=utf8mb4",
    "--default-time-zone=+00:00",
    "--innodb-buffer-pool-size=128M",
    "--innodb-flush-log-at-trx-commit=0",
    "--local-infile=ON",
    "--secure-file-priv=",
    "--skip-log-bin",
    "--skip-name-resolve",
)


class MySqlFamilyEndpoint(Endpoint):
    """A MySQL or MariaDB server at an address."""

    kind: ClassVar[str] = "mysql"
    administration_database: ClassVar[str] = "mysql"
    dump_options: ClassVar[tuple[str, ...]] = ()
    client_names: ClassVar[tuple[str, ...]]
    dump_names: ClassVar[tuple[str, ...]]

    @classmethod
    def default_port(cls) -> int:
        """MySQL's port."""
        return 3306

    @property
    def version(self) -> str:
        """What VERSION() says."""
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT VERSION()")
            (version,) = cursor.fetchone() or ("",)
        return f"{'MariaDB' if 'MariaDB' in version else 'MySQL'} {version}"

    def params(self, dbname: str) -> dict[str, Any]:
        """Keywords that both mysqlclient and PyMySQL take."""
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "database": dbname,
        }

    def create_database(self, name: str, template: str | None = None) -> None:
        """CREATE DATABASE; a copy of another one goes through a dump, for there are no templates here."""
        self._execute(f"CREATE DATABASE {_quoted(name)} CHARACTER SET utf8mb4")
        if template:
            self.run_script(name, self.dump(template))

    def drop_database(self, name: str) -> None:
        """DROP DATABASE, whatever references it, after ending the connections whose locks would make it wait."""
        for (connection_id,) in self._execute("SELECT id FROM information_schema.processlist WHERE db = %s", name):
            with contextlib.suppress(pymysql.err.OperationalError, pymysql.err.InternalError):  # it ended by itself
                self._execute(f"KILL {int(connection_id)}")
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET SESSION foreign_key_checks = 0")
            cursor.execute(f"DROP DATABASE IF EXISTS {_quoted(name)}")

    def run_script(self, dbname: str, script: Path | str) -> str:
        """Run a script with the server's client, stopping at the first error; return tab-separated rows."""
        with self._credentials() as credentials:
            options = ["--batch", "--skip-column-names", "--default-character-set=utf8mb4", dbname]
            command = [*self.client_command, credentials, *options]
            return run_client(command, name=self.client_names[0], text=script_bytes(script))

    def dump(self, dbname: str, *, schema_only: bool = False) -> str:
        """The dump tool's plain SQL."""
        with self._credentials() as credentials:
            options = [*_DUMP_OPTIONS, *self.dump_options, *(["--no-data"] if schema_only else []), dbname]
            return run_client([*self.dump_command, credentials, *options], name=self.dump_names[0])

    @property
    def client_command(self) -> list[str]:
        """How the command-line client is called."""
        return [find_program(self.client_names)]

    @property
    def dump_command(self) -> list[str]:
        """How the dump tool is called."""
        return [find_program(self.dump_names)]

    @contextlib.contextmanager
    def _credentials(self) -> Iterator[str]:
        """The option that names a private file with address and password, which arguments would show to everybody."""
        with TemporaryDirectory(prefix="subset-my-") as directory:
            file = Path(directory) / "client.cnf"
            file.touch(mode=0o600)
            options = {"host": self.host, "port": self.port, "user": self.user, "password": f'"{self.password}"'}
            lines = [f"{name}={value}" for name, value in options.items()]
            file.write_text("\n".join(["[client]", "protocol=tcp", *lines, ""]))
            yield f"--defaults-file={file}"

    def _connect(self) -> pymysql.Connection[Any]:
        return pymysql.connect(**self.params(self.administration_database), autocommit=True)

    def _execute(self, statement: str, *values: str) -> tuple[tuple[Any, ...], ...]:
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return tuple(cursor.fetchall())


class MySqlFamilyServer(MySqlFamilyEndpoint):
    """A private server with one account, over TCP on loopback, gone when this process is."""

    def __init__(self, options: Sequence[str] = (), root: str | None = None) -> None:
        """Start a server, with command-line options of its own and a place for its data if given."""
        super().__init__("127.0.0.1", 0, "subset", new_password())
        self._root = root
        self._options = tuple(options)
        self.prepare()
        self._server = start_on_free_port(self._start, _PORT_TAKEN)

    @abstractmethod
    def prepare(self) -> None:
        """Get the programs if they are missing."""

    @abstractmethod
    def initialise(self, data: Path) -> None:
        """Make a data directory whose root has no password."""

    @abstractmethod
    def server_command(self) -> list[str]:
        """The server's program and the options that it alone needs."""

    @property
    def socket(self) -> Path:
        """The Unix socket."""
        return self.socket_dir / "socket"

    def stop(self) -> None:
        """Stop the server and remove its directory."""
        self._server.stop()

    def _start(self, port: int) -> Supervised:
        self.port, self.socket_dir = port, scratch_directory("subset-my-", self._root)
        data, accounts = self.socket_dir / "data", self.socket_dir / "accounts.sql"
        # A server that starts removes every temporary table it finds in its tmpdir, those of other servers as well.
        temporary = self.socket_dir / "tmp"
        try:
            temporary.mkdir()
            self.initialise(data)
            accounts.touch(mode=0o600)
            accounts.write_text(self._account_statements())
        except BaseException:
            shutil.rmtree(self.socket_dir, ignore_errors=True)
            raise
        server = Supervised(
            type(self).__name__,
            [
                *self.server_command(),
                f"--datadir={data}",
                f"--tmpdir={temporary}",
                f"--port={port}",
                f"--socket={self.socket}",
                f"--pid-file={self.socket_dir / 'pid'}",
                *account_options(),
                f"--init-file={accounts}",
                *SCRATCH_OPTIONS,
                *self._options,
            ],
            scratch=self.socket_dir,
        )
        try:
            server.await_ready(self._answers)
        except BaseException:
            server.stop()
            raise
        return server

    def _account_statements(self) -> str:
        """One statement a line, as --init-file wants it; root is left to this account alone."""
        return (
            f"CREATE USER '{self.user}'@'%' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO '{self.user}'@'%' WITH GRANT OPTION;\n"
            f"ALTER USER 'root'@'localhost' IDENTIFIED BY '{self.password}';\n"
        )

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except pymysql.err.OperationalError:
            return False
        return True


def account_options() -> list[str]:
    """Both servers refuse to run as root unless told so; a scratch server on loopback may."""
    return ["--user=root"] if os.geteuid() == 0 else []


def _quoted(identifier: str) -> str:
    return "`" + identifier.replace("`", "``") + "`"


def find_program(names: Sequence[str]) -> str:
    """The first of these programs that is installed; servers stand in /usr/sbin, which may not be on PATH."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    for name in names:
        if program := shutil.which(name, path=path):
            return program
    raise SandboxError(f"missing: {' or '.join(names)}")
