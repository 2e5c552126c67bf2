"""The writing end on Postgres: checks, the schema, and what is put out of force during a run.

Foreign keys are dropped and added again (the owner may; a superuser too): 1M rows with three keys load in 1.9 s plus
1.6 s of validation, against 22 s with the keys in force. Triggers are disabled, so that nothing else is written.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence

import psycopg

from airflow_subset_provider.core.engines.base import INDEX, Source, Suspended, Target
from airflow_subset_provider.core.engines.postgresql import fit, indexes
from airflow_subset_provider.core.engines.postgresql.session import DURABLE, prepare_session, raw, translated
from airflow_subset_provider.core.engines.postgresql.store import PostgresStore, other_end
from airflow_subset_provider.core.errors import Fault
from airflow_subset_provider.core.schema import Table, TableName

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

THERE = "SELECT FROM pg_class WHERE oid = to_regclass(%(table)s)"
TRIGGER = "SELECT FROM pg_trigger WHERE tgrelid = %(table)s::regclass AND tgname = %(name)s"
IN_FORCE = "SELECT FROM pg_constraint WHERE conrelid = %(table)s::regclass AND conname = %(name)s AND contype = 'f'"

# Of a foreign key: what it names has been dropped since, or is no key any more.
GONE = psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidForeignKey


class PostgresTarget(PostgresStore, Target):
    """A writing session, all of it."""

    _made: fit.UserTypes | None = None

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
        here = {t.schema for t in tables}
        return [
            Fault(
                f"{s}.{t} has rows that reference {parent}, but is not in the copy",
                self.label,
                "Empty the table: the source has none of that name."
                if s in here
                else f"Take schema {s!r} into `schemas`, or empty the table.",
            )
            for s, t, parent in found
            if self.occupied([TableName(s, t)])
        ]

    def type_faults(self, wanted: Table, found: Table, source: Source) -> list[Fault]:
        """By the types' names, what users' own types are made of, and this server's casts."""
        if self._made is None:
            self._made = (other_end(source).user_types(), self.user_types())
        return fit.faults(wanted, found, self.label, self._made, self._casts)

    def _casts(self, given: str, mine: str) -> bool:
        return bool(self.query(fit.WIDER, {"a": given, "b": mine})[0][0])

    def create_schema(self, dump: str, source: Source, schemas: Sequence[str]) -> list[str]:
        """Run the dump in the transaction under way."""
        purpose = self.rows("SELECT current_setting('application_name')")[0][0]
        self.execute(dump)
        self.execute("RESET ALL")
        prepare_session(self.connection)
        self.execute(DURABLE)
        self.query("SELECT set_config('application_name', %(purpose)s, false)", {"purpose": purpose})
        return []

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

    def postponable(self, tables: Mapping[TableName, Collection[tuple[str, ...]]]) -> list[Suspended]:
        """What pg_get_indexdef tells all of: see indexes.py."""
        return [i for table, keys in tables.items() for i in indexes.found(self, table, keys)]

    def build(self, items: Sequence[Suspended]) -> None:
        """One after the other, all or none."""
        indexes.build(self, items)

    def suspend(self, items: Sequence[Suspended]) -> None:
        """Drop foreign keys and indexes, disable triggers."""
        for item in items:
            if item.kind == INDEX:
                indexes.drop(self, item)
                continue
            how = "DISABLE TRIGGER" if item.kind == "triggers" else "DROP CONSTRAINT IF EXISTS"
            self.execute(f"ALTER TABLE {self.named(item.table)} {how} {self.quote(item.name)}")

    def restore(self, item: Suspended, validate: bool) -> bool:
        """Add a foreign key (checking all rows, or NOT VALID), enable a trigger or make an index.

        A table that somebody has dropped meanwhile has taken them with it.
        """
        if item.kind == INDEX:
            self.build([item])
            return True
        table, name = self.named(item.table), self.quote(item.name)
        noted = {"table": table, "name": item.name}
        if not self.query(THERE, noted):
            return True
        if item.kind == "triggers":
            if self.query(TRIGGER, noted):
                how = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}[item.definition]
                self.execute(f"ALTER TABLE {table} {how} TRIGGER {name}")
            return True
        if self.query(IN_FORCE, noted):
            return True  # noted, but the run was interrupted before it came to it
        add = f"ALTER TABLE {table} ADD CONSTRAINT {name} {item.definition}"
        with translated(self.label):
            try:
                return self._holds(add if validate else f"{add} NOT VALID")
            except psycopg.errors.WrongObjectType:
                # Before version 18 a partitioned table has no NOT VALID keys: a key of it is valid or not there.
                return self._holds(add)

    def _holds(self, statement: str) -> bool:
        """Not where rows break it, nor where what it references is gone."""
        try:
            with self.connection.transaction():
                self.connection.execute(raw(statement))
        except (psycopg.errors.ForeignKeyViolation, *GONE):
            return False
        return True

    def empty(self, tables: Sequence[TableName]) -> None:
        """TRUNCATE what holds rows, in one statement."""
        full = [f"ONLY {self.named(t)}" if self._plain(t) else self.named(t) for t in self.occupied(tables)]
        if full:
            self.execute(f"TRUNCATE {', '.join(full)}")

    def _plain(self, table: TableName) -> bool:
        return bool(
            self.query("SELECT relkind = 'r' FROM pg_class WHERE oid = %(t)s::regclass", {"t": self.named(table)})[0][0]
        )

    def occupied(self, tables: Sequence[TableName]) -> list[TableName]:
        """One table to a statement, each EXISTS stopping at its first row, and a sync after each.

        So outside a transaction only one table is locked at a time: a statement that locks several deadlocks with an
        attempt at the same step that is suspending their keys. The statements go out in one pipeline (PostgreSQL
        manual, 32.5), or a thousand tables would be a thousand round trips.
        """
        with translated(self.label), self.connection.pipeline() as pipeline:
            asked = []
            for table in tables:
                asked.append(self.connection.execute(raw(f"SELECT EXISTS (SELECT FROM {self.named(table)})")))
                pipeline.sync()
            answers = [cursor.fetchall()[0][0] for cursor in asked]
        return [table for table, full in zip(tables, answers, strict=True) if full]

    def reset_sequences(self, tables: Sequence[TableName]) -> int:
        """To the greatest value of all columns a sequence feeds (the least, where it counts down) that it can give."""
        fed: dict[tuple[str, str, int], list[str]] = {}
        found = self.query(SEQUENCES, {"oids": self._oids(tables)})
        for seq_schema, seq, schema, table, column, step, least, greatest in found:
            fed.setdefault((seq_schema, seq, step), []).append(
                f"SELECT {'max' if step > 0 else 'min'}({self.quote(column)})::bigint AS v "
                f"FROM {self.named(TableName(schema, table))} "
                f"WHERE {self.quote(column)} BETWEEN {least} AND {greatest}"
            )
        for (seq_schema, seq, step), columns in fed.items():
            name = self.named(TableName(seq_schema, seq)).replace("'", "''")
            self.execute(
                f"SELECT setval('{name}', {'max' if step > 0 else 'min'}(v)) FROM ({' UNION ALL '.join(columns)}) u "
                "HAVING count(v) > 0"
            )
        return len(fed)

    def numbered(self, tables: Sequence[TableName]) -> set[tuple[TableName, str]]:
        """By a sequence."""
        found = self.query(SEQUENCES, {"oids": self._oids(tables)})
        return {(TableName(schema, table), column) for _, _, schema, table, column, *_ in found}

    def analyze(self, tables: Sequence[TableName]) -> None:
        """ANALYZE, in one statement."""
        if tables:
            self.execute(f"ANALYZE {', '.join(map(self.named, tables))}")

    def _oids(self, tables: Sequence[TableName]) -> list[int]:
        scope = {"schemas": [t.schema for t in tables], "names": [t.name for t in tables]}
        return [oid for (oid,) in self.query(OIDS, scope)]
