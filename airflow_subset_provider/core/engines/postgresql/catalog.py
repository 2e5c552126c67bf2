"""Reflection of a Postgres schema from pg_catalog, in four statements however many tables there are.

SQLAlchemy's Inspector does not tell what a copy must know: the exact type text, keys that stand only on partitions,
unvalidated keys, whether a type's binary form means the same on another server. Partitions are folded into
their root: a copy reads and writes the root alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from airflow_subset_provider.core.schema import Column, ForeignKey, Key, Schema, Table, TableName

Query = Callable[[str, dict[str, Any]], list[tuple[Any, ...]]]

# `root` maps every partition, at any depth, to its topmost table; other tables to themselves.
ROOTS = """
WITH RECURSIVE root(oid, top) AS (
    SELECT c.oid, c.oid FROM pg_class c WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
    UNION ALL
    SELECT i.inhrelid, r.top FROM root r JOIN pg_inherits i ON i.inhparent = r.oid
    JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition
),
scope AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.reltuples
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND c.relpersistence <> 't'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                      AND d.deptype = 'e')
)
"""

# Not by relhassubclass: it stays true after the last child is gone until the table is vacuumed, which would be drift
# that nobody made, and temporary children set it. A statement sees none of these but its own session's.
TABLES = (
    ROOTS
    + """
SELECT s.nspname, s.relname, s.relkind = 'r' AND EXISTS (
           SELECT FROM pg_inherits i JOIN pg_class h ON h.oid = i.inhrelid
           WHERE i.inhparent = s.oid AND h.relpersistence <> 't'),
       CASE WHEN s.relkind = 'r' THEN s.reltuples ELSE p.rows END, p.leaves
FROM scope s
LEFT JOIN LATERAL (
    SELECT array_agg(n.nspname || '.' || c.relname ORDER BY n.nspname, c.relname) AS leaves,
           sum(greatest(c.reltuples, 0)) AS rows
    FROM root r JOIN pg_class c ON c.oid = r.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE r.top = s.oid AND r.oid <> s.oid AND c.relkind = 'r'
) p ON s.relkind = 'p'
ORDER BY 1, 2
"""
)

# A type is portable in binary form unless a user-defined type's OID is inside it: composites, and arrays and
# ranges of user-defined types (array_send and record_send write element OIDs, which differ between databases), and
# no type that is a name for people and an OID for the server (regclass, regtype and their like).
COLUMNS = (
    ROOTS
    + """
SELECT s.nspname, s.relname, a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
       a.attgenerated <> '', a.atthasdef OR a.attidentity <> '',
       b.typsend <> 0 AND b.typtype <> 'c' AND b.typtype NOT IN ('r', 'm')
       AND NOT (b.oid < 16384 AND b.typname ~ '^_?reg(class|collation|config|dictionary|namespace|oper|proc|role|type)')
       AND NOT (b.typelem <> 0 AND b.typlen = -1 AND b.typelem >= 16384)
       OR (b.typtype IN ('r', 'm') AND b.oid < 16384),
       coalesce((SELECT quote_ident(cn.nspname) || '.' || quote_ident(c.collname)
                 FROM pg_collation c JOIN pg_namespace cn ON cn.oid = c.collnamespace
                 WHERE c.oid = a.attcollation AND c.oid <> t.typcollation), '')
FROM scope s
JOIN pg_attribute a ON a.attrelid = s.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
JOIN LATERAL (
    WITH RECURSIVE base(oid, typbasetype) AS (
        SELECT t.oid, t.typbasetype
        UNION ALL SELECT u.oid, u.typbasetype FROM base JOIN pg_type u ON u.oid = base.typbasetype
    ) SELECT u.* FROM base JOIN pg_type u ON u.oid = base.oid WHERE base.typbasetype = 0
) b ON true
ORDER BY 1, 2, a.attnum
"""
)

KEYS = (
    ROOTS
    + """
