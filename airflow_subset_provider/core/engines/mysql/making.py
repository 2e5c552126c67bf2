"""The target's tables, sequences and triggers, made by the statements that the source shows for its own.

The source may be of the other kind, or of another version: what this server does not take is collected and told at
once, and what was made until then is dropped again, as DDL cannot be undone by a rollback.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from airflow_subset_provider.core.engines.mysql import sequences, triggers
from airflow_subset_provider.core.engines.mysql.store import MySqlStore
from airflow_subset_provider.core.engines.mysql.triggers import Trigger
from airflow_subset_provider.core.errors import EndpointError, Fault, SubsetError, TargetError
from airflow_subset_provider.core.schema import TableName

Refused = dict[str, list[str]]  # what the server says, and of what
DATABASES = """
SELECT SCHEMA_NAME FROM information_schema.SCHEMATA
WHERE SCHEMA_NAME NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')
"""


def create(target: MySqlStore, dump: str, source: str, one_server: bool) -> list[str]:
    """Make what `schema_dump` holds.

    Args:
        source: what to call the source.
        one_server: both ends are databases of one server.

    Returns:
        What was not made, for people.

    Raises:
        TargetError: with everything that cannot be made.
    """
    shape = json.loads(dump)
    made: list[str] = []
    try:
        return [*_hidden(shape["hidden"], source), *_all(target, shape, made, one_server)]
    except BaseException:
        with suppress(Exception):
            for thing in reversed(made):
                target.execute(f"DROP {thing}")
        raise
    finally:
        with suppress(Exception):
            target.execute(f"USE {target.quote(target.default_schemas[0])}")


def _all(target: MySqlStore, shape: Mapping[str, Any], made: list[str], one_server: bool) -> list[str]:
    """What was not made, and need not be."""
    refused: Refused = {}
    for schema, charset, collation in shape["databases"]:
        with _collected(refused, f"database {schema}"):
            made += _database(target, target.located(TableName(schema, "")).schema, charset, collation)
    TargetError.raise_for(_faults(refused, target.label))
    for schema, name, statement in shape["sequences"]:
        sequence = target.located(TableName(schema, name))
        if not target.has_table(sequence):
            with _collected(refused, f"sequence {schema}.{name}"):
                made.append(_made(target, "SEQUENCE", sequence, statement))
    tables = set()
    for schema, name, statement in shape["tables"]:
        table = target.located(TableName(schema, name))
        with _collected(refused, f"table {schema}.{name}"):
            made.append(_made(target, "TABLE", table, sequences.moved(statement, target.located, target.quote)))
            tables.add(table)
    left = list(_triggers(target, shape, tables, refused, one_server))
    TargetError.raise_for(_faults(refused, target.label))
    return left


def _made(target: MySqlStore, kind: str, name: TableName, statement: str) -> str:
    """Make one thing whose statement does not say where; what to drop again."""
    target.execute(f"USE {target.quote(name.schema)}")
    target.execute(statement)
    return f"{kind} {target.quote(*name)}"


def _triggers(
    target: MySqlStore, shape: Mapping[str, Any], tables: Collection[TableName], refused: Refused, one_server: bool
) -> Iterator[str]:
    """Make the tables' triggers, but for those that would write into another database than the copy."""
    strange = _strange(target, [schema for schema, *_ in shape["databases"]], one_server)
    for schema, name, *fields in shape["triggers"]:
        table, trigger = target.located(TableName(schema, name)), Trigger(*fields)
        named = ", ".join(triggers.named(trigger, strange))
        if named:
            yield (
                f"trigger {schema}.{trigger.name} was not made: it names database {named}, which is not the copy's. "
                "Make it in the target as it is to be there"
            )
        elif table in tables:
            with _collected(refused, f"trigger {schema}.{trigger.name}"):
                triggers.make(target, table, trigger)


def _strange(target: MySqlStore, schemas: Sequence[str], one_server: bool) -> set[str]:
    """Databases that a trigger must not name: the source's by a name they do not have here, and its neighbours."""
    here = {target.located(TableName(schema, "")).schema for schema in schemas}
    there = {name for (name,) in target.rows(DATABASES)} if one_server else set()
    return {*schemas, *there} - here


def _hidden(tables: Sequence[Sequence[str]], source: str) -> Iterator[str]:
    """Triggers that nobody can say are there."""
    for schema in dict.fromkeys(schema for schema, _ in tables):
        names = [name for s, name in tables if s == schema]
        yield (
            f"{source}: triggers of {_few(names)} in {schema}, if there are any, were not made: this user may not see "
            f"them. GRANT TRIGGER ON {schema}.* to it before the target's tables are made, or make them there yourself"
        )


def _database(target: MySqlStore, name: str, charset: str, collation: str) -> list[str]:
    """What to drop again, unless it was there."""
    there = target.rows(f"SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {target.literal(name)}")
    if there:
        return []
    target.execute(f"CREATE DATABASE {target.quote(name)} CHARACTER SET {charset} COLLATE {collation}")
    return [f"DATABASE {target.quote(name)}"]


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
        yield Fault(
            f"cannot be made as in the source: {_few(names)}: {words}",
            label,
            "Make the tables in the target yourself, as this server takes them, and run without create_schema.",
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
