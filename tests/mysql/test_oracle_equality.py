"""The engine equals the oracle on MariaDB and MySQL, on the random databases that tests/property holds Postgres to."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings

from airflow_subset_provider.core.engines.mysql.session import MySqlFlavour
from sandbox.mysql_family import MySqlFamilyEndpoint
from tests.databases import CreateDatabase
from tests.mysql.pair import MySqlDialect, MySqlPair
from tests.property.harness import Coverage
from tests.property.model import Example, examples

RecordProperty = Callable[[str, object], None]


@pytest.fixture
def random_pair(
    server: MySqlFamilyEndpoint, fresh_database: CreateDatabase
) -> Iterator[tuple[MySqlPair, MySqlDialect]]:
    dialect = MySqlDialect(fresh_database(server, hint="random"))
    params = server.params(server.administration_database)
    try:
        with closing(MySqlPair(params, params, dialect)) as pair:
            yield pair, dialect
    finally:
        for name in (dialect.other_schema, f"{dialect.schema}_copy", f"{dialect.schema}_copy_other"):
            server.drop_database(name)


def test_engine_equals_oracle(random_pair: tuple[MySqlPair, MySqlDialect], record_property: RecordProperty) -> None:
    hold_to_oracle(*random_pair, 60, record_property)


def test_engine_equals_oracle_over_edges(
    random_pair: tuple[MySqlPair, MySqlDialect], record_property: RecordProperty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every cycle walked the way that MariaDB needs for many keys."""
    monkeypatch.setattr(MySqlFlavour, "most_members", 0)
    hold_to_oracle(*random_pair, 60, record_property)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_engine_equals_oracle_in_a_long_run(
    random_pair: tuple[MySqlPair, MySqlDialect], record_property: RecordProperty
) -> None:
    hold_to_oracle(*random_pair, int(os.environ.get("SUBSET_EXAMPLES", "2000")), record_property)


def hold_to_oracle(pair: MySqlPair, dialect: MySqlDialect, count: int, record_property: RecordProperty) -> None:
    coverage = Coverage.none()

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(examples(dialect))
    def check(example: Example) -> None:
        coverage.add(example, pair.check(example))

    logging.disable(logging.WARNING)  # thousands of runs warn about what they drop, and pytest would keep it all
    try:
        check()
    finally:
        logging.disable(logging.NOTSET)
        if coverage.examples:
            record_property("coverage", str(coverage))
