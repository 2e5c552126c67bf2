"""`plan --exact` is what `run` then copies, table by table, on real databases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.postgresql import PostgresEndpoint
from tests.cli.conftest import Cli
from tests.conftest import Pair as DatabasePair
from tests.databases import Dump, dumps

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
