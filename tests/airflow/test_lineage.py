"""OpenLineage's own provider, in a real run, hears which table and which column came from which."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_subset_provider.connections import address
from tests.airflow.conftest import DagFile, Database

pytest.importorskip("airflow.providers.openlineage", reason="the extra [openlineage] is not installed")

Write = Callable[..., DagFile]
Shop = tuple[Database, Database]

COPY = """
SubsetOperator(task_id="copy", source_conn_id="source", target_conn_id="target", create_schema=True,
               filters={"customer": "id = 7"}, others="referenced")
"""


def _run(dag: DagFile, tmp_path: Path) -> dict[str, dict[str, Any]]:
    """The COMPLETE event of each task. In a process of its own: Airflow reads the transport when it starts."""
    heard, result = tmp_path / "events.jsonl", tmp_path / "result.json"
    transport = json.dumps({"type": "file", "log_file_path": str(heard), "append": True})
    printed = subprocess.run(
        [sys.executable, "-m", "sandbox.demo.run_dag", str(dag.path), "copy", str(result)],
        env={**os.environ, "AIRFLOW__OPENLINEAGE__TRANSPORT": transport, "AIRFLOW__OPENLINEAGE__NAMESPACE": "tests"},
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert json.loads(result.read_text())["state"] == "success", printed.stdout[-5000:]
    found = [json.loads(line) for line in heard.read_text().splitlines()]
    return {
        event["job"]["name"].removeprefix(f"{dag.path.stem}."): event
        for event in found
        if event["eventType"] == "COMPLETE"
    }


def test_tables_and_columns(shop: Shop, dag_file: Write, tmp_path: Path) -> None:
    events = _run(dag_file(COPY), tmp_path)
    source, target = address("source"), address("target")
    assert source is not None
    assert target is not None
    order = events["copy.tables.Order"]
    ((read,), (written,)) = order["inputs"], order["outputs"]
    assert (read["namespace"], read["name"]) == (source.server, f"{source.database}.public.Order")
    assert (written["namespace"], written["name"]) == (target.server, f"{target.database}.public.Order")
    columns = shop[0].rows("SELECT attname FROM pg_attribute WHERE attrelid = '\"Order\"'::regclass AND attnum > 0")
    names = {name for (name,) in columns}
    assert {f["name"] for f in written["facets"]["schema"]["fields"]} == names
    lineage = written["facets"]["columnLineage"]["fields"]
    assert {name: (f["inputFields"][0]["name"], f["inputFields"][0]["field"]) for name, f in lineage.items()} == {
        name: (read["name"], name) for name in names
    }
    assert {f["transformationType"] for f in lineage.values()} == {"IDENTITY"}
    assert written["outputFacets"]["outputStatistics"]["rowCount"] == shop[1].value('SELECT count(*) FROM "Order"')
    assert "id = 7" in order["job"]["facets"]["sql"]["query"]
    cycle = events["copy.references.department_and_1_more"]
    assert {o["name"].rpartition(".")[2] for o in cycle["outputs"]} == {"department", "employee"}
    assert "copy.finish" in events
    assert events["copy.prepare"]["outputs"] == []
    for database in shop:
        assert database.server.password not in json.dumps(events)
