"""A whole Airflow beside a bank that never rests: DAG files, runs, clearing, as a user does it by the REST API."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sandbox.demo.standalone import Standalone
from tests.consistency.bank import Bank

DAG = """
from airflow.sdk import DAG
from airflow_subset_provider import SubsetOperator

with DAG({name!r}, schedule=None, max_active_runs=1) as dag:
    SubsetOperator(task_id="copy", source_conn_id="bank", target_conn_id="bank_copy", catalog="bank.catalog.json",
                   {arguments})
"""
FILES = {
    "one_point": 'filters={"branch": "id <= 3"}, retries=1',
    "own_times": 'filters={"branch": "id <= 3"}, consistent=False',
    # `checking` and `savings`, whose sum is 0.
    "in_parts": 'filters={"branch": "id <= 3"}, retries=1, chunk_rows=20',
    # Seconds in which `branch` is read and nothing else goes on.
    "slow": 'filters={"branch": "id <= 3 AND (id <> 1 OR pg_sleep(8) IS NOT NULL)"}, retries=1',
    "one_slot": 'filters={"branch": "id <= 3"}, pool="one_slot"',
    "fewer_slots": 'filters={"branch": "id <= 3 AND (id <> 1 OR pg_sleep(8) IS NOT NULL)"}, pool="fewer_slots"',
    "waiting": 'filters={"branch": "id <= 3 AND (id <> 1 OR pg_sleep(8) IS NOT NULL)"}, pool="fewer_slots", retries=5, '
    "retry_delay=5",
    "demanding": 'filters={"branch": "id <= 3"}, pool="one_slot", consistent=True',
}
PATIENCE = 25


class Airflow:
    """A running Airflow whose DAGs copy one bank."""

    def __init__(
        self,
        home: Path,
        bank: Bank,
        catalog: str,
        files: Mapping[str, str] = FILES,
        parallelism: int = 4,
        **environment: str,
    ) -> None:
        self._home = home
        dags = home / "dags"
        dags.mkdir()
        (dags / "bank.catalog.json").write_text(catalog)
        for name, arguments in files.items():
            (dags / f"{name}.py").write_text(DAG.format(name=name, arguments=arguments))
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PYTHON"))}
        source, target = bank.urls
        self.standalone = Standalone(
            {
                **kept,
                "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                "AIRFLOW_HOME": str(home),
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW__SUBSET__SNAPSHOT_PATIENCE": str(PATIENCE),
                "AIRFLOW_CONN_BANK": source,
                "AIRFLOW_CONN_BANK_COPY": target,
                **environment,
            },
            home / "airflow.log",
            parallelism,
        )

    def pool(self, name: str, slots: int) -> None:
        while True:
            try:
                self.standalone.call("/api/v2/pools", {"name": name, "slots": slots})
                return
            except urllib.error.HTTPError as error:
                if error.code == 409:
                    return
                raise
            except urllib.error.URLError:
                time.sleep(1)

    def resize(self, pool: str, slots: int) -> None:
        self.standalone.call(
            f"/api/v2/pools/{pool}", {"pool": pool, "slots": slots, "include_deferred": False}, "PATCH"
        )

    def start(self, name: str) -> DagRun:
        return DagRun(self, name, self.standalone.trigger(name))


class DagRun:
    """One run of a DAG."""

    def __init__(self, airflow: Airflow, dag: str, run: str) -> None:
        self._airflow, self.dag, self.run = airflow, dag, run
        self._path = f"/api/v2/dags/{dag}/dagRuns/{run}"

    def tasks(self) -> dict[str, dict[str, Any]]:
        found = self._call(f"{self._path}/taskInstances?limit=100")["task_instances"]
        return {Standalone.name(t).removeprefix("copy."): t for t in found}

    def states(self) -> dict[str, str | None]:
        return {name: t["state"] for name, t in self.tasks().items()}

    def until(self, *states: Mapping[str, str | None], timeout: float = 240) -> None:
        """Wait for tasks to be in these states."""
        wanted, deadline = dict(states[0]), time.monotonic() + timeout
        while not wanted.items() <= (now := self.states()).items():
            assert time.monotonic() < deadline, now
            time.sleep(0.5)

    def end(self, timeout: float = 300) -> str:
        """The run's state, once no task is left to do anything."""
        deadline = time.monotonic() + timeout
        while (state := self._call(self._path)["state"]) not in ("success", "failed") or "running" in set(
            self.states().values()
        ):
            assert time.monotonic() < deadline, self.states()
            time.sleep(1)
        return str(state)

    def clear(self, tasks: Iterable[str] | None = None, downstream: bool = False) -> None:
        """As the button does: with what Airflow itself thinks must be cleared, too."""
        names = [Standalone.marked(f"copy.{t}") for t in (self.tasks() if tasks is None else tasks)]
        self._call(
            f"/api/v2/dags/{self.dag}/clearTaskInstances",
            {
                "dry_run": False,
                "dag_run_id": self.run,
                "task_ids": names,
                "only_failed": False,
                "include_downstream": downstream,
                "reset_dag_runs": True,
            },
        )

    def xcom(self, task: str, key: str = "return_value", group: str = "copy") -> Any:
        found = self._call(f"{self._path}/taskInstances/{group}.{task}/xcomEntries/{key}")["value"]
        return json.loads(found) if isinstance(found, str) else found

    def log(self, task: str, group: str = "copy") -> str:
        """Of all tries."""
        folder = self._airflow._home / "logs" / f"dag_id={self.dag}" / f"run_id={self.run}" / f"task_id={group}.{task}"
        return "\n".join(p.read_text() for p in sorted(folder.glob("*.log")))

    def _call(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._airflow.standalone.call(path, body)
