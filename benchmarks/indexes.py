"""What building secondary indexes after the load is worth: whole runs of one table, with and without, in turn.

The indexes are over random values, where keeping them up row by row costs most. The servers have default settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import MySQLdb
import psycopg

from airflow_subset_provider.core import indexes
from airflow_subset_provider.core.run import Endpoint, subset
from airflow_subset_provider.core.spec import Spec
from benchmarks.kit import interleaved, ratio, told, two_servers
from sandbox.mariadb import MariaDbServer
from sandbox.mysql import MySqlServer
from sandbox.mysql_family import MySqlFamilyServer

NEVER = 10**12  # rows
SCHEMA = """
CREATE TABLE wide (id bigint PRIMARY KEY, r int, u varchar(40), at timestamp NULL, note varchar(60));
CREATE INDEX wide_r ON wide (r);
CREATE INDEX wide_u ON wide (u);
CREATE INDEX wide_at ON wide (at, r);
"""
POSTGRES = """
INSERT INTO wide SELECT n, n * 7919 % 1000003, md5(n::text),
    '2026-01-01'::timestamp + n * 7919 % 1000003 * interval '1 s', repeat('x', 40)
FROM generate_series(1::bigint, {rows}) n;
ANALYZE;
"""
MYSQL = """
INSERT INTO wide
WITH RECURSIVE upto (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM upto WHERE i < 999),
    numbers (n) AS (SELECT 1 + tall.i * 1000 + wide.i FROM upto tall CROSS JOIN upto wide WHERE tall.i < {rows} / 1000)
SELECT n, n * 7919 % 1000003, left(sha2(n, 256), 32), '2026-01-01' + INTERVAL n * 7919 % 1000003 SECOND, repeat('x', 40)
FROM numbers;
ANALYZE TABLE wide;
"""


def main(rows: int = 1_000_000, runs: int = 3) -> bool:
    """Print medians and ratios; whether it pays on every server."""
    faster = [_faster(name, ends, rows, runs) for name, ends in ENDS.items()]
    return all(faster)


def _faster(name: str, ends: Callable[[int], Any], rows: int, runs: int) -> bool:
    with ends(rows) as (source, target):

        def copy() -> None:
            subset(Spec.of(), source, target, replace_existing=True)

        seconds = interleaved(runs, afterwards=copy, during=patch.object(indexes, "LARGE", NEVER)(copy))
    print(f"indexes on {name}, {rows:,} rows:")
    for when, taken in seconds.items():
        print(f"  {told(f'built {when}', taken)}")
    found = ratio(seconds["during"], seconds["afterwards"])
    print(f"  during / afterwards: {found:.2f}")
    return found >= 1


@contextmanager
def _postgres(rows: int) -> Iterator[tuple[Endpoint, ...]]:
    with two_servers() as servers:
        for server in servers:
            server.psql("bench", SCHEMA)
        servers[0].psql("bench", POSTGRES.format(rows=rows))
        yield tuple(_end("postgresql", partial(psycopg.connect, **s.params("bench"))) for s in servers)


@contextmanager
def _of_mysql(kind: type[MySqlFamilyServer], rows: int) -> Iterator[tuple[Endpoint, ...]]:
    with kind() as source, kind() as target:
        for server in (source, target):
            server.create_database("bench")
            server.run_script("bench", SCHEMA)
        source.run_script("bench", MYSQL.format(rows=rows))
        yield tuple(
            _end("mysql", partial(MySQLdb.connect, **s.params("bench"), local_infile=True)) for s in (source, target)
        )


def _end(engine: str, connect: Callable[[], Any]) -> Endpoint:
    return Endpoint(engine, connect, "benchmark")


ENDS: dict[str, Callable[[int], Any]] = {
    "Postgres": _postgres,
    "MySQL": lambda rows: _of_mysql(MySqlServer, rows),
    "MariaDB": lambda rows: _of_mysql(MariaDbServer, rows),
}
