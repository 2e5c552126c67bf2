"""A schema that changes between a run's start and its copy, under a real scheduler, DAG processor and workers.

In a Git bundle a run keeps the commit it began with, catalog file included, whatever is pushed meanwhile; in a local
bundle it takes the files as they are.
"""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_subset_provider.core.run import Endpoint, reflect
from sandbox.demo.standalone import Standalone
from tests.airflow.conftest import Database

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
Shop = tuple[Database, Database]
PATIENCE = 300.0

DAG = """
import os, time
from airflow.sdk import DAG, task
from airflow_subset_provider import SubsetOperator

with DAG("refresh", schedule=None):
    @task
    def gate():
        while not os.path.exists(os.environ["GATE"]):
            time.sleep(0.2)

    gate() >> SubsetOperator(
        task_id="copy", source_conn_id="source", target_conn_id="target", create_schema=True, replace_existing=True,
        filters={"customer": "id = 7"}, others="referenced", catalog="shop.catalog.json", on_drift="warn",
    )
"""


class Repository:
    """The DAGs' folder, under version control or not."""

    def __init__(self, folder: Path, versioned: bool, source: Database) -> None:
        self.folder, self.versioned, self._source = folder, versioned, source
        folder.mkdir()
        if versioned:
            self._git("init", "--quiet", "--initial-branch=main")
        (folder / "refresh.py").write_text(textwrap.dedent(DAG))

    def reflect(self) -> None:
        """Make the catalog file anew, and commit it."""
        schema = reflect(Endpoint("postgresql", self._source.connect, "source"))
        (self.folder / "shop.catalog.json").write_text(schema.to_json())
        if self.versioned:
            self._git("add", "--all")
            self._git("-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "catalog")

    def _git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout.strip()

    @property
    def commit(self) -> str | None:
        return self._git("rev-parse", "HEAD") if self.versioned else None

    @property
    def bundle(self) -> dict[str, Any]:
        """Airflow's configuration of it."""
        if self.versioned:
            place = {"repo_url": str(self.folder), "tracking_ref": "main"}
            return {"classpath": "airflow.providers.git.bundles.git.GitDagBundle", "kwargs": place}
        return {
            "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
            "kwargs": {"path": str(self.folder)},
        }


class Airflow:
    """A running Airflow, asked over its API."""

    def __init__(self, standalone: Standalone) -> None:
        self._standalone = standalone

    def trigger(self) -> str:
        return self._standalone.trigger("refresh")

    def run(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self._standalone.call(f"/api/v2/dags/refresh/dagRuns/{run}")
        return found

    def end_of(self, run: str) -> dict[str, str]:
        """Its tasks' states, once it has ended."""
        _await(lambda: self.run(run)["state"] in ("success", "failed"))
        return self.tasks(run)

    def tasks(self, run: str) -> dict[str, str]:
        found = self._standalone.call(f"/api/v2/dags/refresh/dagRuns/{run}/taskInstances?limit=100")
        return {ti["task_id"]: ti["state"] for ti in found["task_instances"]}

    def known_tasks(self) -> set[str]:
        """Those of the DAG's newest version."""
        return {t["task_id"] for t in self._standalone.call("/api/v2/dags/refresh/tasks")["tasks"]}

    def warnings(self, run: str) -> list[str]:
        path = f"/api/v2/dags/refresh/dagRuns/{run}/taskInstances/copy.finish/xcomEntries/return_value"
        value = self._standalone.call(f"{path}?deserialize=true")["value"]
        return list((json.loads(value) if isinstance(value, str) else value)["warnings"])


def _await(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.5)


@contextmanager
def airflow(repository: Repository, shop: Shop, home: Path) -> Iterator[Airflow]:
    root = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([{"name": "dags", **repository.bundle}]),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2",
        "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "2",
        "AIRFLOW_CONN_SOURCE": shop[0].url,
        "AIRFLOW_CONN_TARGET": shop[1].url,
        "PYTHONPATH": root,
        "GATE": str(home / "gate"),
    }
    with Standalone(environment, home / "airflow.log") as standalone:
        yield Airflow(standalone)


@pytest.mark.parametrize("versioned", [True, False], ids=["git", "local"])
@pytest.mark.xdist_group("standalone")
def test_a_catalog_that_is_committed_while_a_run_waits(shop: Shop, tmp_path: Path, versioned: bool) -> None:
    repository = Repository(tmp_path / "dags", versioned, shop[0])
    repository.reflect()
    before = repository.commit
    home = tmp_path / "home"
    home.mkdir()
    with airflow(repository, shop, home) as server:
        first = server.trigger()
        _await(lambda: server.tasks(first).get("gate") == "running")
        shop[0].run("CREATE TABLE complaint (id int PRIMARY KEY, customer_id int REFERENCES customer)")
        shop[0].run("INSERT INTO complaint VALUES (1, 7)")
        repository.reflect()
        _await(lambda: "copy.tables.complaint" in server.known_tasks())
        (home / "gate").touch()
        states = server.end_of(first)
        second = server.trigger()
        again = server.end_of(second)
        assert server.run(first)["state"] == server.run(second)["state"] == "success", (
            home / "airflow.log"
        ).read_text()
        assert server.run(first)["bundle_version"] == before
        assert again["copy.tables.complaint"] == "success"
        assert server.warnings(second) == []
        assert server.run(second)["bundle_version"] == repository.commit
        if versioned:  # the run stayed on the catalog it began with
            assert "copy.tables.complaint" not in states
            assert "public.complaint: table added" in server.warnings(first)[0]
        else:
            assert states["copy.tables.complaint"] == "success"
            assert server.warnings(first) == []
    assert shop[1].rows("SELECT id FROM complaint") == [(1,)]
