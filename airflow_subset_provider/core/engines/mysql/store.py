"""The rows' end on MySQL and MariaDB: loads, temporary tables, and the statements that settle references.

Foreign keys are not checked in these sessions (`foreign_key_checks` is a session's own). DDL commits implicitly (MySQL
manual 15.3.3), so a transaction here is `autocommit = 0`: after such a commit the next statement begins the next one by
itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count, islice
from typing import Any, TypeVar

import MySQLdb
import sqlalchemy as sa
from sqlalchemy.sql import visitors

from airflow_subset_provider.core.engines.base import PAGE, Endpoint, Moved, Progress, Source, Statement, Store
from airflow_subset_provider.core.engines.mysql import types
from airflow_subset_provider.core.engines.mysql.errors import LOCAL_INFILE_OFF, code_of, translated, words_of
from airflow_subset_provider.core.engines.mysql.load import Copy, Destination, faults
from airflow_subset_provider.core.engines.mysql.session import MySqlSession, quoted_name
from airflow_subset_provider.core.errors import SubsetError
from airflow_subset_provider.core.schema import Column, Schema, Table, TableName
from airflow_subset_provider.core.sql import Condition, ServerType, Tables

log = logging.getLogger(__name__)
T = TypeVar("T")

SETTINGS = (
    "foreign_key_checks = 0",
    "TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "sql_notes = 0",  # notes are no warnings: "table already exists" must not look like a changed value
)
# A key for every temporary table: servers with sql_require_primary_key refuse one without.
NUMBER = "{} BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY"

JSON = """
SELECT COLUMN_NAME FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {table} AND DATA_TYPE = 'json'
"""
NULLS = frozenset({1048, 1263})  # NULL for a column that takes none
TOUCHED = """
SELECT COLUMN_NAME FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {table} AND EXTRA LIKE '%on update%'
"""


class MySqlStore(MySqlSession, Store):
    """A writing session, as far as it is about rows."""

    _schemas: tuple[str, ...] = ()
    _small = False

    def __init__(self, endpoint: Endpoint, purpose: str) -> None:
        """Connect; `tables` is set by `use`."""
        super().__init__(endpoint, purpose)
        self.tables = Tables(Schema(self.server.name, (), ()))
        self._numbers = count(1)
        self._temporary: set[str] = set()
        self._local_infile: bool | None = None
        with translated(self.label):
            for setting in SETTINGS:
                self.run(f"SET SESSION {setting}")

    # -- where things are

    def use(self, schema: Schema) -> None:
        """The one database in scope goes into the connection's own, whatever its name; several keep their names.

        A server may keep all names in small letters (`lower_case_table_names`, MySQL manual 11.2.3).
        """
        self._small = self.value("SELECT @@lower_case_table_names") == 1
        self.tables = Tables(schema, self.located)
        self._schemas = schema.schemas

    def located(self, table: TableName) -> TableName:
        """The table's name on this side."""
        if len(self._schemas) == 1 and table.schema == self._schemas[0]:
            table = TableName(self.default_schemas[0], table.name)
        return TableName(table.schema.lower(), table.name.lower()) if self._small else table

    def _named(self, table: TableName) -> str:
        return self.quote(*self.located(table))

    # -- transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One server transaction, as far as no DDL stands in it."""
        with translated(self.label):
            self.run("SET SESSION autocommit = 0")
        try:
            try:
                yield
            except BaseException:
                with suppress(MySQLdb.Error):
                    self.run("ROLLBACK")
                raise
            with translated(self.label):
                self.run("COMMIT")
        finally:
            with suppress(MySQLdb.Error):
                self._clean_up()

    def _clean_up(self) -> None:
        for name in sorted(self._temporary):
            self.run(f"DROP TEMPORARY TABLE IF EXISTS {self.quote(name)}")
        self._temporary.clear()
        self.run("SET SESSION autocommit = 1")

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """SAVEPOINT; temporary InnoDB tables lose their rows with it as well."""
        name = self.quote(f"subset_{next(self._numbers)}")
        self.execute(f"SAVEPOINT {name}")
        try:
            yield
        except BaseException:
            with suppress(MySQLdb.Error):
                self.run(f"ROLLBACK TO SAVEPOINT {name}")
            raise
        self.execute(f"RELEASE SAVEPOINT {name}")

    # -- statements

    def execute(self, statement: Statement | str) -> int:
        """Run it."""
        with translated(self.label):
            self.send(self.compile(statement))
            result = self.connection.store_result()
            if result is not None:
                result.discard()
            touched = int(self.connection.affected_rows())
            self.refuse_truncation()
        return touched

    def _settle(self, statement: str, table: TableName) -> int:
        """Change rows of a table, whose expressions may give warnings on the way.

        Raises:
            SubsetError: a NULL became some other value, as outside strict mode it does where none may be.
        """
        with translated(self.label), self.tolerant():
            touched, _ = self.change(statement)
            warned = self.refuse_truncation()
        unsure = len(warned) >= self.most_warnings
        SubsetError.raise_for(faults([w for w in warned if unsure or w[1] in NULLS], str(table)))
        return touched

    def delete(self, table: TableName, conditions: Sequence[Condition]) -> int:
        """By the values that decide: a table that is deleted from may not stand in a subquery (error 1093).

        Rows with equal values in all columns that the conditions read share their fate, so those values are collected
        first (DISTINCT keeps the server from merging the derived table), and no primary key is needed. It also gives
        the collecting SELECT the optimizer's semi-joins, which a DELETE on MariaDB has only since 11.1.
        """
        rows = self.tables[table]
        read = _read(rows, conditions)
        if not read:
            return self.execute(sa.delete(rows).where(*conditions))
        hit = self.compile(
            sa.select(*(rows.c[c].label(f"k{n}") for n, c in enumerate(read))).where(*conditions).distinct()
        )
        name = self._named(table)
        with self.tolerant():
            return self.execute(f"DELETE {name} FROM {name} JOIN ({hit}) AS subset_hit ON {self._same(name, read)}")

    def set_null(self, table: TableName, cuts: Sequence[tuple[Condition, Sequence[str]]]) -> int:
        """All at once: each condition is answered once, for all rows, before any row changes.

        UPDATE assigns from left to right and reads what it has just assigned (MySQL manual 15.2.17); columns that the
        server would set to the current time are assigned themselves.
        """
        rows, name = self.tables[table], self._named(table)
        read = _read(rows, [condition for condition, _ in cuts])
        keys = [rows.c[c].label(f"k{n}") for n, c in enumerate(read)]
        answers = [condition.label(f"c{n}") for n, (condition, _) in enumerate(cuts)]
        any_ = " OR ".join(f"c{n}" for n in range(len(cuts)))
        hit = f"{self.compile(sa.select(*keys, *answers).select_from(rows).distinct())} HAVING {any_}"
        reasons: dict[str, list[str]] = {}
        for n, (_, columns) in enumerate(cuts):
            for column in columns:
                reasons.setdefault(column, []).append(f"subset_hit.c{n}")
        changes = [
            f"{name}.{self.quote(c)} = IF({' OR '.join(why)}, NULL, {name}.{self.quote(c)})"
            for c, why in reasons.items()
        ]
        changes += [
            f"{name}.{self.quote(c)} = {name}.{self.quote(c)}" for c in self._touched(table) if c not in reasons
        ]
        return self._settle(
            f"UPDATE {name} JOIN ({hit}) AS subset_hit ON {self._same(name, read)} SET {', '.join(changes)}",
            table,
        )

    def _same(self, name: str, columns: Sequence[str]) -> str:
        return " AND ".join(f"{name}.{self.quote(c)} <=> subset_hit.k{n}" for n, c in enumerate(columns))

    def _touched(self, table: TableName) -> list[str]:
        """Columns with ON UPDATE CURRENT_TIMESTAMP."""
        where = self.located(table)
        return [
            c for (c,) in self.rows(TOUCHED.format(schema=self.literal(where.schema), table=self.literal(where.name)))
        ]

    def pages(self, statement: sa.Select[Any], size: int = PAGE) -> Iterator[list[tuple[str, ...]]]:
        """Through a temporary table: between two pages the connection is needed, and no cursor would stay open."""
        name = f"subset_pages_{next(self._numbers)}"
        names = [str(c.key) for c in statement.selected_columns]
        number = self._make_temporary(name, names, self.compile(statement))
        last, columns = 0, self._listed(names)
        while True:
            found = self.rows(
                f"SELECT {number}, {columns} FROM {self.quote(name)} "
                f"WHERE {number} > {last} ORDER BY {number} LIMIT {size}"
            )
            if not found:
                break
            last = found[-1][0]
            yield [row[1:] for row in found]
        self._drop_temporary(name)

    # -- temporary tables

    def _make_temporary(self, name: str, columns: Iterable[str], statement: str = "", spec: str = "") -> str:
        """Make it of a statement that gives these columns, or of their definitions; its key's name, quoted."""
        if name in self._temporary:
            self._drop_temporary(name)
        self._temporary.add(name)
        number = self.quote(_other_than(columns))
        self.execute(f"CREATE TEMPORARY TABLE {self.quote(name)} ({NUMBER.format(number)}{spec}) {statement}")
        return number

    def _drop_temporary(self, name: str) -> None:
        """Neither making nor dropping a temporary table commits (MySQL manual 15.3.3)."""
        self.execute(f"DROP TEMPORARY TABLE IF EXISTS {self.quote(name)}")
        self._temporary.discard(name)

    def keep(self, name: str, columns: Sequence[Column], pages: Iterable[list[tuple[str, ...]]]) -> sa.TableClause:
        """Filled by one INSERT a page."""
        spec = "".join(f", {self.quote(c.name)} {c.type} NULL" for c in columns)
        self._make_temporary(name, [c.name for c in columns], spec=spec)
        names = self._listed(c.name for c in columns)
        kinds = [types.parsed(c.type) for c in columns]
        for page in pages:
            for rows in groups(page, 1000):
                values = (", ".join(types.literal(v, t) for v, t in zip(row, kinds, strict=True)) for row in rows)
                self.execute(f"INSERT INTO {self.quote(name)} ({names}) VALUES ({'), ('.join(values)})")
        made = (sa.column(quoted_name(c.name), ServerType(c.type)) for c in columns)
        return sa.table(quoted_name(name), *made)

    def stage(self, name: str, statement: sa.Select[Any]) -> sa.TableClause:
        """CREATE TEMPORARY TABLE AS."""
        columns = [sa.column(str(c.key), c.type) for c in statement.selected_columns]
        self._make_temporary(name, [c.key for c in columns], self.compile(statement))
        return sa.table(quoted_name(name), *columns)

    def reading(self, kept: sa.TableClause) -> sa.TableClause:
        """A copy of its own for each use, where the server lets a temporary table stand only once in a statement."""
        if not self.server.reads_temporary_once:
            return kept
        name = f"subset_copy_{next(self._numbers)}"
        columns = [c.key for c in kept.c]
        self._make_temporary(name, columns, f"SELECT {self._listed(columns)} FROM {self.quote(kept.name)}")
        return sa.table(quoted_name(name), *(sa.column(c.key, c.type) for c in kept.c))

    # -- loads

    def load(self, source: Source, statement: Statement | str, table: Table, progress: Progress | None = None) -> Moved:
        """Through a pipe into LOAD DATA LOCAL, or by INSERTs where that is forbidden."""
        return self._copy(source, source.compile(statement), table, self._named(table.name), progress)

    def _copy(self, source: Source, statement: str, table: Table, into: str, progress: Progress | None = None) -> Moved:
        json = self._json_columns(table.name)
        columns = tuple((self.quote(c.name), types.parsed("json" if c.name in json else c.type)) for c in table.copied)
        destination = Destination(str(table.name), into, columns, _generated(table))
        return Copy(_session(source), statement, self, destination).run(self._may_load(), progress)

    def _json_columns(self, table: TableName) -> set[str]:
        """Those of this side: where MariaDB has a LONGTEXT, MySQL has a type that takes no bytes."""
        where = self.located(table)
        return {c for (c,) in self.rows(JSON.format(schema=self.literal(where.schema), table=self.literal(where.name)))}

    def _may_load(self) -> bool:
        """Try it once, with nothing to load: `local_infile` must be on in the server and in the client."""
        if self._local_infile is None:
            self._make_temporary("subset_probe", ())
            try:
                self.run("LOAD DATA LOCAL INFILE '/dev/null' INTO TABLE `subset_probe`")
                self._local_infile = True
                log.info("%s: rows go as they are stored, by LOAD DATA LOCAL", self.label)
            except MySQLdb.Error as error:
                if code_of(error) not in LOCAL_INFILE_OFF:
                    with translated(self.label):
                        raise
                self._local_infile = False
                log.warning("%s: rows go as INSERTs, which is slower: %s", self.label, words_of(error))
            self._drop_temporary("subset_probe")
        return self._local_infile

    def load_missing(self, source: Source, statement: Statement | str, table: Table, key: Sequence[str]) -> Moved:
        """Through a temporary table of the same columns and of the key, which may be generated."""
        into, stage = self._named(table.name), self.quote("subset_stage")
        staged, columns = table.storing(key), self._listed(c.name for c in table.copied)
        names = [c.name for c in staged.copied]
        self._make_temporary("subset_stage", names, f"SELECT {self._listed(names)} FROM {into} WHERE FALSE")
        moved = self._copy(source, source.compile(statement), staged, stage)
        same = " AND ".join(f"{into}.{self.quote(c)} = {stage}.{self.quote(c)}" for c in key)
        self.execute(f"DELETE {stage} FROM {stage} JOIN {into} ON {same}")
        rows = self._settle(f"INSERT INTO {into} ({columns}) SELECT {columns} FROM {stage}", table.name)
        self._drop_temporary("subset_stage")
        return Moved(rows, moved.bytes, moved.seconds)

    def _listed(self, names: Iterable[str]) -> str:
        return ", ".join(map(self.quote, names))


def _other_than(columns: Iterable[str]) -> str:
    """A name that none of these columns has, in whatever case."""
    taken = {c.lower() for c in columns}
    return next(name for n in count() if (name := f"subset_n{n or ''}") not in taken)


def _generated(table: Table) -> frozenset[str]:
    return frozenset(c.name.lower() for c in table.columns if c.generated)


def _session(source: Source) -> MySqlSession:
    if not isinstance(source, MySqlSession):
        raise TypeError(f"a MySQL source is wanted, not {type(source).__name__}")
    return source


def _read(rows: sa.TableClause, conditions: Iterable[Condition]) -> list[str]:
    """The columns of `rows` that the conditions read, at any depth."""
    found = (
        element.key
        for condition in conditions
        for element in visitors.iterate(condition)
        if isinstance(element, sa.ColumnClause) and element.table is rows
    )
    return list(dict.fromkeys(found))


def groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size` items (itertools.batched came with Python 3.12)."""
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group
