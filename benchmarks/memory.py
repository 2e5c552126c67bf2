"""Memory stays flat: a worker that copies 5 million rows needs no more than one that copies 50,000.

Both the rows a filter selects (one stream) and the rows fetched because they are referenced (keys in pages) are
measured.
"""

from __future__ import annotations

from benchmarks.kit import child, two_servers
from sandbox.postgresql import PostgresServer

SCHEMA = """
CREATE TABLE parent (id bigint PRIMARY KEY, name text NOT NULL);
CREATE TABLE child (id bigint PRIMARY KEY, parent_id bigint NOT NULL REFERENCES parent, note text, at timestamptz);
"""
DATA = """
INSERT INTO parent SELECT n, 'parent ' || n FROM generate_series(1, {rows}) n;
INSERT INTO child SELECT n, n, repeat('x', 40), '2026-01-01'::timestamptz + n * interval '1 second'
FROM generate_series(1, {rows}) n;
ANALYZE;
"""
ALLOWED = 50  # MiB above the small run


def main(rows: int = 5_000_000, small: int = 50_000) -> bool:
    """Print both peaks; whether the difference is within what is allowed."""
    with two_servers() as (source, target):
        for server in (source, target):
            server.psql("bench", SCHEMA)
        source.psql("bench", DATA.format(rows=rows))
        few, many = _peak(source, target, small), _peak(source, target, rows)
    print(
        f"memory: {small:,} children and their parents: {few:.0f} MiB; {rows:,}: {many:.0f} MiB; {many - few:+.0f} MiB"
    )
    return many - few <= ALLOWED


def _peak(source: PostgresServer, target: PostgresServer, rows: int) -> float:
    spec = {"filters": {"child": f"id <= {rows}"}, "others": "referenced"}
    result = child("benchmarks.worker", source=source.params("bench"), target=target.params("bench"), spec=spec)
    if result["rows"] != 2 * rows or result["dangling"]:
        raise SystemExit(f"expected {2 * rows} rows and nothing dangling, got {result}")
    print(f"  {result['rows']:,} rows in {result['seconds']:.1f} s, peak {result['peak_mib']:.0f} MiB")
    return float(result["peak_mib"])
