"""The engine equals the oracle, on random databases with random requests, on real Postgres servers.

`make test` tries a few hundred examples, `make test-long` SUBSET_EXAMPLES of them (2,000 unless set). An example that
fails is printed as SQL and as a request; `--hypothesis-seed=N` repeats a run.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from hypothesis import HealthCheck, event, given, settings

from sandbox.postgresql import PostgresEndpoint
from tests.databases import CreateDatabase
from tests.property.harness import Coverage, Pair
from tests.property.model import Dialect, Example, examples

RecordProperty = Callable[[str, object], None]


@pytest.fixture
def pair(
    source_server: PostgresEndpoint, target_server: PostgresEndpoint, fresh_database: CreateDatabase
) -> Iterator[Pair]:
    source, target = fresh_database(source_server, hint="source"), fresh_database(target_server, hint="target")
    with closing(Pair(source_server.params(source), target_server.params(target))) as pair:
        yield pair


def test_engine_equals_oracle(pair: Pair, record_property: RecordProperty) -> None:
    hold_to_oracle(pair, 150, record_property)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_engine_equals_oracle_in_a_long_run(pair: Pair, record_property: RecordProperty) -> None:
    hold_to_oracle(pair, int(os.environ.get("SUBSET_EXAMPLES", "2000")), record_property)


def hold_to_oracle(pair: Pair, count: int, record_property: RecordProperty) -> None:
    coverage = Coverage.none()

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(examples(Dialect()))
    def check(example: Example) -> None:
        expected = pair.check(example)
        coverage.add(example, expected)
        event(f"kept {'something' if any(expected.kept.values()) else 'nothing'}")

    logging.disable(logging.WARNING)  # thousands of runs warn about what they drop, and pytest would keep it all
    try:
        check()
    finally:
        logging.disable(logging.NOTSET)
        if coverage.examples:
            record_property("coverage", str(coverage))
