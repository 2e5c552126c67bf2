"""Work grows linearly with the depth of the graph and with the number of parents a table has."""

from __future__ import annotations

import time

import psycopg

from airflow_subset_provider.core.plan import build
from airflow_subset_provider.core.run import Endpoint, Run, reflect
from airflow_subset_provider.core.spec import Spec
from benchmarks.kit import two_servers


def main(depth: int = 8, rows: int = 200_000) -> None:
    """Print each level's seconds for a chain where the filter keeps a tenth of the rows."""
    with two_servers() as (source, target):
        for server in (source, target):
            server.psql("bench", "".join(_table(level) for level in range(depth)))
        source.psql("bench", "".join(_data(level, rows) for level in range(depth)) + "ANALYZE;")
        ends = [
            Endpoint("postgresql", lambda s=server: psycopg.connect(**s.params("bench")), label)  # type: ignore[misc]
            for server, label in ((source, "source"), (target, "target"))
        ]
        run = Run(build(Spec.of(filters={"t0": "id % 10 = 0"}), reflect(ends[0])), *ends)
        run.prepare()
        print(f"depth, {rows:,} rows a level, a tenth kept:")
        for level, component in enumerate(run.plan.extracts):
            started = time.monotonic()
            run.extract(component)
            print(f"  level {level}: {time.monotonic() - started:.2f} s")
        run.release()


def _table(level: int) -> str:
    parent = f", parent_id bigint NOT NULL REFERENCES t{level - 1}" if level else ""
    index = f"CREATE INDEX ON t{level} (parent_id);" if level else ""
    return f"CREATE TABLE t{level} (id bigint PRIMARY KEY, note text{parent}); {index}\n"


def _data(level: int, rows: int) -> str:
    parent = f", (n * 7919) % {rows} + 1" if level else ""
    return f"INSERT INTO t{level} SELECT n, repeat('x', 40){parent} FROM generate_series(1, {rows}) n;\n"
