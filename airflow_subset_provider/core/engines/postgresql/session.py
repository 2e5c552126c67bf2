"""What both ends of a Postgres copy share: the dialect, typed expressions, key lists.

And the driver's errors put right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, LiteralString

import psycopg
import sqlalchemy as sa
from msgspec.structs import replace
from psycopg import errors as pg
from psycopg.rows import TupleRow
from sqlalchemy.dialects import postgresql

from airflow_subset_provider.core.engines.base import Flavour, Session, Statement
from airflow_subset_provider.core.engines.postgresql import catalog
from airflow_subset_provider.core.engines.postgresql.fit import UserType
from airflow_subset_provider.core.errors import QUOTED, EndpointError, Fault, RetryableError, SubsetError
from airflow_subset_provider.core.schema import Column, Schema
from airflow_subset_provider.core.sql import Condition, ServerType, collated, quoted

RETRYABLE = (
    pg.OperationalError,  # lost connections, and by inheritance: out of memory, too many connections, query cancelled
    pg.DeadlockDetected,
    pg.SerializationFailure,
    pg.LockNotAvailable,
)
# A connection that is refused comes without an SQLSTATE (libpq keeps it to itself): the server's English words, if any.
REFUSED = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry"
    r"|(role|database) \".*\" does not exist|server does not support SSL|certificate"
)
NEVER = (pg.InvalidPassword, pg.InvalidAuthorizationSpecification, pg.InvalidCatalogName, pg.DiskFull)


def raw(statement: str) -> LiteralString:
    """Text compiled by our own dialect, as the driver's types want it."""
    return statement


# OIDs from 16384 on are the users' own (FirstNormalObjectId in access/transam.h). Each table has a composite type: left
# out are those that no column is of, and no domain.
# Multiranges are of PostgreSQL 14 and later, and so is their column in pg_range.
TYPES = """
WITH used AS (
    SELECT atttypid AS oid FROM pg_attribute WHERE atttypid >= 16384 AND attnum > 0 AND NOT attisdropped
    UNION SELECT typbasetype FROM pg_type
)
SELECT format_type(t.oid, NULL), t.typtype::text,
       CASE t.typtype
       WHEN 'e' THEN ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder)
       ELSE ARRAY(SELECT attname::text FROM pg_attribute
                  WHERE attrelid = t.typrelid AND attnum > 0 AND NOT attisdropped ORDER BY attnum) END,
       CASE t.typtype
       WHEN 'd' THEN ARRAY[format_type(t.typbasetype, t.typtypmod)]
       WHEN 'r' THEN ARRAY(SELECT format_type(rngsubtype, NULL) FROM pg_range WHERE rngtypid = t.oid)
       WHEN 'm' THEN ARRAY(SELECT format_type(rngsubtype, NULL) FROM pg_range r
                           WHERE to_jsonb(r) ->> 'rngmultitypid' = t.oid::text)
       ELSE ARRAY(SELECT format_type(atttypid, atttypmod) FROM pg_attribute
                  WHERE attrelid = t.typrelid AND attnum > 0 AND NOT attisdropped ORDER BY attnum) END
FROM pg_type t
WHERE t.oid >= 16384 AND (t.typtype IN ('e', 'd', 'r', 'm') OR t.typtype = 'c' AND EXISTS (
    SELECT FROM used u WHERE u.oid IN (t.oid, t.typarray)))
"""


# Of a database. Beside any other collation it gives way (manual 24.2.1, "Concepts").
DEFAULT_COLLATION = 'pg_catalog."default"'

# Both ends must write and read the same text for the same value. Compiling a plan of fifty CTEs (jit) took 3.8 s where
# running it takes 0.03 s.
SETTINGS = """
SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; SET DateStyle = 'ISO';
SET IntervalStyle = 'postgres'; SET lc_monetary = 'C'; SET extra_float_digits = 1; SET bytea_output = 'hex';
SET xmloption = 'content';
SET lock_timeout = '60s'; SET idle_in_transaction_session_timeout = 0; SET jit = off
"""


# A server that answers before the WAL is written may lose a commit when it crashes: the task has succeeded, its rows
# are gone, and so is what was noted of them. Where somebody asked for more than `on`, that stays.
DURABLE = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"


# Data exceptions whose messages have no value in quotation marks.
QUOTING_NAMES = (pg.CharacterNotInRepertoire, pg.UntranslatableCharacter, pg.BadCopyFileFormat)


def prepare_session(connection: psycopg.Connection[TupleRow]) -> None:
    """The settings of both ends, in one round trip."""
    connection.execute(SETTINGS)


