"""A real database's source and target, read without any of the engine's code.

What a test here knows of keys and columns comes from the servers' catalogues by its own statements, so that a mistake
in reflection cannot hide itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from airflow_subset_provider.core.run import Endpoint


class Key(NamedTuple):
    """A foreign key as the source's catalogue has it."""

    name: str
    child: str
    columns: list[str]
    parent: str
    parent_columns: list[str]


KEYS = """
SELECT k.conname, k.conrelid::regclass::text,
       (SELECT array_agg(a.attname::text ORDER BY i) FROM generate_subscripts(k.conkey, 1) i
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[i]),
       k.confrelid::regclass::text,
       (SELECT array_agg(a.attname::text ORDER BY i) FROM generate_subscripts(k.confkey, 1) i
        JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = k.confkey[i])
FROM pg_constraint k WHERE k.contype = 'f' ORDER BY 1, 2
"""
CONSTRAINTS = """
SELECT c.conrelid::regclass::text, c.conname, replace(pg_get_constraintdef(c.oid), ' NOT VALID', ''), c.convalidated
FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
WHERE c.conrelid <> 0 AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'airflow_subset')
ORDER BY 1, 2, 3
"""
# Roots and plain tables; all but generated columns.
COLUMNS = """
SELECT n.nspname, c.relname, array_agg(a.attname::text ORDER BY a.attname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname = ANY(%s)
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
GROUP BY 1, 2 ORDER BY 1, 2
"""


class Database:
    """One database, for checks."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        """Connect; everything is read in one snapshot."""
        self.connection = psycopg.connect(**params, autocommit=True)
        self.connection.execute("SET search_path = ''")

    def __enter__(self) -> Database:
        """For `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.connection.close()

    def foreign_keys(self) -> list[Key]:
        """All foreign keys, those on partitions too."""
        return [Key(*row) for row in self.connection.execute(KEYS)]

    def constraints(self) -> list[tuple[Any, ...]]:
        """All constraints with definition and validity."""
        return self.connection.execute(CONSTRAINTS).fetchall()

    def dangling(self, key: Key) -> int:
        """Rows of the child whose value matches no row of the parent."""
        on = " AND ".join(f'p."{b}" = c."{a}"' for a, b in zip(key.columns, key.parent_columns, strict=True))
        full = " AND ".join(f'c."{a}" IS NOT NULL' for a in key.columns)
        text = f"SELECT count(*) FROM {key.child} c WHERE {full} AND NOT EXISTS (SELECT FROM {key.parent} p WHERE {on})"
        return self.connection.execute(text).fetchone()[0]

    def tables(self, schemas: list[str]) -> dict[tuple[str, str], list[str]]:
        """The columns of every table."""
        return {(s, t): columns for s, t, columns in self.connection.execute(COLUMNS, [schemas])}

    def rows(self, table: tuple[str, str], columns: list[str]) -> Counter[tuple[str | None, ...]]:
        """The table's rows as multiset of texts."""
        picked = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(c)) for c in columns)
        partitioned = self.connection.execute(
            "SELECT c.relkind = 'p' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relname = %s",
            table,
        ).fetchone()
        only = sql.SQL("" if partitioned and partitioned[0] else "ONLY ")
        return Counter(
            self.connection.execute(sql.SQL("SELECT {} FROM {}{}").format(picked, only, sql.Identifier(*table)))
        )

    def counts(self, schemas: list[str]) -> dict[str, int]:
        """Rows of every table, by its bare name; empty ones left out."""
        found = {}
        for schema, table in self.tables(schemas):
            query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table))
            rows = self.connection.execute(query).fetchone()[0]
            if rows:
                found[table] = rows
        return found


def endpoint(params: Mapping[str, Any], label: str) -> Endpoint:
    """An endpoint of the engine for these connection parameters."""
    return Endpoint("postgresql", lambda: psycopg.connect(**params), label)
