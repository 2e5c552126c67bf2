"""The comparison with the oracle can fail: engines broken on purpose are caught within a few hundred random examples.

Each mutation is a mistake that some tool in this field makes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings

from airflow_subset_provider.core import select, sql
from airflow_subset_provider.core.errors import SubsetError
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.relations import Relation
from airflow_subset_provider.core.schema import ForeignKey, TableName
from airflow_subset_provider.core.walk import Walk
from tests.property.harness import Pair
from tests.property.model import Dialect, Example, examples

Patch = Callable[[pytest.MonkeyPatch], None]


def one_path_only(patch: pytest.MonkeyPatch) -> None:
    """A row counts only when its first foreign key leads to the filter: rows whose other key does are lost."""
    ways = Plan.ways

    def first(self: Plan, table: TableName, filtered: TableName) -> tuple[Relation, ...]:
        return ways(self, table, filtered)[:1]

    patch.setattr(Plan, "ways", first)


def branches_overlap(patch: pytest.MonkeyPatch) -> None:
    """A row that two foreign keys connect to a filter is copied twice."""
    branches = select._branches

    def overlapping(clauses: list[tuple[Relation, ...]]) -> list[dict[Relation, bool]]:
        return [{r: True for r, holds in branch.items() if holds} for branch in branches(clauses)]

    patch.setattr(select, "_branches", overlapping)


def cycles_are_not_followed(patch: pytest.MonkeyPatch) -> None:
    """Inside a cycle, only seeds are kept: nobody who reports to somebody."""
    cte = Walk.cte
    patch.setattr(Walk, "cte", lambda self, seeds, steps: cte(self, seeds, []))


def half_a_key_is_a_reference(patch: pytest.MonkeyPatch) -> None:
    """A composite key with one NULL column counts as a reference: its row is dropped or nulled."""

    def any_column(key: ForeignKey, child: sql.Rows) -> list[sql.Condition]:
        return [sa.or_(*(child.c[a].is_not(None) for a in key.columns)), *sql.when(key, child)]

    patch.setattr(sql, "is_reference", any_column)


def nothing_is_banned(patch: pytest.MonkeyPatch) -> None:
    """A referred row is kept although its own reference cannot be."""
    patch.setattr(Plan, "may_ban", False)


@pytest.mark.parametrize(
    "mutation",
    [one_path_only, branches_overlap, cycles_are_not_followed, half_a_key_is_a_reference, nothing_is_banned],
    ids=lambda mutation: mutation.__name__,
)
def test_a_broken_engine_is_caught(mutation: Patch, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation(monkeypatch)

    @settings(
        max_examples=800,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(examples(Dialect()))
    def check(example: Example) -> None:
        pair.check(example)

    logging.disable(logging.WARNING)
    try:
        # AttributeError: a NULL where only keys belong.
        with pytest.raises((AssertionError, SubsetError, AttributeError)):
            check()
    finally:
        logging.disable(logging.NOTSET)
