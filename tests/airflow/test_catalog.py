"""Where the DAG's structure comes from: catalog file, cache or live source; and what a changed schema does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from airflow_subset_provider import catalog_cache
from airflow_subset_provider.core.errors import EndpointError, RequestError
from tests.airflow.conftest import DagFile, Database, dag_bag

Write = Callable[..., DagFile]
Shop = tuple[Database, Database]

COPY = """
SubsetOperator(task_id="copy", source_conn_id="source", target_conn_id="target", create_schema=True,
               filters={"customer": "id = 7"}, others="referenced", CATALOG)
"""


@pytest.fixture
def no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a connection fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(psycopg.Connection, "connect", refuse)
    monkeypatch.setattr(psycopg, "connect", refuse)


def test_a_catalog_file_needs_no_connection(
    shop_catalog: str, dag_file: Write, monkeypatch: pytest.MonkeyPatch, no_connection: None
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SOURCE")
    monkeypatch.delenv("AIRFLOW_CONN_TARGET")
    dag = dag_file(COPY.replace("CATALOG", f"catalog='{shop_catalog}'")).load()
    assert "copy.tables.customer" in dag.task_ids


def test_a_run_with_a_catalog_file(shop: Shop, shop_catalog: str, dag_file: Write) -> None:
    outcome = dag_file(COPY.replace("CATALOG", f"catalog='{shop_catalog}'")).run()
    assert outcome.state == "success"
    assert shop[1].counts()["customer"] == 1


@pytest.fixture
def catalog(shop_catalog: str, airflow_home: Path) -> Path:
    return airflow_home / "dags" / shop_catalog


FACTORY = """
from airflow.sdk import DAG
from airflow_subset_provider import SubsetOperator

def make(name):
    with DAG(name, schedule=None) as dag:
        SubsetOperator(task_id="copy", source_conn_id="source", target_conn_id="target",
                       filters={"customer": "id = 7"}, catalog="shop.json")
    return dag
"""
FROM_FACTORY = "from shop_factory import make\ndag = make('from_a_factory')  # airflow\n"


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder of modules beside that of the DAG files, where `shop_factory` makes a DAG."""
    library, dags = tmp_path / "library", tmp_path / "dags"
    library.mkdir()
    dags.mkdir()
    (library / "shop_factory.py").write_text(FACTORY)
    (dags / "shop.py").write_text(FROM_FACTORY)
    monkeypatch.syspath_prepend(str(library))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(library), *sys.path]))
    yield library
    sys.modules.pop("shop_factory", None)


@pytest.mark.parametrize("beside", ["library", "dags"])
def test_a_dag_that_another_module_makes(catalog: Path, factory: Path, beside: str) -> None:
    shutil.copy(catalog, factory.with_name(beside) / "shop.json")
    bag = dag_bag(factory.with_name("dags"))
    assert bag.import_errors == {}
    assert "copy.tables.customer" in bag.dags["from_a_factory"].task_ids


def test_a_dag_file_that_is_run_by_itself(catalog: Path, factory: Path) -> None:
    dags = factory.with_name("dags")
    shutil.copy(catalog, dags / "shop.json")
    subprocess.run([sys.executable, dags / "shop.py"], check=True, capture_output=True)


def test_each_place_is_named_where_a_catalog_is_looked_for(factory: Path) -> None:
    dags = factory.with_name("dags")
    (said,) = dag_bag(dags).import_errors.values()
    assert f"catalog shop.json: is not in {factory} nor in {dags}. " in said
    assert f"airflow-subset reflect --source-conn source -o {dags}/shop.json" in said


