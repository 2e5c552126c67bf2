"""The report where people look for it: files at a place of theirs, a button on `finish`, a page behind the login."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from airflow.sdk.io import attach
from fastapi.testclient import TestClient
from fsspec.implementations.memory import MemoryFileSystem

from airflow_subset_provider.operators import reporting
from airflow_subset_provider.operators.links import PAGE_URL, ReportLink
from airflow_subset_provider.plugin import HEADERS
from tests.airflow.conftest import DagFile, Database, Outcome

Write = Callable[..., DagFile]
Shop = tuple[Database, Database]

COPY = """
SubsetOperator(task_id="copy", source_conn_id="source", target_conn_id="target", create_schema=True,
               filters={{"customer": "id = 7"}}, others="referenced", {})
"""


def _link(outcome: Outcome, task: str = "copy.finish") -> Any:
    return outcome.xcom(task, ReportLink().xcom_key)


def test_all_kinds_go_to_a_folder(shop: Shop, dag_file: Write, tmp_path: Path) -> None:
    dag = dag_file(COPY.format(f'report="{tmp_path}/{{{{ dag.dag_id }}}}/v1.2"'))
    outcome = dag.run()
    assert outcome.state == "success"
    folder = tmp_path / dag.path.stem / "v1.2"
    assert sorted(p.name for p in folder.iterdir()) == ["report.html", "report.json", "report.md"]
    assert outcome.rendered("copy.prepare")["report"] == str(folder)
    written = outcome.xcom("copy.finish", reporting.FILES)
    assert {Path(str(file).removeprefix("file://")) for file in written} == set(folder.iterdir())
    assert json.loads((folder / "report.json").read_text()) == outcome.xcom("copy.finish")
    assert reporting.unpacked(outcome.xcom("copy.finish", reporting.PAGE)) == (folder / "report.html").read_text()
    assert "customer" in (folder / "report.md").read_text()


def test_one_file_in_an_object_store(shop: Shop, dag_file: Write, tmp_path: Path) -> None:
    outcome = dag_file(COPY.format(f'report="file://{tmp_path}/new/copy.md"')).run()
    assert outcome.state == "success"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["copy.md"]


class Buckets(MemoryFileSystem):  # type: ignore[misc]
    """An object store in this process: as on S3, what is made is a bucket, which needs a right of its own."""

    protocol = "s3"
    store: ClassVar[dict[str, Any]] = {}

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        raise PermissionError("CreateBucket")

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        raise PermissionError("CreateBucket")


def test_no_bucket_is_made(shop: Shop, dag_file: Write) -> None:
    """A mistyped one would be, where the right is there; and where it is not, a report in the right one would fail."""
    attach("s3", conn_id="store", fs=Buckets())
    dag = dag_file(COPY.format('report="s3://store@reports/{{ dag.dag_id }}"'))
    outcome = dag.run()
    assert outcome.state == "success"
    folder = f"reports/{dag.path.stem}"
    assert set(Buckets.store) == {f"/{folder}/report.{kind}" for kind in ("html", "json", "md")}
    written = outcome.xcom("copy.finish", reporting.FILES)
    assert set(written) == {f"s3://store@{folder}/report.{kind}" for kind in ("html", "json", "md")}
    assert json.loads(Buckets.store[f"/{folder}/report.json"].getvalue()) == outcome.xcom("copy.finish")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("reports/{{ run_id }}", "is a relative path"),
        ("/tmp/report.pdf", "unknown kind of report '.pdf'"),
        ("nope://bucket/report", "cannot be opened"),
    ],
)
def test_a_place_that_cannot_be_stops_the_run_before_anything_moves(
    shop: Shop, dag_file: Write, place: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = dag_file(COPY.format(f'report="{place}", retries=2')).run()
    assert outcome.of_state("failed") == {"copy.prepare"}
    assert outcome.instances["copy.prepare"].try_number == 1
    assert shop[1].counts() == {}
    assert words in capfd.readouterr().out
    assert not _link(outcome)


def test_a_report_that_cannot_be_written_does_not_undo_a_proven_copy(
    shop: Shop, dag_file: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    outcome = dag_file(COPY.format(f'report="{tmp_path}/file/report.html"')).run()
    assert outcome.state == "success"
    assert shop[1].counts()["customer"] == 1
    assert "The copy is proven, but its report could not be written" in capfd.readouterr().out
    assert "customer" in reporting.unpacked(outcome.xcom("copy.finish", reporting.PAGE))


# -- the page


@pytest.fixture(scope="module")
def server(airflow_home: Path) -> Iterator[TestClient]:
    """Airflow's API server, its plugins included."""
    from airflow.api_fastapi.app import create_app, purge_cached_app

    purge_cached_app()
    with TestClient(create_app(apps="core")) as client:
        yield client
    purge_cached_app()


