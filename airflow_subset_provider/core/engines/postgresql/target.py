"""The writing end on Postgres: loads, temporary key tables, and what is put out of force during a run.

Foreign keys are dropped and added again (the owner may; a superuser too): 1M rows with three keys load in 1.9 s plus
1.6 s of validation, against 22 s with the keys in force. Triggers are disabled, so that nothing else is written.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.rows import TupleRow

from airflow_subset_provider.core.engines.base import PAGE, Moved, Progress, Source, Statement, Suspended, Target
from airflow_subset_provider.core.engines.postgresql.copy import copy_in, copy_out
from airflow_subset_provider.core.engines.postgresql.session import PostgresSession, raw, translated
from airflow_subset_provider.core.errors import Fault
from airflow_subset_provider.core.schema import Column, Schema, Table, TableName
from airflow_subset_provider.core.sql import ServerType, Tables, quoted

WRITABLE = """
SELECT n.nspname, c.relname,
       pg_has_role(c.relowner, 'USAGE') OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
       has_table_privilege(c.oid, 'INSERT'), pg_get_userbyid(c.relowner)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'p')
"""

# Keys that stand on a partition come with the root's when conparentid <> 0.
FOREIGN_KEYS = """
SELECT n.nspname, c.relname, k.conname, pg_get_constraintdef(k.oid), k.convalidated
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND (k.conrelid = ANY(%(oids)s) OR k.confrelid = ANY(%(oids)s))
ORDER BY 1, 2, 3
"""

# Enabled state 'O' only: a trigger somebody disabled, or set to ALWAYS or REPLICA, is recorded as it is.
TRIGGERS = """
SELECT n.nspname, c.relname, t.tgname, t.tgenabled::text
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgrelid = ANY(%(oids)s) AND t.tgparentid = 0
ORDER BY 1, 2, 3
"""

# The tables and all their partitions.
OIDS = """
WITH RECURSIVE part(oid) AS (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN unnest(%(schemas)s::text[], %(names)s::text[]) AS w(s, t) ON n.nspname = w.s AND c.relname = w.t
    UNION ALL SELECT i.inhrelid FROM part JOIN pg_inherits i ON i.inhparent = part.oid
    JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition
) SELECT oid::bigint FROM part
"""

OUTSIDERS = """
SELECT DISTINCT n.nspname, c.relname, k.confrelid::regclass::text
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.confrelid = ANY(%(oids)s) AND NOT k.conrelid = ANY(%(oids)s) AND c.relkind = 'r'
"""

# Owned and identity sequences hang on their column; others are found through the column's default. A default may make
# something else than a number of a sequence's value ('A-' || nextval(...)): such a column does not say where to go on.
SEQUENCES = """
SELECT DISTINCT sn.nspname, s.relname, tn.nspname, t.relname, a.attname, q.seqincrement, q.seqmin, q.seqmax
FROM pg_class s JOIN pg_namespace sn ON sn.oid = s.relnamespace JOIN pg_sequence q ON q.seqrelid = s.oid
JOIN LATERAL (
    SELECT d.refobjid AS relid, d.refobjsubid AS attnum FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.refclassid = 'pg_class'::regclass
      AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
    UNION SELECT f.adrelid, f.adnum FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
    WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = s.oid
) u ON u.relid = ANY(%(oids)s)
JOIN pg_class t ON t.oid = u.relid JOIN pg_namespace tn ON tn.oid = t.relnamespace
JOIN pg_attribute a ON a.attrelid = u.relid AND a.attnum = u.attnum
JOIN pg_type y ON y.oid = a.atttypid AND y.typcategory = 'N'
WHERE s.relkind = 'S'
ORDER BY 1, 2
"""

IN_FORCE = "SELECT FROM pg_constraint WHERE conrelid = %(table)s::regclass AND conname = %(name)s AND contype = 'f'"

TYPES = """
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = %(table)s::regclass AND attnum > 0 AND NOT attisdropped
"""

# Implicit casts lose nothing, but for those to a float of fewer digits, and to a time zone that nobody named.
WIDER = """
SELECT to_regtype(%(a)s) = to_regtype(%(b)s) OR EXISTS (
    SELECT FROM pg_cast WHERE castsource = to_regtype(%(a)s) AND casttarget = to_regtype(%(b)s) AND castcontext = 'i'
    AND NOT (casttarget = 'float4'::regtype AND castsource <> 'int2'::regtype)
    AND NOT (casttarget = 'float8'::regtype AND castsource IN ('int8'::regtype, 'numeric'::regtype))
    AND casttarget NOT IN ('timestamptz'::regtype, 'timetz'::regtype))
