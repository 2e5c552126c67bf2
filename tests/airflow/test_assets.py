"""Other DAGs are started by a proven copy, and by nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path

import pytest
from airflow.sdk import DAG, Asset
from sqlalchemy import select

from airflow_subset_provider import SubsetOperator, copy_asset, tables_alias
from airflow_subset_provider.connections import address
from airflow_subset_provider.core.schema import TableName
from tests.airflow.conftest import DagFile, Database
from tests.airflow.events import events_of

Write = Callable[..., DagFile]
Shop = tuple[Database, Database]

COPY = """
SubsetOperator(task_id="copy", source_conn_id="source", target_conn_id="target", create_schema=True,
               filters={"customer": "id = 7"}, others="referenced")
"""
FOLLOWERS = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset
from airflow_subset_provider import copy_asset, tables_alias

SCHEDULES = {{
    "copy": copy_asset("target"), "tables": tables_alias("target"), "uri": Asset("{uri}"), "other": copy_asset("source")
}}
for name, schedule in SCHEDULES.items():
    with DAG("{prefix}_" + name, schedule=schedule):
        EmptyOperator(task_id="follow")
"""


def test_a_proven_copy_is_announced_with_its_tables(shop: Shop, dag_file: Write) -> None:
    outcome = dag_file(COPY).run()
    assert outcome.state == "success"
    events = {e.uri: e for e in events_of(outcome)}
    assert {e.task for e in events.values()} == {"copy.finish"}
    copy = events.pop("x-subset://target")
    report = outcome.xcom("copy.finish")
    assert copy.name == copy_asset("target").name == "subset/target"
    assert copy.extra["rows"] == report["kept"]
    assert (copy.extra["dangling"], copy.extra["source"]) == (0, "source")
    target = shop[1]
    params = target.server.params(target.name)
    place = f"postgres://{params['host']}:{params['port']}/{target.name}"
    assert {uri: e.extra["rows"] for uri, e in events.items()} == {
        f"{place}/public/{name}": rows for name, rows in target.counts().items()
    }


def test_a_connection_id_with_letters_that_no_uri_has(
    shop: Shop, dag_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GRÖSSE", shop[1].url)
    outcome = dag_file(COPY.replace('"target"', '"grösse"')).run()
    assert outcome.state == "success"
    events = {e.uri: e.name for e in events_of(outcome)}
    assert events["x-subset://gr%C3%B6sse"] == copy_asset("grösse").name == "subset/gr%C3%B6sse"
    assert len(events) == 1 + len(shop[1].counts())


def test_of_a_large_copy_the_tables_are_not_announced(
    shop: Shop, dag_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__SUBSET__TABLE_ASSETS", str(len(shop[0].counts()) - 1))
    assert [e.uri for e in events_of(dag_file(COPY).run())] == ["x-subset://target"]


def test_an_unproven_copy_is_not_announced(shop: Shop, dag_file: Write) -> None:
    dag = dag_file(COPY)
    assert dag.run().state == "success"
    shop[1].run("ALTER TABLE payment ADD CONSTRAINT picky CHECK (amount < 0) NOT VALID")
    outcome = dag.run()
    assert outcome.tasks["copy.tables.customer"] == "success"
    assert outcome.tasks["copy.finish"] == "upstream_failed"
    assert events_of(outcome) == []


def test_only_finish_has_outlets_whatever_the_defaults_are(shop_catalog: str, airflow_home: Path) -> None:
    theirs = Asset("theirs")
    catalog = airflow_home / "dags" / shop_catalog
    with DAG("d", schedule=None, default_args={"outlets": [theirs]}) as dag:
        SubsetOperator(
            task_id="a", source_conn_id="s", target_conn_id="t", filters={"customer": "id = 7"}, catalog=catalog
        )
    found = {t.task_id: t.outlets for t in dag.tasks if t.outlets}
    assert found == {"a.finish": [copy_asset("t"), tables_alias("t"), theirs]}


@pytest.fixture
def followers(shop: Shop, airflow_home: Path) -> Iterator[str]:
    """DAGs that Airflow knows, scheduled on the copy; the prefix of their ids."""
    try:
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import DagBag, sync_bag_to_db
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    DagBundlesManager().sync_bundles_to_db()
    prefix = f"followers_{os.getpid()}_{shop[1].name}"
    path = airflow_home / "dags" / f"{prefix}.py"
    place = address("target")
    assert place is not None
    uri = place.uri(TableName("public", "customer"))
    path.write_text(FOLLOWERS.format(prefix=prefix, uri=uri))
    named = "bundle_name" in signature(DagBag).parameters  # not in Airflow 3.1
    bundle = {"bundle_name": "dags-folder"} if named else {}
    bag = DagBag(dag_folder=str(path), **bundle)
    assert bag.import_errors == {}
    sync_bag_to_db(bag, "dags-folder", None)
    with create_session() as session:
        for model in session.scalars(select(DagModel).where(DagModel.dag_id.startswith(prefix))):
            model.is_paused = False
    yield prefix
    path.unlink()


def test_dags_scheduled_on_it_are_queued(followers: str, dag_file: Write) -> None:
    from airflow.models.asset import AssetDagRunQueue
    from airflow.utils.session import create_session

    assert dag_file(COPY).run().state == "success"
    with create_session() as session:
        queued = set(session.scalars(select(AssetDagRunQueue.target_dag_id)))
    assert {q.removeprefix(f"{followers}_") for q in queued if q.startswith(followers)} == {"copy", "tables", "uri"}


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        ("postgres://me:secret@db.example.com/shop", "postgres://db.example.com:5432/shop/s/t"),
        ("postgres://me:secret@[::1]:5433/shop", "postgres://[::1]:5433/shop/s/t"),
        ("postgres://%2Frun%2Fpostgresql/shop", "postgres://localhost:5432/shop/s/t"),
        ("mysql://me:secret@db.example.com/shop", "mysql://db.example.com:3306/s/t"),
    ],
)
def test_the_uris_of_tables(url: str, uri: str, monkeypatch: pytest.MonkeyPatch, airflow_home: Path) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SOMEWHERE", url)
    found = address("somewhere")
    assert found is not None
    assert found.uri(TableName("s", "t")) == uri == Asset(uri).uri


