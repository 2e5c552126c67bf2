"""The engine equals the oracle, on random databases with random requests, on real servers of every kind.

`make test` tries a few hundred examples, `make test-long` SUBSET_EXAMPLES of them on each server (2,000 unless set). An
example that fails is printed as SQL and as a request; `--hypothesis-seed=N` repeats a run.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, given, settings

from airflow_subset_provider.core import indexes, select
from airflow_subset_provider.core.engines.base import Suspended
from airflow_subset_provider.core.engines.mysql.session import MySqlFlavour
from airflow_subset_provider.core.errors import RequestError
from sandbox.mysql_family import MySqlFamilyEndpoint
from sandbox.postgresql import PostgresEndpoint
from tests.databases import CreateDatabase
from tests.property.harness import Coverage, Pair
from tests.property.model import Dialect, Example, examples
from tests.property.mysql import MySqlDialect, MySqlPair

RecordProperty = Callable[[str, object], None]

# As many as a server makes in half a minute: making tables takes longer on MySQL and MariaDB.
EXAMPLES = {"postgresql": 150, "mariadb": 60, "mysql": 60}
MYSQL_SERVERS = {"mariadb": "mariadb_server", "mysql": "mysql_server"}


@dataclass
class Court:
    """Where examples are judged."""

    engine: str
    pair: Pair
    dialect: Dialect


@pytest.fixture
def pair(
    source_server: PostgresEndpoint, target_server: PostgresEndpoint, fresh_database: CreateDatabase
) -> Iterator[Pair]:
    source, target = fresh_database(source_server, hint="source"), fresh_database(target_server, hint="target")
    with closing(Pair(source_server.params(source), target_server.params(target))) as pair:
        yield pair


@pytest.fixture(params=list(EXAMPLES))
def court(request: pytest.FixtureRequest) -> Iterator[Court]:
    """On every kind of server."""
    if request.param == "postgresql":
        yield Court(request.param, request.getfixturevalue("pair"), Dialect())
    else:
        server = request.getfixturevalue(MYSQL_SERVERS[request.param])
        with _mysql_court(request.param, server, request.getfixturevalue("fresh_database")) as court:
            yield court


@contextmanager
def _mysql_court(engine: str, server: MySqlFamilyEndpoint, fresh_database: CreateDatabase) -> Iterator[Court]:
    dialect = MySqlDialect(fresh_database(server, hint="random"))
    params = server.params(server.administration_database)
    try:
        with closing(MySqlPair(params, params, dialect)) as pair:
            yield Court(engine, pair, dialect)
    finally:
        for name in (dialect.other_schema, f"{dialect.schema}_copy", f"{dialect.schema}_copy_other"):
            server.drop_database(name)


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
            assume("references columns that are not unique" not in str(error))
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
