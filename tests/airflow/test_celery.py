"""Scale-out on Airflow's own executor: many tables, one of them in parts, on two Celery workers that share no disk."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from airflow_subset_provider.core.run import Endpoint, reflect
from sandbox.celery_airflow import CeleryAirflow, Worker
from sandbox.postgresql import PostgresEndpoint, find_binaries
from sandbox.redis import RedisServer
from tests.airflow.conftest import Database, documented_settings
from tests.databases import CreateDatabase

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

TABLES, ROWS, KEPT = 40, 30, 10
LARGE, PARTS = 36_000, 12  # rows of one more table, of which a third is kept; what that is cut into
AIRFLOWS_OWN = {"airflow.cfg", "airflow-worker.pid"}

DAG = """
import json, os, pathlib, sys
PRELOADED = "airflow_subset_provider.preload" in sys.modules  # by the worker that this task was forked from
from airflow.sdk import DAG
from airflow_subset_provider import SubsetOperator

PLACES = ("HOME", "TMPDIR", "PWD", "AIRFLOW_HOME")

def look(context):  # before each task: what earlier ones have left on this worker
    ti = context["ti"]
    files = {p: [str(f.relative_to(os.environ[p])) for f in pathlib.Path(os.environ[p]).rglob("*") if f.is_file()]
             for p in PLACES}
    seen = {"worker": os.environ["SUBSET_WORKER"], "cwd": os.getcwd(), "files": files, "preloaded": PRELOADED}
    (pathlib.Path(os.environ["EVIDENCE"]) / f"{ti.task_id}.{ti.map_index}.json").write_text(json.dumps(seen))

with DAG("refresh", schedule=None, default_args={"on_execute_callback": look}):
    SubsetOperator(
        task_id="copy", source_conn_id="source", target_conn_id="target", create_schema=True,
        filters={"t0": "id <= 10"}, catalog="shop.catalog.json", chunk_rows=1000,
    )
"""


@pytest.fixture
def ends(
    source_server: PostgresEndpoint, target_server: PostgresEndpoint, fresh_database: CreateDatabase
) -> tuple[Database, Database]:
    """A tree of tables, three below each, the same number of rows in each, paired one to one; and a large table."""
    source = Database(source_server, fresh_database(source_server, hint="tree"))
    for n in range(TABLES):
        parent = f", parent int NOT NULL REFERENCES t{(n - 1) // 3}" if n else ""
        rows = "n, n" if n else "n"
        source.run(f"CREATE TABLE t{n} (id int PRIMARY KEY{parent})")
        source.run(f"INSERT INTO t{n} SELECT {rows} FROM generate_series(1, {ROWS}) n")
    source.run("CREATE TABLE sale (id bigint PRIMARY KEY, parent int NOT NULL REFERENCES t0, note text)")
    source.run(
        f"INSERT INTO sale SELECT n * n, n % {ROWS} + 1, md5(n::text) FROM generate_series(1::bigint, {LARGE}) n"
    )
    source.run("ANALYZE sale")
    return source, Database(target_server, fresh_database(target_server, hint="tree_copy"))


def test_forty_tables_and_the_parts_of_one_on_two_workers(
    ends: tuple[Database, Database], source_server: PostgresEndpoint, fresh_database: CreateDatabase, tmp_path: Path
) -> None:
    source, target = ends
    workers = [Worker(name, tmp_path / name) for name in ("worker-a", "worker-b")]
    environment = _laid_out(tmp_path, source, target)
    metadata = source_server.url(fresh_database(source_server, hint="metadata"), "psycopg2")
    with (
        RedisServer() as redis,
        CeleryAirflow(environment, tmp_path / "airflow.log", redis, metadata, workers) as airflow,
    ):
        run = airflow.trigger("refresh")
        state = airflow.finished("refresh", run, patience=1500)["state"]
        tasks = airflow.tasks("refresh", run)
        assert state == "success", _complaints(tasks, tmp_path / "airflow.log")
        report = airflow.xcom("refresh", run, "copy.finish")
    parts = [t for t in tasks if t["task_id"] == "copy.tables.sale.parts"]
    assert len(parts) == PARTS
    _spread_over(workers, [t for t in tasks if ".tables.t" in t["task_id"]], TABLES)
    _spread_over(workers, parts, PARTS)
    _nothing_left_behind(workers, tmp_path / "evidence", len(tasks))
    assert all(task["preloaded"] for task in _seen(tmp_path / "evidence"))
    wanted = source.rows(f"SELECT * FROM sale WHERE parent <= {KEPT} ORDER BY id")
    assert len(wanted) == LARGE * KEPT // ROWS
    assert target.rows("SELECT * FROM sale ORDER BY id") == wanted
    assert (report["kept"], report["dangling"]) == (TABLES * KEPT + len(wanted), 0)
    assert target.counts() == {f"t{n}": KEPT for n in range(TABLES)} | {"sale": len(wanted)}
    assert target.foreign_keys() == source.foreign_keys()


def _laid_out(folder: Path, source: Database, target: Database) -> dict[str, str]:
    """The DAG and its catalog, which all components read; the environment of all."""
    for name in ("dags", "evidence", "main", "settings"):
        (folder / name).mkdir()
    (folder / "settings" / "airflow_local_settings.py").write_text(documented_settings())
    (folder / "dags" / "refresh.py").write_text(DAG)
    schema = reflect(Endpoint("postgresql", source.connect, "source"))
    (folder / "dags" / "shop.catalog.json").write_text(schema.to_json())
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PYTHON"))}
    return kept | {
        "PATH": f"{find_binaries()}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW_HOME": str(folder / "main"),
        "PYTHONPATH": str(folder / "settings"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_SOURCE": source.url,
        "AIRFLOW_CONN_TARGET": target.url,
        "EVIDENCE": str(folder / "evidence"),
    }


def _complaints(tasks: list[dict[str, Any]], log: Path) -> str:
    return f"{[t['task_id'] for t in tasks if t['state'] == 'failed']}\n{log.read_text()[-4000:]}"


def _spread_over(workers: list[Worker], tasks: list[dict[str, Any]], number: int) -> None:
    """As Airflow itself says: both ran a fair share of these tasks."""
    hosts = Counter(t["hostname"] for t in tasks)
    assert sum(hosts.values()) == number
    assert set(hosts) == {w.name for w in workers}
    assert min(hosts.values()) >= number // 8, hosts


def _nothing_left_behind(workers: list[Worker], evidence: Path, tasks: int) -> None:
    """Each task, each part among them, found its worker's directories as empty as the first one did."""
    seen = _seen(evidence)
    assert tasks - 3 <= len(seen) <= tasks  # `loaded` and `prepared` do nothing, so no worker runs them
    for one in seen:
        worker = next(w for w in workers if w.name == one["worker"])
        assert one["cwd"] == str(worker.places["PWD"])
        assert {p: _of_tasks(files) for p, files in one["files"].items()} == {p: [] for p in worker.places}
    for worker in workers:
        for place in worker.places.values():
            assert _of_tasks(str(f.relative_to(place)) for f in place.rglob("*") if f.is_file()) == []


def _seen(evidence: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in evidence.glob("copy.*.json")]


def _of_tasks(files: Any) -> list[str]:
    """Without Airflow's own settings, and its logs where no log server takes them."""
    return [f for f in files if f not in AIRFLOWS_OWN and not f.startswith("logs/")]
