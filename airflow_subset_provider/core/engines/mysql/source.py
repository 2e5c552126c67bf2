"""The read-only end on MySQL and MariaDB: checks before a run, and the one connection that reads rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import groupby, takewhile
from math import prod
from typing import Any

import MySQLdb
import sqlalchemy as sa

from airflow_subset_provider.core.engines.base import PAGE, Endpoint, Source, Statement
from airflow_subset_provider.core.engines.mysql import clauses, grants, sequences, triggers
from airflow_subset_provider.core.engines.mysql.clauses import Complaint
from airflow_subset_provider.core.engines.mysql.errors import DENIED, code_of, translated, words_of
from airflow_subset_provider.core.engines.mysql.session import MySqlSession, values
from airflow_subset_provider.core.errors import EndpointError, Fault
from airflow_subset_provider.core.schema import Schema, Table, TableName

INDEXES = """
SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME, SUB_PART
FROM information_schema.STATISTICS WHERE TABLE_SCHEMA IN ({schemas})
"""
# In winter and in summer: some zones are UTC in one of them. CONVERT_TZ knows SYSTEM without the server's zone tables.
HABITS = """
SELECT CONVERT_TZ('2024-01-01 12:00:00', '+00:00', @@GLOBAL.time_zone) <> '2024-01-01 12:00:00'
    OR CONVERT_TZ('2024-07-01 12:00:00', '+00:00', @@GLOBAL.time_zone) <> '2024-07-01 12:00:00',
    @@GLOBAL.time_zone, @@GLOBAL.system_time_zone, @@GLOBAL.sql_mode
