"""Tasks of a real Airflow that are killed at random moments, then cleared: the copy is an undisturbed run's.

The core's own chaos tests (tests/chaos) disturb more, and more often; here Airflow itself finds the dead task, or that
its worker has vanished, tries it again and clears it. Each table at its own time, and all at one: there a dead holder
may end the run, and the whole group is cleared (docs/consistency.md). SUBSET_CHAOS_AIRFLOW_RUNS says how many runs of
either kind, 5 by default.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import psutil
import pytest

from sandbox.postgresql import PostgresEndpoint
from tests.airflow.conftest import SHOP, Database
from tests.airflow.server import Airflow, Shop, airflow, await_

pytestmark = [pytest.mark.long, pytest.mark.timeout(900), pytest.mark.xdist_group("standalone")]

RUNS = int(os.environ.get("SUBSET_CHAOS_AIRFLOW_RUNS", "5"))
DAG = """
from datetime import timedelta
from airflow.sdk import DAG
from airflow_subset_provider import SubsetOperator

for name, consistent in {"chaos": False, "chaos_at_one_point": None}.items():
    with DAG(name, schedule=None):
        SubsetOperator(
            task_id="copy", source_conn_id="source", target_conn_id="target", create_schema=True,
            filters={"customer": "id <= 40 AND pg_sleep(0.01) IS NOT NULL"}, others="referenced",
            retries=5, retry_delay=timedelta(seconds=1), consistent=consistent, chunk_rows=60,
        )
"""
# A task whose worker has vanished is missed after minutes unless asked otherwise.
MISSED = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
}
IN_NO_PROCESS = ("copy.loaded", "copy.prepared")
TABLES = ("Order", "currency", "customer", "department", "employee", "payment", "visit")


@dataclass
class World:
    """A running Airflow, the target, what an undisturbed run leaves there, and its tasks."""

    server: Airflow
    target: Database
    undisturbed: dict[str, Any]
    tasks: list[str]

    def check(self, states: dict[str, str], *told: object) -> None:
        assert set(states.values()) == {"success"}, (states, told)
        assert _left(self.target) == self.undisturbed, told


def _left(target: Database) -> dict[str, Any]:
    """All that a run leaves."""
    found: dict[str, Any] = {t: target.rows(f'SELECT * FROM "{t}" x ORDER BY x') for t in TABLES}
    found["keys"] = target.foreign_keys()
    for table in ("suspended", "run_lock"):
        found[table] = target.rows(f"SELECT * FROM airflow_subset.{table}")
    return found


@pytest.fixture(scope="module")
def world(
    source_server: PostgresEndpoint, target_server: PostgresEndpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    shop: Shop = (
        Database(source_server, f"subset_chaos_{os.getpid()}"),
        Database(target_server, f"subset_chaos_copy_{os.getpid()}"),
    )
    home = tmp_path_factory.mktemp("chaos")
    dags = home / "dags"
    dags.mkdir()
    (dags / "chaos.py").write_text(DAG)
    for database in shop:
        database.server.create_database(database.name)
    source_server.psql(shop[0].name, SHOP)
    shop[0].run("ANALYZE")
    bundle = {"classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {"path": str(dags)}}
    try:
        with airflow("chaos", bundle, shop, home, **MISSED) as server:
            run = server.trigger()
            states = server.end_of(run)
            assert set(states.values()) == {"success"}, (home / "airflow.log").read_text()[-5000:]
            left = _left(shop[1])
            assert all(left[t] for t in TABLES)
            _side_by_side(server.instances(run))
            yield World(server, shop[1], left, [t for t in sorted(states) if t not in IN_NO_PROCESS])
    finally:
        for database in shop:
            database.server.drop_database(database.name)


def _side_by_side(tasks: list[dict[str, Any]]) -> None:
    """Two parts of one table were at work at the same time."""
    times = sorted((t["start_date"], t["end_date"]) for t in tasks if t["task_id"] == "copy.tables.Order.parts")
    assert len(times) > 2
    assert any(later < end for (_, end), (later, _) in pairwise(times)), times


@pytest.mark.parametrize("seed", range(RUNS))
@pytest.mark.parametrize("dag", ["chaos", "chaos_at_one_point"])
def test_a_killed_task_and_a_cleared_one(world: World, dag: str, seed: int) -> None:
    server, chance = world.server.of(dag), random.Random(seed)
    run = server.trigger()
    tasks = [*world.tasks, *(["copy.hold", "copy.wait"] if dag == "chaos_at_one_point" else [])]
    killed = [_kill(server, run, task, chance) for task in _in_order(chance.sample(tasks, 2))]
    states = server.end_of(run)
    if dag == "chaos_at_one_point" and set(states.values()) != {"success"}:
        server.clear(run, list(states))
        states = server.end_of(run)
    world.check(states, killed)
    again = chance.choice([t for t in tasks if t.startswith("copy.tables.")])
    server.clear(run, [again])
    world.check(server.end_of(run), killed, again)
    assert server.versions() == 1  # of a file that is parsed every few seconds


def _in_order(tasks: list[str]) -> list[str]:
    """As they run, roughly: to wait for a late one is to miss an early one."""
    order = (
        "copy.prepare",
        "copy.wait",
        "copy.hold",
        "copy.tables.",
        "copy.references.",
        "copy.finish",
        "copy.release",
    )
    return sorted(tasks, key=lambda t: next(n for n, beginning in enumerate(order) if t.startswith(beginning)))


def _kill(server: Airflow, run: str, task: str, chance: random.Random) -> str:
    """SIGKILL the task's process a moment after it has begun, or its worker as well; whether it was still there."""
    found: list[psutil.Process] = []

    def is_there() -> bool:
        process = server.process(run, task)
        found.extend([process] if process else [])
        return process is not None or server.tasks(run).get(task) in ("success", "failed", "upstream_failed", "skipped")

    await_(is_there, every=0.05)
    time.sleep(chance.uniform(0, 0.8))
    try:
        worker = [found[0].parent()] if chance.random() < 0.3 else []
        for process in [*worker, found[0]]:
            process.kill()
    except (IndexError, psutil.NoSuchProcess):
        return f"{task} was faster"
    return f"{task} killed{' with its worker' if worker else ''}"
