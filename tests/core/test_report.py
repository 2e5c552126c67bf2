"""The report as data."""

from __future__ import annotations

import json

from airflow_subset_provider.core.report import KeyReport, Report, TableReport

TABLES = (
    TableReport("public.a", "relevant", "filter", 100, 10, 8, 3, 1, 2, 512, 0.5),
    TableReport("public.b", "whole", "others", -1, 5, 5, 0, 0, 0, 64, 0.1),
)
KEYS = (
    KeyReport("public.b(a) -> public.a", 0, "validated", False),
    KeyReport("public.b(x) -> public.a", 7, "counted", True),
)
REPORT = Report("run", "src", "dst", "abc", TABLES, KEYS, ("careful",), 3, 1.25)


def test_there_and_back() -> None:
    assert Report.from_dict(json.loads(REPORT.to_json())) == REPORT
    assert Report.from_dict(REPORT.as_dict()) == REPORT


def test_totals() -> None:
    assert (REPORT.kept, REPORT.source_rows, REPORT.dangling) == (15, 100, 0)
    shape = REPORT.as_dict()
    assert (shape["kept"], shape["source_rows"], shape["dangling"], shape["report_version"]) == (15, 100, 0, 1)


def test_it_is_one_line_of_json() -> None:
    assert "\n" not in REPORT.to_json()
