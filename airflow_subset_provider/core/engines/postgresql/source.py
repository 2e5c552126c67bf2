"""The read-only end on Postgres: checks before a run, and the one connection that reads rows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from airflow_subset_provider.core.engines.base import PAGE, Source, Statement
from airflow_subset_provider.core.engines.postgresql import snapshot
from airflow_subset_provider.core.engines.postgresql.catalog import ROOTS
from airflow_subset_provider.core.engines.postgresql.session import PostgresSession, raw, translated
from airflow_subset_provider.core.errors import EndpointError, Fault
from airflow_subset_provider.core.schema import Schema, Table, TableName
from airflow_subset_provider.core.sql import Tables

PASSING = (
    psycopg.errors.QueryCanceled,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.AdminShutdown,
    psycopg.errors.CrashShutdown,
)
READABLE = """
SELECT n.nspname, c.relname, has_schema_privilege(n.oid, 'USAGE'),
       (has_table_privilege(c.oid, 'SELECT') OR NOT EXISTS (
           SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           AND NOT has_column_privilege(c.oid, a.attnum, 'SELECT'))),
       row_security_active(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'p')
"""

# An index of a partition counts for the whole table. Only those that hold every row, up to their first expression.
INDEXES = (
    ROOTS
    + """
SELECT DISTINCT s.nspname, s.relname,
       (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(x.indkey::smallint[]) WITH ORDINALITY k(attnum, n)
        JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
        WHERE k.n <= least(x.indnkeyatts, array_position(x.indkey::smallint[], 0::smallint)))
