"""How far a table's copy is from the floor on MySQL and MariaDB, and that a worker's memory stays flat there.

The floor is the target's own LOAD DATA of the same rows from a file on its disk, into the same table; nothing is read
from a source then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import MySQLdb

from airflow_subset_provider.core.plan import build
from airflow_subset_provider.core.run import Endpoint, Run, reflect
from airflow_subset_provider.core.spec import Spec
from benchmarks.kit import child, interleaved, ratio, told
from sandbox.mariadb import MariaDbServer
from sandbox.mysql import MySqlServer
from sandbox.mysql_family import MySqlFamilyServer

ALLOWED_RATIO = 1.3
ALLOWED_MIB = 50  # above the small run
SMALL = 100_000
OPTIONS = ("--innodb-buffer-pool-size=512M",)

SCHEMA = """
CREATE TABLE wide (
    id bigint PRIMARY KEY, kind int, note varchar(60), at timestamp NULL, amount decimal(20, 4), doc json
);
CREATE TABLE parent (id bigint PRIMARY KEY, name varchar(60) NOT NULL);
CREATE TABLE child (
    id bigint PRIMARY KEY, parent_id bigint NOT NULL, note varchar(60), at timestamp NULL,
    FOREIGN KEY (parent_id) REFERENCES parent (id)
);
"""
NUMBERS = """
CREATE TABLE numbers (n bigint PRIMARY KEY);
INSERT INTO numbers
WITH RECURSIVE upto (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM upto WHERE i < 999)
SELECT 1 + million.i * 1000000 + tall.i * 1000 + wide.i
FROM upto million CROSS JOIN upto tall CROSS JOIN upto wide
WHERE million.i < {rows} / 1000000 AND million.i * 1000000 + tall.i * 1000 + wide.i < {rows};
"""
WIDE = """
INSERT INTO wide
SELECT n, n % 100, repeat('x', 40), '2026-01-01' + INTERVAL n SECOND, n * 1.25, '{"a": 1}' FROM numbers;
"""
FAMILY = """
INSERT INTO parent SELECT n, concat('parent ', n) FROM numbers;
INSERT INTO child SELECT n, n, repeat('x', 40), '2026-01-01' + INTERVAL n SECOND FROM numbers;
ANALYZE TABLE parent, child;
"""


def mysql(rows: int = 2_000_000, runs: int = 5) -> bool:
    """On MySQL; whether both promises hold."""
    return _main(MySqlServer, rows, runs)


def mariadb(rows: int = 2_000_000, runs: int = 5) -> bool:
    """On MariaDB; whether both promises hold."""
    return _main(MariaDbServer, rows, runs)


def _main(kind: type[MySqlFamilyServer], rows: int, runs: int) -> bool:
    with _two(kind) as (source, target):
        source.run_script("bench", NUMBERS.format(rows=rows) + WIDE + FAMILY + "DROP TABLE numbers;")
        print(f"{source.version}:")
        fast = _throughput(source, target, rows, runs)
        return _memory(source, target, SMALL, rows) and fast


@contextmanager
def _two(kind: type[MySqlFamilyServer]) -> Iterator[tuple[MySqlFamilyServer, MySqlFamilyServer]]:
    with kind(OPTIONS) as source, kind(OPTIONS) as target:
        for server in (source, target):
            server.create_database("bench")
            server.run_script("bench", SCHEMA)
        yield source, target


# -- throughput


def _throughput(source: MySqlFamilyServer, target: MySqlFamilyServer, rows: int, runs: int) -> bool:
    run = _prepared(source, target)
    component = next(c for c in run.plan.extracts if {t.name for t in c.tables} == {"wide"})
    with TemporaryDirectory(prefix="subset-bench-") as folder:
        Path(folder).chmod(0o777)
        file = Path(folder) / "rows"
        source.run_script("bench", f"SELECT * INTO OUTFILE '{file}' FROM wide")
        floor = f"LOAD DATA INFILE '{file}' INTO TABLE wide"
        seconds = interleaved(
            runs,
            before=_emptied(target),
            extract=lambda: run.extract(component),
            between=_emptied(target),
            floor=lambda: target.run_script("bench", floor),
        )
    run.release()
    print(f"  throughput, {rows:,} rows:")
    for name in ("extract", "floor"):
        print(f"    {told(name, seconds[name])}  {rows / min(seconds[name]):,.0f} rows/s at best")
    found = ratio(seconds["extract"], seconds["floor"])
    print(f"    extract / floor: {found:.2f}")
    return found <= ALLOWED_RATIO


def _emptied(target: MySqlFamilyServer) -> Callable[[], Any]:
    return lambda: target.run_script("bench", "TRUNCATE wide")


def _prepared(source: MySqlFamilyServer, target: MySqlFamilyServer) -> Run:
    ends = [_endpoint(server, label) for server, label in ((source, "source"), (target, "target"))]
    run = Run(build(Spec.of(), reflect(ends[0])), *ends, replace_existing=True)
    run.prepare()
    return run


def _endpoint(server: MySqlFamilyServer, label: str) -> Endpoint:
    return Endpoint("mysql", lambda: MySQLdb.connect(**server.params("bench"), local_infile=True), label)


# -- memory


def _memory(source: MySqlFamilyServer, target: MySqlFamilyServer, small: int, rows: int) -> bool:
    """Rows that a filter selects (one stream), and the rows they reference (keys in pages)."""
    few, many = (_peak(source, target, n) for n in (small, rows))
    print(f"  memory: {small:,} children and their parents: {few:.0f} MiB; {rows:,}: {many:.0f} MiB")
    return many - few <= ALLOWED_MIB


def _peak(source: MySqlFamilyServer, target: MySqlFamilyServer, rows: int) -> float:
    spec = {"filters": {"child": f"id <= {rows}"}, "others": "referenced"}
    ends = {name: server.params("bench") for name, server in (("source", source), ("target", target))}
    result = child("benchmarks.worker", **ends, spec=spec, engine="mysql")
    if result["rows"] != 2 * rows or result["dangling"]:
        raise SystemExit(f"expected {2 * rows} rows and nothing dangling, got {result}")
    print(f"    {result['rows']:,} rows in {result['seconds']:.1f} s, peak {result['peak_mib']:.0f} MiB")
    return float(result["peak_mib"])
