"""A whole Airflow for the demo: what `airflow standalone` starts, on a free loopback port, gone when this process is.

Not that command itself: its scheduler and triggerer serve log files on fixed ports of every interface, which only
their own commands can turn off. The components are processes of their own, so a shell in a session of their own holds
the read end of a pipe, as for the scratch servers: when the pipe closes, whatever closed it, the shell ends the whole
process group.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from sandbox.process import SandboxError, free_port

START_TIMEOUT = 180.0
TRIES = 4  # of a question that was not answered in time
GRACE = 3  # seconds from SIGTERM to SIGKILL

_WATCHDOG = """
exec 3<&0 </dev/null
trap : TERM
(
  "$PYTHON" -m airflow db migrate &&
  { COMPONENTS
    wait; }
) 3<&- &
read -r _ <&3
kill -s TERM 0
sleep "$GRACE"
kill -s KILL 0
"""


class Standalone:
    """A running Airflow; leave its context to stop it."""

    def __init__(self, environment: Mapping[str, str], log: Path, parallelism: int = 4) -> None:
        """Start it.

        Args:
            environment: with AIRFLOW_HOME, connections and the like.
            log: the file that takes all components' output.
            parallelism: how many tasks may run at once.
        """
        self._parallelism = parallelism
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._log = log
        reader, self._lifeline = os.pipe()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["sh", "-c", _WATCHDOG.replace("COMPONENTS", "\n".join(f"{c} &" for c in self._components()))],
                stdin=reader,
                stdout=output,
                stderr=output,
                env={**environment, **self._settings(), "GRACE": str(GRACE), "PYTHON": sys.executable},
                start_new_session=True,
            )
        os.close(reader)

    def _components(self) -> list[str]:
        """Shell commands, started once the metadata database is there."""
        return [f'"$PYTHON" -m airflow {c}' for c in ("api-server", "scheduler --skip-serve-logs", "dag-processor")]

    def _settings(self) -> dict[str, str]:
        return {
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__BASE_URL": self.address,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.address}/execution/",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__PARALLELISM": str(self._parallelism),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",  # a busy machine answers in more than the usual 5 seconds
        }

    def __enter__(self) -> Self:
        """Nothing to do: it is starting already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop every process of it."""
        os.write(self._lifeline, b"\n")
        os.close(self._lifeline)
        self._process.wait()

    def trigger(self, dag_id: str) -> str:
        """Start a run of the DAG as soon as Airflow knows it; the run's id."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                self.call(f"/api/v2/dags/{dag_id}/details")
                run: dict[str, Any] = self.call(f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None})
                return str(run["dag_run_id"])
            except urllib.error.URLError as error:  # not listening yet, or 404: not parsed yet
                if time.monotonic() > deadline:
                    raise SandboxError(f"Airflow does not answer ({error}). Its log: {self._log}") from error
                time.sleep(0.5)

    def finished(self, dag_id: str, run_id: str, patience: float = 900) -> dict[str, Any]:
        """The run, once it has ended."""
        deadline = time.monotonic() + patience
        while True:
            run: dict[str, Any] = self.call(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")
            if run["state"] in ("success", "failed"):
                return run
            if time.monotonic() > deadline:
                raise SandboxError(
                    f"the run is still {run['state']} after {patience:.0f} s. Airflow's log: {self._log}"
                )
            time.sleep(1)

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The run's task instances."""
        found = self.call(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=100")
        return list(found["task_instances"])

    @staticmethod
    def name(task: Mapping[str, Any]) -> str:
        """Of one task instance: `task[3]` is the fourth one of a mapped task."""
        return str(task["task_id"]) if task["map_index"] < 0 else f"{task['task_id']}[{task['map_index']}]"

    @staticmethod
    def marked(name: str) -> str | list[str | int]:
        """The same as the API takes it, to clear it."""
        task, _, index = name.rstrip("]").partition("[")
        return [task, int(index)] if index else task

    def xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """What a task returned."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        value = self.call(path)["value"]
        return json.loads(value) if isinstance(value, str) else value

    def call(self, path: str, body: Mapping[str, Any] | None = None, method: str | None = None) -> Any:
        """Ask Airflow's REST API: GET, or POST with a body, if no other method is named."""
        data = None if body is None else json.dumps(body).encode()
        for left in reversed(range(TRIES)):
            try:
                headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token()}"}
                return self._open(urllib.request.Request(self.address + path, data, headers, method=method))  # noqa: S310
            except TimeoutError:  # a busy machine; what is asked again changes nothing
                if body is not None or not left:
                    raise
        return None

    def _token(self) -> str:
        return str(self._open(urllib.request.Request(f"{self.address}/auth/token"))["access_token"])  # noqa: S310

    @staticmethod
    def _open(request: urllib.request.Request) -> Any:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return json.loads(response.read())
