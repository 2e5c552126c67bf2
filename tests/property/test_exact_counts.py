"""What `plan --exact` counts equals the oracle, on random databases with random requests, on every kind of server."""

from __future__ import annotations

import logging
import os

import pytest
from hypothesis import HealthCheck, assume, given, settings

from airflow_subset_provider.core import engines, exact
from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.errors import RequestError
from airflow_subset_provider.core.run import reflect
from airflow_subset_provider.core.schema import TableName
from tests.property.conftest import Court
from tests.property.harness import Pair
from tests.property.model import Example, examples

EXAMPLES = {"postgresql": 60, "mariadb": 30, "mysql": 30}


def test_counts_equal_the_oracle(court: Court) -> None:
    hold_to_oracle(court, EXAMPLES[court.engine])


@pytest.mark.long
@pytest.mark.timeout(0)
def test_counts_equal_the_oracle_in_a_long_run(court: Court) -> None:
    hold_to_oracle(court, int(os.environ.get("SUBSET_EXAMPLES", "1500")))


def hold_to_oracle(court: Court, count: int) -> None:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

    @settings(max_examples=count, deadline=None, database=None, print_blob=True, suppress_health_check=slow)
    @given(examples(court.dialect))
    def check(example: Example) -> None:
        court.pair.fill_source(example)
        expected = court.pair.expected(example)
        try:
            kept = counted(court.pair, example)
        except RequestError as error:
            assume("references columns that are not unique" not in str(error) or not example.spec.referential_integrity)
            kept = {}
        assert kept == {t: n for t, rows in expected.kept.items() if (n := rows.total())}

    logging.disable(logging.WARNING)
    try:
        check()
    finally:
        logging.disable(logging.NOTSET)


def counted(pair: Pair, example: Example) -> dict[TableName, int]:
    """Rows that would be kept, of the tables that keep any."""
    source = pair.endpoints[0]
    plan = planning.build(example.spec, reflect(source, example.spec.schemas))
    with engines.get(source.engine).source(source, "test") as session:
        found = exact.count(plan, session)
    return {t: done.kept for t, done in found.items() if done.kept}
