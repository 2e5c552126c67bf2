"""Secondary indexes as the server spells them: pg_get_indexdef is a statement that makes the index again.

It leaves out a comment, a tablespace, CLUSTER, what an extension has to do with it, and it makes no partition's index
part of its parent's: an index with any of these stays, and so does one that constraints or replication stand on, one
that computes (expressions and predicates may fail on a row), and one that this user may not make again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from airflow_subset_provider.core.engines.base import INDEX, Suspended
from airflow_subset_provider.core.engines.postgresql.session import raw, translated
from airflow_subset_provider.core.engines.postgresql.store import PostgresStore
from airflow_subset_provider.core.schema import TableName

INDEXES = """
SELECT n.nspname, c.relname, i.relname, pg_get_indexdef(x.indexrelid),
       ARRAY(SELECT a.attname::text FROM unnest(x.indkey::int2[]) WITH ORDINALITY k(attnum, place)
             JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum
             WHERE k.place <= x.indnkeyatts ORDER BY k.place)
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND c.relkind = 'r' AND NOT c.relispartition
  AND NOT x.indisunique AND NOT x.indisexclusion AND NOT x.indisclustered AND NOT x.indisreplident
  AND x.indisvalid AND x.indisready AND x.indislive AND x.indexprs IS NULL AND x.indpred IS NULL
  AND i.reltablespace = 0 AND obj_description(i.oid, 'pg_class') IS NULL
  AND has_schema_privilege(n.oid, 'CREATE')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.oid
                  AND d.deptype IN ('e', 'x'))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = i.oid)
ORDER BY 3
"""
THERE = """
SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
WHERE x.indrelid = to_regclass(%(table)s) AND x.indisvalid
"""


def found(store: PostgresStore, table: TableName, looked_up: Collection[tuple[str, ...]]) -> list[Suspended]:
    """The table's indexes that a run may drop.

    Args:
        looked_up: the keys whose indexes must stay.
    """
    with store.spelled_out():
        rows = store.query(INDEXES, {"schema": table.schema, "table": table.name})
    return [
        Suspended(TableName(schema, name), INDEX, index, definition, True)
        for schema, name, index, definition, columns in rows
        if not any(set(columns[: len(key)]) == set(key) for key in looked_up)
    ]


def drop(store: PostgresStore, item: Suspended) -> None:
    """Drop it, if it is there."""
    store.execute(f"DROP INDEX IF EXISTS {store.named(TableName(item.table.schema, item.name))}")


def build(store: PostgresStore, items: Sequence[Suspended]) -> None:
    """Make those of one table's indexes that are not there. Another attempt at it waits, then finds them."""
    table = store.named(items[0].table)
    if store.query("SELECT to_regclass(%(table)s) IS NULL", {"table": table})[0][0]:
        return
    with store.savepoint():
        store.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
        store.execute("SET LOCAL default_tablespace = ''")
        there = {name for (name,) in store.query(THERE, {"table": table})}
        for item in items:
            if item.name not in there:
                with translated(f"{store.label}, index {item.name!r} of {item.table}"):
                    store.connection.execute(raw(item.definition))
