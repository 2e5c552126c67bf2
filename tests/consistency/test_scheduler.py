"""A real scheduler with the LocalExecutor, and a source that never rests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_subset_provider.core.run import reflect
from airflow_subset_provider.core.spec import Spec
from sandbox.postgresql import PostgresEndpoint
from tests.consistency.airflow import Airflow, DagRun
from tests.consistency.bank import SPECS, Bank

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("scheduler"), pytest.mark.timeout(1200)]

WHOLE = Spec.of(**SPECS["whole"])
ONE_POINT, OWN_TIMES = "One point in time", "Each table at its own time"


@pytest.fixture(scope="module")
def bank(source_server: PostgresEndpoint, target_server: PostgresEndpoint) -> Iterator[Bank]:
    """One for all: an Airflow keeps its connections."""
    made: list[tuple[PostgresEndpoint, str]] = []

    def create(server: PostgresEndpoint, template: str | None = None, hint: str = "") -> str:
        name = f"subset_scheduler_{hint}_{os.getpid()}_{len(made)}"
        server.create_database(name, template)
        made.append((server, name))
        return name

    yield Bank(source_server, target_server, create)
    for server, name in made:
        server.drop_database(name)


@pytest.fixture(scope="module")
def airflow(bank: Bank, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    home: Path = tmp_path_factory.mktemp("airflow")
    with bank.ends[0].connect() as connection:
        connection.execute("ANALYZE")
    airflow = Airflow(home, bank, reflect(bank.ends[0]).to_json())
    with airflow.standalone:
        airflow.pool("one_slot", 1)
        airflow.pool("fewer_slots", 2)
        yield airflow


@pytest.fixture
def writing(bank: Bank) -> Iterator[None]:
    with bank.at_work(pause=0.05):
        yield


ASLEEP = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY%pg_sleep%'"""


def _midway(airflow: Airflow, bank: Bank, dag: str = "slow") -> DagRun:
    """A run that reads `branch` from the snapshot, and has begun nothing that needs it."""
    run = airflow.start(dag)
    run.until({"tables.branch": "running", "hold": "running"})
    with bank.ends[0].connect() as connection:
        connection.autocommit = True
        while connection.execute(ASLEEP).fetchone() == (0,):
            assert run.states()["tables.branch"] == "running"
    return run


def _is_back_in_force(bank: Bank) -> None:
    """After a run that failed."""
    with bank.ends[1].connect() as connection:
        assert connection.execute("SELECT count(*) FROM airflow_subset.suspended").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM airflow_subset.run_lock").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM pg_constraint WHERE contype = 'f'").fetchone() == (6,)


def _finished(run: DagRun, guarantee: str) -> None:
    assert run.end() == "success", run.states()
    report = run.xcom("finish")
    assert report["guarantee"].startswith(guarantee)
    assert report["dangling"] == 0


@pytest.mark.usefixtures("writing")
def test_one_point_in_time_whatever_is_cleared(airflow: Airflow, bank: Bank) -> None:
    run = airflow.start("one_point")
    _finished(run, ONE_POINT)
    assert set(run.states().values()) == {"success"}
    first = bank.copied()
    assert bank.sum() == 0
    assert bank.version > first["version"][0][0]
    assert bank.is_one_point(WHOLE)

    run.clear(["tables.account"])
    run.until({"prepare": "failed", "tables.account": "upstream_failed"})
    assert run.end() == "failed"
    assert run.states()["finish"] == "success"
    assert "only a part of the group was cleared" in run.log("prepare")
    assert "Clear the tables' tasks with their downstream tasks, or the whole group" in run.log("prepare")
    assert bank.copied() == first

    run.clear()
    _finished(run, ONE_POINT)
    again = bank.copied()
    assert again["version"] > first["version"]
    assert bank.is_one_point(WHOLE)

    run.clear(["hold", "wait"], downstream=True)
    _finished(run, ONE_POINT)
    assert bank.copied()["version"] > again["version"]
    assert bank.is_one_point(WHOLE)


@pytest.mark.usefixtures("writing")
def test_one_point_in_time_in_parts(airflow: Airflow, bank: Bank) -> None:
    run = airflow.start("in_parts")
    _finished(run, ONE_POINT)
    parts = {name for name in run.states() if ".parts[" in name}
    assert {name.partition(".parts[")[0] for name in parts} == {"tables.checking", "tables.savings"}
    assert len(parts) >= 6
    assert bank.sum() == 0
    assert bank.is_one_point(WHOLE)
    first = bank.copied()["version"]

    run.clear(["tables.savings.parts[1]"], downstream=True)
    _finished(run, ONE_POINT)
    assert bank.copied()["version"] > first
    assert bank.sum() == 0
    assert bank.is_one_point(WHOLE)
    assert "public.savings: its task is not run again" in run.log("wait")