"""
STAMPS = """
SELECT DISTINCT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {schema} AND DATA_TYPE = 'timestamp'
"""
# In SHOW CREATE TABLE, which has each on a line of its own.
COLUMN = re.compile(r"^  `(?:[^`]|``)+` ", re.MULTILINE)


class MySqlSource(MySqlSession, Source):
    """A read-only session."""

    def __init__(self, endpoint: Endpoint, purpose: str) -> None:
        """Connect and give up writing."""
        super().__init__(endpoint, purpose)
        with translated(self.label):
            self.run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            self.run("SET SESSION TRANSACTION READ ONLY")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """One consistent read of all InnoDB tables; other engines have none (MySQL manual 15.3.1)."""
        with translated(self.label):
            self.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        try:
            yield
        finally:
            with suppress(MySQLdb.Error):
                self.run("ROLLBACK")

    # -- checks

    def clause_faults(self, table: TableName, clause: str, where: str) -> list[Fault]:
        """Let the server prepare the clause bare and in brackets: only one whole expression passes both.

        Bare, `a) OR (b` fails; in brackets, `a; b`, `a ORDER BY b` and `a UNION …` fail. PREPARE takes one statement
        and runs nothing (MySQL manual 15.5.1); as it takes `?` for a parameter, EXPLAIN must accept the clause as well.
        """
        head = f"SELECT 1 FROM {self.quote(*table)} WHERE "

        def complaint(statement: str, before: int, ask: Callable[[str], MySQLdb.Error | None]) -> list[Complaint]:
            error = ask(statement)
            return [] if error is None else [Complaint(error, statement, before)]

        bracketed = f"{head}({clause}\n)"
        complaints = complaint(bracketed, len(head) + 1, self._prepared)
        complaints += complaint(f"{head}{clause}\n", len(head), self._prepared)
        complaints = complaints or complaint(bracketed, len(head) + 1, self._explained)
        if not complaints:
            return []
        return [clauses.fault(complaints, clause, where, lambda other: self._prepared(f"{head}({other}\n)"))]

    def clause_remarks(self, table: TableName, clause: str) -> list[str]:
        """Its warnings: these servers compare values of any two types, if need be as numbers. And its settings."""
        return [*clauses.remarks(self.warnings(), clause), *self._otherwise_meant(table, clause)]

    def _otherwise_meant(self, table: TableName, clause: str) -> list[str]:
        """Where the server's other clients would take the clause for something else."""
        zone, modes = self._habits
        stamps = self.rows(STAMPS.format(schema=self.literal(table.schema))) if zone else []
        return [*clauses.in_utc(clause, zone, [name for (name,) in stamps]), *clauses.in_our_modes(clause, modes)]

    @cached_property
    def _habits(self) -> tuple[str, frozenset[str]]:
        """The server's time zone, "" for UTC, and its SQL modes: what a session has that sets none."""
        local, zone, system, modes = self.rows(HABITS)[0]
        named = f"SYSTEM ({system})" if zone == "SYSTEM" else zone
        return named if local else "", frozenset(modes.split(","))

    def filter_remarks(self, table: TableName, clause: str) -> list[str]:
        """EXPLAIN converts the clause's constants, and warns of those that are no number or date."""
        refused = self._explained(f"SELECT 1 FROM {self.quote(*table)} WHERE ({clause}\n)")
        return [] if refused else self.clause_remarks(table, clause)

    def statement_faults(self, statement: Statement | str, where: str) -> list[Fault]:
        """Let the server prepare it."""
        error = self._prepared(self.compile(statement))
        return [] if error is None else [Fault(words_of(error), where)]

    def _prepared(self, statement: str) -> MySQLdb.Error | None:
        try:
            self.run(f"PREPARE subset_check FROM {self.literal(statement)}")
            self.run("DEALLOCATE PREPARE subset_check")
        except MySQLdb.Error as error:
            return self._lasting(error)
        return None

    def _explained(self, statement: str) -> MySQLdb.Error | None:
        """Several statements in one text are switched off for this connection."""
        try:
            self.run(f"EXPLAIN {statement}")
        except MySQLdb.Error as error:
            return self._lasting(error)
        return None

    def _lasting(self, error: MySQLdb.Error) -> MySQLdb.Error:
        """The error itself, unless it speaks of the connection and not of the statement.

        Raises:
            SubsetError: it does.
        """
        with translated(self.label):
            self.connection.ping()
        return error

    def unreadable(self, tables: Sequence[Table]) -> list[Fault]:
        """Ask for no row of each. Columns that this user may not read are not among the table's."""
        return [fault for table in tables for fault in self._unreadable(table)]

    def _unreadable(self, table: Table) -> Iterator[Fault]:
        columns = ", ".join(self.quote(c.name) for c in table.copied) or "1"
        error = self._prepared(f"SELECT {columns} FROM {self.quote(*table.name)}")
        if error is not None and code_of(error) in DENIED:
            yield self._closed(table.name)
        elif error is not None:
            yield Fault(words_of(error), f"{self.label}, {table.name}")
        else:
            yield from self._read_in_part(table.name)

    def _read_in_part(self, table: TableName) -> Iterator[Fault]:
        """To rights on columns alone, information_schema shows these columns alone, without a word of the others.

        Nor does it show foreign keys then (MariaDB), or INVISIBLE columns (MySQL). SHOW CREATE TABLE shows all, and
        takes any right on the table (MySQL manual 15.7.7.12): with DELETE or TRIGGER, say, columns are still hidden.
        """
        advice = f"GRANT SELECT ON {table}, or skip the table."
        try:
            shown = COLUMN.findall(self._shown(table))
        except MySQLdb.Error as error:
            if code_of(self._lasting(error)) not in DENIED:
                raise
            what = f"this user has rights on columns of {table} alone, and would not be told of others, nor of its keys"
            yield Fault(what, self.label, advice)
            return
        schema, name = map(self.literal, table)
        told = self.rows(
            f"SELECT column_name FROM information_schema.columns WHERE table_schema = {schema} AND table_name = {name}"
        )
        if len(shown) > len(told):
            yield Fault(f"this user may read only some columns of {table}", self.label, advice)

    def _shown(self, table: TableName) -> str:
        """SHOW CREATE TABLE; sent, as MySQL prepares it for anybody."""
        (row,) = self.run(f"SHOW CREATE TABLE {self.quote(*table)}")
        return str(values(row, self._types)[1])

    def reflect(self, schemas: Sequence[str]) -> Schema:
        """From information_schema, which leaves out tables that this user has no right on.

        Raises:
            EndpointError: such a table is referenced by one in scope: a copy without it would hold together by luck
            only. Or one of several databases shows none at all.
        """
        found = super().reflect(schemas)
        seen = {t.name.schema for t in found.tables}
        EndpointError.raise_for(
            Fault(f"this user sees no table of the database {s}", self.label, "GRANT SELECT, or do not name it.")
            for s in schemas
            if s not in seen and len(schemas) > 1  # else nothing would be copied, which is said elsewhere
        )
        absent = sorted({k.parent for k in found.foreign_keys if k.parent.schema in schemas and k.parent not in found})
        EndpointError.raise_for(self._closed(table) for table in absent if self._is_denied(table))
        return found

    def _is_denied(self, table: TableName) -> bool:
        error = self._prepared(f"SELECT 1 FROM {self.quote(*table)}")
        return error is not None and code_of(error) in DENIED

    def _closed(self, table: TableName) -> Fault:
        return Fault(f"this user may not read {table}", self.label, f"GRANT SELECT ON {table}.")

    # -- looking before copying

    def pages(self, statement: Statement | str, size: int = PAGE) -> Iterator[list[tuple[Any, ...]]]:
        """Unbuffered: nothing else can be asked of this connection before the last page."""
        with translated(self.label):
            self.send(self.compile(statement))
            result = self.connection.use_result()
            kinds = [d[1] for d in result.describe()]
            while rows := result.fetch_row(size, 0):
                yield [values(row, kinds) for row in rows]
            self.refuse_truncation()

    def estimate(self, statement: Statement | str) -> int:
        """The planner's rows, from EXPLAIN: of each branch, the product over the tables of its outermost SELECT.

        Where MariaDB filters row ids, it adds their share to the rows, as in `12 (7%)`; `filtered` has it in it.
        """
        if isinstance(statement, sa.CompoundSelect):
            return sum(self.estimate(part) for part in statement.selects)
        explained = self.rows(f"{self.server.explain} {self.compile(statement)}")
        named = [dict(zip(self.columns, row, strict=True)) for row in explained]
        outermost = [row for row in named if row["id"] == 1 and row["rows"] is not None]
        if not outermost:  # the planner has seen that no row can answer it
            return 0
        return round(prod(float(str(r["rows"]).split()[0]) * float(r["filtered"] or 100) / 100 for r in outermost))

    def indexes(self, schemas: Sequence[str]) -> dict[TableName, list[tuple[str, ...]]] | None:
        """Up to their first expression or prefix."""
        found: dict[TableName, list[tuple[str, ...]]] = {}
        rows = self.rows(INDEXES.format(schemas=", ".join(map(self.literal, schemas))))
        for (schema, table, _), parts in groupby(sorted(rows, key=lambda r: r[:4]), lambda r: r[:3]):
            whole = takewhile(lambda part: part[4] is not None and part[5] is None, parts)
            found.setdefault(TableName(schema, table), []).append(tuple(part[4] for part in whole))
        return found

    # -- the schema as statements

    def schema_dump(self, schemas: Sequence[str]) -> str:
        """Databases, SHOW CREATE of tables and sequences, and triggers, as JSON: `;` may stand in any of them.

        mysqldump would need a client of the right version; views, routines and events are no part of a copy. Triggers
        lose their definers, who may not exist in the target.
        """
        tables = [t.name for t in self.reflect(schemas).tables]
        made = [(*t, self.rows(f"SHOW CREATE TABLE {self.quote(*t)}")[0][1]) for t in tables]
        fired = [
            (*t, *trigger._replace(definer="")) for t, all_ in triggers.found(self, tables).items() for trigger in all_
        ]
        return json.dumps(
            {
                "databases": [(s, *self._defaults(s)) for s in schemas],
                "sequences": self._sequences(schemas, made),
                "tables": made,
                "triggers": fired,
                "hidden": grants.without_triggers(self, tables),
            }
        )

    def _sequences(self, schemas: Sequence[str], made: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
        """All of the databases, as triggers may call them, too.

        Raises:
            EndpointError: a table's default calls one that is not there, and would go on calling the source's.
        """
        found = sequences.found(self, schemas)
        EndpointError.raise_for(
            Fault(
                f"a default calls sequence {sequence}, which is in no database in scope, or not for this user to see",
                f"{self.label}, {schema}.{name}",
                "Take its database into `schemas`, or make the tables in the target yourself, without create_schema.",
            )
            for schema, name, statement in made
            for sequence in dict.fromkeys(sequences.called(statement))
            if sequence not in found
        )
        return [(*sequence, sequences.shown(self, sequence)) for sequence in found]

    def _defaults(self, schema: str) -> tuple[Any, ...]:
        return self.rows(
            "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA "
            f"WHERE SCHEMA_NAME = {self.literal(schema)}"
        )[0]
