"""`subset_of(script, **request)`: what the engine makes of a hand-made Postgres database, table by table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from airflow_subset_provider.core.run import Endpoint, subset
from airflow_subset_provider.core.spec import Spec
from sandbox.postgresql import PostgresEndpoint
from tests.databases import CreateDatabase

Rows = list[tuple[Any, ...]]
SubsetOf = Callable[..., dict[str, Rows]]


@pytest.fixture
def subset_of(
    source_server: PostgresEndpoint, target_server: PostgresEndpoint, fresh_database: CreateDatabase
) -> SubsetOf:
    """Load the script into a source, its schema into a target, run the request; return all rows of all tables, sorted.

    A table of one column gives bare values, so that ids read as ids.
    """

    def run(script: str, **request: Any) -> dict[str, Rows]:
        source, target = fresh_database(source_server, hint="source"), fresh_database(target_server, hint="target")
        source_server.run_script(source, script)
        target_server.run_script(target, source_server.dump(source, schema_only=True))
        subset(
            Spec.of(**request),
            _endpoint(source_server.params(source), "source"),
            _endpoint(target_server.params(target), "target"),
        )
        with psycopg.connect(**target_server.params(target)) as connection:
            return {table: _sorted_rows(connection, table) for table in _tables(connection)}

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
