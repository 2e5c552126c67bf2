"""What Airflow sees of the package: the provider, its configuration, the example DAGs, the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_subset_provider
from airflow_subset_provider.core.schema import Schema
from airflow_subset_provider.provider_info import get_provider_info
from tests.airflow.conftest import Database

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "example_dags"


def _run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, env={**os.environ, **environment}, cwd=ROOT
    )


def test_airflow_lists_the_provider(airflow_home: Path) -> None:
    listed = json.loads(_run("airflow", "providers", "list", "--output", "json").stdout)
    (found,) = [p for p in listed if p["package_name"] == "airflow-subset-provider"]
    assert found["version"] == airflow_subset_provider.__version__


def test_airflow_knows_the_configuration(airflow_home: Path) -> None:
    listed = _run("airflow", "config", "list", "--include-descriptions", "--defaults", "--section", "subset").stdout
    for option in get_provider_info()["config"]["subset"]["options"]:
        assert option in listed


def test_the_provider_info_imports_nothing() -> None:
    code = "import sys, airflow_subset_provider.provider_info; print({'airflow', 'sqlalchemy'} & {*sys.modules})"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "set()\n"


def test_example_dags_parse_without_connections(airflow_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import DagBag

    for name in [n for n in os.environ if n.startswith("AIRFLOW_CONN_")]:
        monkeypatch.delenv(name)
    bag = DagBag(dag_folder=str(EXAMPLES))
    assert bag.import_errors == {}
    assert {
        "debug_a_customer",
        "example_subset_mysql",
        "demo_subset",
        "nightly_staging",
        "after_the_refresh",
        "tenants",
        "masked_ready",
    } <= set(bag.dags)


def test_the_demos_catalog_is_the_demos_schema(source_server: object, target_server: object, tmp_path: Path) -> None:
    from airflow_subset_provider.core.run import Endpoint, reflect
    from sandbox.demo import database
    from sandbox.postgresql import PostgresEndpoint

    assert isinstance(source_server, PostgresEndpoint)
    name = f"subset_demo_{os.getpid()}"
    database.create_schema(source_server, name)
    try:
        live = reflect(Endpoint("postgresql", Database(source_server, name).connect, "demo"))
    finally:
        source_server.drop_database(name)
    kept = Schema.from_json((EXAMPLES / "shop.catalog.json").read_text())
    assert live.fingerprint == kept.fingerprint


def test_the_command_line_knows_airflows_connections(shop: tuple[Database, Database], tmp_path: Path) -> None:
    path = tmp_path / "shop.catalog.json"
    script = str(Path(sys.executable).with_name("airflow-subset"))
    subprocess.run([script, "reflect", "--source-conn", "source", "-o", str(path)], check=True, capture_output=True)
    assert len(Schema.from_json(path.read_text()).tables) == 7
