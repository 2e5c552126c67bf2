"""What demo, tests and benchmarks may ask of any server, whichever kind it is and whoever started it.

An endpoint only knows an address and how to reach it; the classes that start a server derive from it. So a test runs
unchanged against a private server and against one named by SUBSET_TEST_POSTGRES_URL and its like.
"""

from __future__ import annotations

import gzip
import secrets
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from sqlalchemy.engine import URL, make_url

from sandbox.process import SandboxError


def new_password() -> str:
    """A password nobody else has, holding what breaks URLs and shell lines that are pasted together."""
    return f"s3cret@/:%{secrets.token_hex(8)}"


class Endpoint(ABC):
    """A database server that can be reached at an address."""

    kind: ClassVar[str]
    """`postgresql` or `mysql`, as in a URL."""
    administration_database: ClassVar[str]
    """A database that always exists."""

    host: str
    port: int
    user: str
    password: str

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        self.host, self.port, self.user, self.password = host, port, user, password

    @classmethod
    def from_url(cls, url: str) -> Self:
        """The server a SQLAlchemy URL points to; its database is ignored."""
        parts = make_url(url)
        if parts.get_backend_name() not in (cls.kind, "mariadb"):
            raise SandboxError(f"{parts.render_as_string()} is not the URL of a {cls.kind} server")
        endpoint = cls.__new__(cls)
        Endpoint.__init__(
            endpoint,
            parts.host or "127.0.0.1",
            parts.port or cls.default_port(),
            parts.username or "",
            str(parts.password or ""),
        )
        return endpoint

    def __enter__(self) -> Self:
        """Nothing to start: the server runs already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the server as it is, or stop it if it is ours."""
        self.stop()

    def stop(self) -> None:  # noqa: B027 (most endpoints have nothing to stop)
        """Stop the server if this object started it."""

    def url(self, dbname: str, driver: str | None = None) -> str:
        """A SQLAlchemy URL over TCP, password included and quoted."""
        scheme = f"{self.kind}+{driver}" if driver else self.kind
        url = URL.create(scheme, self.user, self.password, self.host, self.port, dbname)
        return url.render_as_string(hide_password=False)

    @classmethod
    @abstractmethod
    def default_port(cls) -> int:
        """The port of a URL that names none."""

    @property
    @abstractmethod
    def version(self) -> str:
        """Name and version, as the server tells it."""

    @abstractmethod
    def params(self, dbname: str) -> dict[str, Any]:
        """Keyword arguments for the drivers' `connect`."""

    @abstractmethod
    def create_database(self, name: str, template: str | None = None) -> None:
        """Make an empty database, or a copy of another one of this server."""

    @abstractmethod
    def drop_database(self, name: str) -> None:
        """Remove a database if it exists, whoever is connected to it."""

    @abstractmethod
    def run_script(self, dbname: str, script: Path | str) -> str:
        """Run SQL text, or a `.sql` or `.sql.gz` file, through the server's own client; return what it prints."""

    @abstractmethod
    def dump(self, dbname: str, *, schema_only: bool = False) -> str:
        """The database as SQL text that `run_script` can load."""


def script_bytes(script: Path | str) -> bytes:
    """The SQL of a script given as text or as a plain or gzipped file."""
    if isinstance(script, str):
        return script.encode()
    return gzip.decompress(script.read_bytes()) if script.suffix == ".gz" else script.read_bytes()


def run_client(
    command: Sequence[str], *, name: str = "", environment: dict[str, str] | None = None, text: bytes = b""
) -> str:
    """Run a command-line client to its end; its complaints become the exception's message."""
    result = subprocess.run(command, input=text, capture_output=True, env=environment, check=False)
    if result.returncode:
        complaint = result.stderr.decode(errors="replace")[-4000:].strip()
        raise SandboxError(f"{name or Path(command[0]).name} failed: {complaint}")
    return result.stdout.decode()
