"""Several groups at once on few slots: their `hold`s may take all of them, and no table would ever be read."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from airflow_subset_provider.core.run import reflect
from airflow_subset_provider.operators.snapshot import patience
from sandbox.postgresql import PostgresEndpoint
from tests.consistency.airflow import Airflow
from tests.consistency.bank import SCHEMA, Bank

# Another group beside the first, in the same DAG.
SECOND = """filters={"branch": "id <= 3"})
    SubsetOperator(task_id="other", source_conn_id="bank", target_conn_id="other_copy", catalog="bank.catalog.json",
                   filters={"branch": "id > 3"}"""
SLOTS = 2


def test_no_two_runs_are_equally_patient() -> None:
    found = [patience(f"nightly/scheduled__{n}/copy") for n in range(200)]
    assert len(set(found)) == len(found)
    assert all(300 <= seconds <= 450 for seconds in found)
    assert max(found) - min(found) > 100


@pytest.fixture
def databases(source_server: PostgresEndpoint, target_server: PostgresEndpoint) -> Iterator[tuple[Bank, str]]:
    """A bank, and the name of another target."""
    made: list[tuple[PostgresEndpoint, str]] = []

    def create(server: PostgresEndpoint, template: str | None = None, hint: str = "") -> str:
        name = f"subset_groups_{hint}_{os.getpid()}_{len(made)}"
        server.create_database(name, template)
        made.append((server, name))
        return name

    bank, other = Bank(source_server, target_server, create), create(target_server, hint="other")
    target_server.run_script(other, SCHEMA)
    yield bank, other
    for server, name in made:
        server.drop_database(name)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.xdist_group("scheduler")
def test_two_groups_on_two_slots(databases: tuple[Bank, str], target_server: PostgresEndpoint, tmp_path: Path) -> None:
    bank, other = databases
    airflow = Airflow(
        tmp_path,
        bank,
        reflect(bank.ends[0]).to_json(),
        {"two_groups": SECOND},
        SLOTS,
        AIRFLOW_CONN_OTHER_COPY=target_server.url(other),
    )
    with airflow.standalone, bank.at_work(pause=0.05):
        started = time.monotonic()
        run = airflow.start("two_groups")
        assert run.end(timeout=900) == "success", run.states()
        taken = time.monotonic() - started
        logs = {"copy": run.log("hold"), "other": run.log("hold", group="other")}
        said = {name: run.xcom("finish", group=name)["guarantee"] for name in logs}
    withdrew = {name for name, log in logs.items() if "has no slot for them beside this one" in log}
    assert withdrew, (said, taken)  # the slots were all taken
    assert {name for name, guarantee in said.items() if guarantee.startswith("Each table at its own")} >= withdrew
    assert bank.unvalidated() == []
    with psycopg.connect(**target_server.params(other)) as connection:
        assert connection.execute("SELECT count(*) FROM branch WHERE id > 3").fetchone() != (0,)
        assert connection.execute("SELECT count(*) FROM pg_constraint WHERE NOT convalidated").fetchone() == (0,)
