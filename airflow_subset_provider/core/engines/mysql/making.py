"""The target's tables and triggers, made by the statements that the source shows for its own.

The source may be of the other kind, or of another version: what this server does not take is collected and told at
once, and what was made until then is dropped again, as DDL cannot be undone by a rollback.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from airflow_subset_provider.core.engines.mysql import triggers
from airflow_subset_provider.core.engines.mysql.store import MySqlStore
from airflow_subset_provider.core.engines.mysql.triggers import Trigger
from airflow_subset_provider.core.errors import EndpointError, Fault, SubsetError, TargetError
from airflow_subset_provider.core.schema import TableName

Refused = dict[str, list[str]]  # what the server says, and of what


def create(target: MySqlStore, dump: str) -> None:
    """Make what `schema_dump` holds.

    Raises:
        TargetError: with everything that cannot be made.
    """
    shape = json.loads(dump)
    databases: list[str] = []
    tables: list[TableName] = []
    try:
        _all(target, shape, databases, tables)
    except BaseException:
        with suppress(Exception):
            for table in tables:
                target.execute(f"DROP TABLE {target.quote(*table)}")
            for name in databases:
                target.execute(f"DROP DATABASE {target.quote(name)}")
        raise
    finally:
        with suppress(Exception):
            target.execute(f"USE {target.quote(target.default_schemas[0])}")


def _all(target: MySqlStore, shape: Mapping[str, Any], databases: list[str], tables: list[TableName]) -> None:
    refused: Refused = {}
    for schema, charset, collation in shape["databases"]:
        with _collected(refused, f"database {schema}"):
            databases += _database(target, target.located(TableName(schema, "")).schema, charset, collation)
    TargetError.raise_for(_faults(refused, target.label))
    for schema, name, statement in shape["tables"]:
        table = target.located(TableName(schema, name))
        with _collected(refused, f"table {schema}.{name}"):
            target.execute(f"USE {target.quote(table.schema)}")
            target.execute(statement)
            tables.append(table)
    for schema, name, *trigger in shape["triggers"]:
        table = target.located(TableName(schema, name))
        with _collected(refused, f"trigger {schema}.{trigger[0]}") if table in tables else nullcontext():
            triggers.make(target, table, Trigger(*trigger))
    TargetError.raise_for(_faults(refused, target.label))


def _database(target: MySqlStore, name: str, charset: str, collation: str) -> list[str]:
    """Its name, unless it was there."""
    there = target.rows(f"SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {target.literal(name)}")
    if there:
        return []
    target.execute(f"CREATE DATABASE {target.quote(name)} CHARACTER SET {charset} COLLATE {collation}")
    return [name]


@contextmanager
def _collected(refused: Refused, name: str) -> Iterator[None]:
    """Note what the server refuses to make, and go on, unless it is about the connection."""
    try:
        yield
    except SubsetError as error:
        if error.retryable or isinstance(error, EndpointError):
            raise
        refused.setdefault(error.faults[0].what, []).append(name)


def _faults(refused: Mapping[str, Sequence[str]], label: str) -> Iterator[Fault]:
    for words, names in refused.items():
        few = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield Fault(
            f"cannot be made as in the source: {few}: {words}",
            label,
            "Make the tables in the target yourself, as this server takes them, and run without create_schema.",
        )
