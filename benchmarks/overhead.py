"""What a table's task costs above Airflow's own, on a real scheduler and its task runner.

Three DAGs run at once on a private Airflow whose LocalExecutor takes one task at a time, so that they take turns: one
of tasks that do nothing, one of tasks of Airflow's own SQL operator that read three rows, and a subset of tables of
three rows, each a chain. A task's time is Airflow's own figure, from its start to its end: the parse of the DAG file,
connections, the SELECT, the load and the XComs are in it. The processor time of its process is told as well: it
changes less when the machine is busy. All is done twice: as installed, and with the tasks' code imported before the
fork (docs/deployment.md, "Cheaper tasks").
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

ALLOWED = 0.300  # seconds
KINDS = {"empty": "nothing", "sql": "Airflow's SQL operator", "subset": "a table"}

CLOCK = """
import os, pathlib, time
from airflow.sdk import DAG, BaseOperator, chain

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
    chain(*[Nothing(task_id=f"t{n}") for n in range(TABLES)])
"""
SQL = """
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator

def query(n):
    return SQLExecuteQueryOperator(task_id=f"t{n}", conn_id="source", sql=f"SELECT * FROM t{n} WHERE id < 4")

with DAG("sql", schedule=None, default_args=DEFAULTS):
    chain(*[query(n) for n in range(TABLES)])
"""
SUBSET = """
from airflow_subset_provider import SubsetOperator

with DAG("subset", schedule=None, default_args=DEFAULTS):
    SubsetOperator(task_id="copy", source_conn_id="source", target_conn_id="target", catalog="bench.catalog.json",
                   filters={"t0": "id < 4"}, create_schema=True)
"""
PRELOAD = """
import sys

if sys.argv[1:2] == ["scheduler"]:
    import airflow_subset_provider.preload
"""


def main(tables: int = 12) -> bool:
    """Print medians and differences; whether a table is within what is allowed.

    As installed, that is above Airflow's own operator on the same database, whose driver and hook cost what ours do;
    with the code imported before, above a task that does nothing.
    """
    print(f"tasks on LocalExecutor, {tables} of each kind, seconds (of processor time):")
    installed = _measured("as installed", tables, "")
    preloaded = _measured("imported before the fork", tables, PRELOAD)
    print(f"  allowed: {ALLOWED * 1000:.0f} ms above Airflow's operator; imported before, above nothing")
    return installed["subset"] - installed["sql"] <= ALLOWED and preloaded["subset"] - preloaded["empty"] <= ALLOWED


def _measured(what: str, tables: int, settings: str) -> dict[str, float]:
    """Run the three DAGs; print and return the medians."""
    with tempfile.TemporaryDirectory() as folder, two_servers() as (source, target):
        home = Path(folder)
        _write(home, source, tables, settings)
        with Standalone(_environment(home, source, target), home / "airflow.log", parallelism=1) as airflow:
            runs = {dag: airflow.trigger(dag) for dag in KINDS}
            seconds = {dag: _seconds(airflow, dag, run) for dag, run in runs.items()}
        cpu = {dag: statistics.median(_cpu(home, dag)) for dag in KINDS}
    medians = {dag: statistics.median(taken) for dag, taken in seconds.items()}
    print(f"  {what}")
    for dag, name in KINDS.items():
        more = [f"{(medians[dag] - medians[other]) * 1000:+.0f} ms above {KINDS[other]}" for other in _below(dag)]
        print(f"    {name:<22} {medians[dag]:.2f} ({cpu[dag]:.2f})  {', '.join(more)}".rstrip())
    return medians


def _below(dag: str) -> list[str]:
    return list(KINDS)[: list(KINDS).index(dag)]


def _write(home: Path, source: PostgresServer, tables: int, settings: str) -> None:
    """The source's tables, their catalog, the DAG files, Airflow's local settings."""
    source.psql("bench", "".join(_table(n) for n in range(tables)))
    endpoint = Endpoint("postgresql", lambda: psycopg.connect(**source.params("bench")), "source")
    (home / "cpu").mkdir()
    dags = home / "dags"
    dags.mkdir()
    (dags / "bench.catalog.json").write_text(reflect(endpoint).to_json())
    for dag, text in {"empty": EMPTY, "sql": SQL, "subset": SUBSET}.items():
        (dags / f"{dag}.py").write_text(CLOCK + text.replace("TABLES", str(tables)))
    (home / "config").mkdir()
    (home / "config" / "airflow_local_settings.py").write_text(settings)


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
    return [_between(t) for t in tasks if dag_id != "subset" or ".tables." in t["task_id"]]


def _cpu(home: Path, dag_id: str) -> list[float]:
    notes = (home / "cpu").glob(f"{dag_id} *")
    return [float(note.read_text()) for note in notes if dag_id != "subset" or ".tables." in note.name]


def _between(task: dict[str, Any]) -> float:
    start, end = (datetime.fromisoformat(task[name]) for name in ("start_date", "end_date"))
    return (end - start).total_seconds()
