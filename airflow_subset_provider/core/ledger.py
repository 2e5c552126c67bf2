"""A copy's keys in a SQLite file, standing in for the target when rows are to be counted and none may be copied.

It holds, per table, only the columns that foreign keys are made of, as texts that are equal exactly when the source
holds the keys equal; of a column that a polymorphic key asks, which of the values asked for it holds. The rules of
`integrity` and `bans` run on it as they run on a target, so the counts are those of a run. Memory stays flat: the file
takes what the keys take.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import sqlalchemy as sa
from msgspec.structs import replace
from sqlalchemy.dialects import sqlite

from airflow_subset_provider.core import sql
from airflow_subset_provider.core.engines.base import PAGE, Moved, Progress, Source, Statement, Store
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.schema import Column, Schema, Table, TableName
from airflow_subset_provider.core.spec import Policy
from airflow_subset_provider.core.spellings import Spellings
from airflow_subset_provider.core.sql import Condition, Tables, quoted

SETTINGS = "PRAGMA synchronous = OFF; PRAGMA cache_size = -65536; PRAGMA temp_store = FILE"


def keys_only(plan: Plan) -> Plan:
    """The same plan over a schema that knows the key columns alone (a table without any keeps its first column)."""
    wanted = {t.name: _tracked(plan, t.name) for t in plan.schema.tables}
    tables = tuple(_narrowed(t, wanted[t.name]) for t in plan.schema.tables)
    schema = plan.schema
    return replace(plan, schema=Schema(schema.dialect, schema.schemas, tables, schema.foreign_keys, schema.server))


def tracked(plan: Plan, table: TableName) -> bool:
    """Whether what is kept of the table can hang on keys, so that its keys must be known."""
    return bool(_tracked(plan, table))


def _tracked(plan: Plan, table: TableName) -> frozenset[str]:
    own = plan.relations_of.get(table, ())
    columns = {c for r in own for c in r.key.columns} | {c for r in own for c, _ in r.key.when}
    columns |= {c for r in plan.relations_to.get(table, ()) for c in r.key.parent_columns}
    if plan.graph.component_of[table].cyclic or plan.tables[table].sample or _in_groups(plan, table):
        columns |= set(plan.schema[table].identity)
    return frozenset(columns)


def _in_groups(plan: Plan, table: TableName) -> bool:
    """Whether several of the table's rows can be meant by one reference."""
    known = plan.schema[table]
    return not all(known.tells_apart(r.key.parent_columns) for r in plan.relations_to.get(table, ()))


def _narrowed(table: Table, wanted: frozenset[str]) -> Table:
    """Generated columns are kept as if they were plain ones: here nothing else fills them."""
    columns = tuple(replace(c, generated=False) for c in table.columns if c.name in wanted) or table.columns[:1]
    names = {c.name for c in columns}
    return replace(table, columns=columns, keys=tuple(k for k in table.keys if names.issuperset(k.columns)))


def _plain(table: Table) -> Table:
    """Without heirs and collations: a text here is equal to itself and to nothing else."""
    return replace(table, inherited=False, columns=tuple(replace(c, collation="") for c in table.columns))


