"""Changes in the middle of a run, under a real scheduler: a table that is cleared, a DAG file that is edited."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.airflow.conftest import Database
from tests.airflow.server import Airflow, Shop, airflow, await_

pytestmark = [pytest.mark.long, pytest.mark.timeout(900), pytest.mark.xdist_group("standalone")]

SCHEMA = """
CREATE TABLE x (id int PRIMARY KEY);
CREATE TABLE z (id int PRIMARY KEY, x_id int NOT NULL REFERENCES x);
CREATE TABLE y (id int PRIMARY KEY);
"""
ROWS = """
INSERT INTO x SELECT generate_series(1, 100);
INSERT INTO z SELECT n, n FROM generate_series(1, 100) n;
INSERT INTO y VALUES (1);
"""
POOLED = """
import os, time
from datetime import timedelta
from airflow.sdk import DAG, task
from airflow_subset_provider import SubsetOperator

for name, consistent in {"own_times": False, "one_point": None}.items():
    with DAG(name, schedule=None):
        SubsetOperator(
            task_id="copy", source_conn_id="source", target_conn_id="target", pool="production", replace_existing=True,
            consistent=consistent, retries=8, retry_delay=timedelta(seconds=2),
            filters={"x": "id <= 50 AND pg_sleep(0.2) IS NOT NULL"},
            relations={"z.x_id": {"follow": False, "references": "drop"}},
        )

for which in ("a", "b", "c"):
    with DAG(f"busy_{which}", schedule=None):
        @task(pool="production", priority_weight=900_000, weight_rule="absolute")
        def busy(dag_run=None):
            while not os.path.exists(os.environ["GATE"] + dag_run.dag_id):
                time.sleep(0.2)

        busy()
"""
EDITED = """
from airflow.sdk import DAG
from airflow_subset_provider import SubsetOperator

with DAG("edited", schedule=None):
    SubsetOperator(
        task_id="copy", source_conn_id="source", target_conn_id="target", replace_existing=True, consistent=False,
        filters={"x": "pg_sleep(0.1) IS NOT NULL"}, sample={"x": "PERCENT"},
    )
"""
ASLEEP = """
SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY%pg_sleep%'"""
COUNTS = "SELECT (SELECT count(*) FROM x), (SELECT count(*) FROM z), (SELECT count(*) FROM y)"


@contextmanager
def _running(dag: str, text: str, shop: Shop, home: Path) -> Iterator[tuple[Airflow, Path]]:
    for database in shop:
        for table in database.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            database.run(f'DROP TABLE "{table[0]}" CASCADE')
        database.run(SCHEMA)
    shop[0].run(ROWS)
    dags = home / "dags"
    dags.mkdir()
    (dags / "midway.py").write_text(text)
    bundle = {"classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {"path": str(dags)}}
    with airflow(dag, bundle, shop, home, AIRFLOW__CORE__PARALLELISM="8") as server:
        yield server, dags / "midway.py"


@dataclass
class Slots:
    """A pool's slots, each taken by another DAG's task until it is let go."""

    server: Airflow
    home: Path
    runs: dict[str, str] = field(default_factory=dict)

    def take(self, which: str) -> None:
        self.runs[which] = self.server.of(f"busy_{which}").trigger()

    def state(self, which: str) -> str:
        return self.server.of(f"busy_{which}").tasks(self.runs[which]).get("busy", "")

    def free(self, which: str) -> None:
        (self.home / f"gatebusy_{which}").touch()


@pytest.mark.parametrize("dag", ["own_times", "one_point"])
def test_a_table_is_cleared_while_another_waits_for_a_slot(shop: Shop, tmp_path: Path, dag: str) -> None:
    """The other one gets its slot while its parent, by which it drops rows, is being loaded again."""
    with _running(dag, POOLED, shop, tmp_path) as (server, _):
        undisturbed = server.trigger()  # waits until Airflow answers; no task runs before there is the pool
        server.make_pool("production", 3 if dag == "one_point" else 2)
        server.end_of(undisturbed)
        assert shop[1].rows(COUNTS) == [(50, 50, 1)]
        run, slots = server.trigger(), Slots(server, tmp_path)
        shop[1].run("ALTER TABLE y ADD CONSTRAINT picky CHECK (id < 0) NOT VALID")
        await_(lambda: server.tasks(run).get("copy.tables.x") == "running", every=0.1)
        for which in "ab":
            slots.take(which)
        await_(lambda: slots.state("a") == slots.state("b") == "running", every=0.1)
        await_(lambda: server.tasks(run)["copy.tables.y"] == "failed", every=0.1)
        shop[1].run("ALTER TABLE y DROP CONSTRAINT picky")
        states = server.tasks(run)
        assert (states["copy.tables.x"], states["copy.tables.z"]) == ("success", "scheduled")
        if dag == "one_point":  # the slot of `hold`, which is cleared with the table
            slots.take("c")
            await_(lambda: slots.state("c") == "scheduled", every=0.1)
        server.clear(run, ["copy.tables.y"])
        _let_go(server, run, slots, shop[0])
        states = server.end_of(run)
        if set(states.values()) != {"success"}:  # loud, and clearing the whole group mends it
            server.clear(run, list(states))
            states = server.end_of(run)
        assert set(states.values()) == {"success"}, (states, (tmp_path / "airflow.log").read_text()[-3000:])
        assert shop[1].rows(COUNTS) == [(50, 50, 1)]


def _let_go(server: Airflow, run: str, slots: Slots, source: Database) -> None:
    """One slot after the other, each to a step that comes first; all of them as soon as x is being loaded again."""
    since, left = time.monotonic(), ["a", "b"]
    while not source.value(ASLEEP):
        first = {server.tasks(run).get(f"copy.{step}") for step in ("prepare", "wait", "hold")}
        if left and time.monotonic() - since > 5 and first & {"scheduled", "up_for_reschedule"}:
            slots.free(left.pop(0))
            since = time.monotonic()
        assert time.monotonic() - since < 120, server.tasks(run)
        time.sleep(0.1)
    assert server.tasks(run)["copy.tables.x"] == "success"  # so its own task is not run again
    for which in "abc":
        slots.free(which)


def test_a_dag_that_asks_for_other_rows_in_the_middle_of_a_run(shop: Shop, tmp_path: Path) -> None:
    with _running("edited", EDITED.replace("PERCENT", "40%"), shop, tmp_path) as (server, file):
        run = server.trigger()
        await_(lambda: bool(shop[0].value(ASLEEP)), every=0.1)
        file.write_text(EDITED.replace("PERCENT", "10%"))
        states = server.end_of(run)
        assert (states["copy.tables.x"], states["copy.tables.z"]) == ("success", "failed")
        server.clear(run, ["copy.prepare"])
        assert set(server.end_of(run).values()) == {"success"}
        ((x, z, _),) = shop[1].rows(COUNTS)
        assert x == z
        assert shop[1].value("SELECT count(*) FROM x WHERE NOT EXISTS (SELECT FROM z WHERE x_id = x.id)") == 0
