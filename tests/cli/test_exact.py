"""`plan --exact` is what `run` then copies: on real databases table by table, and on random ones against the oracle."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from airflow_subset_provider.core import engines, exact
from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.errors import RequestError
from airflow_subset_provider.core.run import reflect
from sandbox.postgresql import PostgresEndpoint
from tests.cli.conftest import Cli
from tests.conftest import Pair as DatabasePair
from tests.databases import CreateDatabase, Dump, dumps
from tests.property.harness import Pair
from tests.property.model import Dialect, Example, examples

WHOLE, REFERENCED = ("--others", "whole"), ("--others", "referenced")
NULL, DROP = ("--references", "null"), ("--references", "drop")
CASES = {
    "pagila": ("customer: store_id = 1", [WHOLE, REFERENCED, (*WHOLE, *NULL)]),
    "northwind": ("customers: country = 'Germany'", [REFERENCED, (*WHOLE, *DROP)]),
    "chinook": ("employee: employee_id = 3", [WHOLE, (*REFERENCED, *NULL)]),
    "sylius": ("sylius_customer: id % 10 = 4", [REFERENCED, (*WHOLE, *DROP)]),
    "zabbix": ("hosts: hostid % 40 = 3", [(*WHOLE, *NULL)]),
    "canvas_filled": ("courses: id < 57500", [REFERENCED]),
    "gitlab": ("projects: id < 692100", [REFERENCED]),
}
LONG = ("canvas_filled", "gitlab")


def _cases() -> list[Any]:
    there = dumps("postgres")
    return [
        pytest.param(
            there[name],
            filter_,
            options,
            id=f"{name}-{n}",
            marks=[pytest.mark.xdist_group(name), *([pytest.mark.long] if name in LONG else [])],
        )
        for name, (filter_, several) in CASES.items()
        if name in there
        for n, options in enumerate(several)
    ]


@pytest.mark.parametrize(("dump", "filter_", "options"), _cases())
def test_a_run_copies_what_was_counted(
    dump: Dump,
    filter_: str,
    options: tuple[str, ...],
    cli: Cli,
    postgres_pair: DatabasePair,
    source_server: PostgresEndpoint,
    target_server: PostgresEndpoint,
    tmp_path: Path,
) -> None:
    source, target = postgres_pair(dump)
    ends = ("--source", source_server.url(source))
    counted = json.loads(cli("plan", *ends, "-f", filter_, *options, "--exact", "--format", "json").out)
    report = tmp_path / "report.json"
    done = cli("run", "-q", *ends, "--target", target_server.url(target), "-f", filter_, *options, "--report", report)
    assert done.code == 0, done.err
    kept = {t["table"]: t["kept"] for t in json.loads(report.read_text())["tables"]}
    assert {t["table"]: t["rows"]["own"] + t["rows"]["referred"] for t in counted["tables"]} == kept
    assert sum(kept.values()) > 0


# -- random databases


@pytest.fixture
def pair(
    source_server: PostgresEndpoint, target_server: PostgresEndpoint, fresh_database: CreateDatabase
) -> Iterator[Pair]:
    source, target = fresh_database(source_server, hint="source"), fresh_database(target_server, hint="target")
    with closing(Pair(source_server.params(source), target_server.params(target))) as pair:
        yield pair


def test_counts_equal_the_oracle(pair: Pair) -> None:
    hold_to_oracle(pair, 60)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_counts_equal_the_oracle_in_a_long_run(pair: Pair) -> None:
    hold_to_oracle(pair, 1500)


def hold_to_oracle(pair: Pair, count: int) -> None:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

    @settings(max_examples=count, deadline=None, database=None, print_blob=True, suppress_health_check=slow)
    @given(examples(Dialect()))
    def check(example: Example) -> None:
        pair.fill_source(example)
        expected = pair.expected(example)
        try:
            plan = planning.build(example.spec, reflect(pair.endpoints[0], example.spec.schemas))
        except RequestError:
            assert not any(expected.kept.values())
            return
        with engines.get("postgresql").source(pair.endpoints[0], "test") as source:
            found = exact.count(plan, source)
        kept = {t: done.kept for t, done in found.items() if done.kept}
        assert kept == {t: n for t, rows in expected.kept.items() if (n := rows.total())}

    logging.disable(logging.WARNING)
    try:
        check()
    finally:
        logging.disable(logging.NOTSET)
