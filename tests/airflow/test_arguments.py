"""What a SubsetOperator accepts, what it passes on, and what it says about the rest."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, Asset, task_group
from airflow.sdk import task as task_of

from airflow_subset_provider import SubsetError, SubsetOperator
from airflow_subset_provider.core.errors import RequestError
from tests.airflow.conftest import Database

pytestmark = pytest.mark.usefixtures("shop")


@pytest.fixture
def catalog(shop: tuple[Database, Database], shop_catalog: str, airflow_home: Path) -> Path:
    return airflow_home / "dags" / shop_catalog


def _dag(catalog: Path, dag_default_args: dict[str, Any] | None = None, /, **arguments: Any) -> Any:
    defaults: dict[str, Any] = {"task_id": "copy", "source_conn_id": "source", "target_conn_id": "target"}
    with DAG("d", schedule=None, default_args=dag_default_args or {}) as dag:
        SubsetOperator(**defaults | {"filters": {"customer": "id = 1"}, "catalog": catalog} | arguments)
    return dag


def test_task_arguments_reach_every_task(catalog: Path) -> None:
    given = {
        "retries": 7,
        "retry_delay": timedelta(seconds=11),
        "pool": "databases",
        "queue": "big",
        "priority_weight": 5,
        "execution_timeout": timedelta(hours=1),
        "max_active_tis_per_dag": 3,
    }
    dag = _dag(catalog, others="referenced", **given)
    assert len(dag.tasks) > 8
    for task in dag.tasks:
        if task.task_id in ("copy.hold", "copy.wait"):  # what must be otherwise for these: test_snapshot
            continue
        assert {name: getattr(task, name) for name in given} == given, task.task_id


def test_an_argument_beats_default_args_which_beat_the_dags(catalog: Path) -> None:
    dag = _dag(
        catalog, {"retries": 1, "queue": "a", "owner": "me"}, default_args={"retries": 2, "queue": "b"}, retries=3
    )
    assert {(t.queue, t.owner) for t in dag.tasks} == {("b", "me")}
    assert {t.retries for t in dag.tasks if t.task_id != "copy.hold"} == {3}


def test_a_trigger_rule_is_for_the_first_task_only(catalog: Path) -> None:
    for dag in (
        _dag(catalog, trigger_rule="all_done"),
        _dag(catalog, {"trigger_rule": "all_done"}, trigger_rule="all_done"),
    ):
        rules = {t.task_id.removeprefix("copy."): str(t.trigger_rule.value) for t in dag.tasks}
        assert rules.pop("prepare") == "all_done"
        assert {rules.pop(name) for name in ("release", "hold", "prepared")} == {"all_done_setup_success"}
        assert set(rules.values()) == {"all_success"}


def test_outlets_are_for_the_last_task(catalog: Path) -> None:
    dag = _dag(catalog, outlets=[Asset("staging")])
    assert [t.task_id for t in dag.tasks if t.outlets] == ["copy.finish"]


@pytest.mark.parametrize(
    ("word", "near"),
    [("filter", "filters"), ("retry", "retries"), ("refrences", "references"), ("source_con_id", "source_conn_id")],
)
def test_an_unknown_argument_names_the_nearest(catalog: Path, word: str, near: str) -> None:
    with pytest.raises(SubsetError, match=f"unknown argument '{word}'.*Did you mean.*{near}"):
        _dag(catalog, **{word: 1})


def test_all_unknown_arguments_are_named_at_once(catalog: Path) -> None:
    with pytest.raises(RequestError) as caught:
        _dag(catalog, retrys=1, qqq=2)
    assert len(caught.value.faults) == 2


def test_one_connection_for_both_ends(catalog: Path) -> None:
    with pytest.raises(RequestError, match="source and target are the same connection"):
        _dag(catalog, target_conn_id="source")


@pytest.mark.parametrize(
    ("argument", "value", "what"),
    [
        ("task_id", None, "task_id: None is no id"),
        ("source_conn_id", None, "source_conn_id: None is no connection's id"),
        ("target_conn_id", " ", "target_conn_id: ' ' is no connection's id"),
        ("source_conn_id", "{{ params.source }}", "source_conn_id: .* is a template, which is not rendered here"),
        ("catalog", 5, "catalog: 5 is no path"),
        ("catalog", "", "catalog: '' names no file"),
        ("catalog", Path(), "catalog: '.' names no file"),
        ("catalog", "s3://bucket/shop.json", "catalog: 's3://bucket/shop.json' is a URL"),
        ("filters", {"customer": " "}, r"filters\.customer: not a WHERE clause. Got ' '"),
        ("filters", ["customer"], "filters: Input should be a valid dictionary"),
    ],
)
def test_a_value_of_another_kind_is_a_fault_beside_others(
    catalog: Path, argument: str, value: object, what: str
) -> None:
    with pytest.raises(RequestError, match=what) as caught:
        _dag(catalog, **{argument: value, "retrys": 1})
    assert len(caught.value.faults) == 2


def test_a_tasks_result_is_no_filter_but_in_a_text(catalog: Path) -> None:
    with DAG("d", schedule=None):
        which = task_of(lambda: 7, task_id="which")()
    with pytest.raises(RequestError) as caught:
        _dag(catalog, filters={"customer": which, "visit": ""})
    assert [f.where for f in caught.value.faults] == ["filters['customer']", "filters.visit"]
    assert 'f"id = {result}", and put which before the group: which >> group' in str(caught.value)


def test_faults_of_the_request(catalog: Path) -> None:
    with pytest.raises(RequestError, match=r"no table 'custommer'.*Did you mean customer"):
        _dag(catalog, filters={"custommer": "id = 1"})
    with pytest.raises(RequestError, match=r"others"):
        _dag(catalog, others="everything")
    with pytest.raises(RequestError, match=r"nothing would be copied"):
        _dag(catalog, filters={}, others="skip")


def test_it_cannot_be_mapped() -> None:
    with pytest.raises(RequestError, match="in a loop"):
        SubsetOperator.partial(task_id="copy")


def test_nor_can_a_group_around_it(catalog: Path) -> None:
    @task_group
    def per_tenant(tenant: int) -> None:
        SubsetOperator(
            task_id="copy",
            source_conn_id="source",
            target_conn_id="target",
            filters={"customer": f"id = {tenant}"},
            catalog=catalog,
        )

    with DAG("d", schedule=None), pytest.raises(RequestError, match=r"per_tenant\.copy, in a mapped.*in a loop"):
        per_tenant.expand(tenant=[1, 2])


def test_a_catalog_that_is_not_there(catalog: Path) -> None:
    with pytest.raises(RequestError, match=r"missing\.json: is not in .*airflow-subset reflect"):
        _dag(catalog, catalog="missing.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"catalog_version": 99}', '{"catalog_version": 1}'])
def test_a_catalog_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(RequestError, match="is not a catalog of this version"):
        _dag(path)


def test_a_catalog_that_was_merged_badly(catalog: Path, tmp_path: Path) -> None:
    path, lines = tmp_path / "merged.json", catalog.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '{"name": ["public", "payment"]' not in line))
    with pytest.raises(RequestError, match=r"merged\.json: .* of public\.payment: there is no such table.*reflect"):
        _dag(path)


def test_a_catalog_of_other_schemas(catalog: Path) -> None:
    with pytest.raises(RequestError, match="holds the schemas public, not those asked for"):
        _dag(catalog, schemas=["sales"])
