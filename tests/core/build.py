"""Schemas in a line a table, for tests that need no server.

`make(p="id, code?!", c="id, p? -> p, code:text -> p.code")`: the first column is the primary key, `?` says nullable,
`!` unique, `:type` another type than integer, `->` a foreign key (to a primary key, or to the column named).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from airflow_subset_provider.core.plan import Plan, build
from airflow_subset_provider.core.schema import Column, ForeignKey, Key, Schema, Table, TableName
from airflow_subset_provider.core.spec import Spec

COLUMN = re.compile(r"(?P<name>[^?!:]+)(?P<null>\??)(?P<unique>!?)(?::(?P<type>.+))?")


def name(text: str) -> TableName:
    """`table` is in schema public, `schema.table` is not."""
    schema, _, table = text.rpartition(".")
    return TableName(schema or "public", table)


def key(child: str, columns: str, parent: str, parent_columns: str = "id", **more: object) -> ForeignKey:
    """A foreign key with commas between its columns, called `child_columns`."""
    named = f"{name(child).name}_{columns.replace(',', '_')}"
    fields = {"name": named, **more}
    return ForeignKey(
        child=name(child),
        columns=tuple(columns.split(",")),
        parent=name(parent),
        parent_columns=tuple(parent_columns.split(",")),
        **fields,  # type: ignore[arg-type]
    )


def make(keys: Iterable[ForeignKey] = (), schemas: tuple[str, ...] = ("public",), /, **tables: str) -> Schema:
    """A schema of these tables, and of keys that do not fit in a line."""
    return made(tables, keys, schemas)


def made(tables: dict[str, str], keys: Iterable[ForeignKey] = (), schemas: tuple[str, ...] = ("public",)) -> Schema:
    """The same for names that are no Python words."""
    shapes, found = [], list(keys)
    for text, line in tables.items():
        items = [item.strip().partition(" -> ") for item in line.split(",")]
        columns, unique = [], []
        for item, _, target in items:
            match = COLUMN.fullmatch(item)
            assert match, item
            columns.append(Column(match["name"], match["type"] or "integer", nullable=bool(match["null"])))
            unique += [Key(f"{text}_{match['name']}_key", (match["name"],))] if match["unique"] else []
            if target:
                parent, _, column = target.partition(".")
                found.append(key(text, match["name"], parent, column or "id"))
        primary = Key(f"{text}_pkey", (columns[0].name,), primary=True)
        shapes.append(Table(name(text), tuple(columns), (primary, *unique)))
    return Schema("postgresql", schemas, tuple(shapes), tuple(found))


def plan(schema: Schema, **request: object) -> Plan:
    """The plan of a request."""
    return build(Spec.of(**request), schema)