"""


class PostgresTarget(PostgresSession, Target):
    """A writing session."""

    def __init__(self, connection: psycopg.Connection[TupleRow], label: str) -> None:
        """Take over an open connection; `tables` is set by whoever knows the schema."""
        super().__init__(connection, label)
        self.tables = Tables(Schema("postgresql", (), ()))
        self._types: dict[TableName, tuple[str, ...]] = {}
        self._enums: tuple[dict[str, list[str]], dict[str, list[str]]] | None = None

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
        return self._copy(source, source.compile(statement), table, self._named(table.name), progress)

    def _copy(self, source: Source, statement: str, table: Table, into: str, progress: Progress | None = None) -> Moved:
        form = " WITH (FORMAT binary)" if self._binary(table) else ""
        columns = ", ".join(self._quoted(c.name) for c in table.copied)
        into += f" ({columns})" if columns else ""  # a table without columns has rows all the same
        buffers = copy_out(_session(source).connection, f"COPY ({statement}) TO STDOUT{form}")
        with translated(f"{source.label} → {self.label}, {table.name}"):
            return copy_in(self.connection, f"COPY {into} FROM STDIN{form}", buffers, progress)

    def load_missing(self, source: Source, statement: Statement | str, table: Table, key: Sequence[str]) -> Moved:
        """Through a temporary table of the same columns."""
        into, columns = self._named(table.name), ", ".join(self._quoted(c.name) for c in table.copied)
        same = " AND ".join(f"t.{self._quoted(c)} = s.{self._quoted(c)}" for c in key)
        stage, only = "pg_temp.subset_stage", "ONLY " if table.inherited else ""
        self.execute(f"CREATE TEMP TABLE subset_stage ON COMMIT DROP AS SELECT {columns} FROM {into} WITH NO DATA")
        moved = self._copy(source, source.compile(statement), table, stage)
        rows = self.execute(
            f"INSERT INTO {into} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {stage} s "
            f"WHERE NOT EXISTS (SELECT 1 FROM {only}{into} t WHERE {same})"
        )
        self.execute(f"DROP TABLE {stage}")
        return Moved(rows, moved.bytes, moved.seconds)

    def keep(self, name: str, columns: Sequence[Column], pages: Iterable[list[tuple[str, ...]]]) -> sa.TableClause:
        """Filled by one COPY a page: between pages the connection is free to fetch the next."""
        spec = ", ".join(f"{self._quoted(c.name)} {c.type}" for c in columns)
        self.execute(f"DROP TABLE IF EXISTS pg_temp.{self._quoted(name)}")
        self.execute(f"CREATE TEMP TABLE {self._quoted(name)} ({spec}) ON COMMIT DROP")
        for page in pages:
            self._write(name, page)
        self.execute(f"ANALYZE pg_temp.{self._quoted(name)}")
        made = (sa.column(quoted(c.name), ServerType(c.type)) for c in columns)
        return sa.table(quoted(name), *made, schema="pg_temp")

    def _write(self, name: str, page: list[tuple[str, ...]]) -> None:
        with (
            translated(self.label),
            self.connection.cursor() as cursor,
            cursor.copy(raw(f"COPY pg_temp.{self._quoted(name)} FROM STDIN")) as copy,
        ):
            for row in page:
                copy.write_row(row)

    def stage(self, name: str, statement: sa.Select[Any]) -> sa.TableClause:
        """CREATE TEMP TABLE AS."""
        self.execute(f"DROP TABLE IF EXISTS pg_temp.{self._quoted(name)}")
        self.execute(f"CREATE TEMP TABLE {self._quoted(name)} ON COMMIT DROP AS {self.compile(statement)}")
        self.execute(f"ANALYZE pg_temp.{self._quoted(name)}")
        return sa.table(
            quoted(name), *(sa.column(str(c.key), c.type) for c in statement.selected_columns), schema="pg_temp"
        )

    def _binary(self, table: Table) -> bool:
        """Binary form needs portable types, and the same ones on this side."""
        if not all(c.binary for c in table.copied):
            return False
        if table.name not in self._types:
            with self.spelled_out():
                found = dict(self.query(TYPES, {"table": self._named(table.name)}))
            self._types[table.name] = tuple(found.get(c.name, "") for c in table.copied)
        return self._types[table.name] == tuple(_bare(c.type) for c in table.copied)

    # -- checks

    def same_database(self, source: Source) -> bool:
        """One server sees the other end's advisory lock; or the source is a standby of the target.

        Advisory locks are a server's own (PostgreSQL manual, 13.3.5) and pg_locks shows all of them to everybody, so
        this sees through host names, proxies and ports; it does not mistake a restored copy of the cluster for it.
        """
        with self.transaction():
            key = secrets.randbits(31)
            oid = self.value(
                f"SELECT oid::bigint FROM pg_database, pg_advisory_xact_lock({key}) WHERE datname = current_database()"
            )
            seen = source.value(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = "
                f"{key} AND database = {oid} AND database = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        return bool(seen) or self._is_primary_of(source)

    def _is_primary_of(self, source: Source) -> bool:
        if not source.value("SELECT pg_is_in_recovery()"):
            return False
        identity = "SELECT system_identifier, current_database()::text FROM pg_control_system()"
        return source.rows(identity) == self.rows(identity)

    def unwritable(self, tables: Sequence[Table]) -> list[Fault]:
        """Replacing rows fast and safely needs ownership: to suspend foreign keys and triggers, and to TRUNCATE."""
        rights = {
            TableName(s, t): rest for s, t, *rest in self.query(WRITABLE, {"schemas": [t.name.schema for t in tables]})
        }
        user = self.connection.info.user
        faults = []
        for table in tables:
            owns, inserts, owner = rights.get(table.name, (True, True, ""))
            if not inserts:
                faults.append(
                    Fault(f"user {user!r} may not insert into {table.name}", self.label, f"It belongs to {owner!r}.")
                )
            elif not owns:
                faults.append(
                    Fault(
                        f"user {user!r} does not own {table.name}, so it cannot suspend its foreign keys",
                        self.label,
                        f"Use a member of role {owner!r}.",
                    )
                )
        rights_here = "has_database_privilege(current_database(), '{}')"  # of a list, one would be enough
        if not self.value(f"SELECT {rights_here.format('CREATE')} AND {rights_here.format('TEMP')}"):
            faults.append(
                Fault(
                    f"user {user!r} may not create the schema airflow_subset, where a run keeps its state",
                    self.label,
                    f"GRANT CREATE, TEMP ON DATABASE to {user!r}.",
                )
            )
        return faults

    def outsiders(self, tables: Sequence[TableName]) -> list[Fault]:
        """Tables that hold rows and reference the copy without being in it."""
        found = self.query(OUTSIDERS, {"oids": self._oids(tables)})
        return [
            Fault(
                f"{s}.{t} has rows that reference {parent}, but is not in the copy",
                self.label,
                f"Take schema {s!r} into `schemas`, or empty the table.",
            )
            for s, t, parent in found
            if self.occupied([TableName(s, t)])
        ]

    def type_faults(self, wanted: Table, found: Table, source: Source) -> list[Fault]:
        """Each column of the source must find one that takes its values, and no other may insist on a value."""
        faults = []
        for column in wanted.copied:
            mine = found.column(column.name)
            where = f"{self.label}, {wanted.name}.{column.name}"
            if mine is None:
                faults.append(Fault(f"the target has no such column (source: {column.type})", where, "Add it."))
            elif mine.generated:
                faults.append(Fault("the target generates this column, the source does not", where))
            elif mine.type != column.type and not self._takes(column.type, mine.type):
                faults.append(
                    Fault(f"the target's type is {mine.type}, the source's {column.type}", where, "Alter it.")
                )
            elif lacking := self._lacking(column.type, mine.type, source):
                faults.append(
                    Fault(f"the target's {mine.type} lacks {', '.join(lacking)}", where, "ALTER TYPE … ADD VALUE.")
                )
        names = {c.name for c in wanted.columns}
        faults += [
            Fault("the source has no such column, and it needs a value", f"{self.label}, {found.name}.{c.name}")
            for c in found.copied
            if c.name not in names and not c.nullable and not c.default
        ]
        return faults

    def _takes(self, given: str, mine: str) -> bool:
        if _bare(given) == _bare(mine):
            return "(" not in mine or _fits(given, mine)
        return "(" not in mine and bool(self.query(WIDER, {"a": given, "b": mine})[0][0])

    def _lacking(self, given: str, mine: str, source: Source) -> list[str]:
        """Values of the source's enum that the target's does not have."""
        if self._enums is None:
            self._enums = (_session(source).enums(), self.enums())
        theirs, ours = self._enums
        known = ours.get(mine.removesuffix("[]"))
        return [repr(v) for v in theirs.get(given.removesuffix("[]"), ()) if known is not None and v not in known]

    def create_schema(self, dump: str, source: Source, schemas: Sequence[str]) -> None:
        """Run the dump in the transaction under way."""
        self.execute(dump)
        self.execute("RESET ALL")
        prepare_session(self.connection)

    # -- before and after

    def lock_state(self) -> None:
        """A transaction-level advisory lock: it also serialises the making of the state tables."""
        self.execute("SELECT pg_advisory_xact_lock(hashtext('airflow_subset'))")

    def suspendable(self, tables: Sequence[TableName]) -> list[Suspended]:
        """The foreign keys of and to the tables, and their triggers."""
        oids = {"oids": self._oids(tables)}
        with self.spelled_out():  # whoever restores a key may have another search_path
            found = self.query(FOREIGN_KEYS, oids)
        keys = [
            Suspended(TableName(s, t), "foreign key", name, definition.removesuffix(" NOT VALID"), valid)
            for s, t, name, definition, valid in found
        ]
        triggers = [
            Suspended(TableName(s, t), "triggers", name, state, True)
            for s, t, name, state in self.query(TRIGGERS, oids)
        ]
        return keys + triggers

    def suspend(self, items: Sequence[Suspended]) -> None:
        """Drop foreign keys, disable triggers."""
        for item in items:
            how = "DISABLE TRIGGER" if item.kind == "triggers" else "DROP CONSTRAINT"
            self.execute(f"ALTER TABLE {self._named(item.table)} {how} {self._quoted(item.name)}")

    def restore(self, item: Suspended, validate: bool) -> bool:
        """Add a foreign key (checking all rows, or NOT VALID) or enable a trigger."""
        table, name = self._named(item.table), self._quoted(item.name)
        if item.kind != "triggers" and self.query(IN_FORCE, {"table": table, "name": item.name}):
            return True  # noted, but the run was interrupted before it came to it
        if item.kind == "triggers":
            how = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}[item.definition]
            self.execute(f"ALTER TABLE {table} {how} TRIGGER {name}")
            return True
        add = f"ALTER TABLE {table} ADD CONSTRAINT {name} {item.definition}"
        with translated(self.label):
            try:
                return self._holds(add if validate else f"{add} NOT VALID")
            except psycopg.errors.WrongObjectType:
                # Before version 18 a partitioned table has no NOT VALID keys: a key of it is valid or not there.
                return self._holds(add)

    def _holds(self, statement: str) -> bool:
        try:
            with self.connection.transaction():
                self.connection.execute(raw(statement))
        except psycopg.errors.ForeignKeyViolation:
            return False
        return True

    def empty(self, tables: Sequence[TableName]) -> None:
        """TRUNCATE what holds rows, in one statement."""
        full = [f"ONLY {self._named(t)}" if self._plain(t) else self._named(t) for t in self.occupied(tables)]
        if full:
            self.execute(f"TRUNCATE {', '.join(full)}")

    def _plain(self, table: TableName) -> bool:
        return bool(
            self.query("SELECT relkind = 'r' FROM pg_class WHERE oid = %(t)s::regclass", {"t": self._named(table)})[0][
                0
            ]
        )

    def occupied(self, tables: Sequence[TableName]) -> list[TableName]:
        """A few tables to a statement, each EXISTS stopping at its first row; a thousand would need too many locks."""
        found = []
        for start in range(0, len(tables), 50):
            some = tables[start : start + 50]
            tests = (f"SELECT {n} WHERE EXISTS (SELECT FROM {self._named(table)})" for n, table in enumerate(some))
            found += [some[n] for (n,) in self.rows(" UNION ALL ".join(tests))]
        return found

    def reset_sequences(self, tables: Sequence[TableName]) -> int:
        """To the greatest value of all columns a sequence feeds (the least, where it counts down) that it can give."""
        fed: dict[tuple[str, str, int], list[str]] = {}
        found = self.query(SEQUENCES, {"oids": self._oids(tables)})
        for seq_schema, seq, schema, table, column, step, least, greatest in found:
            fed.setdefault((seq_schema, seq, step), []).append(
                f"SELECT {'max' if step > 0 else 'min'}({self._quoted(column)})::bigint AS v "
                f"FROM {self._named(TableName(schema, table))} "
                f"WHERE {self._quoted(column)} BETWEEN {least} AND {greatest}"
            )
        for (seq_schema, seq, step), columns in fed.items():
            name = self._named(TableName(seq_schema, seq)).replace("'", "''")
            self.execute(
                f"SELECT setval('{name}', {'max' if step > 0 else 'min'}(v)) FROM ({' UNION ALL '.join(columns)}) u "
                "HAVING count(v) > 0"
            )
        return len(fed)

    def analyze(self, tables: Sequence[TableName]) -> None:
        """ANALYZE, in one statement."""
        if tables:
            self.execute(f"ANALYZE {', '.join(map(self._named, tables))}")

    def _oids(self, tables: Sequence[TableName]) -> list[int]:
        scope = {"schemas": [t.schema for t in tables], "names": [t.name for t in tables]}
        return [oid for (oid,) in self.query(OIDS, scope)]

    def _quoted(self, name: str) -> str:
        return self.dialect.identifier_preparer.quote(name)

    def _named(self, table: TableName) -> str:
        return f"{self._quoted(table.schema)}.{self._quoted(table.name)}"


def _session(source: Source) -> PostgresSession:
    if not isinstance(source, PostgresSession):
        raise TypeError(f"a Postgres target reads from a Postgres source, not from {type(source).__name__}")
    return source


# Both ends must write and read the same text for the same value. Compiling a plan of fifty CTEs (jit) took 3.8 s where
# running it takes 0.03 s.
SETTINGS = """
SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; SET DateStyle = 'ISO';
SET IntervalStyle = 'postgres'; SET lc_monetary = 'C'; SET extra_float_digits = 1; SET bytea_output = 'hex';
SET xmloption = 'content';
SET lock_timeout = '60s'; SET idle_in_transaction_session_timeout = 0; SET jit = off
"""


def prepare_session(connection: psycopg.Connection[TupleRow]) -> None:
    """The settings of both ends, in one round trip."""
    connection.execute(SETTINGS)


def _bare(type_: str) -> str:
    """A type without its modifier: `character varying(10)[]` -> `character varying[]`."""
    start, end = type_.find("("), type_.find(")")
    return type_ if start < 0 or type_.startswith('"') else type_[:start] + type_[end + 1 :]


def _fits(given: str, mine: str) -> bool:
    """Whether every value of a type has room in the same one with another modifier."""
    (size, *scale), (room, *room_scale) = _size(given), _size(mine)
    if _bare(mine).startswith("bit") and "varying" not in mine:
        return size == room
    digits, room_digits = sum(scale), sum(room_scale)
    return digits <= room_digits and size - digits <= room - room_digits


def _size(type_: str) -> tuple[int, ...]:
    """A modifier's numbers; none counts as without limit."""
    inside = type_[type_.find("(") + 1 : type_.find(")")] if "(" in type_ else ""
    return tuple(int(n) for n in inside.split(",") if n.strip().isdigit()) or (2**31,)
