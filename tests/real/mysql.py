"""A real database's source and target on MySQL or MariaDB, read without any of the engine's code.

What a test here knows of keys and columns comes from the servers' catalogues by its own statements, so that a mistake
in reflection cannot hide itself. Values are compared as the hex digits of their bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import MySQLdb

from airflow_subset_provider.core.run import Endpoint

KEYS = """
SELECT CONSTRAINT_NAME, TABLE_NAME, COLUMN_NAME, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME
FROM information_schema.KEY_COLUMN_USAGE
WHERE TABLE_SCHEMA = DATABASE() AND REFERENCED_TABLE_NAME IS NOT NULL
ORDER BY TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION
"""
COLUMNS = """
SELECT c.TABLE_NAME, c.COLUMN_NAME, c.DATA_TYPE FROM information_schema.COLUMNS c
JOIN information_schema.TABLES t ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME
WHERE c.TABLE_SCHEMA = DATABASE() AND t.TABLE_TYPE = 'BASE TABLE' AND c.TABLE_NAME NOT LIKE 'airflow\\_subset\\_%'
ORDER BY c.TABLE_NAME, c.ORDINAL_POSITION
"""
COUNTERS = """
SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = DATABASE() AND EXTRA LIKE '%auto_increment%'
"""


Values = tuple[str, ...]


class Key(NamedTuple):
    """A foreign key as the catalogue has it."""

    name: str
    child: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]


class Database:
    """One database, for checks."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        """Connect."""
        self._connection = MySQLdb.connect(**params, charset="utf8mb4", autocommit=True)
        self.query("SET SESSION information_schema_stats_expiry = 0", or_not=True)

    def __enter__(self) -> Database:
        """For `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self._connection.close()

    def query(self, statement: str, *, or_not: bool = False) -> list[tuple[Any, ...]]:
        """Run a statement; with `or_not`, the server need not know it."""
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall())
        except MySQLdb.Error:
            if or_not:
                return []
            raise

    def foreign_keys(self) -> list[Key]:
        """All foreign keys."""
        parts: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
        for name, child, column, parent, parent_column in self.query(KEYS):
            parts.setdefault((name, child, parent), []).append((column, parent_column))
        return [
            Key(name, child, tuple(a for a, _ in pairs), parent, tuple(b for _, b in pairs))
            for (name, child, parent), pairs in parts.items()
        ]

    def dangling(self, key: Key) -> int:
        """Rows of the child whose value matches no row of the parent."""
        on = " AND ".join(f"p.`{b}` = c.`{a}`" for a, b in zip(key.columns, key.parent_columns, strict=True))
        full = " AND ".join(f"c.`{a}` IS NOT NULL" for a in key.columns)
        return int(
            self.query(
                f"SELECT COUNT(*) FROM `{key.child}` c WHERE {full} "
                f"AND NOT EXISTS (SELECT 1 FROM `{key.parent}` p WHERE {on})"
            )[0][0]
        )

    def matches(self, key: Key) -> dict[Values, list[Values]]:
        """The bytes of a key's references, each with those of all values of the parent that the server holds equal.

        A collation says what is equal: case, accents and trailing spaces may count or not.
        """
        on = " AND ".join(f"p.`{b}` = c.`{a}`" for a, b in zip(key.columns, key.parent_columns, strict=True))
        picked = [_bytes(f"c.`{a}`") for a in key.columns] + [_bytes(f"p.`{b}`") for b in key.parent_columns]
        found: dict[Values, list[Values]] = {}
        for row in self.query(
            f"SELECT DISTINCT {', '.join(picked)} FROM `{key.child}` c JOIN `{key.parent}` p ON {on}"
        ):
            found.setdefault(row[: len(key.columns)], []).append(row[len(key.columns) :])
        return found

    def tables(self) -> dict[str, dict[str, str]]:
        """Of every table, its columns as expressions of their bytes' hex digits."""
        found: dict[str, dict[str, str]] = {}
        for table, column, type_ in self.query(COLUMNS):
            text = f"CAST(`{table}`.`{column}` AS CHAR)" if type_ == "json" else f"`{table}`.`{column}`"
            found.setdefault(table, {})[column] = _bytes(text)
        return found

    def rows(self, table: str, picked: Mapping[str, str], clause: str = "TRUE") -> list[tuple[Any, ...]]:
        """Whether the clause holds, and the values, of every row."""
        return self.query(f"SELECT ({clause}), {', '.join(picked.values())} FROM `{table}`")

    def counts(self) -> dict[str, int]:
        """Rows of every table; empty ones left out."""
        counted = {t: int(self.query(f"SELECT COUNT(*) FROM `{t}`")[0][0]) for t in self.tables()}
        return {t: n for t, n in counted.items() if n}

    def counters(self) -> dict[str, tuple[int, int]]:
        """Of every table with AUTO_INCREMENT: the next value, and the greatest there is."""
        found = {}
        for table, column in self.query(COUNTERS):
            status = self.query(f"SHOW TABLE STATUS LIKE '{table}'")
            greatest = self.query(f"SELECT COALESCE(MAX(`{column}`), 0) FROM `{table}`")[0][0]
            found[table] = (int(status[0][10] or 1), int(greatest))
        return found


def _bytes(value: str) -> str:
    return f"HEX(CAST({value} AS BINARY))"


def kept(rows: list[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
    """The values without the clause's answer, as a multiset."""
    return Counter(row[1:] for row in rows)


def endpoint(params: Mapping[str, Any], label: str) -> Endpoint:
    """An endpoint of the engine for these connection parameters."""
    return Endpoint("mysql", lambda: MySQLdb.connect(**params, local_infile=True), label)
