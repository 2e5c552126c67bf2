"""Tasks of a real Airflow that are killed at random moments, then cleared: the copy is an undisturbed run's.

The core's own chaos tests (tests/chaos) disturb more, and more often; here Airflow itself finds the dead task, tries it
again and clears it. Each table at its own time: the holder of one point in time is another matter, and a dead one ends
the run (docs/consistency.md). SUBSET_CHAOS_AIRFLOW_RUNS says how many runs, 5 by default.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
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

with DAG("chaos", schedule=None):
    SubsetOperator(
        task_id="copy", source_conn_id="source", target_conn_id="target", create_schema=True,
        filters={"customer": "id <= 40 AND pg_sleep(0.01) IS NOT NULL"}, others="referenced",
        retries=5, retry_delay=timedelta(seconds=1), consistent=False, chunk_rows=60,
    )
"""
TABLES = ("Order", "currency", "customer", "department", "employee", "payment", "visit")

World = tuple[Airflow, Database, dict[str, Any], list[str]]


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
    """A running Airflow, the target, what an undisturbed run leaves there, and its tasks."""
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
        with airflow("chaos", bundle, shop, home) as server:
            run = server.trigger()
            states = server.end_of(run)
            assert set(states.values()) == {"success"}, (home / "airflow.log").read_text()[-5000:]
            left = _left(shop[1])
            assert all(left[t] for t in TABLES)
            _side_by_side(server.instances(run))
            yield server, shop[1], left, sorted(states)
    finally:
        for database in shop:
            database.server.drop_database(database.name)


def _side_by_side(tasks: list[dict[str, Any]]) -> None:
    """Two parts of one table were at work at the same time."""
    times = sorted((t["start_date"], t["end_date"]) for t in tasks if t["task_id"] == "copy.tables.Order.parts")
    assert len(times) > 2
    assert any(later < end for (_, end), (later, _) in pairwise(times)), times


@pytest.mark.parametrize("seed", range(RUNS))
def test_a_killed_task_and_a_cleared_one(world: World, seed: int) -> None:
    server, target, undisturbed, known = world
    chance = random.Random(seed)
    tasks = [t for t in known if t not in ("copy.loaded", "copy.prepared")]  # no process runs these
    run = server.trigger()
    killed = [_kill(server, run, task, chance) for task in chance.sample(tasks, 2)]
    states = server.end_of(run)
    assert set(states.values()) == {"success"}, (states, killed)
    assert _left(target) == undisturbed, killed
    again = chance.choice([t for t in tasks if t.startswith("copy.tables.")])
    server.clear(run, [again])
    states = server.end_of(run)
    assert set(states.values()) == {"success"}, (states, again)
    assert _left(target) == undisturbed, again
    assert server.versions() == 1  # of a file that is parsed every few seconds


def _kill(server: Airflow, run: str, task: str, chance: random.Random) -> str:
    """SIGKILL the task's process a moment after it has begun; whether it was still there then."""
    found: list[psutil.Process] = []

    def is_there() -> bool:
        process = server.process(run, task)
        found.extend([process] if process else [])
        return process is not None or server.tasks(run).get(task) == "success"

    await_(is_there, every=0.05)
    time.sleep(chance.uniform(0, 0.8))
    try:
        found[0].kill()
    except (IndexError, psutil.NoSuchProcess):
        return f"{task} was faster"
    return f"{task} killed"
