"""`subset_of(script, **request)`: what the engine makes of a hand-made Postgres database, table by table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, LiteralString

import psycopg
import pytest

from airflow_subset_provider.core.run import Endpoint, subset
from airflow_subset_provider.core.spec import Spec
from sandbox.postgresql import PostgresEndpoint
from tests.databases import CreateDatabase

Rows = list[tuple[Any, ...]]
SubsetOf = Callable[..., dict[str, Rows]]


class Scenario:
    """A source and a target of one test's own."""

    def __init__(self, source: PostgresEndpoint, target: PostgresEndpoint, create: CreateDatabase) -> None:
        self._servers = source, target
        self._names = create(source, hint="source"), create(target, hint="target")
        self._params = source.params(self._names[0]), target.params(self._names[1])

    def run(self, script: str, **request: Any) -> None:
        """Load the script into the source and its schema into the target, and run the request."""
        source, target = self._servers
        source.run_script(self._names[0], script)
        target.run_script(self._names[1], source.dump(self._names[0], schema_only=True))
        subset(Spec.of(**request), _endpoint(self._params[0], "source"), _endpoint(self._params[1], "target"))

    def rows(self) -> dict[str, Rows]:
        """All rows of all tables in the target, sorted."""
        with psycopg.connect(**self._params[1]) as connection:
            return {table: _sorted_rows(connection, table) for table in _tables(connection)}

    def query(self, text: LiteralString) -> Rows:
        """What the target answers."""
        with psycopg.connect(**self._params[1]) as connection:
            return connection.execute(text).fetchall()


@pytest.fixture
def scenario(
    source_server: PostgresEndpoint, target_server: PostgresEndpoint, fresh_database: CreateDatabase
) -> Scenario:
    return Scenario(source_server, target_server, fresh_database)


@pytest.fixture
def subset_of(scenario: Scenario) -> SubsetOf:
    """Run one request over one script; return all rows of all tables in the target, sorted."""

    def run(script: str, **request: Any) -> dict[str, Rows]:
        scenario.run(script, **request)
        return scenario.rows()

    return run


def ids(rows: Rows) -> list[Any]:
    """The first column."""
    return [row[0] for row in rows]


def _endpoint(params: dict[str, Any], label: str) -> Endpoint:
    return Endpoint(engine="postgresql", connect=lambda: psycopg.connect(**params), label=label)


def _tables(connection: psycopg.Connection[tuple[Any, ...]]) -> list[str]:
    query = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
    return [name for (name,) in connection.execute(query).fetchall()]


def _sorted_rows(connection: psycopg.Connection[tuple[Any, ...]], table: str) -> Rows:
    query = psycopg.sql.SQL("SELECT * FROM {}").format(psycopg.sql.Identifier(table))
    return sorted(connection.execute(query).fetchall(), key=lambda row: [(v is None, str(v).zfill(12)) for v in row])
