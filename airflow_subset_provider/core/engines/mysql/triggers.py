"""Triggers as text: a server of this kind cannot switch a trigger off, only drop it and make it again.

Only SHOW CREATE TRIGGER has the body as its author wrote it (information_schema shows strings with their escapes gone,
on MySQL). It repeats the whole statement, though, and a database's name in that would make the trigger there, whatever
database is meant now: so the body is taken out of it and the rest put together anew. The settings that a trigger was
made under belong to it (MySQL manual 27.3.1).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from airflow_subset_provider.core.engines.mysql.session import SQL_MODE, MySqlSession
from airflow_subset_provider.core.errors import EndpointError, Fault
from airflow_subset_provider.core.schema import TableName

TRIGGERS = """
SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_NAME, ACTION_TIMING, EVENT_MANIPULATION, DEFINER,
       SQL_MODE, COLLATION_CONNECTION
FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA IN ({schemas})
ORDER BY EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER
"""

_NAME = r"""(?:`(?:[^`]|``)+`|"(?:[^"]|"")+"|[\w$]+)"""
_QUALIFIED = rf"{_NAME}(?:\s*\.\s*{_NAME})?"
_QUALIFIER = re.compile(rf"({_NAME})\s*\.")
# An order (FOLLOWS, PRECEDES) is kept by making triggers in their order.
_HEAD = re.compile(
    rf"\s*CREATE\b.*?\bTRIGGER\s+(?:IF\s+NOT\s+EXISTS\s+)?{_QUALIFIED}\s+(?:BEFORE|AFTER)\s+(?:INSERT|UPDATE|DELETE)"
    rf"\s+ON\s+{_QUALIFIED}\s+FOR\s+EACH\s+ROW\s+(?:(?:FOLLOWS|PRECEDES)\s+{_QUALIFIED}\s+)?",
    re.IGNORECASE | re.DOTALL,
)


class Trigger(NamedTuple):
    """One trigger of one table.

    Attributes:
        moment: e.g. `BEFORE INSERT`.
        definer: `user@host`; "" for whoever makes it.
    """

    name: str
    moment: str
    body: str
    definer: str
    sql_mode: str
    collation: str


def found(session: MySqlSession, tables: Sequence[TableName]) -> dict[TableName, list[Trigger]]:
    """The tables' triggers in the order they fire in, as far as this user may see them."""
    if not tables:
        return {}
    schemas = ", ".join(session.literal(s) for s in sorted({t.schema for t in tables}))
    by_table: dict[TableName, list[Trigger]] = {}
    for schema, name, trigger, timing, event, *rest in session.rows(TRIGGERS.format(schemas=schemas)):
        table = TableName(schema, name)
        if table in tables:
            body = _body(session, schema, trigger)
            by_table.setdefault(table, []).append(Trigger(trigger, f"{timing} {event}", body, *rest))
    return by_table


def _body(session: MySqlSession, schema: str, name: str) -> str:
    session.rows("SET SESSION character_set_results = utf8mb4")  # else in whatever set its author's client spoke
    statement = session.rows(f"SHOW CREATE TRIGGER {session.quote(schema, name)}")[0][2]
    session.rows("SET SESSION character_set_results = NULL")
    head = _HEAD.match(statement)
    if head is None:
        raise EndpointError(
            Fault(f"trigger {schema}.{name} cannot be taken apart", session.label, "Are there comments in its head?")
        )
    return str(statement[head.end() :])


def make(session: MySqlSession, table: TableName, trigger: Trigger) -> None:
    """Make it, unless it is there."""
    there = session.rows(
        "SELECT 1 FROM information_schema.TRIGGERS "
        f"WHERE TRIGGER_SCHEMA = {session.literal(table.schema)} AND TRIGGER_NAME = {session.literal(trigger.name)}"
    )
    if not there:
        with _as_made(session, table.schema, trigger):
            session.rows(
                f"CREATE {_definer(session, trigger.definer)}TRIGGER {session.quote(trigger.name)} {trigger.moment} "
                f"ON {session.quote(*table)} FOR EACH ROW {trigger.body}"
            )


def drop(session: MySqlSession, table: TableName, trigger: Trigger) -> None:
    """Drop it."""
    session.rows(f"DROP TRIGGER IF EXISTS {session.quote(table.schema, trigger.name)}")


def merged(noted: Sequence[Trigger], found: Sequence[Trigger]) -> list[Trigger]:
    """Those noted, in their order and as they are by now, and then those that were not."""
    now = {trigger.name: trigger for trigger in found}
    return [*(now.pop(trigger.name, trigger) for trigger in noted), *now.values()]


def named(trigger: Trigger, databases: Collection[str]) -> list[str]:
    """Those of the databases that stand before a dot in the body, were it in a comment; case may say nothing."""
    qualifiers = {_bare(name).lower() for name in _QUALIFIER.findall(trigger.body)}
    return sorted(name for name in databases if name.lower() in qualifiers)


def _bare(name: str) -> str:
    quote = name[0]
    return name[1:-1].replace(quote * 2, quote) if quote in '`"' else name


def _definer(session: MySqlSession, definer: str) -> str:
    if not definer:
        return ""
    user, _, host = definer.rpartition("@")
    return f"DEFINER = {session.quote(user)}@{session.quote(host)} " if user else f"DEFINER = {session.quote(host)} "


@contextmanager
def _as_made(session: MySqlSession, schema: str, trigger: Trigger) -> Iterator[None]:
    """The settings a trigger is made under, and the database its body's unqualified names mean."""
    home = session.database
    session.rows(f"USE {session.quote(schema)}")
    modes = ",".join(mode for mode in trigger.sql_mode.split(",") if mode not in session.server.modes_gone)
    session.rows(f"SET SESSION sql_mode = {session.literal(modes)}")
    # Of its literals. The other kind of server, or an older one, may not know it; it keeps this session's then.
    session.wish([f"collation_connection = {session.literal(trigger.collation)}"])
    try:
        yield
    finally:
        collation = session.literal(session.collation_connection)
        session.rows(f"SET SESSION sql_mode = '{SQL_MODE}', collation_connection = {collation}")
        if home:
            session.rows(f"USE {session.quote(home)}")