@pytest.mark.usefixtures("writing")
@pytest.mark.parametrize("clear", ["everything", "what failed"])
def test_the_holder_is_killed(airflow: Airflow, bank: Bank, clear: str) -> None:
    run = _midway(airflow, bank)
    os.kill(run.tasks()["hold"]["pid"], signal.SIGKILL)
    assert run.end() == "failed"
    states = run.states()
    assert states["hold"] == "failed"
    assert states["tables.branch"] == "success"  # it had begun
    assert states["tables.account"] == "failed"
    assert states["finish"] == "upstream_failed"
    assert states["release"] == "success"
    assert run.tasks()["hold"]["try_number"] == 1
    assert run.tasks()["tables.account"]["try_number"] == 1  # no retry can mend it
    said = run.log("tables.account")
    assert "is gone: the session that held it has ended" in said
    assert "Clear the whole task group 'copy'" in said
    _is_back_in_force(bank)
    if clear == "everything":
        run.clear()
    else:
        run.clear([t for t, s in states.items() if s == "failed" and t.startswith("tables.")], downstream=True)
    _finished(run, ONE_POINT)
    assert ("public.branch: its task is not run again" in run.log("wait")) == (clear == "what failed")
    assert bank.is_one_point(WHOLE)


@pytest.mark.usefixtures("writing")
def test_the_holder_is_told_to_stop(airflow: Airflow, bank: Bank) -> None:
    """Clearing it while it runs: Airflow sends SIGTERM, which must end the session."""
    run = _midway(airflow, bank)
    run.clear(["hold"])
    assert run.end() == "failed"
    assert run.states()["tables.branch"] == "success"
    assert "the snapshot that this run reads is gone" in run.log("hold")
    assert "is gone: the session that held it has ended" in run.log("tables.account")
    with bank.ends[0].connect() as connection:
        open_ = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'airflow_subset%'"
        assert connection.execute(open_).fetchone() == (0,)
    _is_back_in_force(bank)


@pytest.mark.usefixtures("writing")
def test_without_it_nothing_dangles(airflow: Airflow, bank: Bank) -> None:
    run = airflow.start("own_times")
    _finished(run, OWN_TIMES)
    assert "hold" not in run.states()
    assert bank.unvalidated() == []


@pytest.mark.usefixtures("writing")
def test_a_single_slot(airflow: Airflow, bank: Bank) -> None:
    run = airflow.start("one_slot")
    _finished(run, OWN_TIMES)
    assert "has no slot for them beside this one. It takes at least three" in run.log("hold")
    assert bank.unvalidated() == []


@pytest.mark.usefixtures("writing")
def test_a_slot_is_taken_away_in_the_middle(airflow: Airflow, bank: Bank) -> None:
    """`hold` withdraws what `wait` has agreed to and one table has read."""
    run = _midway(airflow, bank, "fewer_slots")
    airflow.resize("fewer_slots", 1)
    _finished(run, OWN_TIMES)
    assert "has no slot for them beside this one. It takes at least three" in run.log("hold")
    assert "reads its own state" not in run.log("tables.branch")
    for task in ("tables.account", "finish"):
        assert "This task reads its own state of the source: no other task of the group ran" in run.log(task)
    assert {task["try_number"] for task in run.tasks().values() if task["state"] == "success"} == {1}
    assert bank.unvalidated() == []


@pytest.mark.usefixtures("writing")
def test_a_table_is_cleared_while_others_wait_for_a_slot(airflow: Airflow, bank: Bank) -> None:
    """Airflow clears `hold` with it, and so ends the snapshot: who gets its slot comes too early, and not in vain."""
    airflow.resize("fewer_slots", 2)
    run = _midway(airflow, bank, "waiting")
    run.clear(["tables.version"])
    _finished(run, ONE_POINT)
    tries = {name.partition(".")[2]: task["try_number"] for name, task in run.tasks().items()}
    assert (tries["branch"], max(tries["checking"], tries["savings"]) > 1) == (1, True)
    assert "public.branch: its task is not run again" in run.log("wait")
    assert bank.is_one_point(WHOLE)


@pytest.mark.usefixtures("writing")
def test_a_single_slot_is_not_enough_for_a_demand(airflow: Airflow, bank: Bank) -> None:
    run = airflow.start("demanding")
    assert run.end() == "failed"
    assert "cannot be one point in time, as `consistent=True` demands" in run.log("hold")
    assert run.states()["tables.branch"] == "upstream_failed"
    _is_back_in_force(bank)