SELECT s.nspname, s.relname, i.relname, x.indisprimary,
       (SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(x.indkey::smallint[]) WITH ORDINALITY k(attnum, n)
        JOIN pg_attribute a ON a.attrelid = s.oid AND a.attnum = k.attnum WHERE k.n <= x.indnkeyatts)
FROM scope s
JOIN pg_index x ON x.indrelid = s.oid AND x.indisunique AND x.indisvalid
    AND x.indpred IS NULL AND x.indexprs IS NULL
JOIN pg_class i ON i.oid = x.indexrelid
ORDER BY 1, 2, x.indisprimary DESC, i.relname
"""
)

# conparentid = 0: a key declared on a partitioned table is repeated on each partition as a child of itself.
FOREIGN_KEYS = (
    ROOTS
    + """
SELECT cn.nspname, cc.relname, k.conname,
       (SELECT array_agg(a.attname::text ORDER BY u.n) FROM unnest(k.conkey) WITH ORDINALITY u(attnum, n)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum),
       pn.nspname, pc.relname,
       (SELECT array_agg(a.attname::text ORDER BY u.n) FROM unnest(k.confkey) WITH ORDINALITY u(attnum, n)
        JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum),
       k.convalidated, CASE WHEN k.conrelid <> r.top THEN on_.nspname || '.' || onc.relname END
FROM pg_constraint k
JOIN root r ON r.oid = k.conrelid JOIN scope s ON s.oid = r.top
JOIN root p ON p.oid = k.confrelid
JOIN pg_class cc ON cc.oid = r.top JOIN pg_namespace cn ON cn.oid = cc.relnamespace
JOIN pg_class pc ON pc.oid = p.top JOIN pg_namespace pn ON pn.oid = pc.relnamespace
JOIN pg_class onc ON onc.oid = k.conrelid JOIN pg_namespace on_ ON on_.oid = onc.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0
ORDER BY 1, 2, 4, 5, 6, 7, k.conrelid <> r.top, 3
"""
)


def reflect(query: Query, schemas: Sequence[str], server: str) -> Schema:
    """Read the schemas.

    Args:
        query: runs one statement with its parameters in one read-only transaction.
        schemas: which ones; order does not matter.
        server: the server's version, for the catalog's readers.
    """
    scope = {"schemas": list(schemas)}
    columns = _by_table(query(COLUMNS, scope))
    keys = _by_table(query(KEYS, scope))
    tables = tuple(
        Table(
            name=TableName(schema, name),
            columns=tuple(Column(*c) for c in columns.get((schema, name), ())),
            keys=tuple(Key(k, tuple(cols), primary) for k, primary, cols in keys.get((schema, name), ())),
            partitions=tuple(leaves or ()),
            inherited=inherited,
            rows=int(rows if rows is not None else -1),
        )
        for schema, name, inherited, rows, leaves in query(TABLES, scope)
    )
    return Schema("postgresql", tuple(sorted(schemas)), tables, _foreign_keys(query(FOREIGN_KEYS, scope)), server)


def _by_table(rows: list[tuple[Any, ...]]) -> dict[tuple[str, str], list[tuple[Any, ...]]]:
    return {table: [row[2:] for row in group] for table, group in groupby(rows, itemgetter(0, 1))}


def _foreign_keys(rows: list[tuple[Any, ...]]) -> tuple[ForeignKey, ...]:
    """One key for all constraints with the same columns: a key on the root stands for those on its partitions."""
    keys = []
    for _, group in groupby(rows, lambda r: (r[0], r[1], r[3], r[4], r[5], r[6])):
        same = list(group)
        schema, name, constraint, columns, parent_schema, parent, parent_columns, _, partition = same[0]
        keys.append(
            ForeignKey(
                name=constraint,
                child=TableName(schema, name),
                columns=tuple(columns),
                parent=TableName(parent_schema, parent),
                parent_columns=tuple(parent_columns),
                validated=all(row[7] for row in same),
                only_on=tuple(row[8] for row in same) if partition else (),
                also=tuple(sorted({row[2] for row in same} - {constraint})),
            )
        )
    return tuple(keys)