def _token(role: str | None) -> str:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    token: str = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=str(role), role=role))
    return token


@pytest.fixture
def copied(shop: Shop, dag_file: Write) -> Outcome:
    return dag_file(COPY.format("")).run()


def test_the_button_leads_to_the_page(server: TestClient, copied: Outcome) -> None:
    url = _link(copied)
    assert PAGE_URL in url
    page = server.get(url[url.index(PAGE_URL) :], headers={"Authorization": f"Bearer {_token('viewer')}"})
    assert page.status_code == 200
    assert "<h1>Subset of source in target</h1>" in page.text
    assert page.text == reporting.unpacked(copied.xcom("copy.finish", reporting.PAGE))
    assert {name: page.headers[name] for name in HEADERS} == HEADERS
    server.cookies.set("_token", _token("viewer"))
    try:
        assert server.get(url[url.index(PAGE_URL) :]).status_code == 200
    finally:
        server.cookies.clear()


def test_nobody_reads_it_without_the_right_to(server: TestClient, copied: Outcome) -> None:
    url = _link(copied)
    path = url[url.index(PAGE_URL) :]
    assert server.get(path).status_code == 401
    assert server.get(path, headers={"Authorization": "Bearer nonsense"}).status_code in (401, 403)
    stranger = server.get(path, headers={"Authorization": f"Bearer {_token(None)}"})
    assert stranger.status_code == 403
    assert "Subset of" not in stranger.text


@pytest.mark.parametrize(
    "change", [("copy.finish", "copy.prepare"), ("run_id=", "run_id=not"), ("report/", "report/x")]
)
def test_what_is_not_there_is_not_found(server: TestClient, copied: Outcome, change: tuple[str, str]) -> None:
    url = _link(copied)
    path = url[url.index(PAGE_URL) :].replace(*change)
    found = server.get(path, headers={"Authorization": f"Bearer {_token('viewer')}"})
    assert found.status_code == 404
    assert "There is no report" in found.json()["detail"]


@pytest.mark.parametrize("value", [None, {"a": 1}, "<script>", "aGVsbG8=", reporting.packed("x" * 100)[:-8]])
def test_other_xcoms_are_no_pages(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        reporting.unpacked(value)


def test_a_page_that_swells_is_refused() -> None:
    assert reporting.unpacked(reporting.packed("x" * 1000)) == "x" * 1000
    with pytest.raises(ValueError, match="too long"):
        reporting.unpacked(reporting.packed("x" * (reporting.LARGEST_PAGE + 1)))


def test_loading_the_plugin_imports_nothing_else_of_the_provider(airflow_home: Path) -> None:
    code = "import sys, airflow_subset_provider.plugin; print(sorted(m for m in sys.modules if 'subset' in m))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    ours = ("airflow_subset_provider", "airflow_subset_provider.plugin", "airflow_subset_provider.provider_info")
    assert set(eval(done.stdout)) <= set(ours)


def test_loading_the_plugin_imports_no_web_framework(airflow_home: Path) -> None:
    code = "import sys, airflow_subset_provider.plugin; print({'fastapi', 'sqlalchemy', 'jinja2'} & {*sys.modules})"
    plain = (
        "import sys, airflow.plugins_manager, airflow.sdk; print({'fastapi', 'sqlalchemy', 'jinja2'} & {*sys.modules})"
    )
    printed = [
        subprocess.run([sys.executable, "-c", c], capture_output=True, text=True, check=True, env=dict(os.environ))
        for c in (code, plain)
    ]
    assert eval(printed[0].stdout) <= eval(printed[1].stdout)
