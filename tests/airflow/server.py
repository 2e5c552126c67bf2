"""A whole Airflow on one DAG, asked over its API, for what `dag.test()` cannot show: bundles, workers that die."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import psutil

from sandbox.demo.standalone import Standalone
from tests.airflow.conftest import Database

Shop = tuple[Database, Database]
PATIENCE = 300.0
CLEARS = 5


class Airflow:
    """A running Airflow, asked over its API."""

    def __init__(self, standalone: Standalone, dag_id: str) -> None:
        self._standalone, self._dag_id = standalone, dag_id

    def of(self, dag_id: str) -> Airflow:
        """The same, on another DAG."""
        return Airflow(self._standalone, dag_id)

    def trigger(self) -> str:
        return self._standalone.trigger(self._dag_id)

    def run(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self._standalone.call(f"/api/v2/dags/{self._dag_id}/dagRuns/{run}")
        return found

    def end_of(self, run: str) -> dict[str, str]:
        """Its tasks' states, once it has ended."""
        await_(lambda: self.run(run)["state"] in ("success", "failed"))
        return self.tasks(run)

    def tasks(self, run: str) -> dict[str, str]:
        return {Standalone.name(ti): ti["state"] for ti in self.instances(run)}

    def instances(self, run: str) -> list[dict[str, Any]]:
        return self._standalone.tasks(self._dag_id, run)

    def process(self, run: str, task: str) -> psutil.Process | None:
        """The process of a running task."""
        found = next((ti for ti in self.instances(run) if Standalone.name(ti) == task), None)
        if found is None:  # not mapped yet
            return None
        for process in psutil.process_iter(["cmdline"]):
            if process.info["cmdline"] and process.info["cmdline"][0] == f"airflow worker -- {found['id']}":
                return process
        return None

    def clear(self, run: str, tasks: list[str]) -> None:
        """As a user clears them in the grid, with their downstream tasks."""
        marks = [Standalone.marked(task) for task in tasks]
        wanted = {"dry_run": False, "dag_run_id": run, "task_ids": marks, "include_downstream": True}
        place = f"/api/v2/dags/{self._dag_id}/clearTaskInstances"
        for left in reversed(range(CLEARS)):
            try:
                self._standalone.call(place, wanted | {"only_failed": False})
            except HTTPError as error:  # its scheduler is writing to the same SQLite: rolled back
                if error.code != HTTPStatus.INTERNAL_SERVER_ERROR or not left:
                    raise
                time.sleep(1)
            else:
                return

    def make_pool(self, name: str, slots: int) -> None:
        self._standalone.call("/api/v2/pools", {"name": name, "slots": slots})

    def known_tasks(self) -> set[str]:
        """Those of the DAG's newest version."""
        return {t["task_id"] for t in self._standalone.call(f"/api/v2/dags/{self._dag_id}/tasks")["tasks"]}

    def versions(self) -> int:
        """How many structures of the DAG it has seen."""
        found: int = self._standalone.call(f"/api/v2/dags/{self._dag_id}/dagVersions")["total_entries"]
        return found

    def warnings(self, run: str) -> list[str]:
        path = f"/api/v2/dags/{self._dag_id}/dagRuns/{run}/taskInstances/copy.finish/xcomEntries/return_value"
        value = self._standalone.call(f"{path}?deserialize=true")["value"]
        return list((json.loads(value) if isinstance(value, str) else value)["warnings"])


def await_(happened: Callable[[], bool], every: float = 0.5) -> None:
    until = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(every)


@contextmanager
def airflow(dag_id: str, bundle: dict[str, Any], shop: Shop, home: Path, **settings: str) -> Iterator[Airflow]:
    root = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([{"name": "dags", **bundle}]),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2",
        "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "2",
        "AIRFLOW_CONN_SOURCE": shop[0].url,
        "AIRFLOW_CONN_TARGET": shop[1].url,
        "PYTHONPATH": root,
        "GATE": str(home / "gate"),
        **settings,
    }
    with Standalone(environment, home / "airflow.log") as standalone:
        yield Airflow(standalone, dag_id)
