"""What a table's task costs above a task of Airflow's that does nothing, on a real scheduler and its task runner.

Two DAGs run at once on a private Airflow whose LocalExecutor takes one task at a time, so that their tasks take turns:
a chain of tasks that do nothing, and a subset of a chain of tables with three rows each. A task's time is Airflow's own
figure, from its start to its end: the parse of the DAG file, connections, the SELECT, the load and the XComs are in it.
The processor time of its process is told as well: that figure hardly changes when the machine is busy.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from airflow_subset_provider.core.run import Endpoint, reflect
from benchmarks.kit import two_servers
from sandbox.demo.standalone import Standalone
from sandbox.postgresql import PostgresServer, find_binaries

ALLOWED = 0.300  # seconds above a task that does nothing

CLOCK = """
import os, pathlib, time
from airflow.sdk import DAG, BaseOperator

def clock(context):
    ti = context["ti"]
    note = pathlib.Path(os.environ["AIRFLOW_HOME"], "cpu", f"{ti.dag_id} {ti.task_id}")
    note.write_text(str(time.process_time()))  # of this task's own process, since it was forked

DEFAULTS = {"on_success_callback": clock}
"""
EMPTY = """
class Nothing(BaseOperator):
    def execute(self, context):
        return {"rows": 3}

with DAG("empty", schedule=None, default_args=DEFAULTS):
    last = None
    for n in range(TABLES):
        task = Nothing(task_id=f"t{n}")
        last and last >> task
        last = task
"""
SUBSET = """
from airflow_subset_provider import SubsetOperator

with DAG("subset", schedule=None, default_args=DEFAULTS):
    SubsetOperator(task_id="copy", source_conn_id="source", target_conn_id="target", catalog="bench.catalog.json",
                   filters={"t0": "id < 4"}, create_schema=True)
"""


def main(tables: int = 12) -> bool:
    """Print the medians and their differences; whether the difference is within what is allowed."""
    with tempfile.TemporaryDirectory() as folder, two_servers() as (source, target):
        home = Path(folder)
        _write(home, source, tables)
        with Standalone(_environment(home, source, target), home / "airflow.log", parallelism=1) as airflow:
            runs = {dag: airflow.trigger(dag) for dag in ("empty", "subset")}
            seconds = {dag: _seconds(airflow, dag, run) for dag, run in runs.items()}
        cpu = {dag: _cpu(home, dag) for dag in runs}
    print(f"tasks on LocalExecutor, {tables} tables of 3 rows and {tables} tasks that do nothing:")
    more = _told("seconds", seconds)
    _told("of processor time", cpu)
    print(f"  allowed: {ALLOWED * 1000:.0f} ms")
    return more <= ALLOWED


def _told(what: str, taken: dict[str, list[float]]) -> float:
    """Print the medians; the difference."""
    nothing, table = (statistics.median(taken[dag]) for dag in ("empty", "subset"))
    least = min(taken["subset"]) - min(taken["empty"])
    print(
        f"  {what:<18} nothing {nothing:.2f}, a table {table:.2f}: {(table - nothing) * 1000:+.0f} ms"
        f" (between the fastest: {least * 1000:+.0f} ms)"
    )
    return table - nothing


def _write(home: Path, source: PostgresServer, tables: int) -> None:
    """The source's tables, their catalog, the two DAG files."""
    source.psql("bench", "".join(_table(n) for n in range(tables)))
    endpoint = Endpoint("postgresql", lambda: psycopg.connect(**source.params("bench")), "source")
    (home / "cpu").mkdir()
    dags = home / "dags"
    dags.mkdir()
    (dags / "bench.catalog.json").write_text(reflect(endpoint).to_json())
    (dags / "empty.py").write_text(CLOCK + EMPTY.replace("TABLES", str(tables)))
    (dags / "subset.py").write_text(CLOCK + SUBSET)


def _table(n: int) -> str:
    parent = f", parent int NOT NULL REFERENCES t{n - 1}" if n else ""
    rows = "n, n" if n else "n"
    return (
        f"CREATE TABLE t{n} (id int PRIMARY KEY{parent}); INSERT INTO t{n} SELECT {rows} FROM generate_series(1, 9) n;"
    )


def _environment(home: Path, source: PostgresServer, target: PostgresServer) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}
    return kept | {
        "PATH": os.pathsep.join([str(find_binaries()), os.environ["PATH"]]),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_SOURCE": source.url("bench"),
        "AIRFLOW_CONN_TARGET": target.url("bench"),
    }


def _seconds(airflow: Standalone, dag_id: str, run_id: str) -> list[float]:
    if airflow.finished(dag_id, run_id)["state"] == "failed":
        raise SystemExit(f"the run of {dag_id} failed")
    tasks = airflow.tasks(dag_id, run_id)
    return [_between(t) for t in tasks if dag_id == "empty" or ".tables." in t["task_id"]]


def _cpu(home: Path, dag_id: str) -> list[float]:
    notes = (home / "cpu").glob(f"{dag_id} *")
    return [float(note.read_text()) for note in notes if dag_id == "empty" or ".tables." in note.name]


def _between(task: dict[str, Any]) -> float:
    start, end = (datetime.fromisoformat(task[name]) for name in ("start_date", "end_date"))
    return (end - start).total_seconds()
