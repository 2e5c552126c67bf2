"""The rows' end on Postgres: loads, temporary tables, and the statements that settle references."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.rows import TupleRow

from airflow_subset_provider.core.engines.base import PAGE, Moved, Progress, Source, Statement, Store
from airflow_subset_provider.core.engines.postgresql.copy import copy_in, copy_out
from airflow_subset_provider.core.engines.postgresql.fit import bare
from airflow_subset_provider.core.engines.postgresql.session import PostgresSession, raw, translated
from airflow_subset_provider.core.schema import Column, Schema, Table, TableName
from airflow_subset_provider.core.sql import ServerType, Tables, quoted

TYPES = """
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = %(table)s::regclass AND attnum > 0 AND NOT attisdropped
"""


class PostgresStore(PostgresSession, Store):
    """A writing session, as far as it is about rows."""

    def __init__(self, connection: psycopg.Connection[TupleRow], label: str) -> None:
        """Take over an open connection; `tables` is set by whoever knows the schema."""
        super().__init__(connection, label)
        self.tables = Tables(Schema("postgresql", (), ()))
        self._types: dict[TableName, dict[str, str]] = {}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One server transaction."""
        with translated(self.label), self.connection.transaction():
            yield

    savepoint = transaction  # psycopg nests: a block inside a block is a savepoint

    def execute(self, statement: Statement | str) -> int:
        """Run it."""
        with translated(self.label):
            return max(0, self.connection.execute(raw(self.compile(statement))).rowcount)

    def pages(self, statement: sa.Select[Any], size: int = PAGE) -> Iterator[list[tuple[str, ...]]]:
        """By a server-side cursor, which keeps the snapshot it was opened with."""
        with translated(self.label), self.connection.cursor(name=f"subset_{id(statement)}") as cursor:
            cursor.execute(raw(self.compile(statement)))
            while page := cursor.fetchmany(size):
                yield page

    def load(self, source: Source, statement: Statement | str, table: Table, progress: Progress | None = None) -> Moved:
        """COPY to COPY, binary where every type allows it."""
        return self._copy(source, source.compile(statement), table, self.named(table.name), progress)

    def _copy(self, source: Source, statement: str, table: Table, into: str, progress: Progress | None = None) -> Moved:
        form = " WITH (FORMAT binary)" if self._binary(table) else ""
        columns = self._listed(table)
        into += f" ({columns})" if columns else ""  # a table without columns has rows all the same
        buffers = copy_out(other_end(source).connection, f"COPY ({statement}) TO STDOUT{form}")
        with translated(f"{source.label} → {self.label}, {table.name}"):
            return copy_in(self.connection, f"COPY {into} FROM STDIN{form}", buffers, progress)

    def load_missing(self, source: Source, statement: Statement | str, table: Table, key: Sequence[str]) -> Moved:
        """Through a temporary table of the same columns and of the key, which may be generated."""
        staged = table.storing(key)
        into, columns, all_ = self.named(table.name), self._listed(table), self._listed(staged)
        same = " AND ".join(f"t.{self.quote(c)} = s.{self.quote(c)}" for c in key)
        stage, only = "pg_temp.subset_stage", "ONLY " if table.inherited else ""
        self.execute(f"CREATE TEMP TABLE subset_stage ON COMMIT DROP AS SELECT {all_} FROM {into} WITH NO DATA")
        moved = self._copy(source, source.compile(statement), staged, stage)
        rows = self.execute(
            f"INSERT INTO {into} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {stage} s "
            f"WHERE NOT EXISTS (SELECT 1 FROM {only}{into} t WHERE {same})"
        )
        self.execute(f"DROP TABLE {stage}")
        return Moved(rows, moved.bytes, moved.seconds)

    def keep(self, name: str, columns: Sequence[Column], pages: Iterable[list[tuple[str, ...]]]) -> sa.TableClause:
        """Filled by one COPY a page: between pages the connection is free to fetch the next."""
        spec = ", ".join(f"{self.quote(c.name)} {c.type}" for c in columns)
        self.execute(f"DROP TABLE IF EXISTS pg_temp.{self.quote(name)}")
        self.execute(f"CREATE TEMP TABLE {self.quote(name)} ({spec}) ON COMMIT DROP")
        for page in pages:
            self._write(name, page)
        self.execute(f"ANALYZE pg_temp.{self.quote(name)}")
        made = (sa.column(quoted(c.name), ServerType(c.type)) for c in columns)
        return sa.table(quoted(name), *made, schema="pg_temp")

    def _write(self, name: str, page: list[tuple[str, ...]]) -> None:
        with (
            translated(self.label),
            self.connection.cursor() as cursor,
            cursor.copy(raw(f"COPY pg_temp.{self.quote(name)} FROM STDIN")) as copy,
        ):
            for row in page:
                copy.write_row(row)

    def stage(self, name: str, statement: sa.Select[Any]) -> sa.TableClause:
        """CREATE TEMP TABLE AS."""
        self.execute(f"DROP TABLE IF EXISTS pg_temp.{self.quote(name)}")
        self.execute(f"CREATE TEMP TABLE {self.quote(name)} ON COMMIT DROP AS {self.compile(statement)}")
        self.execute(f"ANALYZE pg_temp.{self.quote(name)}")
        return sa.table(
            quoted(name), *(sa.column(str(c.key), c.type) for c in statement.selected_columns), schema="pg_temp"
        )

    def _binary(self, table: Table) -> bool:
        """Binary form needs portable types, and the same ones on this side."""
        if not all(c.binary for c in table.copied):
            return False
        if table.name not in self._types:
            with self.spelled_out():
                self._types[table.name] = dict(self.query(TYPES, {"table": self.named(table.name)}))
        found = self._types[table.name]
        return all(found.get(c.name, "") == bare(c.type) for c in table.copied)

    def _listed(self, table: Table) -> str:
        return ", ".join(self.quote(c.name) for c in table.copied)

    def quote(self, name: str) -> str:
        """An identifier as SQL."""
        return self.dialect.identifier_preparer.quote(name)

    def named(self, table: TableName) -> str:
        """A table as SQL."""
        return f"{self.quote(table.schema)}.{self.quote(table.name)}"


def other_end(source: Source) -> PostgresSession:
    """The source, which must be of this kind.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(source, PostgresSession):
        raise TypeError(f"a Postgres target reads from a Postgres source, not from {type(source).__name__}")
    return source
