"""What both ends of a MySQL copy share: the dialect, key lists, settings, and statements that can be interrupted.

The driver is used at its lowest level: bytes in, bytes out, no conversion by the user's cursor class or converters. A
statement is sent, then waited for with `select`: while the driver's C code waits for a result Python handles no signal,
and a task that is told to stop could not stop its statement.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

import MySQLdb
import sqlalchemy as sa
from msgspec.structs import replace
from MySQLdb.constants import FIELD_TYPE
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.mysql.base import MySQLIdentifierPreparer

from airflow_subset_provider.core.engines.base import Endpoint, Flavour, Session, Statement
from airflow_subset_provider.core.engines.mysql import catalog, types
from airflow_subset_provider.core.engines.mysql.errors import translated, without_values
from airflow_subset_provider.core.engines.mysql.server import MARIADB, MYSQL, Server, recognised
from airflow_subset_provider.core.errors import EndpointError, Fault, SubsetError
from airflow_subset_provider.core.schema import Column, Schema, TableName
from airflow_subset_provider.core.sql import Condition, ServerType

# Both ends read and write the same text for the same value: no mode that reinterprets quotes or spaces, zero and
# impossible dates as they are, an id 0 as 0.
TOLERANT = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES,NO_ENGINE_SUBSTITUTION"
SQL_MODE = f"{TOLERANT},STRICT_ALL_TABLES"
SETTINGS = (
    f"sql_mode = '{SQL_MODE}'",
    "time_zone = '+00:00'",
    # Text comes as the bytes it is stored as; errors and metadata are UTF-8 all the same.
    "character_set_results = NULL",
)
LOCK_WAIT = "lock_wait_timeout = 60"
# Made where this user may make them and the server knows them.
WISHES = (
    LOCK_WAIT,
    "innodb_lock_wait_timeout = 60",
    # Each end waits for the other one; the defaults are 30 and 60 seconds.
    "net_read_timeout = 3600",
    "net_write_timeout = 3600",
    "wait_timeout = 28800",
    "sql_safe_updates = 0",
    "sql_select_limit = DEFAULT",
    "sql_big_selects = 1",
    "sql_auto_is_null = 0",
    "sql_quote_show_create = 1",
    "max_error_count = 65535",
    "completion_type = 'NO_CHAIN'",
    # Of this package's own tables: MEMORY takes no BLOB (error 1163), and no savepoint undoes anything in MyISAM.
    "default_storage_engine = InnoDB",
    "default_tmp_storage_engine = InnoDB",
)
INTEGERS = frozenset(
    {FIELD_TYPE.TINY, FIELD_TYPE.SHORT, FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG, FIELD_TYPE.INT24, FIELD_TYPE.YEAR}
)
DECIMALS = frozenset({FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL})
MULTI_STATEMENTS_OFF = 1
TRUNCATED_RECURSION = 1931
RAISE_THE_LIMIT = "Let this user set max_recursive_iterations, or raise the server's."
INTERRUPTED = 1317

# SHOW CREATE TABLE has literals in the character set they were written in (MySQL: `_latin1'…'`), and a default of bytes
# as these bytes (MariaDB). Sent again as it came, it makes the same table.
AS_IT_CAME = "surrogateescape"
_MILLION: sa.ColumnElement[Any] = sa.literal_column("1000000")


class _AlwaysQuoting(MySQLIdentifierPreparer):
    """The reserved words differ between servers and grow with every version."""

    def _requires_quotes(self, value: str) -> bool:
        return True


def _dialect() -> sa.Dialect:
    """SQLAlchemy's; its parameter style is `named` so that no `%` is doubled (statements go out whole).

    A condition stands as it is: without native booleans, SQLAlchemy would write `(clause) = 1`, which no index answers
    and which is false for `flags & 4`.
    """
    dialect = mysql.dialect(paramstyle="named")
    dialect.supports_native_boolean = True
    dialect.identifier_preparer = _AlwaysQuoting(dialect)
    return dialect


class MySqlFlavour(Flavour):
    """How MySQL and MariaDB say things; what they say alike is all that a plan's statements need."""

    dialect: ClassVar[sa.Dialect] = _dialect()
    lateral: ClassVar[bool] = False
    shares_ctes: ClassVar[bool] = False  # MariaDB copies it to every place, MySQL merges it: exponential in the depth
    keys_hold: ClassVar[bool] = False  # foreign_key_checks = 0 lets anybody break one
    server: Server = MYSQL

    @property
    def most_members(self) -> int:  # type: ignore[override]
        """Recursive members of one CTE."""
        return self.server.most_members

    def walked(self, value: sa.ColumnElement[Any] | None, column: Column) -> sa.ColumnElement[Any]:
        """By the common type of the value and a NULL of the column's type."""
        return types.typed(value, types.parsed(column.type))

    def widest(self, column: Column, others: Sequence[Column]) -> Column:
        """Of the column's own character set and collation, as long as the longest."""
        return replace(column, type=types.widest(column.type, [c.type for c in others]))

    def add_index(self, table: TableName, columns: Sequence[str]) -> str:
        """ALTER TABLE, which needs no name for it."""
        return f"ALTER TABLE {table} ADD INDEX ({', '.join(columns)})"

    def share(self, columns: Sequence[sa.ColumnElement[Any]], percent: float, seed: int) -> Condition:
        """By SHA2, the one hash that both servers have at their core (MD5 and SHA1 left MySQL's with 9.6)."""
        seeded: sa.ColumnElement[Any] = sa.literal_column(f"'{int(seed)}'")
        key = sa.func.concat_ws(sa.literal_column("'|'"), seeded, *self._texts(columns))
        digits = sa.func.left(sa.func.sha2(key, sa.literal_column("256")), sa.literal_column("12"))
        number = sa.func.conv(digits, sa.literal_column("16"), sa.literal_column("10"))
        bucket = sa.func.mod(types.cast(number, "UNSIGNED"), _MILLION)
        return bucket < sa.literal_column(str(round(percent * 10_000)))

    def _texts(self, columns: Sequence[sa.ColumnElement[Any]]) -> list[sa.ColumnElement[Any]]:
        return [self.as_text(c, c.type.spelling) if isinstance(c.type, ServerType) else c for c in columns]

    def thinned(
        self, rows: sa.Select[Any] | sa.CompoundSelect[Any], key: Sequence[str], percent: float
    ) -> sa.Select[Any]:
        """By CRC32, a fifth of SHA2's work. A subquery kept apart would be written to a temporary table first."""
        found = rows.subquery("subset_wanted")
        text = sa.func.concat_ws(sa.literal_column("'|'"), *self._texts([found.c[k] for k in key]))
        bucket = sa.func.mod(sa.func.crc32(text), _MILLION)
        return sa.select(*found.c).where(bucket < sa.literal_column(str(round(percent * 10_000))))

    def as_text(self, column: sa.ColumnElement[Any], type_: str) -> sa.ColumnElement[Any]:
        """Digits, dates, or the hex digits of bytes."""
        return types.as_text(column, types.parsed(type_))

    def comparable(self, column: sa.ColumnElement[Any], type_: str) -> sa.ColumnElement[Any]:
        """Decimals of one scale, case-insensitive texts in small letters."""
        return types.comparable(column, types.parsed(type_))

    def collation(self, column: Column) -> str:
        """Any but the binary ones; ENUM and SET are compared by their numbers."""
        known = types.parsed(column.type)
        return known.collation if known.kind is types.Kind.TEXT and not known.collation.endswith("_bin") else ""

    def marked(self, value: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        """The weights that the collation compares by."""
        mark = types.weights(value, types.parsed(column.type))
        return sa.func.concat(mark, sa.literal_column("' '"), self.comparable(value, column.type))

    def sent(self, value: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
        """FLOAT as DOUBLE: the server shows a FLOAT with six digits, which is not the value (manual B.3.4.8)."""
        return types.cast(value, "DOUBLE") if types.parsed(column.type).base == "float" else value

    def constant(self, text: str, column: Column) -> sa.ColumnElement[Any]:
        """A literal of the column's type and collation."""
        return sa.literal_column(types.literal(text, types.parsed(column.type)))

    def rank(self, value: sa.ColumnElement[Any], column: Column) -> tuple[sa.ColumnElement[Any], Column]:
        """ENUM and SET are sorted by their numbers (MySQL manual 13.3.6), and compared as texts with texts."""
        if types.parsed(column.type).base not in ("enum", "set"):
            return value, column
        return value + sa.literal_column("0"), replace(column, type="bigint unsigned")

    def keys(self, columns: Sequence[Column], rows: Sequence[tuple[str, ...]], name: str) -> sa.FromClause:
        """A table value constructor behind a first SELECT that names its columns: both servers know this form.

        Ten thousand keys as such take 0.1 to 0.2 s and use the table's index on both (eq_ref from the materialized
        list).
        """
        kinds = [types.parsed(c.type) for c in columns]
        first, *rest = ([types.literal(v, t) for v, t in zip(row, kinds, strict=True)] for row in rows)
        quote = self.dialect.identifier_preparer.quote
        select_ = ", ".join(f"{v} AS {quote(c.name)}" for v, c in zip(first, columns, strict=True))
        values = ", ".join(f"{self.server.row}({', '.join(row)})" for row in rest)
        text = f"SELECT {select_}" + (f" UNION ALL VALUES {values}" if rest else "")
        named = (sa.column(quoted_name(c.name), ServerType(c.type)) for c in columns)
        return sa.text(text.replace(":", r"\:")).columns(*named).subquery(name)


class MariaDbFlavour(MySqlFlavour):
    """What MariaDB says in another way."""

    server: Server = MARIADB


def quoted_name(name: str) -> sa.sql.quoted_name:
    """Spelled exactly so."""
    return sa.sql.quoted_name(name, None)


def _await(descriptor: int) -> None:
    """Until there is something to read. Not by select(), which takes no descriptor above 1023 (man select, BUGS)."""
    answer = select.poll()
    answer.register(descriptor, select.POLLIN)
    answer.poll()


class MySqlSession(MySqlFlavour, Session):
    """One connection, its server recognised and its settings made."""

    def __init__(self, endpoint: Endpoint, purpose: str) -> None:
        """Connect."""
        self.endpoint = endpoint
        self.label = endpoint.label
        self._cancelled = False
        self._cuts_short = False
        self._head = f"/* {_comment(purpose)} */ ".encode()
        with translated(self.label):
            self.connection = endpoint.connect()
        try:
            with translated(self.label):
                self._make_settings()
        except BaseException:
            self.close()
            raise

    def _make_settings(self) -> None:
        self.connection.converter = {}
        self.connection.autocommit(True)
        self.connection.set_server_option(MULTI_STATEMENTS_OFF)
        # Texts that are no column's compare as they do for the server's other clients (MySQL: utf8mb4_0900_ai_ci).
        self.connection.set_character_set("utf8mb4")
        self.server = recognised(self.rows("SELECT VERSION()")[0][0], self.label)
        self.run(f"SET SESSION {', '.join(SETTINGS)}")
        self.wish([*WISHES, *(f"{name} = {value}" for name, value in self.server.unlimited)])
        known = f"DATABASE(), @@collation_connection, @@max_error_count, {self.server.cuts_short}"
        self.database: str | None
        self.collation_connection: str
        self.most_warnings: int
        self.database, self.collation_connection, self.most_warnings, cut = self.rows(f"SELECT {known}")[0]
        self._cuts_short = bool(cut)

    def wish(self, settings: Sequence[str]) -> None:
        """SET SESSION: all in one statement, or one by one where any of them is refused."""
        try:
            self.run(f"SET SESSION {', '.join(settings)}")
        except MySQLdb.Error:
            for setting in settings:
                with suppress(MySQLdb.Error):
                    self.run(f"SET SESSION {setting}")

    @contextmanager
    def tolerant(self) -> Iterator[None]:
        """What a table's expressions (generated columns, CHECKs) give for its values is no error.

        They gave it in the source as well, where the values were stored in other modes. Only for statements that change
        no value on the way, or whose warnings are looked at.
        """
        self.rows(f"SET SESSION sql_mode = '{TOLERANT}'")
        try:
            yield
        finally:
            with suppress(MySQLdb.Error):
                self.run(f"SET SESSION sql_mode = '{SQL_MODE}'")

    # -- statements

    def send(self, statement: str | bytes) -> None:
        """Send a statement and wait for the head of its result, with signals handled meanwhile."""
        if self._cancelled:
            raise MySQLdb.OperationalError(INTERRUPTED, "Query execution was interrupted")
        connection = self.connection
        text = statement.encode(errors=AS_IT_CAME) if isinstance(statement, str) else statement
        self._recursive = b"RECURSIVE" in text
        # The client library hands out a file only where the statement's first word is LOAD.
        connection.send_query(text if text.startswith(b"LOAD") else self._head + text)
        _await(connection.fileno())
        connection.read_query_result()

    def change(self, statement: str | bytes) -> tuple[int, int]:
        """Run a statement without a result; the rows it touched, and how many warnings it gave."""
        self.send(statement)
        return int(self.connection.affected_rows()), int(self.connection.warning_count())

    def run(self, statement: str | bytes) -> list[tuple[bytes | None, ...]]:
        """Run a statement; all rows of its result, as the bytes that came."""
        self.send(statement)
        result = self.connection.store_result()
        rows = list(result.fetch_row(0, 0)) if result else []
        described = result.describe() if result else ()
        self._types = [d[1] for d in described]
        self.columns = [str(d[0]) for d in described]
        self.refuse_truncation()
        return rows

    def rows(self, statement: Statement | str) -> list[tuple[Any, ...]]:
        """Integers as int, everything else as text."""
        with translated(self.label):
            found = self.run(self.compile(statement))
        return [values(row, self._types) for row in found]

    def refuse_truncation(self) -> list[tuple[str, int, str]]:
        """A recursion cut short at MariaDB's limit is a wrong result with a warning; here it is an error.

        So is a list of warnings that is full: that one may be behind those it holds.

        Returns:
            All that the server warned of in the result just read in full.

        Raises:
            SubsetError: it was cut short, or may have been.
        """
        if not self.connection.warning_count():
            return []
        unsure = self._cuts_short and self._recursive
        warned = self.warnings()
        for _, code, message in warned:
            if code == TRUNCATED_RECURSION:
                raise SubsetError(
                    Fault(f"the server cut a recursive query short: {message}", self.label, RAISE_THE_LIMIT)
                )
        if unsure and len(warned) >= self.most_warnings:
            raise SubsetError(
                Fault(
                    f"the server may have cut a recursive query short: it lists no more than {len(warned):,} warnings, "
                    f"and these are of something else: {without_values(warned[0][2])} (warning {warned[0][1]})",
                    self.label,
                    f"{RAISE_THE_LIMIT} Or let the filters give no warnings: compare values of one type.",
                )
            )
        return warned

    def warnings(self) -> list[tuple[str, int, str]]:
        """What the server warned of in the last statement."""
        self.send("SHOW WARNINGS")
        found = self.connection.store_result().fetch_row(0, 0)
        return [(level.decode(), int(code), message.decode(errors="replace")) for level, code, message in found]

    def literal(self, text: str) -> str:
        """A quoted string; `sql_mode` is ours, so a backslash escapes."""
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    def quote(self, *names: str) -> str:
        """An identifier, qualified when several parts are given."""
        return ".".join(map(self.dialect.identifier_preparer.quote, names))

    def has_table(self, table: TableName) -> bool:
        """Whether it is there, whatever the connection's database is."""
        schema, name = map(self.literal, table)
        found = f"SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {name}"
        return bool(self.rows(found))

    # -- the contract

    @property
    def default_schemas(self) -> tuple[str, ...]:
        """The connection's database."""
        if self.database is None:
            raise EndpointError(
                Fault("the connection names no database", self.label, "Set its schema, or name databases in `schemas`.")
            )
        return (self.database,)

    @property
    def own_schema(self) -> str | None:
        """The connection's database, if it names one."""
        return self.database

    def reflect(self, schemas: Sequence[str]) -> Schema:
        """From information_schema."""
        return catalog.reflect(self.rows, self.literal, schemas, self.server, self.label)

    def cancel(self) -> None:
        """KILL QUERY, over another connection; no further statement is sent over this one.

        One alone could be lost: it may arrive between two statements, and a statement that is killed while it sleeps
        or is being planned may end as if nothing had happened.
        """
        self._cancelled = True
        other = self.endpoint.connect()
        try:
            other.query(f"KILL QUERY {int(self.connection.thread_id())}".encode())
        finally:
            other.close()

    def close(self) -> None:
        """Close; harmless when it is closed."""
        with suppress(MySQLdb.Error):
            self.connection.close()


def values(row: Sequence[bytes | None], kinds: Sequence[int]) -> tuple[Any, ...]:
    """A row's bytes as integers and texts."""
    return tuple(_value(v, kind) for v, kind in zip(row, kinds, strict=True))


def _value(value: bytes | None, kind: int) -> Any:
    if value is None:
        return None
    if kind in INTEGERS or (kind in DECIMALS and b"." not in value):
        return int(value)
    return _text(value)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors=AS_IT_CAME)


def _comment(text: str) -> str:
    """What may stand in a comment: shown by SHOW PROCESSLIST, it says which task a statement belongs to."""
    return "".join(c for c in text if c.isalnum() or c in " _-.:+")[:120]
