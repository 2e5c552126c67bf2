"""The engine equals the oracle, on random databases with random requests, on real servers of every kind.

`make test` tries a few hundred examples, `make test-long` SUBSET_EXAMPLES of them on each server (2,000 unless set). An
example that fails is printed as SQL and as a request; `--hypothesis-seed=N` repeats a run.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, given, settings

from airflow_subset_provider.core import indexes, select
from airflow_subset_provider.core.engines.base import Suspended
from airflow_subset_provider.core.engines.mysql.session import MySqlFlavour
from airflow_subset_provider.core.errors import RequestError
from tests.property.conftest import MYSQL_SERVERS, Court
from tests.property.harness import Coverage
from tests.property.model import Example, examples

RecordProperty = Callable[[str, object], None]

# As many as a server makes in half a minute: making tables takes longer on MySQL and MariaDB.
EXAMPLES = {"postgresql": 150, "mariadb": 60, "mysql": 60}


def test_engine_equals_oracle(court: Court, record_property: RecordProperty) -> None:
    hold_to_oracle(court, EXAMPLES[court.engine], record_property)


@pytest.mark.parametrize("court", list(MYSQL_SERVERS), indirect=True)
def test_engine_equals_oracle_over_edges(
    court: Court, record_property: RecordProperty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every cycle walked the way that MariaDB needs for many keys."""
    monkeypatch.setattr(MySqlFlavour, "most_members", 0)
    hold_to_oracle(court, 30, record_property)


@pytest.mark.parametrize("court", list(MYSQL_SERVERS), indirect=True)
def test_engine_equals_oracle_by_descent(
    court: Court, record_property: RecordProperty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything below a single filter walked down at once, as it is where CTEs would be written out too often."""
    monkeypatch.setattr(select, "MOST_EXPANSIONS", -1)
    monkeypatch.setattr(select.Extract, "shared", frozenset(["all"]))
    hold_to_oracle(court, 30, record_property)


def test_engine_equals_oracle_with_indexes_built_afterwards(
    court: Court, record_property: RecordProperty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every table taken for a large one."""
    dropped, postponed = [], indexes.postponed

    def noting(*args: Any) -> list[Suspended]:
        dropped.extend(found := postponed(*args))
        return found

    monkeypatch.setattr(indexes, "LARGE", -1)
    monkeypatch.setattr(indexes, "postponed", noting)
    hold_to_oracle(court, 20, record_property)
    assert dropped


@pytest.mark.long
@pytest.mark.timeout(0)
def test_engine_equals_oracle_in_a_long_run(court: Court, record_property: RecordProperty) -> None:
    hold_to_oracle(court, int(os.environ.get("SUBSET_EXAMPLES", "2000")), record_property)


def hold_to_oracle(court: Court, count: int, record_property: RecordProperty) -> None:
    coverage = Coverage.none()

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(examples(court.dialect))
    def check(example: Example) -> None:
        try:
            expected = court.pair.check(example)
        except RequestError as error:
            assume("references columns that are not unique" not in str(error) or not example.spec.referential_integrity)
            raise
        coverage.add(example, expected)
        event(f"kept {'something' if any(expected.kept.values()) else 'nothing'}")

    logging.disable(logging.WARNING)  # thousands of runs warn about what they drop, and pytest would keep it all
    try:
        check()
    finally:
        logging.disable(logging.NOTSET)
        if coverage.examples:
            record_property("coverage", f"{court.engine}: {coverage}")