@pytest.mark.parametrize("packed", [True, False])
def test_dag_files_in_a_zip_have_their_catalog_in_it(catalog: Path, tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "packed.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("zipped_dag.py", FACTORY + "dag = make('zipped')\n")
        if packed:
            archive.write(catalog, "shop.json")
    bag = dag_bag(tmp_path)
    if packed:
        assert bag.import_errors == {}
        assert "copy.tables.customer" in bag.dags["zipped"].task_ids
    else:
        (said,) = bag.import_errors.values()
        assert f"catalog shop.json: is not in {path}. " in said
        assert f"-o shop.json, and put it into {path}" in said


def test_the_mark_that_some_editors_begin_a_file_with(catalog: Path, dag_file: Write) -> None:
    catalog.write_text("\ufeff" + catalog.read_text())
    dag = dag_file(COPY.replace("CATALOG", f"catalog='{catalog}'")).load()
    assert "copy.tables.customer" in dag.task_ids


def test_the_cache_is_filled_once(shop: Shop, dag_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    dag = dag_file(COPY.replace("CATALOG", ""))
    dag.load()
    path = catalog_cache.location("source")
    first = path.read_text()
    assert json.loads(first)["fingerprint"]
    monkeypatch.setattr(psycopg.Connection, "connect", None)
    dag.load()
    assert path.read_text() == first


def test_an_old_entry_is_made_anew(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog_cache.read("source")
    shop[0].run("CREATE TABLE extra (id int)")
    assert _tables() == 7
    monkeypatch.setenv("AIRFLOW__SUBSET__CATALOG_TTL", "0.001")
    time.sleep(0.01)
    _age()
    assert _tables() == 8
    _age()
    shop[0].run("CREATE TABLE extra2 (id int)")
    monkeypatch.setenv("AIRFLOW__SUBSET__CATALOG_TTL", "0")
    assert _tables() == 8


def test_a_worker_takes_an_old_entry(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog_cache.read("source")
    _age()
    shop[0].run("CREATE TABLE extra (id int)")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "d")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", "copy.tables.customer")
    assert _tables() == 7


def test_an_old_entry_is_better_than_none(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog_cache.read("source")
    _age()
    monkeypatch.delenv("AIRFLOW_CONN_SOURCE")
    assert _tables() == 7


COMPLAINTS = COPY.replace("CATALOG", "").replace('"id = 7"', '"id = 7", "complaint": "id > 0"')


@pytest.fixture
def older_entry(shop: Shop) -> str:
    """An entry of before the source had complaints; the words for that."""
    catalog_cache.read("source")
    shop[0].run("CREATE TABLE complaint (id int PRIMARY KEY, customer_id int REFERENCES customer)")
    _age(100)
    return "no table 'complaint'"


def test_a_request_that_names_a_new_table(older_entry: str, dag_file: Write) -> None:
    """No run could start to refresh the entry, as there would be no DAG."""
    assert "copy.tables.complaint" in dag_file(COMPLAINTS).load().task_ids
    assert _tables() == 8


@pytest.mark.parametrize("state", ["recent", "worker", "unreachable"])
def test_a_request_that_names_a_new_table_in_vain(
    older_entry: str, dag_file: Write, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """What is wrong with it stands."""
    if state == "recent":
        _age(10)
    elif state == "worker":
        monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "d")
        monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", "copy.tables.customer")
    else:
        monkeypatch.setenv("AIRFLOW_CONN_SOURCE", "postgresql://nobody:geheim@127.0.0.1:1/nothing")
    with pytest.raises(RequestError, match=older_entry):
        dag_file(COMPLAINTS).load()
    assert _tables() == 7


@pytest.mark.parametrize("text", ['{"half', "[" * 100_000, '{"catalog_version": 1}'])
def test_a_broken_entry_is_replaced(shop: Shop, text: str) -> None:
    path = catalog_cache.location("source")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert _tables() == 7
    assert json.loads(path.read_text())["tables"]


def test_an_entry_for_each_scope() -> None:
    where = {str(catalog_cache.location("source", schemas)) for schemas in ((), ("a",), ("a", "b"))}
    assert len(where) == 3
    assert catalog_cache.location("source", ("b", "a")) == catalog_cache.location("source", ("a", "b"))


def test_a_cache_that_cannot_be_written(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIRFLOW__SUBSET__CATALOG_CACHE", str(tmp_path / "file"))
    assert _tables() == 7


def test_a_cache_at_a_url(shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__SUBSET__CATALOG_CACHE", f"file://{tmp_path}/cache")
    assert _tables() == 7
    assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setattr(psycopg.Connection, "connect", None)
    assert _tables() == 7


@pytest.mark.parametrize("url", ["nope://x/y", "s3://bucket/x"])
def test_a_cache_at_a_url_of_no_use(shop: Shop, dag_file: Write, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Every DAG without a catalog file hangs on the setting, so the error names it. Here is no library for S3."""
    monkeypatch.setenv("AIRFLOW__SUBSET__CATALOG_CACHE", url)
    with pytest.raises(
        EndpointError, match=rf"\[subset\] catalog_cache = {url}: cannot be opened: .* Name a directory"
    ):
        dag_file(COPY.replace("CATALOG", "")).load()


@pytest.mark.parametrize("state", ["unknown", "unreachable"])
def test_without_entry_and_connection_the_error_says_what_to_do(
    shop: Shop, dag_file: Write, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    if state == "unknown":
        monkeypatch.delenv("AIRFLOW_CONN_SOURCE")
    else:
        monkeypatch.setenv("AIRFLOW_CONN_SOURCE", "postgresql://nobody:geheim@127.0.0.1:1/nothing")
    with pytest.raises(EndpointError, match="airflow-subset reflect --source-conn source -o") as caught:
        dag_file(COPY.replace("CATALOG", "")).load()
    assert "catalog='source.catalog.json'" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_drift_fails_the_run_and_refreshes_the_cache(
    shop: Shop, dag_file: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    dag = dag_file(COPY.replace("CATALOG", "retries=2"))
    dag.load()
    shop[0].run("CREATE TABLE complaint (id int PRIMARY KEY, customer_id int REFERENCES customer)")
    outcome = dag.run()
    assert outcome.of_state("failed") == {"copy.prepare"}
    assert outcome.instances["copy.prepare"].try_number == 1
    assert shop[1].counts() == {}
    assert "public.complaint: table added" in capfd.readouterr().out
    again = dag_file(COPY.replace("CATALOG", "")).run()
    assert again.state == "success"
    assert again.tasks["copy.tables.complaint"] == "success"


def test_drift_leaves_a_catalog_file_alone(
    shop: Shop, shop_catalog: str, dag_file: Write, airflow_home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (airflow_home / "dags" / shop_catalog).read_text()
    shop[0].run("ALTER TABLE visit ADD COLUMN seconds int")
    outcome = dag_file(COPY.replace("CATALOG", f"catalog='{shop_catalog}'")).run()
    assert outcome.of_state("failed") == {"copy.prepare"}
    printed = capfd.readouterr().out
    assert "public.visit.seconds: column added (integer)" in printed
    assert "airflow-subset reflect" in printed
    assert (airflow_home / "dags" / shop_catalog).read_text() == before
    assert not os.path.lexists(str(catalog_cache.location("source")))


def test_harmless_drift_goes_on_and_refreshes_the_cache_at_the_end(
    shop: Shop, dag_file: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not before: each task parses the DAG anew, and a structure that changes in the middle fails the run."""
    file = dag_file(COPY.replace("CATALOG", "on_drift='warn'"))
    file.load()
    before = catalog_cache.location("source").read_text()
    shop[0].run("CREATE TABLE complaint (id int PRIMARY KEY, customer_id int REFERENCES customer)")
    shop[0].run("INSERT INTO complaint VALUES (1, 7)")
    outcome = file.run()
    assert outcome.state == "success"
    said = [w for w in outcome.xcom("copy.finish")["warnings"] if w.startswith("changed since the catalog was made")]
    assert [w.partition(": ")[2] for w in said] == [
        "public.complaint: table added",
        "public.complaint(customer_id) -> public.customer: foreign key added",
    ]
    assert "public.complaint: table added" in capfd.readouterr().out
    assert shop[1].counts() | {"customer": 1, "complaint": 0} == shop[1].counts()
    assert catalog_cache.location("source").read_text() != before
    again = file.run()
    assert again.tasks["copy.tables.complaint"] == "success"
    assert again.xcom("copy.finish")["warnings"] == []
    assert shop[1].counts()["complaint"] == 1


def test_harmless_drift_from_a_catalog_file(shop: Shop, shop_catalog: str, dag_file: Write, airflow_home: Path) -> None:
    before = (airflow_home / "dags" / shop_catalog).read_text()
    file = dag_file(COPY.replace("CATALOG", f"catalog='{shop_catalog}', on_drift='warn', replace_existing=True"))
    assert file.run().state == "success"
    shop[0].run("ALTER TABLE visit ADD COLUMN seconds int")
    assert file.run().state == "success"
    shop[0].run("ALTER TABLE visit DROP COLUMN seconds, DROP COLUMN page")
    outcome = file.run()
    assert outcome.of_state("failed") == {"copy.prepare"}
    assert (airflow_home / "dags" / shop_catalog).read_text() == before
    assert not os.path.lexists(str(catalog_cache.location("source")))


def test_on_drift_is_checked(shop: Shop, shop_catalog: str, dag_file: Write) -> None:
    with pytest.raises(RequestError, match="on_drift: 'ignore' is neither 'fail' nor 'warn'"):
        dag_file(COPY.replace("CATALOG", f"catalog='{shop_catalog}', on_drift='ignore'")).load()


def _tables() -> int:
    return len(catalog_cache.read("source").tables)


def _age(seconds: float = 2 * 86_400) -> None:
    """Make the entry so old: two days."""
    path = catalog_cache.location("source")
    shape = json.loads(path.read_text())
    path.write_text(json.dumps(shape | {"reflected_at": time.time() - seconds}))
