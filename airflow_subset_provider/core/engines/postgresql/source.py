"""The read-only end on Postgres: checks before a run, and the one connection that reads rows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from airflow_subset_provider.core.engines.base import Source, Statement
from airflow_subset_provider.core.engines.postgresql.session import PostgresSession, translated
from airflow_subset_provider.core.errors import EndpointError, Fault
from airflow_subset_provider.core.schema import Schema, Table, TableName
from airflow_subset_provider.core.sql import Tables

READABLE = """
SELECT n.nspname, c.relname,
       has_schema_privilege(n.oid, 'USAGE')
       AND (has_table_privilege(c.oid, 'SELECT') OR NOT EXISTS (
           SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           AND NOT has_column_privilege(c.oid, a.attnum, 'SELECT'))),
       row_security_active(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'p')
"""


class PostgresSource(PostgresSession, Source):
    """A read-only session."""

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """One REPEATABLE READ transaction."""
        with translated(self.label), self.connection.transaction():
            yield

    def clause_faults(self, table: TableName, clause: str, where: str) -> list[Fault]:
        """Let the server analyse the clause bare and in brackets: only one whole boolean expression passes both.

        Bare, `a) OR (b` fails; in brackets, `a; b`, `a ORDER BY b` and `a UNION …` fail. The extended protocol's Parse
        takes one statement only and runs nothing (PostgreSQL manual, 55.2.3).
        """
        bare = self._analysed(table, f"{clause}\n")
        bracketed = self._analysed(table, f"({clause}\n)")
        error = bracketed or bare
        if error is None:
            return []
        return [Fault(f"{_words(error)} in filter {clause!r}", where, _advice(error, clause))]

    def _analysed(self, table: TableName, condition: str) -> psycopg.Error | None:
        rows = Tables(Schema("postgresql", (), (Table(table, ()),)))[table]
        preparer = self.dialect.identifier_preparer
        return self._parse(f"SELECT 1 FROM {preparer.format_table(rows)} WHERE {condition}")

    def statement_faults(self, statement: Statement | str, where: str) -> list[Fault]:
        """Let the server analyse it."""
        error = self._parse(self.compile(statement))
        return [] if error is None else [Fault(_words(error), where)]

    def _parse(self, statement: str) -> psycopg.Error | None:
        """Parse and analyse under the extended protocol; nothing is run."""
        try:
            with self.connection.transaction():
                result = self.connection.pgconn.prepare(b"", statement.encode())
                if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
                    raise psycopg.errors.error_from_result(result, self.connection.info.encoding)
        except psycopg.Error as error:
            return error
        return None

    def unreadable(self, tables: Sequence[Table]) -> list[Fault]:
        """Tables without SELECT, and tables of which row-level security hides rows."""
        rights = {
            TableName(schema, name): (readable, hidden)
            for schema, name, readable, hidden in self.query(READABLE, {"schemas": [t.name.schema for t in tables]})
        }
        user = self.connection.info.user
        faults = []
        for table in tables:
            readable, hidden = rights.get(table.name, (True, False))
            if not readable:
                faults.append(
                    Fault(f"user {user!r} may not read {table.name}", self.label, f"GRANT SELECT ON {table.name}.")
                )
            elif hidden:
                faults.append(
                    Fault(
                        f"row-level security hides rows of {table.name} from user {user!r}",
                        self.label,
                        "Use a role with BYPASSRLS, or skip the table.",
                    )
                )
        return faults

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


def _words(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error)


def _advice(error: psycopg.Error, clause: str) -> str:
    if error.diag.message_hint:
        return error.diag.message_hint
    if isinstance(error, psycopg.errors.UndefinedColumn):
        return "Write a condition on the table's own columns; reach other tables by a subquery."
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
