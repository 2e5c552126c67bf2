"""Large tables in parts, by keys of every kind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from airflow_subset_provider.core import chunks
from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.run import Run, reflect
from airflow_subset_provider.core.spec import Spec
from tests.mysql.conftest import Pair

KEYS = {
    "number": ("INT", "n * 3"),
    "counter": ("INT AUTO_INCREMENT", "n * 3"),
    "large": ("BIGINT UNSIGNED", "18446744073709551615 - n"),
    "amount": ("DECIMAL(20, 5)", "n / 7"),
    "word": ("VARCHAR(40) COLLATE utf8mb4_general_ci", "CONCAT('Straße''\\\\ ', n)"),
    "code": ("VARCHAR(40) CHARACTER SET latin1 COLLATE latin1_bin", "CONCAT('é', n)"),
    "bytes": ("BINARY(16)", "UNHEX(LEFT(SHA2(n, 256), 32))"),
    "moment": ("DATETIME(3)", "TIMESTAMPADD(MICROSECOND, n * 7000, '2026-01-01')"),
    "day": ("DATE", "TIMESTAMPADD(DAY, n, '1000-01-01')"),
}
SHOP = "FOREIGN KEY (shop) REFERENCES shop (id)"
SOME = " UNION ALL ".join(f"SELECT {n} AS d" for n in range(10))
NUMBERS = f"SELECT a.d * 100 + b.d * 10 + c.d + 1 AS n FROM ({SOME}) a, ({SOME}) b, ({SOME}) c"


@pytest.fixture
def filled(pair: Pair) -> Pair:
    pair.source.run("CREATE TABLE shop (id INT PRIMARY KEY)", "INSERT INTO shop VALUES (1), (2), (3)")
    for name, (type_, value) in KEYS.items():
        pair.source.run(
            f"CREATE TABLE `{name}` (k {type_} NOT NULL PRIMARY KEY, shop INT, {SHOP})",
            f"INSERT INTO `{name}` SELECT {value}, n % 3 + 1 FROM ({NUMBERS}) numbers",
        )
    pair.source.run(
        f"CREATE TABLE two (a INT, b INT, shop INT, PRIMARY KEY (a, b), {SHOP})",
        f"INSERT INTO two SELECT n % 9, n, n % 3 + 1 FROM ({NUMBERS}) numbers",
        f"CREATE TABLE kinds (k ENUM('m', 'z', 'a', 'c') NOT NULL, b INT, shop INT, PRIMARY KEY (k, b), {SHOP})",
        f"INSERT INTO kinds SELECT n % 4 + 1, n, n % 3 + 1 FROM ({NUMBERS}) numbers",
        f"CREATE TABLE sets (k SET('m', 'z', 'a') NOT NULL, b INT, shop INT, PRIMARY KEY (k, b), {SHOP})",
        f"INSERT INTO sets SELECT n % 8, n, n % 3 + 1 FROM ({NUMBERS}) numbers",
        "ANALYZE TABLE shop, two, kinds, sets, " + ", ".join(f"`{name}`" for name in KEYS),
    )
    return pair


@pytest.mark.parametrize("filters", [{}, {"shop": "id <= 2"}], ids=["whole", "filtered"])
def test_the_same_copy(filled: Pair, filters: dict[str, str]) -> None:
    filled.subset(filters=filters)
    tables = ["shop", "two", "kinds", "sets", *KEYS]
    whole = {t: filled.target.rows(t) for t in tables}
    counts = _in_parts(filled, filters)
    assert {t: filled.target.rows(t) for t in tables} == whole
    assert {t: n for t, n in counts.items() if n <= 1} == {}
    assert counts.keys() == {"two", "kinds", "sets", *KEYS}


def _in_parts(pair: Pair, filters: dict[str, str]) -> dict[str, int]:
    """How many parts each table was cut into; each of them is loaded twice at the same time."""
    plan = planning.build(Spec.of(filters=filters), reflect(pair.source.endpoint()))
    run = Run(plan, pair.source.endpoint(), pair.target.endpoint(), key="parts", chunk_rows=100)
    counts, extracted = {}, {}
    run.prepare()
    for component in plan.extracts:
        if not chunks.splits(plan, component, run.chunk_rows):
            run.extract(component)
            continue
        (table,) = component.tables
        numbers = [c.number for c in run.parts(component).cut()]
        counts[table.name] = len(numbers)
        with ThreadPoolExecutor(3) as pool:
            twice: list[Any] = [pool.submit(replace(run).parts(component).load, n) for n in numbers for _ in range(2)]
            extracted[str(table)] = sum(f.result()[table].extracted for f in twice) // 2
    for component in plan.closures:
        run.refer(component)
    report = run.finish()
    run.release()
    assert {t.table: t.extracted for t in report.tables if t.table in extracted} == extracted
    assert all(t.kept == len(pair.target.rows(t.table.split(".")[1])) for t in report.tables)
    return counts
