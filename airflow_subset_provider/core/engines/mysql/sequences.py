"""Sequences, which MariaDB has and MySQL has not: tables of their own kind, called by the defaults of columns.

A default names its sequence with the database, always (MariaDB's SHOW CREATE TABLE), so a table made by that text
elsewhere would go on calling the source's.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterator, Sequence

from airflow_subset_provider.core.engines.mysql.session import MySqlSession
from airflow_subset_provider.core.schema import TableName

log = logging.getLogger(__name__)

SEQUENCES = """
SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES
WHERE TABLE_SCHEMA IN ({schemas}) AND TABLE_TYPE = 'SEQUENCE'
"""
DEFAULTS = """
SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, COLUMN_DEFAULT FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA IN ({schemas}) AND COLUMN_DEFAULT LIKE '%nextval(%' AND NUMERIC_PRECISION IS NOT NULL
"""
_NAME = r"`((?:[^`]|``)+)`"
# Strings and other names are passed over.
_CALL = re.compile(
    rf"'(?:[^'\\]|''|\\.)*'|\b(?P<call>(?:next|last|set)val\(){_NAME}\.{_NAME}|`(?:[^`]|``)*`",
    re.IGNORECASE | re.DOTALL,
)


def found(session: MySqlSession, schemas: Sequence[str]) -> list[TableName]:
    """All that this user may see."""
    listed = ", ".join(map(session.literal, schemas))
    return sorted(TableName(s, name) for s, name in session.rows(SEQUENCES.format(schemas=listed)))


def shown(session: MySqlSession, sequence: TableName) -> str:
    """CREATE SEQUENCE, without its database."""
    return str(session.rows(f"SHOW CREATE SEQUENCE {session.quote(*sequence)}")[0][1])


def called(text: str) -> Iterator[TableName]:
    """The sequences that a table's text, or a default's, calls."""
    return (_named(call) for call in _CALL.finditer(text) if call["call"])


def moved(text: str, located: Callable[[TableName], TableName], quote: Callable[..., str]) -> str:
    """The text with its calls going to where the sequences are."""
    return _CALL.sub(lambda m: f"{m['call']}{quote(*located(_named(m)))}" if m["call"] else m[0], text)


def _named(call: re.Match[str]) -> TableName:
    return TableName(call[2].replace("``", "`"), call[3].replace("``", "`"))


def advance(session: MySqlSession, schemas: Sequence[str], tables: Collection[TableName]) -> int:
    """Let those that fill columns of the tables go on after the columns' values; how many they are.

    Of these databases only: a table that was made by hand may call a sequence of the source.
    """
    own = set(found(session, schemas))
    fed: dict[TableName, list[tuple[TableName, str]]] = {}
    listed = ", ".join(map(session.literal, schemas))
    for schema, name, column, default in session.rows(DEFAULTS.format(schemas=listed)):
        table = TableName(schema, name)
        for sequence in called(default) if table in tables else ():
            if sequence in own:
                fed.setdefault(sequence, []).append((table, column))
            else:
                log.warning("%s.%s is filled by sequence %s, which is not the copy's", table, column, sequence)
    for sequence, columns in fed.items():
        _advance(session, sequence, columns)
    return len(fed)


def _advance(session: MySqlSession, sequence: TableName, columns: Sequence[tuple[TableName, str]]) -> None:
    """SETVAL never goes back. Behind its last number a sequence has run out: greater values are none of its own."""
    name = session.quote(*sequence)
    step, least, greatest = session.rows(f"SELECT increment, minimum_value, maximum_value FROM {name}")[0]
    last = "MIN" if step < 0 else "MAX"
    asked = " UNION ALL ".join(
        f"SELECT {last}({session.quote(column)}) AS n FROM {session.quote(*table)} "
        f"WHERE {session.quote(column)} BETWEEN {least} AND {greatest}"
        for table, column in columns
    )
    value = session.value(f"SELECT CAST({last}(n) AS SIGNED) FROM ({asked}) AS subset_values")
    if value is not None:
        session.rows(f"SELECT SETVAL({name}, {value})")