FROM pg_index x JOIN root r ON r.oid = x.indrelid JOIN scope s ON s.oid = r.top
WHERE x.indisvalid AND x.indpred IS NULL AND x.indkey[0] <> 0
ORDER BY 1, 2, 3
"""
)

EXPLAIN = "EXPLAIN "


class PostgresSource(PostgresSession, Source):
    """A read-only session."""

    exported: str | None = None

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """One REPEATABLE READ transaction."""
        with translated(self.label), self.connection.transaction():
            if self.exported is not None:
                snapshot.take(self.connection, self.exported, self.label)
            yield

    def export_snapshot(self) -> AbstractContextManager[str]:
        """By pg_export_snapshot."""
        return snapshot.held(self.connection, self.label)

    def read_from(self, exported: str) -> None:
        """By SET TRANSACTION SNAPSHOT."""
        self.exported = exported

    def clause_faults(self, table: TableName, clause: str, where: str) -> list[Fault]:
        """Let the server analyse the clause bare and in brackets: only one whole boolean expression passes both.

        Bare, `a) OR (b` fails; in brackets, `a; b`, `a ORDER BY b` and `a UNION …` fail. The extended protocol's Parse
        takes one statement only and runs nothing (PostgreSQL manual, 55.2.3). What is one condition is then planned,
        which asks for privileges on the tables of its subqueries, and for values of parameters that nobody gives.
        """
        rows = Tables(Schema("postgresql", (), (Table(table, ()),)))[table]
        start = f"SELECT 1 FROM {self.dialect.identifier_preparer.format_table(rows)} WHERE "
        bare = self._parse(f"{start}{clause}\n")
        if bare is not None and bare.diag.statement_position:  # of a second statement, brackets tell the place
            return [_clause_fault(bare, where, clause, len(start))]
        bracketed = self._parse(f"{start}({clause}\n)")
        if bracketed is not None:
            return [_clause_fault(bracketed, where, clause, len(start) + 1)]
        planned = self._plan(f"{start}({clause}\n)")
        return [] if planned is None else [_clause_fault(planned, where, clause, len(EXPLAIN) + len(start) + 1)]

    def statement_faults(self, statement: Statement | str, where: str) -> list[Fault]:
        """Let the server plan it."""
        error = self._plan(self.compile(statement))
        return [] if error is None else [Fault(_words(error), where)]

    def _parse(self, statement: str) -> psycopg.Error | None:
        """Parse and analyse under the extended protocol; nothing is run."""
        try:
            with self.connection.transaction():
                result = self.connection.pgconn.prepare(b"", statement.encode())
                if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
                    raise psycopg.errors.error_from_result(result, self.connection.info.encoding)
        except psycopg.Error as error:
            return self._lasting(error)
        return None

    def _plan(self, statement: str) -> psycopg.Error | None:
        """Plan a statement that is known to be one; nothing is run."""
        try:
            with self.connection.transaction():
                self.connection.execute(raw(EXPLAIN + statement))
        except psycopg.Error as error:
            return self._lasting(error)
        return None

    def _lasting(self, error: psycopg.Error) -> psycopg.Error:
        """The error itself, unless it speaks of the connection, or of the moment, and not of the statement.

        Raises:
            RetryableError: it does.
        """
        if self.connection.closed or isinstance(error, PASSING):
            with translated(self.label):
                raise error
        return error

    def unreadable(self, tables: Sequence[Table]) -> list[Fault]:
        """Tables without SELECT, of which row-level security hides rows, or whose values lie outside of them."""
        rights = {
            TableName(schema, name): rest
            for schema, name, *rest in self.query(READABLE, {"schemas": [t.name.schema for t in tables]})
        }
        user = self.connection.info.user
        faults = []
        for table in tables:
            enters, readable, hidden = rights.get(table.name, (True, True, False))
            lacking = [] if enters else [f"USAGE ON SCHEMA {table.name.schema}"]
            lacking += [] if readable else [f"SELECT ON {table.name}"]
            if lacking:
                advice = " ".join(f"GRANT {right}." for right in lacking)
                faults.append(Fault(f"user {user!r} may not read {table.name}", self.label, advice))
            elif hidden:
                faults.append(
                    Fault(
                        f"row-level security hides rows of {table.name} from user {user!r}",
                        self.label,
                        "Use a role with BYPASSRLS, or skip the table.",
                    )
                )
        return faults + _large_objects(tables, self.label)

    # -- looking before copying

    def pages(self, statement: Statement | str, size: int = PAGE) -> Iterator[list[tuple[Any, ...]]]:
        """By a server-side cursor."""
        with translated(self.label), self.connection.cursor(name=f"subset_{id(statement)}") as cursor:
            cursor.execute(raw(self.compile(statement)))
            while page := cursor.fetchmany(size):
                yield page

    def estimate(self, statement: Statement | str) -> int:
        """The planner's rows of the whole statement."""
        found = self.value(f"EXPLAIN (FORMAT JSON) {self.compile(statement)}")
        return int(found[0]["Plan"]["Plan Rows"])

    def indexes(self, schemas: Sequence[str]) -> dict[TableName, list[tuple[str, ...]]] | None:
        """Of the tables and of their partitions."""
        found: dict[TableName, list[tuple[str, ...]]] = {}
        for schema, table, columns in self.query(INDEXES, {"schemas": list(schemas)}):
            found.setdefault(TableName(schema, table), []).append(tuple(columns or ()))
        return found

    def schema_dump(self, schemas: Sequence[str]) -> str:
        """By pg_dump, the password in its environment only.

        Raises:
            EndpointError: no pg_dump of at least the server's version, or it failed.
        """
        info = self.connection.info
        program = _pg_dump(info.server_version // 10000, self.label)
        patterns = [f"--schema={_pattern(s)}" for s in schemas]
        done = subprocess.run(
            [
                program,
                "--schema-only",
                "--no-owner",
                "--no-privileges",
                "--no-publications",
                "--no-subscriptions",
                *patterns,
            ],
            env={**os.environ, **_environment(info)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise EndpointError(Fault(f"pg_dump failed: {done.stderr.strip()}", self.label))
        extensions = self.query("SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY oid", {})
        wanted = "".join(f'CREATE EXTENSION IF NOT EXISTS "{name}";\n' for (name,) in extensions)
        # \restrict and \unrestrict (pg_dump since August 2025) are psql's; the script goes through the driver.
        text = "\n".join(line for line in done.stdout.splitlines() if not re.match(r"\\(un)?restrict\b", line))
        return wanted + re.sub(r"^CREATE SCHEMA (?=\S+;$)", "CREATE SCHEMA IF NOT EXISTS ", text, flags=re.MULTILINE)


def _large_objects(tables: Sequence[Table], label: str) -> list[Fault]:
    """Columns of the type `lo` (PostgreSQL manual, F.22): the objects are in no table, COPY leaves them behind."""
    return [
        Fault(
            f"{table.name}.{column.name} points to large objects, which cannot be copied",
            label,
            "Skip the table; or make the column an oid, to copy the bare number.",
        )
        for table in tables
        for column in table.copied
        if column.type.split(".")[-1] == "lo"
    ]


def _words(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error)


def _clause_fault(error: psycopg.Error, where: str, clause: str, before: int) -> Fault:
    """The server counts characters from the start of its statement, of which the clause begins after `before`."""
    position = int(error.diag.statement_position or 0)
    if position:
        position = max(1, min(position - before, len(clause) + 1))
    ends_early = position > len(clause) and isinstance(error, psycopg.errors.SyntaxError)
    words = "the clause ends too early" if ends_early else _words(error)
    return Fault(words, where, _advice(error), clause, position)


def _advice(error: psycopg.Error) -> str:
    if error.diag.message_hint:
        return error.diag.message_hint
    if isinstance(error, psycopg.errors.UndefinedColumn):
        return "Write a condition on the table's own columns; reach other tables by a subquery."
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return "GRANT what the clause reads, or leave it out."
    return "Write one boolean expression, as it would stand after WHERE."


def _pattern(schema: str) -> str:
    """A pg_dump pattern that matches exactly this schema."""
    return '"' + schema.replace('"', '""') + '"'


def _environment(info: psycopg.ConnectionInfo) -> dict[str, str]:
    """libpq's environment for the same connection (PostgreSQL manual, 34.15)."""
    names = {"host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE"}
    names |= {o: f"PG{o.upper()}" for o in ("sslmode", "sslcert", "sslkey", "sslrootcert", "options", "service")}
    found = {names[k]: v for k, v in info.get_parameters().items() if k in names}
    found.setdefault("PGPORT", str(info.port))
    return found | ({"PGPASSWORD": info.password} if info.password else {})


def _pg_dump(major: int, label: str) -> str:
    """The lowest pg_dump that is not older than the server: a newer server's dump may not be read by an older one."""
    on_path = shutil.which("pg_dump")
    found = [Path(on_path)] if on_path else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))
    found += sorted(p for root in ("/usr", "/opt/homebrew/opt") for p in Path(root).glob("p*/bin/pg_dump"))
    versions = {program: _version(program) for program in found}
    fit = [program for program, version in versions.items() if version >= major]
    if not fit:
        seen = ", ".join(f"{p} ({v})" for p, v in versions.items()) or "none"
        raise EndpointError(
            Fault(
                f"create_schema needs pg_dump of version {major} or later; found: {seen}",
                label,
                f"Install postgresql-client-{major} where prepare runs, or create the target's schema yourself.",
            )
        )
    return str(min(fit, key=lambda p: versions[p]))


def _version(program: Path) -> int:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\) (\d+)", done.stdout)
    return int(found.group(1)) if found else 0
