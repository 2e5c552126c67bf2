"""Reflection of MySQL databases from information_schema, in six statements however many tables there are.

SQLAlchemy's Inspector parses SHOW CREATE TABLE, a statement per table, and does not tell generated from invisible
columns on both servers. Names are sorted here, not by the server, whose collation decides otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from msgspec.structs import replace

from airflow_subset_provider.core.engines.mysql.names import spelled
from airflow_subset_provider.core.engines.mysql.server import Server
from airflow_subset_provider.core.errors import EndpointError, Fault
from airflow_subset_provider.core.schema import Column, ForeignKey, Key, Schema, Table, TableName

Query = Callable[[str], list[tuple[Any, ...]]]

STATE_PREFIX = "airflow_subset_"

SCHEMATA = "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN ({schemas})"

TABLES = """
SELECT TABLE_SCHEMA, TABLE_NAME, ENGINE, TABLE_ROWS FROM information_schema.TABLES
WHERE TABLE_SCHEMA IN ({schemas}) AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED')
"""

COLUMNS = """
SELECT TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION, COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME,
       IS_NULLABLE, EXTRA, COLUMN_DEFAULT
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA IN ({schemas})
"""

# A prefix (SUB_PART) is unique only as far as it goes, and an expression (no COLUMN_NAME) is no column.
KEYS = """
SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, SUB_PART
FROM information_schema.STATISTICS WHERE TABLE_SCHEMA IN ({schemas}) AND NON_UNIQUE = 0
"""

FOREIGN_KEYS = """
SELECT TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION, COLUMN_NAME,
       REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME
FROM information_schema.KEY_COLUMN_USAGE
WHERE TABLE_SCHEMA IN ({schemas}) AND REFERENCED_TABLE_NAME IS NOT NULL
"""

_GENERATED = re.compile(r"\b(VIRTUAL|STORED|PERSISTENT)\b", re.IGNORECASE)


def reflect(query: Query, literal: Callable[[str], str], schemas: Sequence[str], server: Server, label: str) -> Schema:
    """Read the databases.

    Args:
        query: runs one statement.
        literal: quotes a string.

    Raises:
        EndpointError: a database is not there, or not for this user.
    """
    scope = {"schemas": ", ".join(map(literal, schemas))}

    def ask(statement: str) -> list[tuple[Any, ...]]:
        return query(statement.format(**scope))

    missing = sorted(set(schemas) - {name for (name,) in ask(SCHEMATA)})
    EndpointError.raise_for(
        Fault(f"no database {s!r}", label, "Check its name and this user's rights.") for s in missing
    )
    columns, keys = _by_table(ask(COLUMNS)), _by_table(ask(KEYS))
    tables = tuple(
        Table(
            name=TableName(schema, name),
            columns=tuple(_column(*c) for c in columns.get((schema, name), ())),
            keys=tuple(_keys(keys.get((schema, name), []))),
            engine=engine or "",
            rows=int(rows) if rows is not None else -1,
        )
        for schema, name, engine, rows in sorted(ask(TABLES))
        if not name.startswith(STATE_PREFIX)
    )
    foreign = tuple(_foreign_keys(ask(FOREIGN_KEYS), {t.name: t for t in tables}))
    return Schema(server.name, tuple(sorted(schemas)), tables, foreign, str(server))


def _by_table(rows: list[tuple[Any, ...]]) -> dict[tuple[str, str], list[tuple[Any, ...]]]:
    """Rows of `schema, table, …` by table, each group sorted by what follows."""
    ordered = sorted(rows, key=lambda r: r[:4])
    return {table: [row[2:] for row in group] for table, group in groupby(ordered, lambda r: (r[0], r[1]))}


def _column(
    _: int, name: str, type_: str, charset: str | None, collation: str | None, nullable: str, extra: str, default: Any
) -> Column:
    if charset and collation:
        type_ += f" CHARACTER SET {charset} COLLATE {collation}"
    has_default = default not in (None, "NULL") or "auto_increment" in extra or "DEFAULT_GENERATED" in extra
    generated = bool(_GENERATED.search(extra))
    return Column(name, type_, nullable == "YES", generated, has_default and not generated)


def _keys(rows: list[tuple[Any, ...]]) -> Iterator[Key]:
    found = []
    for name, parts in groupby(rows, lambda r: r[0]):
        columns = [(column, prefix) for _, _, column, prefix in parts]
        if all(column is not None and prefix is None for column, prefix in columns):
            found.append(Key(name, tuple(column for column, _ in columns), primary=name == "PRIMARY"))
    yield from sorted(found, key=lambda k: (not k.primary, k.name))


def _foreign_keys(rows: list[tuple[Any, ...]], tables: Mapping[TableName, Table]) -> Iterator[ForeignKey]:
    """One key for all constraints that say the same, by the name that sorts first; it answers to the others too.

    A key made before the table it references keeps that one's columns in the letters it was made with, on both servers.
    """
    found: dict[tuple[TableName, TableName, frozenset[tuple[str, str]]], ForeignKey] = {}
    for (schema, name, constraint), group in groupby(sorted(rows, key=lambda r: r[:4]), lambda r: r[:3]):
        parts = list(group)
        child, parent = TableName(schema, name), TableName(parts[0][5], parts[0][6])
        columns = spelled([p[4] for p in parts], tables.get(child))
        parent_columns = spelled([p[7] for p in parts], tables.get(parent))
        pairs = (child, parent, frozenset(zip(columns, parent_columns, strict=True)))
        twin = found.get(pairs)
        if twin is not None:
            found[pairs] = replace(twin, also=(*twin.also, constraint))
        elif child in tables:
            found[pairs] = ForeignKey(constraint, child, columns, parent, parent_columns)
    yield from found.values()
