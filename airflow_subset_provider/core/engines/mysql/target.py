"""The writing end on MySQL and MariaDB: checks, the schema, and what is put out of force during a run.

Foreign keys are not checked in these sessions, so none is dropped, and none is proven by the server: a run counts what
dangles. Triggers and indexes can only be dropped; they are written down, and committed, before.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import MySQLdb
from msgspec.structs import replace

from airflow_subset_provider.core.engines.base import INDEX, Endpoint, Source, Suspended, Target
from airflow_subset_provider.core.engines.mysql import fit, indexes, making, names, sequences, storage, triggers
from airflow_subset_provider.core.engines.mysql.catalog import STATE_PREFIX
from airflow_subset_provider.core.engines.mysql.errors import DENIED, code_of, words_of
from airflow_subset_provider.core.engines.mysql.session import LOCK_WAIT
from airflow_subset_provider.core.engines.mysql.store import MySqlStore, groups
from airflow_subset_provider.core.engines.mysql.triggers import Trigger
from airflow_subset_provider.core.errors import EndpointError, Fault, LockedError, SubsetError
from airflow_subset_provider.core.schema import Schema, Table, TableName

log = logging.getLogger(__name__)

UNMAKEABLE = "the target's triggers could not be put back after the copy"
PATIENCE = 60  # seconds that one waits for another who prepares, finishes, releases or repairs the target
TOGETHER = 50  # tables asked about in one statement
# For tables that were made under other settings, to make and to alter them: rows that may outgrow a page, references to
# columns that are not unique. Of the latter, MySQL 8.4 and later refuse to set AUTO_INCREMENT (error 1553) as well,
# whatever foreign_key_checks is. The first setting takes a right on MySQL.
LENIENT = ("innodb_strict_mode = 0", "restrict_fk_on_non_standard_key = 0")

OUTSIDERS = """
SELECT DISTINCT TABLE_SCHEMA, TABLE_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME
FROM information_schema.KEY_COLUMN_USAGE WHERE REFERENCED_TABLE_SCHEMA IN ({schemas})
"""

COUNTERS = """
SELECT c.TABLE_SCHEMA, c.TABLE_NAME, c.COLUMN_NAME, t.AUTO_INCREMENT
FROM information_schema.COLUMNS c
JOIN information_schema.TABLES t ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME
WHERE c.TABLE_SCHEMA IN ({schemas}) AND c.EXTRA LIKE '%auto_increment%'
"""

TRANSACTIONS = """
SELECT 1 FROM information_schema.TABLES t JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE
WHERE t.TABLE_SCHEMA = {schema} AND t.TABLE_NAME = {name} AND e.TRANSACTIONS = 'YES'
"""

VERSIONED = """
SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES
WHERE TABLE_SCHEMA IN ({schemas}) AND TABLE_TYPE = 'SYSTEM VERSIONED'
"""


class MySqlTarget(MySqlStore, Target):
    """A store that is made ready for a run, and put in order after it."""

    def __init__(self, endpoint: Endpoint, purpose: str) -> None:
        """Connect; `tables` is set by `use`."""
        super().__init__(endpoint, purpose)
        self.wish(LENIENT)
        self._to_analyze: dict[TableName, None] = {}
        self._held: str | None = None
        if self.database is not None:
            self.state_home = (self.database, STATE_PREFIX)  # known without `use`: a repair has no schema at hand

    # -- where things are

    def use(self, schema: Schema) -> None:
        """The state is kept beside the tables."""
        super().use(schema)
        self.state_home = (self.default_schemas[0], STATE_PREFIX)

    def reflect(self, schemas: Sequence[str]) -> Schema:
        """Under the names that the source has."""
        here = {self.located(TableName(s, "")).schema: s for s in schemas}
        return names.respelled(super().reflect(list(here)), sorted(schemas), here, self._known())

    def _known(self) -> dict[TableName, Table]:
        """The source's tables by their names on this side."""
        return {self.located(table.name): table for table in self.tables.schema.tables}

    def _databases(self) -> list[str]:
        """Those of the copy, by their names on this side."""
        return [self.located(TableName(s, "")).schema for s in self._schemas]

    def _in_scope(self) -> str:
        return ", ".join(map(self.literal, self._databases()))

    # -- transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One server transaction, as far as no DDL stands in it; statistics are renewed after it."""
        with super().transaction():
            yield
        self._analyze()

    def _clean_up(self) -> None:
        if self._held:
            self.run(f"DO RELEASE_LOCK({self.literal(self._held)})")
            self._held = None
        super()._clean_up()

    # -- checks

    def same_database(self, source: Source) -> bool:
        """One server, and a database that is on both sides of the copy."""
        here, there = set(self._databases()), set(self._schemas)
        if self.value("SELECT @@lower_case_table_names"):
            here, there = {s.lower() for s in here}, {s.lower() for s in there}
        return bool(here & there) and self._beside(source)

    def _beside(self, source: Source) -> bool:
        """On one server, seen by a lock that the other end sees too.

        Named locks are a server's own (MySQL manual 14.14), so this sees through host names, proxies and ports.
        """
        name = f"airflow_subset:{secrets.token_hex(12)}"
        self.rows(f"SELECT GET_LOCK('{name}', 0)")
        try:
            return source.value(f"SELECT IS_USED_LOCK('{name}')") is not None
        finally:
            self.rows(f"SELECT RELEASE_LOCK('{name}')")

    def unwritable(self, tables: Sequence[Table]) -> list[Fault]:
        """Let the server prepare what a run will do; that checks the rights and does nothing."""
        faults = list(self._one_here())
        wanted = [("CREATE", f"CREATE TABLE {self.quote(self.default_schemas[0], f'{STATE_PREFIX}probe')} (a INT)")]
        wanted += [("CREATE TEMPORARY TABLES", "CREATE TEMPORARY TABLE subset_probe (a INT)")]
        for table in tables:
            name, column = self._named(table.name), self.quote(table.copied[0].name) if table.copied else "1"
            wanted.append((f"INSERT ON {name}", f"INSERT INTO {name} () VALUES ()"))
            wanted.append((f"DELETE ON {name}", f"DELETE FROM {name}"))
            wanted.append((f"SELECT, UPDATE ON {name}", f"UPDATE {name} SET {column} = {column}"))
        for right, statement in wanted:
            faults += _denied(self._refused(statement), right, self.label)
        return [*faults, *self._unalterable([table.name for table in tables])]

    def _one_here(self) -> Iterator[Fault]:
        """Tables of the source that a server of small letters does not tell apart."""
        known = self._known()
        for table in self.tables.schema.tables:
            other = known[self.located(table.name)].name
            if other != table.name:
                yield Fault(f"{table.name} and {other} are one table here", self.label, "Use a server that heeds case.")

    def _unalterable(self, tables: Sequence[TableName]) -> list[Fault]:
        """Rights that a PREPARE does not check: the statements themselves are asked, and do nothing.

        A trigger that this user has no right to see would fire during the load (MySQL manual 28.3.45). One that sets a
        column that is not there is refused for that, after the rights have been looked at. In between comes the table's
        lock, which is not waited for: somebody may be reading.
        """
        self.run("SET SESSION lock_wait_timeout = 1")
        try:
            return list(self._unaltered(tables))
        finally:
            with suppress(MySQLdb.Error):
                self.run(f"SET SESSION {LOCK_WAIT}")

    def _unaltered(self, tables: Sequence[TableName]) -> Iterator[Fault]:
        counting = {table for table, *_ in self._counters()}
        for table in map(self.located, tables):
            name, probe = self.quote(*table), self.quote(table.schema, f"{STATE_PREFIX}probe")
            trigger = f"CREATE TRIGGER {probe} BEFORE INSERT ON {name} FOR EACH ROW SET NEW.{STATE_PREFIX}probe = 1"
            yield from _denied(self._error_of(trigger), f"TRIGGER ON {name}", self.label)
            if table in counting:
                yield from _denied(self._error_of(f"ALTER TABLE {name}"), f"ALTER ON {name}", self.label)

    def _error_of(self, statement: str) -> MySQLdb.Error | None:
        try:
            self.run(statement)
        except MySQLdb.Error as error:
            return error
        return None

    def _refused(self, statement: str) -> MySQLdb.Error | None:
        refused = self._error_of(f"PREPARE subset_check FROM {self.literal(statement)}")
        return refused or self._error_of("DEALLOCATE PREPARE subset_check")

    def outsiders(self, tables: Sequence[TableName]) -> list[Fault]:
        """Tables that hold rows and reference the copy without being in it."""
        inside = {self.located(t) for t in tables}
        here = {t.schema for t in inside}
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
                "Empty the table: the source has none of that name, or none that its user may see."
                if child.schema in here
                else f"Take database {child.schema!r} into `schemas`, or empty the table.",
            )
            for child, parent in suspects
            if child in occupied
        ]

    def type_faults(self, wanted: Table, found: Table, source: Source) -> list[Fault]:
        """Each column of the source must find one that takes its values, and no other may insist on a value."""
        return fit.faults(wanted, found, self.label)

    def undoes(self, table: TableName) -> bool:
        """By the storage engine that the table has here."""
        schema, name = map(self.literal, self.located(table))
        return bool(self.rows(TRANSACTIONS.format(schema=schema, name=name)))

    def unfit(self, tables: Sequence[Table]) -> list[Fault]:
        """By their storage engines."""
        return list(storage.faults(self, tables))

    # -- making the schema

    def create_schema(self, dump: str, source: Source, schemas: Sequence[str]) -> list[str]:
        """Make tables, sequences and triggers; foreign keys need no order, as they are not checked.

        DDL cannot be undone by a rollback: when a table cannot be made, those that can are dropped again.

        Raises:
            TargetError: with all that this server does not take: the source may be of another kind or version.
        """
        return making.create(self, dump, source.label, self._beside(source))

    # -- before and after

    def lock_state(self) -> None:
        """A named lock, given back at the end of the transaction.

        Raises:
            LockedError: somebody else has held it for `PATIENCE` seconds.
        """
        digest = hashlib.sha256(self.default_schemas[0].encode()).hexdigest()[:24]
        name = f"airflow_subset:{digest}"
        if self.value(f"SELECT GET_LOCK({self.literal(name)}, {PATIENCE})") != 1:
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

    def merged(self, noted: Suspended, found: Suspended) -> Suspended:
        """A table's triggers of both: a run may have died between two of them, and somebody may have made others."""
        if found.kind == INDEX:
            return found
        return replace(found, definition=json.dumps(triggers.merged(_triggers(noted), _triggers(found))))

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
                [Fault(UNMAKEABLE, self.label, "Give this user the rights, or drop the triggers."), *error.faults]
            ) from None
        finally:
            self.execute(f"DROP TABLE {self.quote(*probe)}")

    def postponable(self, tables: Mapping[TableName, Collection[tuple[str, ...]]]) -> list[Suspended]:
        """Plain B-trees that no foreign key needs: see indexes.py."""
        return [i for table, keys in tables.items() for i in indexes.found(self, self.located(table), keys)]

    def build(self, items: Sequence[Suspended]) -> None:
        """In one statement."""
        indexes.build(self, items)

    def suspend(self, items: Sequence[Suspended]) -> None:
        """Drop them; what was noted of them is committed first, by the first DROP itself.

        A table's last trigger goes first: what is left of them when that is interrupted is a beginning, behind which
        the others can be made again.
        """
        for table in dict.fromkeys(i.table for i in items if i.kind == INDEX):
            indexes.drop(self, [i for i in items if i.kind == INDEX and i.table == table])
        for item in (i for i in items if i.kind != INDEX):
            for trigger in reversed(_triggers(item)):
                triggers.drop(self, item.table, trigger)

    def restore(self, item: Suspended, validate: bool) -> bool:
        """Make the triggers, or the index, again; a table that is gone has taken them with it."""
        if item.kind == INDEX:
            self.build([item])
            return True
        for trigger in _triggers(item) if self.has_table(item.table) else ():
            triggers.make(self, item.table, trigger)
        return True

    def empty(self, tables: Sequence[TableName]) -> None:
        """TRUNCATE what holds rows, DELETE where that is not allowed, or not possible (system-versioned: error 4137).

        TRUNCATE commits, table by table, but everything has been checked by now, and the rows were to go: a run that
        dies here is repeated. DELETE in one transaction would keep every row in the undo log: minutes for millions.
        """
        for table in self.occupied(tables):
            try:
                self.execute(f"TRUNCATE TABLE {self._named(table)}")
            except SubsetError as error:
                if error.retryable:
                    raise
                self.execute(f"DELETE FROM {self._named(table)}")
        self.forget(tables)

    def forget(self, tables: Sequence[TableName]) -> None:
        """DELETE HISTORY from system-versioned tables: MariaDB keeps in them what was deleted and changed.

        It takes a right of its own (MariaDB's documentation, GRANT: DELETE HISTORY), without which they only grow.
        """
        versioned = {TableName(s, t) for s, t in self.rows(VERSIONED.format(schemas=self._in_scope()))}
        kept = []
        for table in tables:
            if self.located(table) in versioned:
                try:
                    self.execute(f"DELETE HISTORY FROM {self._named(table)}")
                except EndpointError:
                    kept.append(str(table))
        if kept:
            log.warning("%s: GRANT DELETE HISTORY to this user: earlier rows stay in %s", self.label, ", ".join(kept))

    def occupied(self, tables: Sequence[TableName]) -> list[TableName]:
        """Each EXISTS stops at its first row."""
        found = []
        for group in groups(tables, TOGETHER):
            tests = " UNION ALL ".join(
                f"SELECT {n} FROM DUAL WHERE EXISTS (SELECT 1 FROM {self._named(table)})"
                for n, table in enumerate(group)
            )
            found += [group[n] for (n,) in self.rows(tests)]
        return found

    def reset_sequences(self, tables: Sequence[TableName]) -> int:
        """Every AUTO_INCREMENT to the number after the greatest value, where it is not there already; and sequences."""
        wanted = {self.located(t) for t in tables}
        counters = [counter for counter in self._counters() if counter[0] in wanted]
        for group in groups(counters, TOGETHER):
            greatest = " UNION ALL ".join(
                f"SELECT {n}, COALESCE(MAX({self.quote(column)}), 0) FROM {self.quote(*table)}"
                for n, (table, column, _) in enumerate(group)
            )
            for n, value in self.rows(greatest):
                table, _, number = group[n]
                # FLOAT and DOUBLE columns may count, too; MySQL tells of such a value as text.
                if number != int(float(value)) + 1:
                    self.execute(f"ALTER TABLE {self.quote(*table)} AUTO_INCREMENT = {max(0, int(float(value))) + 1}")
        return len(counters) + sequences.advance(self, self._databases(), wanted)

    def numbered(self, tables: Sequence[TableName]) -> set[tuple[TableName, str]]:
        """AUTO_INCREMENT."""
        asked = {self.located(t): t for t in tables}
        return {(asked[table], column) for table, column, _ in self._counters() if table in asked}

    def _counters(self) -> list[tuple[TableName, str, int]]:
        """Tables with their AUTO_INCREMENT columns, and where each stands."""
        found = self.rows(COUNTERS.format(schemas=self._in_scope()))
        return [(TableName(s, t), column, number) for s, t, column, number in found]

    def analyze(self, tables: Sequence[TableName]) -> None:
        """ANALYZE commits, so it waits for the end of a transaction under way."""
        self._to_analyze.update(dict.fromkeys(tables))
        if self.rows("SELECT @@autocommit")[0][0]:
            self._analyze()

    def _analyze(self) -> None:
        tables = list(self._to_analyze)
        self._to_analyze.clear()
        for group in groups(tables, TOGETHER):
            self.rows(f"ANALYZE NO_WRITE_TO_BINLOG TABLE {', '.join(map(self._named, group))}")


def _triggers(item: Suspended) -> list[Trigger]:
    return [Trigger(*trigger) for trigger in json.loads(item.definition)]


def _denied(error: MySQLdb.Error | None, right: str, label: str) -> list[Fault]:
    if error is None or code_of(error) not in DENIED:
        return []
    return [Fault(words_of(error), label, f"GRANT {right} to this user.")]
