"""A schema that changes between a run's start and its copy, under a real scheduler, DAG processor and workers.

In a Git bundle a run keeps the commit it began with, catalog file included, whatever is pushed meanwhile; in a local
bundle it takes the files as they are.
"""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest

from airflow_subset_provider.core.run import Endpoint, reflect
from tests.airflow.conftest import Database
from tests.airflow.server import airflow, await_

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
Shop = tuple[Database, Database]

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


@pytest.mark.parametrize("versioned", [True, False], ids=["git", "local"])
@pytest.mark.xdist_group("standalone")
def test_a_catalog_that_is_committed_while_a_run_waits(shop: Shop, tmp_path: Path, versioned: bool) -> None:
    repository = Repository(tmp_path / "dags", versioned, shop[0])
    repository.reflect()
    before = repository.commit
    home = tmp_path / "home"
    home.mkdir()
    with airflow("refresh", repository.bundle, shop, home) as server:
        first = server.trigger()
        await_(lambda: server.tasks(first).get("gate") == "running")
        shop[0].run("CREATE TABLE complaint (id int PRIMARY KEY, customer_id int REFERENCES customer)")
        shop[0].run("INSERT INTO complaint VALUES (1, 7)")
        repository.reflect()
        await_(lambda: "copy.tables.complaint" in server.known_tasks())
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
