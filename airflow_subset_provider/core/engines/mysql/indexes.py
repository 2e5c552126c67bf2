"""Secondary indexes as text: SHOW CREATE TABLE has each of them on a line, as it goes into ALTER TABLE ... ADD.

Only plain B-trees of InnoDB over columns that are stored as they came. Left alone is what the server needs (indexes
that begin with a foreign key's columns, on either side, or hold an AUTO_INCREMENT), what may refuse rows (unique ones)
or computes (functional key parts, generated columns), and whatever else there is (FULLTEXT, SPATIAL, VECTOR).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import MySQLdb

from airflow_subset_provider.core.engines.base import INDEX, Suspended
from airflow_subset_provider.core.engines.mysql.errors import DENIED, code_of, translated, words_of
from airflow_subset_provider.core.engines.mysql.session import MySqlSession
from airflow_subset_provider.core.schema import TableName

log = logging.getLogger(__name__)
Columns = tuple[str, ...]

INDEXES = """
SELECT s.INDEX_NAME, s.COLUMN_NAME
FROM information_schema.STATISTICS s
JOIN information_schema.TABLES t ON t.TABLE_SCHEMA = s.TABLE_SCHEMA AND t.TABLE_NAME = s.TABLE_NAME
WHERE s.TABLE_SCHEMA = {schema} AND s.TABLE_NAME = {table} AND t.ENGINE = 'InnoDB' AND t.TABLE_TYPE = 'BASE TABLE'
  AND s.NON_UNIQUE = 1 AND s.INDEX_TYPE = 'BTREE'
ORDER BY s.INDEX_NAME, s.SEQ_IN_INDEX
"""
COMPUTED = """
SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {table}
  AND (EXTRA LIKE '%auto_increment%' OR EXTRA LIKE '%VIRTUAL%' OR EXTRA LIKE '%STORED%' OR EXTRA LIKE '%PERSISTENT%')
"""
KEYS = """
SELECT 1, CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE
WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {table} AND REFERENCED_TABLE_NAME IS NOT NULL
UNION ALL
SELECT 2, CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, REFERENCED_COLUMN_NAME
FROM information_schema.KEY_COLUMN_USAGE WHERE REFERENCED_TABLE_SCHEMA = {schema} AND REFERENCED_TABLE_NAME = {table}
"""
_LINE = re.compile(r"  (KEY `((?:[^`]|``)+)` \(.*?),?")
SAME_NAME = 1061
STAYS = DENIED | {1091, 1553}  # no such index (any more); a foreign key needs it


def found(session: MySqlSession, table: TableName, looked_up: Collection[Columns]) -> list[Suspended]:
    """The table's indexes that a run may drop.

    Args:
        looked_up: the keys whose indexes must stay, beside those of the server's own foreign keys.
    """
    keys = [*looked_up, *_foreign_keys(session, table)]
    computed = {c for (c,) in _ask(session, COMPUTED, table)}
    shown = _shown(session, table)
    return [
        Suspended(table, INDEX, name, shown[name], True)
        for name, parts in groupby(_ask(session, INDEXES, table), itemgetter(0))
        if _movable([column for _, column in parts], computed, keys) and name in shown
    ]


def _movable(columns: Sequence[str | None], computed: Collection[str], keys: Collection[Columns]) -> bool:
    """No part is an expression or computed, and the index does not begin with a key's columns, in whatever order."""
    names = [c.lower() for c in columns if c is not None]
    plain = len(names) == len(columns) and not set(names) & {c.lower() for c in computed}
    return plain and not any(set(names[: len(key)]) == {c.lower() for c in key} for key in keys)


def _ask(session: MySqlSession, query: str, table: TableName) -> list[tuple[Any, ...]]:
    return session.rows(query.format(schema=session.literal(table.schema), table=session.literal(table.name)))


def _foreign_keys(session: MySqlSession, table: TableName) -> list[Columns]:
    """The columns of every foreign key of the table and to it."""
    rows = sorted(_ask(session, KEYS, table))
    return [tuple(row[4] for row in parts) for _, parts in groupby(rows, itemgetter(slice(4)))]


def _shown(session: MySqlSession, table: TableName) -> dict[str, str]:
    """What SHOW CREATE TABLE says of each index that is neither primary nor unique.

    It writes a line feed in a comment as two characters, so that a line is an index or is none.
    """
    text = session.rows(f"SHOW CREATE TABLE {session.quote(*table)}")[0][1]
    found = (_LINE.fullmatch(line) for line in text.split("\n"))
    return {line[2].replace("``", "`"): line[1] for line in found if line}


def drop(session: MySqlSession, items: Sequence[Suspended]) -> None:
    """Drop the indexes of one table. Where that is refused they stay, and are found there when they are to be built.

    The server refuses to drop an index that a foreign key needs only where it checks foreign keys (MariaDB).
    """
    table = items[0].table
    there = _shown(session, table)
    changes = ", ".join(f"DROP INDEX {session.quote(i.name)}" for i in items if i.name in there)
    if not changes:
        return
    session.rows("SET SESSION foreign_key_checks = 1")
    try:
        session.run(f"ALTER TABLE {session.quote(*table)} {changes}")
    except MySQLdb.Error as error:
        if code_of(error) not in STAYS:
            with translated(session.label):
                raise
        log.warning("%s: its indexes stay while rows are loaded: %s", table, words_of(error))
    finally:
        session.rows("SET SESSION foreign_key_checks = 0")


def build(session: MySqlSession, items: Sequence[Suspended]) -> None:
    """Make those of one table's indexes that are not there, in one statement, which reads the table once."""
    table = items[0].table
    if not session.has_table(table):
        return
    for last in (False, True):
        there = _shown(session, table)
        changes = ", ".join(f"ADD {i.definition}" for i in items if i.name not in there)
        if not changes:
            return
        try:
            session.run(f"ALTER TABLE {session.quote(*table)} {changes}")
        except MySQLdb.Error as error:
            if code_of(error) == SAME_NAME and not last:
                continue  # another attempt made one meanwhile
            with translated(f"{session.label}, indexes of {table}"):
                raise
        return
