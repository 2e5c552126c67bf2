"""How far a table's copy is from the floor, the server's own COPY piped from psql to psql.

On the same rows in turn.
"""

from __future__ import annotations

import subprocess

import psycopg

from airflow_subset_provider.core.plan import build
from airflow_subset_provider.core.run import Endpoint, Run, reflect
from airflow_subset_provider.core.spec import Spec
from benchmarks.kit import interleaved, ratio, told, two_servers
from sandbox.postgresql import PostgresServer

SCHEMA = """
CREATE TABLE wide (id bigint PRIMARY KEY, kind int, note text, at timestamptz, amount numeric, doc jsonb);
"""
DATA = """
INSERT INTO wide SELECT n, n % 100, repeat('x', 40), '2026-01-01'::timestamptz + n * interval '1 second', n * 1.25,
    '{{"a": 1}}' FROM generate_series(1, {rows}) n;
ANALYZE;
"""


def main(rows: int = 2_000_000, runs: int = 3) -> None:
    """Print medians and the ratio."""
    with two_servers() as (source, target):
        for server in (source, target):
            server.psql("bench", SCHEMA)
        source.psql("bench", DATA.format(rows=rows))
        run = _prepared(source, target)
        (component,) = run.plan.extracts
        seconds = interleaved(
            runs,
            before=lambda: target.psql("bench", "TRUNCATE wide"),
            extract=lambda: run.extract(component),
            floor=lambda: _psql_to_psql(source, target),
        )
        run.release()
    print(f"throughput, {rows:,} rows:")
    for name, taken in list(seconds.items())[1:]:
        print(f"  {told(name, taken)}  {rows / min(taken):,.0f} rows/s at best")
    print(f"  extract / floor: {ratio(seconds['extract'], seconds['floor']):.2f}")


def _prepared(source: PostgresServer, target: PostgresServer) -> Run:
    ends = [_endpoint(server, label) for server, label in ((source, "source"), (target, "target"))]
    run = Run(build(Spec.of(), reflect(ends[0])), *ends, replace_existing=True)
    run.prepare()
    return run


def _endpoint(server: PostgresServer, label: str) -> Endpoint:
    return Endpoint("postgresql", lambda: psycopg.connect(**server.params("bench")), label)


def _psql_to_psql(source: PostgresServer, target: PostgresServer) -> None:
    """Binary COPY through a pipe, into an emptied table, without this project."""
    psql = [str(target.bin / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1"]
    to = ["-c", "TRUNCATE wide", "-c", "COPY wide FROM STDIN (FORMAT binary)", target.url("bench")]
    out = subprocess.Popen(
        [*psql, "-c", "COPY wide TO STDOUT (FORMAT binary)", source.url("bench")], stdout=subprocess.PIPE
    )
    subprocess.run([*psql, "-1", *to], stdin=out.stdout, check=True)
    if out.wait():
        raise SystemExit("the floor's COPY failed")
