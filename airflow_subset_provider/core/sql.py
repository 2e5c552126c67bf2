"""The few SQLAlchemy pieces that every statement of a run is made of.

Statements stay expressions until the driver: identifiers are quoted by the dialect, values are rendered as its
literals. The one piece of free text is the user's WHERE clause. Base tables are never aliased where a clause stands,
so that both `column` and `table.column` mean in it what they mean in a query of the table alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import UserDefinedType

from airflow_subset_provider.core.schema import Column, ForeignKey, Schema, Table, TableName

Rows = sa.FromClause
Condition = sa.ColumnElement[bool]
ONE: sa.ColumnElement[Any] = sa.literal_column("1")


class ServerType(UserDefinedType[Any]):
    """A type by the server's own spelling: SQLAlchemy does not know every type a server has."""

    cache_ok = True

    def __init__(self, spelling: str, collation: str = "") -> None:
        """Take the spelling as CAST accepts it; a collation says what two values of it are compared by."""
        self.spelling = spelling
        self.collation = collation

    def get_col_spec(self, **_: Any) -> str:
        """Render it."""
        return self.spelling

    def coerce_compared_value(self, op: Any, value: Any) -> sa.types.TypeEngine[Any]:
        """Values compared with such a column render as plain literals; the server finds the type."""
        return sa.types.String() if isinstance(value, str) else sa.types.NullType()


class Only(sa.TableClause):
    """A table that others inherit from, read and written without them."""

    inherit_cache = True


@compiles(Only)
def _without_heirs(table: Only, compiler: Any, **how: Any) -> str:
    text: str = compiler.visit_table(table, **how)
    return f"ONLY {text}" if text else text


class Tables:
    """The tables of a schema as FROM clauses, under the names they have on one side of the copy."""

    def __init__(self, schema: Schema, located: Callable[[TableName], TableName] = lambda name: name) -> None:
        """Read `schema`; `located` gives a table's name on this side."""
        self.schema = schema
        self._located = located
        self._made: dict[TableName, sa.TableClause] = {}

    def __getitem__(self, name: TableName) -> sa.TableClause:
        """The table as a FROM clause, the same object every time."""
        if name not in self._made:
            self._made[name] = self._make(self.schema[name])
        return self._made[name]

    def _make(self, table: Table) -> sa.TableClause:
        where = self._located(table.name)
        columns = (sa.column(quoted(c.name), ServerType(c.type, c.collation)) for c in table.columns)
        kind = Only if table.inherited else sa.TableClause
        return kind(quoted(where.name), *columns, schema=quoted(where.schema) if where.schema else None)

    def select(self, name: TableName, columns: Iterable[str] | Iterable[sa.ColumnElement[Any]]) -> sa.Select[Any]:
        """SELECT these columns FROM the table."""
        table = self[name]
        return sa.select(*(table.c[c] if isinstance(c, str) else c for c in columns)).select_from(table)


def quoted(name: str) -> sa.sql.quoted_name:
    """Spelled exactly so; the dialect adds quotes where the name needs them."""
    return sa.sql.quoted_name(name, None)


def clause(text: str) -> Condition:
    """The user's clause as one condition. The line break ends a comment it may end with."""
    return sa.literal_column(f"({text}\n)", sa.Boolean())


def match(key: ForeignKey, child: Rows, parent: Rows) -> list[Condition]:
    """The child's row references the parent's row."""
    pairs = zip(key.columns, key.parent_columns, strict=True)
    return [equal(parent.c[b], child.c[a]) for a, b in pairs] + when(key, child)


def equal(value: sa.ColumnElement[Any], other: sa.ColumnElement[Any]) -> Condition:
    """They are the same: of two collations, neither of which gives way, by the first, so that its index serves."""
    first, second = (getattr(c.type, "collation", None) for c in (value, other))
    return value == (collated(other, first) if first and second and first != second else other)


def collated(value: sa.ColumnElement[Any], collation: str) -> sa.ColumnElement[Any]:
    """The value under a collation, spelled as SQL has it."""
    return value.op("COLLATE")(sa.literal_column(collation))


def when(key: ForeignKey, child: Rows) -> list[Condition]:
    """What must hold for a polymorphic key to be a reference at all."""
    return [child.c[column] == sa.literal(value, sa.String()) for column, value in key.when]


def is_reference(key: ForeignKey, child: Rows) -> list[Condition]:
    """No column of the key is NULL (MATCH SIMPLE), and its `when` holds."""
    return [has_value(child.c[a]) for a in key.columns] + when(key, child)


def has_value(column: sa.ColumnElement[Any]) -> Condition:
    """The column is not NULL.

    A row value with a NULL in it is a value, but IS NOT NULL is false for it (PostgreSQL manual 9.2); a type of the
    user's own, spelled with its schema, may be of such values.
    """
    whole = isinstance(column.type, ServerType) and re.match(r"[^'(]+\.", column.type.spelling)
    return column.is_distinct_from(sa.null()) if whole else column.is_not(None)


def exists(rows: Rows, conditions: Sequence[Condition], outer: Rows) -> sa.Exists:
    """EXISTS (SELECT 1 FROM rows WHERE conditions), with `outer` taken from the enclosing statement."""
    return sa.select(ONE).select_from(rows).where(*conditions).correlate(outer).exists()


def sent(
    rows: sa.Select[Any] | sa.CompoundSelect[Any],
    columns: Sequence[Column],
    how: Callable[[sa.ColumnElement[Any], Column], sa.ColumnElement[Any]],
) -> sa.Select[Any] | sa.CompoundSelect[Any]:
    """The same rows with every column, in this order, as `how` gives it."""
    if isinstance(rows, sa.CompoundSelect):
        return sa.union_all(*(sent(part, columns, how) for part in rows.selects))  # type: ignore[arg-type]
    plain = list(rows.selected_columns)
    values = [how(value, column) for value, column in zip(plain, columns, strict=True)]
    if all(a is b for a, b in zip(values, plain, strict=True)):
        return rows
    named = [a if a is b else a.label(quoted(c.name)) for a, b, c in zip(values, plain, columns, strict=True)]
    return rows.with_only_columns(*named, maintain_column_froms=True)


def any_of(selects: Sequence[sa.Select[Any]]) -> sa.Select[Any] | sa.CompoundSelect[Any]:
    """Disjoint branches put together."""
    return selects[0] if len(selects) == 1 else sa.union_all(*selects)


class Names:
    """Names for CTEs that no table of the schema has, unique within a statement and short enough for every server."""

    def __init__(self, schema: Schema) -> None:
        """Keep clear of all table names of `schema`."""
        self._taken = {t.name.name.lower() for t in schema.tables}

    def new(self, wish: str) -> sa.sql.quoted_name:
        """The wished name, or the first free one like it."""
        stem = wish.encode()[:50].decode(errors="ignore")
        name = next(n for n in _numbered(stem) if n.lower() not in self._taken)
        self._taken.add(name.lower())
        return quoted(name)


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    n = 2
    while True:
        yield f"{stem}_{n}"
        n += 1