@contextmanager
def translated(label: str) -> Iterator[None]:
    """The driver's errors as this package's own, without what may quote rows.

    That is the server's DETAIL and CONTEXT, and of a data exception (class 22) whatever stands in quotation marks: a
    filter that casts, say, complains of the value that it met. Not where the server quotes an encoding or a column.
    """
    try:
        yield
    except psycopg.Error as error:
        message = error.diag.message_primary or str(error).strip() or type(error).__name__
        if (error.sqlstate or "").startswith("22") and not isinstance(error, QUOTING_NAMES):
            message = re.sub(QUOTED, '"…"', message)
        fault = Fault(f"{message} (SQLSTATE {error.sqlstate})" if error.sqlstate else message, label, _advice(error))
        refused = error.sqlstate is None and REFUSED.search(message)
        if refused or isinstance(error, (pg.InsufficientPrivilege, *NEVER)):
            raise EndpointError(fault) from None
        # libpq's own word, that a connection is lost, is a result without an SQLSTATE: psycopg has no class for that.
        lost = type(error) is psycopg.DatabaseError and error.sqlstate is None
        if lost or (isinstance(error, RETRYABLE) and not isinstance(error, pg.ProgramLimitExceeded)):
            raise RetryableError(fault) from None
        raise SubsetError(fault) from None


def _advice(error: psycopg.Error) -> str:
    if error.diag.constraint_name:
        return f"Constraint {error.diag.constraint_name!r} of {error.diag.schema_name}.{error.diag.table_name}."
    return error.diag.message_hint or ""


def _dialect() -> sa.Dialect:
    """SQLAlchemy's, told what it would ask a connection: literals are standard ones, a backslash is a backslash."""
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    dialect._backslash_escapes = False
    # Reserved for functions and types (pg_get_keywords), so no column's name; SQLAlchemy does not list them.
    preparer = dialect.identifier_preparer
    preparer.reserved_words = preparer.reserved_words | {"collation", "concurrently", "lateral", "tablesample"}
    return dialect


