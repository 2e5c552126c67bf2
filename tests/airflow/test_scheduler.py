"""The demo's DAG under a real scheduler, with the LocalExecutor: what `make demo UI=1` shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.demo import __main__ as demo
from sandbox.demo import database
from sandbox.demo.standalone import Standalone
from sandbox.postgresql import PostgresEndpoint
from tests.airflow.conftest import Database
from tests.databases import CreateDatabase

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]


def test_the_demo_dag_on_the_local_executor(
    source_server: PostgresEndpoint,
    target_server: PostgresEndpoint,
    fresh_database: CreateDatabase,
    tmp_path: Path,
) -> None:
    source_server.drop_database("shop")
    rows = database.build(source_server)
    source, target = Database(source_server, "shop"), Database(target_server, fresh_database(target_server))
    demo.lay_dag(tmp_path, source_server)
    environment = demo.airflow_settings(tmp_path, source_server, target_server) | {
        "AIRFLOW_CONN_SHOP_STAGING": target.url
    }
    try:
        with Standalone(environment, tmp_path / "airflow.log") as airflow:
            run = airflow.trigger(demo.DAG_ID)
            state = airflow.finished(demo.DAG_ID, run)["state"]
            tasks = {t["task_id"]: t["state"] for t in airflow.tasks(demo.DAG_ID, run)}
            assert state == "success", (tasks, (tmp_path / "airflow.log").read_text()[-4000:])
            report = airflow.xcom(demo.DAG_ID, run, f"{demo.GROUP_ID}.finish")
        assert set(tasks.values()) == {"success"}
        kept = {t["table"].removeprefix("public."): t["kept"] for t in report["tables"]}
        assert kept == database.row_counts(target_server, target.name)
        chosen = "SELECT count(*), sum(customer_id) FROM customer WHERE country_code = 'NZ'"
        assert target.rows(chosen) == source.rows(chosen)
        assert 0 < report["kept"] < sum(rows.values())
        assert report["dangling"] == 0
        assert {key["proof"] for key in report["keys"]} == {"validated"}
        assert target.foreign_keys() == source.foreign_keys()
    finally:
        source_server.drop_database("shop")