# Fields of a connection, libpq's environment, and the URI; None where that cannot be known.
LIBPQ = [
    ({}, {}, "h:5432/me"),
    ({}, {"PGDATABASE": "shop", "PGPORT": "5433"}, "h:5433/shop"),
    ({"schema": ""}, {"PGDATABASE": "shop"}, "h:5432/me"),
    ({"login": None}, {"PGUSER": "you"}, "h:5432/you"),
    ({"schema": "shop", "extra": {"dbname": "other", "host": "i", "port": 5433}}, {}, "i:5433/other"),
    ({"schema": "shop", "host": None}, {"PGHOST": "i"}, "i:5432/shop"),
    ({"schema": "shop", "host": None, "extra": {"hostaddr": "10.0.0.1"}}, {}, "10.0.0.1:5432/shop"),
    ({"schema": "shop", "host": "münchen.example"}, {}, "xn--mnchen-3ya.example:5432/shop"),
    ({"schema": "shop", "host": "a,b"}, {}, None),
    ({"schema": "shop", "extra": {"port": "1,2"}}, {}, None),
    ({"schema": "shop", "extra": {"service": "s"}}, {}, None),
    ({"schema": "shop", "host": "ö" * 64}, {}, None),
]


@pytest.mark.parametrize(("fields", "environment", "place"), LIBPQ)
def test_the_uris_of_tables_as_libpq_connects(
    fields: dict[str, object],
    environment: dict[str, str],
    place: str | None,
    monkeypatch: pytest.MonkeyPatch,
    airflow_home: Path,
) -> None:
    for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGHOSTADDR", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    shape = {"conn_type": "postgres", "host": "h", "login": "me"} | fields
    monkeypatch.setenv("AIRFLOW_CONN_SOMEWHERE", json.dumps(shape))
    found = address("somewhere")
    assert (found and found.uri(TableName("s", "t"))) == (place and f"postgres://{place}/s/t")


@pytest.mark.parametrize("hosts", [1, 2])
def test_a_copy_whose_connection_names_no_database(
    hosts: int, shop: Shop, dag_file: Write, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The environment does; of two hosts, nobody knows which one has answered."""
    target = shop[1]
    params = target.server.params(target.name)
    fields = {"conn_type": "postgres", "login": params["user"], "password": params["password"], "port": params["port"]}
    shape = fields | {"host": ",".join([str(params["host"])] * hosts)}
    monkeypatch.setenv("PGDATABASE", target.name)
    monkeypatch.setenv("AIRFLOW_CONN_TARGET", json.dumps(shape))
    outcome = dag_file(COPY).run()
    assert outcome.state == "success"
    place = f"postgres://{params['host']}:{params['port']}/{target.name}"
    tables = {f"{place}/public/{name}" for name in target.counts()} if hosts == 1 else set()
    assert {e.uri for e in events_of(outcome)} == {"x-subset://target", *tables}
    assert ("stands for all" in capfd.readouterr().out) == (hosts > 1)


@pytest.mark.parametrize(
    ("extra", "most"), [({"host": "no[uri-{}", "hostaddr": "127.0.0.1"}, "100"), ({}, "many")], ids=["host", "setting"]
)
def test_a_proven_copy_whose_tables_cannot_be_named(
    extra: dict[str, str],
    most: str,
    shop: Shop,
    dag_file: Write,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    params = shop[1].server.params(shop[1].name)
    extra = {key: value.format(params["password"]) for key, value in extra.items()}
    shape = {"conn_type": "postgres", "login": params["user"], "schema": params["dbname"], "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_TARGET", json.dumps(shape | {k: params[k] for k in ("host", "port", "password")}))
    monkeypatch.setenv("AIRFLOW__SUBSET__TABLE_ASSETS", most)
    outcome = dag_file(COPY).run()
    assert outcome.state == "success"
    assert [e.uri for e in events_of(outcome)] == ["x-subset://target"]
    printed = capfd.readouterr().out
    assert "The copy's asset stands for all of its tables" in printed
    assert str(params["password"]) not in printed


@pytest.mark.parametrize(
    ("copied", "path"), [(("shop",), ("staging", "t")), (("shop", "other"), ("shop", "t")), ((), ("shop", "t"))]
)
def test_a_copy_in_a_mysql_database_of_another_name(
    copied: tuple[str, ...], path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, airflow_home: Path
) -> None:
    """Several keep their names; a source is no copy."""
    monkeypatch.setenv("AIRFLOW_CONN_SOMEWHERE", "mysql://db.example.com/staging")
    found = address("somewhere", copied)
    assert found is not None
    assert found.path(TableName("shop", "t")) == path


def test_names_that_are_no_uri_are_escaped(monkeypatch: pytest.MonkeyPatch, airflow_home: Path) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SOMEWHERE", "postgres://db/shop")
    found = address("somewhere")
    assert found is not None
    uri = found.uri(TableName("odd/name", "täble ?"))
    assert uri == Asset(uri).uri == "postgres://db:5432/shop/odd%2Fname/t%C3%A4ble%20%3F"