class PostgresFlavour(Flavour):
    """Postgres' ways of saying things.

    The dialect's parameter style is `named` because statements go out whole: with a percent style SQLAlchemy would
    double every `%` in names and clauses.
    """

    dialect: ClassVar[sa.Dialect] = _dialect()
    lateral: ClassVar[bool] = True

    def walked(self, value: sa.ColumnElement[Any] | None, column: Column) -> sa.ColumnElement[Any]:
        """CAST: the two terms of a recursive CTE must have equal types, modifiers and collations included.

        UNION in one hashes its rows (manual 7.8.2.1, "duplicates"); what cannot be hashed goes as text.
        """
        type_ = "text" if _without_hash(column.type) else column.type
        own = "" if column.collation == DEFAULT_COLLATION else column.collation
        cast = sa.cast(sa.null() if value is None else value, ServerType(type_, own))
        return collated(cast, column.collation) if column.collation else cast

    def unwalked(self, value: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        """What went as text is read back."""
        return sa.cast(value, ServerType(column.type)) if _without_hash(column.type) else value

    def widest(self, column: Column, others: Sequence[Column]) -> Column:
        """The type itself where all have it, else the one of its kind that has room for everything.

        Where one of them has a collation of its own, the column has one, too: be it its type's.
        """
        type_ = column.type if all(c.type == column.type for c in others) else _roomy(column.type)
        alike = all(c.collation == column.collation for c in others)
        collation = column.collation or ("" if alike or not _is_text(type_) else DEFAULT_COLLATION)
        return replace(column, type=type_, collation=collation)

    def share(self, columns: Sequence[sa.ColumnElement[Any]], percent: float, seed: int) -> Condition:
        """By `hashtextextended` (PostgreSQL 11 and later) of the key's text."""
        texts = [sa.cast(c, sa.Text()) for c in columns]
        key = texts[0] if len(texts) == 1 else sa.func.concat_ws(sa.literal_column("'|'"), *texts)
        bucket = sa.func.abs(sa.func.hashtextextended(key, sa.literal_column(str(seed))) % sa.literal_column("1000000"))
        return bucket < sa.literal_column(str(round(percent * 10_000)))

    def thinned(
        self, rows: sa.Select[Any] | sa.CompoundSelect[Any], key: Sequence[str], percent: float
    ) -> sa.Select[Any]:
        """OFFSET 0 keeps the condition out of the rows' own query.

        The planner expects a third of all rows to answer it; below a filter that it misjudges, that led to a nested
        loop of 14 s where the rows themselves took 1 s.
        """
        return super().thinned(rows.offset(sa.literal_column("0")), key, percent)

    def as_text(self, column: sa.ColumnElement[Any], type_: str) -> sa.ColumnElement[Any]:
        """The type's own output, which its input reads back."""
        return sa.cast(column, sa.Text())

    def comparable(self, column: sa.ColumnElement[Any], type_: str) -> sa.ColumnElement[Any]:
        """Of numerics without trailing zeros (1.0 = 1.00), of citext in small letters."""
        base = type_.split("(")[0].split(".")[-1]
        if base == "numeric":
            return sa.cast(sa.func.trim_scale(column), sa.Text())
        text = self.as_text(column, type_)
        return sa.func.lower(text) if base == "citext" else text

    def collation(self, column: Column) -> str:
        """Any but the database's, which is deterministic (manual 24.2.2.4, "Nondeterministic Collations")."""
        return column.collation if column.collation != DEFAULT_COLLATION and _is_text(column.type) else ""

    def marked(self, value: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        """Two hashes of 64 bits: under such a collation, the server hashes the sort key and not the text."""
        text = collated(sa.cast(value, sa.Text()), column.collation)
        hashes = (sa.func.hashtextextended(text, sa.literal_column(seed)) for seed in ("0", "1"))
        first, second = (sa.cast(found, sa.Text()) for found in hashes)
        mark = first.op("||")(second).op("||")(sa.literal_column("' '"))
        return mark.op("||")(self.comparable(value, column.type))

    def constant(self, text: str, column: Column) -> sa.ColumnElement[Any]:
        """CAST of a literal, which is planned as a constant."""
        return sa.cast(sa.literal(text, sa.String()), ServerType(column.type))

    def keys(self, columns: Sequence[Column], rows: Sequence[tuple[str, ...]], name: str) -> sa.FromClause:
        """`unnest` of one array of texts a column: of the type itself, it would take arrays and composites apart."""
        arrays: list[sa.ColumnElement[Any]] = [
            sa.literal_column(f"{_array([row[i] for row in rows])}::text[]") for i in range(len(columns))
        ]
        made = sa.func.unnest(*arrays)
        texts = made.table_valued(*(f"k{i}" for i in range(len(columns))), name=f"{name}_texts").render_derived()
        typed = (
            sa.cast(text, ServerType(_roomy(column.type))).label(quoted(column.name))
            for text, column in zip(texts.c, columns, strict=True)
        )
        return sa.select(*typed).subquery(name)


class PostgresSession(PostgresFlavour, Session):
    """One connection."""

    def __init__(self, connection: psycopg.Connection[TupleRow], label: str) -> None:
        """Take over an open connection."""
        self.connection = connection
        self.label = label

    def rows(self, statement: Statement | str) -> list[tuple[Any, ...]]:
        """Run it and fetch all."""
        with translated(self.label):
            cursor = self.connection.execute(raw(self.compile(statement)))
            return cursor.fetchall() if cursor.description else []

    @property
    def default_schemas(self) -> tuple[str, ...]:
        """The one that every database has."""
        return ("public",)

    def query(self, statement: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Run one of this package's own statements with bound parameters."""
        with translated(self.label):
            return self.connection.execute(raw(statement), parameters).fetchall()

    def reflect(self, schemas: Sequence[str]) -> Schema:
        """From pg_catalog; all its statements see one state of it."""
        found = self.query("SELECT nspname FROM pg_namespace WHERE nspname = ANY(%(s)s)", {"s": list(schemas)})
        missing = set(schemas) - {name for (name,) in found}
        EndpointError.raise_for(Fault(f"no schema {s!r}", self.label) for s in sorted(missing))
        version = self.connection.info.server_version
        with self.spelled_out():
            return catalog.reflect(self.query, schemas, f"PostgreSQL {version // 10000}.{version % 10000}")

    @contextmanager
    def spelled_out(self) -> Iterator[None]:
        """The server names types and tables with their schemas: without, the text hangs on the user's search_path."""
        before = self.query("SELECT current_setting('search_path')", {})[0][0]
        change = "SELECT set_config('search_path', %(path)s, false)"
        self.query(change, {"path": ""})
        try:
            yield
        finally:
            with suppress(SubsetError):  # a transaction that has failed takes the change back itself
                self.query(change, {"path": before})

    def user_types(self) -> dict[str, UserType]:
        """The database's own enums, domains and composite types, by name."""
        with self.spelled_out():
            return {name: UserType(*rest) for name, *rest in self.query(TYPES, {})}

    def cancel(self) -> None:
        """Ask the server to stop what it is doing for this connection."""
        self.connection.cancel_safe(timeout=5)

    def close(self) -> None:
        """Close; harmless when it is closed."""
        self.connection.close()


def _without_hash(type_: str) -> bool:
    """Whether it can be a key but has no hash operator class (pg_opclass; the same in PostgreSQL 12 to 18)."""
    return bool(re.match(r"(bit|bit varying|money|tsvector|tsquery)(\(\d+\))?(\[\])*$", type_))


def _is_text(type_: str) -> bool:
    return bool(re.match(r"(text|character varying|character|bpchar|name)(\(\d+\))?$", type_))


def _roomy(type_: str) -> str:
    """A type that compares with this one, by its indexes too, and holds values that it has no room for.

    A virtual key may reference a narrower column: cut or rounded to fit, a value would match a row it does not mean.
    """
    if type_ in ("smallint", "integer"):
        return "bigint"
    if type_.startswith("character("):
        return "bpchar"
    return re.sub(r"^(character varying|numeric|timestamp|time|interval\b.*)\(.*?\)", r"\1", type_)


def _array(values: Sequence[str]) -> str:
    """A literal array of texts, as one quoted string."""
    items = ",".join('"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"' for v in values)
    return "'{" + items.replace("'", "''") + "}'"
