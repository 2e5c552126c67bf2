"""The writing end on MySQL and MariaDB: loads, temporary tables, and what is put out of force during a run.

Foreign keys are not checked in these sessions (`foreign_key_checks` is a session's own), so none is dropped, and none
is proven by
the server: a run counts what dangles. Triggers can only be dropped; they are written down, and committed, before. DDL
commits implicitly (MySQL manual 15.3.3), so a transaction here is `autocommit = 0`: after such a commit the next
statement begins the next one by itself.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count, islice
from typing import Any, TypeVar

import MySQLdb
import sqlalchemy as sa
from sqlalchemy.sql import visitors

from airflow_subset_provider.core.engines.base import (
    PAGE,
    Endpoint,
    Moved,
    Progress,
    Source,
    Statement,
    Suspended,
    Target,
)
from airflow_subset_provider.core.engines.mysql import fit, triggers, types
from airflow_subset_provider.core.engines.mysql.catalog import STATE_PREFIX
from airflow_subset_provider.core.engines.mysql.errors import (
    DENIED,
    LOCAL_INFILE_OFF,
    code_of,
    translated,
    words_of,
)
from airflow_subset_provider.core.engines.mysql.load import Copy, Destination
from airflow_subset_provider.core.engines.mysql.session import MySqlSession, quoted_name
from airflow_subset_provider.core.engines.mysql.triggers import Trigger
from airflow_subset_provider.core.errors import EndpointError, Fault, LockedError
from airflow_subset_provider.core.schema import Column, ForeignKey, Schema, Table, TableName
from airflow_subset_provider.core.sql import Condition, ServerType, Tables

log = logging.getLogger(__name__)
T = TypeVar("T")

SETTINGS = (
    "foreign_key_checks = 0",
    "TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "sql_notes = 0",  # notes are no warnings: "table already exists" must not look like a changed value
)
# A key for every temporary table: servers with sql_require_primary_key refuse one without.
NUMBER = "`subset_n` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY"
TOGETHER = 50  # tables asked about in one statement

OUTSIDERS = """
SELECT DISTINCT TABLE_SCHEMA, TABLE_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME
FROM information_schema.KEY_COLUMN_USAGE WHERE REFERENCED_TABLE_SCHEMA IN ({schemas})
"""

TOUCHED = """
SELECT COLUMN_NAME FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {table} AND EXTRA LIKE '%on update%'
"""

COUNTERS = """
SELECT c.TABLE_SCHEMA, c.TABLE_NAME, c.COLUMN_NAME, t.AUTO_INCREMENT
FROM information_schema.COLUMNS c
JOIN information_schema.TABLES t ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME
WHERE c.TABLE_SCHEMA IN ({schemas}) AND c.EXTRA LIKE '%auto_increment%'
"""


class MySqlTarget(MySqlSession, Target):
    """A writing session."""

    def __init__(self, endpoint: Endpoint, purpose: str) -> None:
        """Connect; `tables` is set by `use`."""
        super().__init__(endpoint, purpose)
        self.tables = Tables(Schema(self.server.name, (), ()))
        self._numbers = count(1)
        self._temporary: set[str] = set()
        self._to_analyze: dict[TableName, None] = {}
        self._held: str | None = None
        self._local_infile: bool | None = None
        with translated(self.label):
            for setting in SETTINGS:
                self.run(f"SET SESSION {setting}")

    # -- where things are

    def use(self, schema: Schema) -> None:
        """The one database in scope goes into the connection's own, whatever its name; several keep their names."""
        self.tables = Tables(schema, self.located)
        self._schemas = schema.schemas
        self.state_home = (self.default_schemas[0], STATE_PREFIX)

    _schemas: tuple[str, ...] = ()

    def located(self, table: TableName) -> TableName:
        """The table's name on this side."""
        if len(self._schemas) == 1 and table.schema == self._schemas[0]:
            return TableName(self.default_schemas[0], table.name)
        return table

    def reflect(self, schemas: Sequence[str]) -> Schema:
        """Under the names that the source has."""
        here = {self.located(TableName(s, "")).schema: s for s in schemas}
        found = super().reflect(list(here))

        def there(name: TableName) -> TableName:
            return TableName(here.get(name.schema, name.schema), name.name)

        tables = tuple(_renamed(t, there(t.name)) for t in found.tables)
        keys = tuple(_moved(k, there(k.child), there(k.parent)) for k in found.foreign_keys)
        return Schema(found.dialect, tuple(sorted(schemas)), tables, keys, found.server)

    def _named(self, table: TableName) -> str:
        return self.quote(*self.located(table))

    def _in_scope(self) -> str:
        return ", ".join(self.literal(self.located(TableName(s, "")).schema) for s in self._schemas)

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
        self._analyze()

    def _clean_up(self) -> None:
        for name in sorted(self._temporary):
            self.run(f"DROP TEMPORARY TABLE IF EXISTS {self.quote(name)}")
        self._temporary.clear()
        if self._held:
            self.run(f"DO RELEASE_LOCK({self.literal(self._held)})")
            self._held = None
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
        return self.execute(
            f"UPDATE {name} JOIN ({hit}) AS subset_hit ON {self._same(name, read)} SET {', '.join(changes)}"
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
        columns = ", ".join(self.quote(str(c.key)) for c in statement.selected_columns)
        self._make_temporary(name, self.compile(statement))
        last = 0
        while True:
            found = self.rows(
                f"SELECT subset_n, {columns} FROM {self.quote(name)} "
                f"WHERE subset_n > {last} ORDER BY subset_n LIMIT {size}"
            )
            if not found:
                break
            last = found[-1][0]
            yield [row[1:] for row in found]
        self._drop_temporary(name)

    # -- temporary tables

    def _make_temporary(self, name: str, statement: str, columns: str = "") -> None:
        if name in self._temporary:
            self._drop_temporary(name)
        self._temporary.add(name)
        self.execute(f"CREATE TEMPORARY TABLE {self.quote(name)} ({NUMBER}{columns}) {statement}")

    def _drop_temporary(self, name: str) -> None:
        """Neither making nor dropping a temporary table commits (MySQL manual 15.3.3)."""
        self.execute(f"DROP TEMPORARY TABLE IF EXISTS {self.quote(name)}")
        self._temporary.discard(name)

    def keep(self, name: str, columns: Sequence[Column], pages: Iterable[list[tuple[str, ...]]]) -> sa.TableClause:
        """Filled by one INSERT a page."""
        spec = "".join(f", {self.quote(c.name)} {c.type} NULL" for c in columns)
        self._make_temporary(name, "", spec)
        names = ", ".join(self.quote(c.name) for c in columns)
        kinds = [types.parsed(c.type) for c in columns]
        for page in pages:
            for rows in _groups(page, 1000):
                values = (", ".join(types.literal(v, t) for v, t in zip(row, kinds, strict=True)) for row in rows)
                self.execute(f"INSERT INTO {self.quote(name)} ({names}) VALUES ({'), ('.join(values)})")
        made = (sa.column(quoted_name(c.name), ServerType(c.type)) for c in columns)
        return sa.table(quoted_name(name), *made)

    def stage(self, name: str, statement: sa.Select[Any]) -> sa.TableClause:
        """CREATE TEMPORARY TABLE AS."""
        self._make_temporary(name, self.compile(statement))
        return sa.table(quoted_name(name), *(sa.column(str(c.key), c.type) for c in statement.selected_columns))

    def reading(self, kept: sa.TableClause) -> sa.TableClause:
        """A copy of its own for each use, where the server lets a temporary table stand only once in a statement."""
        if not self.server.reads_temporary_once:
            return kept
        name = f"subset_copy_{next(self._numbers)}"
        columns = ", ".join(self.quote(c.key) for c in kept.c)
        self._make_temporary(name, f"SELECT {columns} FROM {self.quote(kept.name)}")
        return sa.table(quoted_name(name), *(sa.column(c.key, c.type) for c in kept.c))

    # -- loads

    def load(self, source: Source, statement: Statement | str, table: Table, progress: Progress | None = None) -> Moved:
        """Through a pipe into LOAD DATA LOCAL, or by INSERTs where that is forbidden."""
        return self._copy(source, source.compile(statement), table, self._named(table.name), progress)

    def _copy(self, source: Source, statement: str, table: Table, into: str, progress: Progress | None = None) -> Moved:
        columns = tuple((self.quote(c.name), types.parsed(c.type)) for c in table.copied)
        return Copy(_session(source), statement, self, Destination(into, columns)).run(self._may_load(), progress)

    def _may_load(self) -> bool:
        """Try it once, with nothing to load: `local_infile` must be on in the server and in the client."""
        if self._local_infile is None:
            self._make_temporary("subset_probe", "")
            try:
                self.run("LOAD DATA LOCAL INFILE '/dev/null' INTO TABLE `subset_probe`")
                self._local_infile = True
            except MySQLdb.Error as error:
                if code_of(error) not in LOCAL_INFILE_OFF:
                    with translated(self.label):
                        raise
                self._local_infile = False
                log.warning("%s: rows go as INSERTs, which is slower: %s", self.label, words_of(error))
            self._drop_temporary("subset_probe")
        return self._local_infile

    def load_missing(self, source: Source, statement: Statement | str, table: Table, key: Sequence[str]) -> Moved:
        """Through a temporary table of the same columns."""
        into, stage = self._named(table.name), self.quote("subset_stage")
        columns = ", ".join(self.quote(c.name) for c in table.copied)
        self._make_temporary("subset_stage", f"SELECT {columns} FROM {into} WHERE FALSE")
        moved = self._copy(source, source.compile(statement), table, stage)
        same = " AND ".join(f"{into}.{self.quote(c)} = {stage}.{self.quote(c)}" for c in key)
        self.execute(f"DELETE {stage} FROM {stage} JOIN {into} ON {same}")
        rows = self.execute(f"INSERT INTO {into} ({columns}) SELECT {columns} FROM {stage}")
        self._drop_temporary("subset_stage")
        return Moved(rows, moved.bytes, moved.seconds)

    # -- checks

    def same_database(self, source: Source) -> bool:
        """One server, seen by a lock that the other end sees too, and a database that is on both sides of the copy.

        Named locks are a server's own (MySQL manual 14.14), so this sees through host names, proxies and ports.
        """
        name = f"airflow_subset:{secrets.token_hex(12)}"
        self.rows(f"SELECT GET_LOCK('{name}', 0)")
        try:
            one_server = source.value(f"SELECT IS_USED_LOCK('{name}')") is not None
        finally:
            self.rows(f"SELECT RELEASE_LOCK('{name}')")
        here = {self.located(TableName(s, "")).schema for s in self._schemas}
        if self.value("SELECT @@lower_case_table_names"):
            return one_server and bool({s.lower() for s in here} & {s.lower() for s in self._schemas})
        return one_server and bool(here & set(self._schemas))

    def unwritable(self, tables: Sequence[Table]) -> list[Fault]:
        """Let the server prepare what a run will do; that checks the rights and does nothing."""
        faults = []
        wanted = [("CREATE", f"CREATE TABLE {self.quote(self.default_schemas[0], f'{STATE_PREFIX}probe')} (a INT)")]
        wanted += [("CREATE TEMPORARY TABLES", "CREATE TEMPORARY TABLE subset_probe (a INT)")]
        for table in tables:
            name, column = self._named(table.name), self.quote(table.copied[0].name) if table.copied else "1"
            wanted.append((f"INSERT ON {name}", f"INSERT INTO {name} () VALUES ()"))
            wanted.append((f"DELETE ON {name}", f"DELETE FROM {name}"))
            wanted.append((f"SELECT, UPDATE ON {name}", f"UPDATE {name} SET {column} = {column}"))
        for right, statement in wanted:
            error = self._refused(statement)
            if error is not None and code_of(error) in DENIED:
                faults.append(Fault(words_of(error), self.label, f"GRANT {right} to this user."))
        return faults

    def _refused(self, statement: str) -> MySQLdb.Error | None:
        try:
            self.run(f"PREPARE subset_check FROM {self.literal(statement)}")
            self.run("DEALLOCATE PREPARE subset_check")
        except MySQLdb.Error as error:
            return error
        return None

    def outsiders(self, tables: Sequence[TableName]) -> list[Fault]:
        """Tables that hold rows and reference the copy without being in it."""
        inside = {self.located(t) for t in tables}
        found = sorted(
            (TableName(s, t), TableName(ps, pt))
            for s, t, ps, pt in self.rows(OUTSIDERS.format(schemas=self._in_scope()))
        )
        suspects = [(child, parent) for child, parent in found if parent in inside and child not in inside]
        occupied = self.occupied(list(dict.fromkeys(child for child, _ in suspects)))
        return [
            Fault(
                f"{child} has rows that reference {parent}, but is not in the copy",
                self.label,
                f"Take database {child.schema!r} into `schemas`, or empty the table.",
            )
            for child, parent in suspects
            if child in occupied
        ]

    def type_faults(self, wanted: Table, found: Table, source: Source) -> list[Fault]:
        """Each column of the source must find one that takes its values, and no other may insist on a value."""
        return fit.faults(wanted, found, self.label)

    # -- making the schema

    def create_schema(self, dump: str, source: Source, schemas: Sequence[str]) -> None:
        """Make tables and triggers; foreign keys need no order, as they are not checked.

        DDL cannot be undone by a rollback: when a table cannot be made, those made before it are dropped again.
        """
        shape = json.loads(dump)
        made: list[TableName] = []
        try:
            for schema, charset, collation in shape["databases"]:
                self._make_database(self.located(TableName(schema, "")).schema, charset, collation)
            for schema, name, statement in shape["tables"]:
                table = self.located(TableName(schema, name))
                self.execute(f"USE {self.quote(table.schema)}")
                self.execute(statement)
                made.append(table)
            for schema, name, *trigger in shape["triggers"]:
                triggers.make(self, self.located(TableName(schema, name)), Trigger(*trigger))
        except BaseException:
            with suppress(Exception):
                for table in made:
                    self.execute(f"DROP TABLE {self.quote(*table)}")
            raise
        finally:
            with suppress(Exception):
                self.execute(f"USE {self.quote(self.default_schemas[0])}")

    def _make_database(self, name: str, charset: str, collation: str) -> None:
        there = self.rows(f"SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {self.literal(name)}")
        if not there:
            self.execute(f"CREATE DATABASE {self.quote(name)} CHARACTER SET {charset} COLLATE {collation}")

    # -- before and after

    def lock_state(self) -> None:
        """A named lock, given back at the end of the transaction.

        Raises:
            LockedError: somebody else has held it for a minute.
        """
        digest = hashlib.sha256(self.default_schemas[0].encode()).hexdigest()[:24]
        name = f"airflow_subset:{digest}"
        if self.value(f"SELECT GET_LOCK({self.literal(name)}, 60)") != 1:
            raise LockedError(
                Fault("another run is preparing or releasing this target", self.label, "Wait for its end.")
            )
        self._held = name

    def suspendable(self, tables: Sequence[TableName]) -> list[Suspended]:
        """All triggers of a table as one item, in their order.

        Raises:
            EndpointError: a trigger could not be made again.
        """
        found = triggers.found(self, [self.located(t) for t in tables])
        self._prove_triggers_can_be_made({t.definer for all_ in found.values() for t in all_})
        return [Suspended(table, "triggers", "*", json.dumps(all_), True) for table, all_ in found.items()]

    def _prove_triggers_can_be_made(self, definers: set[str]) -> None:
        """Making a trigger takes more rights than dropping one: under binary logging, or in another definer's name."""
        if not definers:
            return
        probe = TableName(self.default_schemas[0], f"{STATE_PREFIX}probe")
        self.execute(f"CREATE TABLE IF NOT EXISTS {self.quote(*probe)} (a INT PRIMARY KEY)")
        try:
            for n, definer in enumerate(sorted(definers)):
                trigger = Trigger(
                    f"{probe.name}_{n}", "BEFORE INSERT", "SET @subset = 1", definer, "", "utf8mb4_general_ci"
                )
                triggers.make(self, probe, trigger)
        except EndpointError as error:
            raise EndpointError(
                [Fault("the target's triggers could not be put back after the copy", self.label), *error.faults]
            ) from None
        finally:
            self.execute(f"DROP TABLE {self.quote(*probe)}")

    def suspend(self, items: Sequence[Suspended]) -> None:
        """Drop the triggers; what was noted of them is committed first, by the first DROP itself."""
        for item in items:
            for trigger in json.loads(item.definition):
                triggers.drop(self, item.table, Trigger(*trigger))

    def restore(self, item: Suspended, validate: bool) -> bool:
        """Make the triggers again."""
        for trigger in json.loads(item.definition):
            triggers.make(self, item.table, Trigger(*trigger))
        return True

    def empty(self, tables: Sequence[TableName]) -> None:
        """TRUNCATE what holds rows, DELETE where that is not allowed.

        TRUNCATE commits, table by table, but everything has been checked by now, and the rows were to go: a run that
        dies here is repeated. DELETE in one transaction would keep every row in the undo log: minutes for millions.
        """
        for table in self.occupied(tables):
            try:
                self.execute(f"TRUNCATE TABLE {self._named(table)}")
            except EndpointError:
                self.execute(f"DELETE FROM {self._named(table)}")

    def occupied(self, tables: Sequence[TableName]) -> list[TableName]:
        """Each EXISTS stops at its first row."""
        found = []
        for group in _groups(tables, TOGETHER):
            tests = " UNION ALL ".join(
                f"SELECT {n} FROM DUAL WHERE EXISTS (SELECT 1 FROM {self._named(table)})"
                for n, table in enumerate(group)
            )
            found += [group[n] for (n,) in self.rows(tests)]
        return found

    def reset_sequences(self, tables: Sequence[TableName]) -> int:
        """Every AUTO_INCREMENT to the number after the greatest value, where it is not there already."""
        wanted = {self.located(t) for t in tables}
        counters = [
            (TableName(s, t), column, number)
            for s, t, column, number in self.rows(COUNTERS.format(schemas=self._in_scope()))
            if TableName(s, t) in wanted
        ]
        for group in _groups(counters, TOGETHER):
            greatest = " UNION ALL ".join(
                f"SELECT {n}, COALESCE(MAX({self.quote(column)}), 0) FROM {self.quote(*table)}"
                for n, (table, column, _) in enumerate(group)
            )
            for n, value in self.rows(greatest):
                table, _, number = group[n]
                # FLOAT and DOUBLE columns may count, too; MySQL tells of such a value as text.
                if number != int(float(value)) + 1:
                    self.execute(f"ALTER TABLE {self.quote(*table)} AUTO_INCREMENT = {max(0, int(float(value))) + 1}")
        return len(counters)

    def analyze(self, tables: Sequence[TableName]) -> None:
        """ANALYZE commits, so it waits for the end of a transaction under way."""
        self._to_analyze.update(dict.fromkeys(tables))
        if self.rows("SELECT @@autocommit")[0][0]:
            self._analyze()

    def _analyze(self) -> None:
        tables = list(self._to_analyze)
        self._to_analyze.clear()
        for group in _groups(tables, TOGETHER):
            self.rows(f"ANALYZE NO_WRITE_TO_BINLOG TABLE {', '.join(map(self._named, group))}")


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


def _renamed(table: Table, name: TableName) -> Table:
    return Table(name, table.columns, table.keys, table.partitions, table.inherited, table.engine, table.rows)


def _moved(key: ForeignKey, child: TableName, parent: TableName) -> ForeignKey:
    return ForeignKey(key.name, child, key.columns, parent, key.parent_columns)


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size` items (itertools.batched came with Python 3.12)."""
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group
