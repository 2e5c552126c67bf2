"""Real schemas as test databases: loaded once a session, handed out as copies.

The dumps are not part of the repository. Where they are missing the lists are empty and pytest's header says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.mysql import MySqlEndpoint
from sandbox.server import Endpoint, script_bytes

DUMPS_DIRECTORY = Path(__file__).resolve().parents[2] / "shared" / "data"

CreateDatabase = Callable[..., str]

# What some dumps, which come from MariaDB, have that MySQL refuses: a mode it knows no longer (with a comma on either
# side), and unique keys over more bytes than an index of InnoDB's takes.
_MARIADB_ONLY = re.compile(r",NO_AUTO_CREATE_USER|NO_AUTO_CREATE_USER,?|,\n  UNIQUE KEY [^\n]* USING HASH(?=,?\n)")


@dataclass(frozen=True)
class Dump:
    """A database as SQL text, one of those in the dumps' directory."""

    name: str
    path: Path


def dumps(server: str) -> dict[str, Dump]:
    """The dumps a `postgres`, `mariadb` or `mysql` can load, by name: `canvas`, `canvas_filled` (with more rows), …"""
    stem = "postgres" if server == "postgres" else "mysql"
    found = {}
    for path in sorted(DUMPS_DIRECTORY.glob(f"*/{stem}*.sql.gz")):
        name = path.parent.name + path.name.removesuffix(".sql.gz").removeprefix(stem)
        found[name] = Dump(name, path)
    return found


def dump_params(server: str, *names: str) -> list[object]:
    """Parameters for `pytest.mark.parametrize`: the dumps of these names, or all; one worker gets all tests of one."""
    there = dumps(server)
    chosen = [dump for name, dump in there.items() if not names or name in names]
    return [pytest.param(dump, id=dump.name, marks=pytest.mark.xdist_group(dump.path.parent.name)) for dump in chosen]


class Library:
    """Real databases on a pair of servers, loaded when first asked for; the two may be one server."""

    def __init__(self, source: Endpoint, target: Endpoint, create: CreateDatabase) -> None:
        self._source, self._target, self._create = source, target, create
        self._loaded: dict[str, str] = {}
        self._shared: dict[str, str] = {}
        self._empty: dict[str, str] = {}

    def template(self, dump: Dump) -> str:
        """The dump's database on the source server. Nobody connects to it: it is there to be copied."""
        if dump.name not in self._loaded:
            name = self._create(self._source, hint=dump.name)
            _load(self._source, name, script_bytes(dump.path).decode())
            self._loaded[dump.name] = name
        return self._loaded[dump.name]

    def shared(self, dump: Dump) -> str:
        """A copy on the source server for everybody to read; on Postgres its transactions are read-only."""
        if dump.name not in self._shared:
            if self._source.kind == "postgresql":
                name = self._create(self._source, template=self.template(dump), hint=dump.name)
                self._source.run_script(name, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
            else:
                name = self.template(dump)
            self._shared[dump.name] = name
        return self._shared[dump.name]

    def empty_template(self, dump: Dump) -> str:
        """The dump's schema without a row, on the target server, to be copied."""
        if dump.name not in self._empty:
            schema = self._source.dump(self.template(dump), schema_only=True)
            name = self._create(self._target, hint=f"{dump.name}_empty")
            _load(self._target, name, schema)
            self._empty[dump.name] = name
        return self._empty[dump.name]


def _load(server: Endpoint, name: str, script: str) -> None:
    if isinstance(server, MySqlEndpoint):
        script = server.lenient + _MARIADB_ONLY.sub("", script)
    server.run_script(name, script)