class Ledger(Store):
    """The store. Everything happens in one transaction, which is never committed."""

    dialect: ClassVar[sa.Dialect] = sqlite.dialect(paramstyle="named")
    lateral: ClassVar[bool] = False

    def __init__(self, plan: Plan, path: Path) -> None:
        """Make the file and its tables.

        Args:
            plan: as `keys_only` made it.
        """
        self.label = str(path)
        self.plan = plan
        self._connection = sqlite3.connect(path, isolation_level=None)
        for setting in SETTINGS.split(";"):
            self._connection.execute(setting)
        self._numbers = count()
        places = {t.name: TableName("", f"t{n}") for n, t in enumerate(plan.schema.tables)}
        plain = replace(plan.schema, tables=tuple(_plain(t) for t in plan.schema.tables))
        self.tables = Tables(plain, places.__getitem__)
        self.execute("BEGIN")
        self._spellings = Spellings(self._connection)
        self._collations = _collations(plan)
        for table in plan.schema.tables:
            texts = self._texts(c.name for c in table.columns) or self._texts(["no column"])
            self.execute(f"CREATE TABLE {self._named(table.name)} ({texts})")
            for columns in self._searched(table.name):
                self._index(self._named(table.name), columns)

    def _searched(self, table: TableName) -> Iterable[tuple[str, ...]]:
        """The columns rows are found by: all that are referenced, and those that a chain of drops runs down."""
        component = self.plan.graph.component_of[table]
        found = [r.key.parent_columns for r in self.plan.relations_to.get(table, ())]
        if _in_groups(self.plan, table):
            found.append(self.plan.schema[table].identity)
        if component.cyclic:
            own = self.plan.relations_of.get(table, ())
            found += [r.key.columns for r in own if r.policy is Policy.DROP and r.key.parent in component.tables]
            found.append(self.plan.schema[table].identity)
        return (columns for columns in dict.fromkeys(found) if columns)

    # -- results

    def count(self, table: TableName) -> int:
        """Rows of the table."""
        return int(self.value(sa.select(sa.func.count()).select_from(self.tables[table])))

    def rows(self, statement: Statement | str) -> list[tuple[Any, ...]]:
        """Run it and fetch all."""
        return self._connection.execute(self.compile(statement)).fetchall()

    def execute(self, statement: Statement | str) -> int:
        """Run one statement."""
        return self._connection.execute(self.compile(statement)).rowcount

    def pages(self, statement: sa.Select[Any], size: int = PAGE) -> Iterator[list[tuple[str, ...]]]:
        """Through a temporary table: a SELECT that is being read would see what is written meanwhile."""
        name = f"temp.page_{next(self._numbers)}"
        self.execute(f"CREATE TABLE {name} AS {self.compile(statement)}")
        last = 0
        columns = self._listed(str(c.key) for c in statement.selected_columns)
        text = f"SELECT rowid, {columns} FROM {name} WHERE rowid > ? ORDER BY rowid LIMIT ?"  # noqa: S608
        while page := self._connection.execute(text, (last, size)).fetchall():
            last = page[-1][0]
            yield [row[1:] for row in page]
        self.execute(f"DROP TABLE {name}")

    # -- loading

    def load(self, source: Source, statement: Statement | str, table: Table, progress: Progress | None = None) -> Moved:
        """The keys of a SELECT of the source."""
        names = [c.name for c in table.copied]
        marks = ", ".join("?" * len(names))
        into = f"INSERT INTO {self._named(table.name)} ({self._listed(names)}) VALUES ({marks})"  # noqa: S608
        return self._insert(into, self._keys(source, statement, table))

    def load_missing(self, source: Source, statement: Statement | str, table: Table, key: Sequence[str]) -> Moved:
        """Row by row, each looked up first."""
        names, named = [c.name for c in table.copied], self._named(table.name)
        marks = ", ".join("?" * len(names))
        same = " AND ".join(f"{self._quoted(c)} = ?" for c in key)
        into = (
            f"INSERT INTO {named} ({self._listed(names)}) SELECT {marks} "  # noqa: S608
            f"WHERE NOT EXISTS (SELECT 1 FROM {named} WHERE {same})"
        )
        places = [names.index(c) for c in key]
        pages = self._keys(source, statement, table)
        return self._insert(into, ([(*row, *(row[i] for i in places)) for row in page] for page in pages))

    def _keys(self, source: Source, statement: Statement | str, table: Table) -> Iterator[Sequence[tuple[Any, ...]]]:
        """The rows of a SELECT of the source, every column as a text to compare by."""
        if not isinstance(statement, sa.Select | sa.CompoundSelect):
            raise TypeError(f"a SELECT is wanted, not {type(statement).__name__}")
        columns = [self._collated(table.name, c) for c in table.copied]
        collations = [source.collation(c) for c in columns]
        asked = self._asked(table)

        def text(value: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
            if column.name in asked:
                texts = [sa.literal(text, sa.String()) for text in asked[column.name]]
                return sa.case(*((value == text, text) for text in texts))
            return source.marked(value, column) if source.collation(column) else source.comparable(value, column.type)

        for page in source.pages(sql.sent(statement, columns, text)):
            yield self._spelled(page, {n: c for n, c in enumerate(collations) if c and columns[n].name not in asked})

    def _spelled(self, page: list[tuple[Any, ...]], collations: Mapping[int, str]) -> Sequence[tuple[Any, ...]]:
        """The page without marks, each value spelled in one way."""
        if not collations:
            return page
        columns = list(zip(*page, strict=True))
        for n, collation in collations.items():
            columns[n] = tuple(self._spellings.one(collation, columns[n]))
        return list(zip(*columns, strict=True))

    def _collated(self, table: TableName, column: Column) -> Column:
        return replace(column, collation=self._collations.get((table, column.name), column.collation))

    def _asked(self, table: Table) -> dict[str, list[str]]:
        """Columns that say what a polymorphic key references and are no keys themselves, with the values asked for."""
        own, above = self.plan.relations_of.get(table.name, ()), self.plan.relations_to.get(table.name, ())
        keys = {c for r in own for c in r.key.columns} | {c for r in above for c in r.key.parent_columns}
        asked: dict[str, list[str]] = {}
        for column, value in dict.fromkeys(pair for r in own for pair in r.key.when):
            if column not in keys and column not in table.identity:
                asked.setdefault(column, []).append(value)
        return asked

    def _insert(self, statement: str, pages: Iterable[Sequence[tuple[Any, ...]]]) -> Moved:
        return Moved(sum(self._connection.executemany(statement, page).rowcount for page in pages))

    def keep(self, name: str, columns: Sequence[Column], pages: Iterable[list[tuple[str, ...]]]) -> sa.TableClause:
        """A temporary table, with an index over its columns."""
        names = [c.name for c in columns]
        table = f"temp.{self._quoted(name)}"
        self.execute(f"DROP TABLE IF EXISTS {table}")
        self.execute(f"CREATE TABLE {table} ({self._texts(names)})")
        marks = ", ".join("?" * len(names))
        self._insert(f"INSERT INTO {table} VALUES ({marks})", pages)  # noqa: S608
        self._index(table, names)
        return sa.table(quoted(name), *(sa.column(quoted(c)) for c in names), schema="temp")

    def stage(self, name: str, statement: sa.Select[Any]) -> sa.TableClause:
        """A temporary table; its first column is taken for the tag that its rows are told apart by."""
        names = [str(c.key) for c in statement.selected_columns]
        table = f"temp.{self._quoted(name)}"
        self.execute(f"DROP TABLE IF EXISTS {table}")
        self.execute(f"CREATE TABLE {table} AS {self.compile(statement)}")
        for column in names[1:]:
            self._index(table, (names[0], column))
        return sa.table(quoted(name), *(sa.column(quoted(c)) for c in names), schema="temp")

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """SAVEPOINT, which goes back on any exception."""
        self.execute("SAVEPOINT step")
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK TO step")
            raise
        finally:
            self.execute("RELEASE step")

    def close(self) -> None:
        """Forget everything."""
        self._connection.close()

    def cancel(self) -> None:
        """Stop the statement under way."""
        self._connection.interrupt()

    # -- ways of saying things

    def walked(self, value: sa.ColumnElement[Any] | None, column: Column) -> sa.ColumnElement[Any]:
        """As it is: all is text."""
        return sa.null() if value is None else value

    def as_text(self, column: sa.ColumnElement[Any], type_: str) -> sa.ColumnElement[Any]:
        """As it is: all is text."""
        return column

    def share(self, columns: Sequence[sa.ColumnElement[Any]], percent: float, seed: int) -> Condition:
        """Of a source only."""
        _only_a_source()

    def constant(self, text: str, column: Column) -> sa.ColumnElement[Any]:
        """A text, as all keys are here."""
        return sa.literal(text, sa.String())

    def keys(self, columns: Sequence[Column], rows: Sequence[tuple[str, ...]], name: str) -> sa.FromClause:
        """Of a source only."""
        _only_a_source()

    def reflect(self, schemas: Sequence[str]) -> Schema:
        """Of a server only."""
        _only_a_source()

    def _index(self, table: str, columns: Iterable[str]) -> None:
        schema, _, name = table.rpartition(".")
        place = f"{schema}." if schema else ""
        self.execute(f"CREATE INDEX {place}i{next(self._numbers)} ON {name} ({self._listed(columns)})")

    def _named(self, table: TableName) -> str:
        return str(self.tables[table].name)

    def _quoted(self, name: str) -> str:
        return self.dialect.identifier_preparer.quote(name)

    def _texts(self, names: Iterable[str]) -> str:
        """Columns that make a text of whatever a driver hands out."""
        return ", ".join(f"{self._quoted(name)} TEXT" for name in names)

    def _listed(self, names: Iterable[str]) -> str:
        return ", ".join(map(self._quoted, names))


def _collations(plan: Plan) -> dict[tuple[TableName, str], str]:
    """By which collation a column's values are compared that has none of its own: that of what it references."""
    found = {(t.name, c.name): c.collation for t in plan.schema.tables for c in t.columns if c.collation}
    pairs = [
        ((r.key.child, a), (r.key.parent, b))
        for r in plan.relations
        for a, b in zip(r.key.columns, r.key.parent_columns, strict=True)
    ]
    before = -1
    while len(found) > before:
        before = len(found)
        found.update({a: found[b] for a, b in pairs if b in found and a not in found})
    return found


def _only_a_source() -> NoReturn:
    raise AssertionError("the ledger is never read from as a source")
