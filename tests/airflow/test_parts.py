"""Large tables in parts: a mapped task for each table that is cut, and the same copy whatever happens to its parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_subset_provider import SubsetOperator
from airflow_subset_provider.core.errors import RequestError
from tests.airflow.conftest import SHOP, DagFile, Database, Outcome, serialization

Write = Callable[..., DagFile]
Shop = tuple[Database, Database]

COPY = """
SubsetOperator(task_id="copy", source_conn_id="source", target_conn_id="target", create_schema=True, {})
"""
# 500 orders and 250 payments; `visit` is larger, but has no key.
IN_PARTS = 'filters={"customer": "id <= 60"}, chunk_rows=100'
ORDER, PAYMENT = "copy.tables.Order", "copy.tables.payment"
UNDISTURBED: dict[str, Any] = {}
TABLES = ("Order", "currency", "customer", "department", "employee", "payment", "visit")


@pytest.fixture(autouse=True)
def _estimates(shop: Shop) -> None:
    shop[0].run("ANALYZE")


@pytest.fixture
def catalog(_estimates: None, shop: Shop, shop_catalog: str, airflow_home: Path) -> Path:
    """With estimates."""
    return airflow_home / "dags" / shop_catalog


def _left(target: Database) -> dict[str, Any]:
    """All that a run leaves."""
    found: dict[str, Any] = {t: target.rows(f'SELECT * FROM "{t}" x ORDER BY x') for t in TABLES}
    found["keys"] = target.foreign_keys()
    for table in ("suspended", "run_lock"):
        found[table] = target.rows(f"SELECT * FROM airflow_subset.{table}")
    return found


def _parts(outcome: Outcome, table: str) -> dict[str, str | None]:
    return {task: state for task, state in outcome.tasks.items() if task.startswith(f"{table}.parts[")}


@pytest.fixture
def undisturbed(shop: Shop, dag_file: Write) -> dict[str, Any]:
    """What a run leaves whose tables are not cut: the same for every test."""
    if not UNDISTURBED:
        assert dag_file(COPY.format('filters={"customer": "id <= 60"}')).run().state == "success"
        UNDISTURBED.update(_left(shop[1]))
        assert all(UNDISTURBED[t] for t in TABLES)
    return UNDISTURBED


# -- the layout


def _dag(catalog: Path, **arguments: Any) -> Any:
    defaults: dict[str, Any] = {"task_id": "copy", "source_conn_id": "source", "target_conn_id": "target"}
    with DAG("d", schedule=None) as dag:
        SubsetOperator(**defaults | {"filters": {"customer": "id <= 60"}, "catalog": catalog} | arguments)
    return dag


def test_a_table_that_is_cut_is_a_group(catalog: Path) -> None:
    dag = _dag(catalog, chunk_rows=100, retries=4, pool="databases")
    after = {
        t.task_id.removeprefix("copy.tables."): t.downstream_task_ids for t in dag.tasks if ".tables." in t.task_id
    }
    assert set(after) == {
        *("currency", "customer", "department_and_1_more", "visit"),
        *("Order.cut", "Order.parts", "payment.cut", "payment.parts"),
    }
    assert after["Order.cut"] == {"copy.tables.Order.parts"}
    assert after["Order.parts"] == {"copy.tables.payment.cut"}
    assert after["customer"] == {"copy.tables.Order.cut", "copy.tables.payment.cut", "copy.tables.visit"}
    assert after["payment.parts"] == {"copy.loaded"}
    parts = dag.get_task("copy.tables.Order.parts")
    assert (parts.retries, parts.pool, parts.trigger_rule) == (4, "databases", "all_success")
    assert parts.task_display_name == "parts of public.Order"
    assert dag.task_group.get_task_group_dict()["copy.tables.Order"].label == "public.Order"


def test_nothing_is_cut_unless_asked_for(catalog: Path) -> None:
    assert _dag(catalog).task_ids == _dag(catalog, chunk_rows=0).task_ids == _dag(catalog, chunk_rows=500).task_ids
    assert not any(t.is_mapped for t in _dag(catalog).tasks)


def test_serialises_the_same_twice_and_tells_nothing(catalog: Path) -> None:
    def serialised() -> str:
        return json.dumps(serialization().to_dict(_dag(catalog, chunk_rows=100)), sort_keys=True, default=str)

    first = serialised()
    assert first == serialised()
    assert "Job('copy')" in first
    assert " at 0x" not in first


@pytest.mark.parametrize("rows", [-1, 2.5, "1000", True, None])
def test_what_is_no_number_of_rows(catalog: Path, rows: Any) -> None:
    with pytest.raises(RequestError, match=r"chunk_rows: .* is no number of rows"):
        _dag(catalog, chunk_rows=rows)


def test_it_is_refused_with_all_other_faults(catalog: Path) -> None:
    with pytest.raises(RequestError) as caught:
        _dag(catalog, chunk_rows=-1, others="everything", retrys=1, on_drift="?", target_conn_id="source")
    assert [fault.where for fault in caught.value.faults] == [
        "SubsetOperator",
        "target_conn_id",
        "others",
        "on_drift",
        "chunk_rows",
    ]


# -- runs


def test_the_same_copy(shop: Shop, dag_file: Write, undisturbed: dict[str, Any]) -> None:
    outcome = dag_file(COPY.format(IN_PARTS)).run()
    assert outcome.state == "success"
    assert _left(shop[1]) == undisturbed
    parts = _parts(outcome, ORDER)
    assert len(parts) > 2
    assert set(parts.values()) == {"success"}
    moved = [outcome.xcom(part)["public.Order"]["extracted"] for part in parts]
    assert sum(moved) == len(undisturbed["Order"])
    assert all(moved)
    report = {t["table"]: t["kept"] for t in outcome.xcom("copy.finish")["tables"]}
    assert report["public.Order"] == len(undisturbed["Order"])


def test_parts_are_mapped_whatever_is_asked_of_xcoms(shop: Shop, dag_file: Write, undisturbed: dict[str, Any]) -> None:
    assert dag_file(COPY.format(f"{IN_PARTS}, do_xcom_push=False")).run().state == "success"
    assert _left(shop[1]) == undisturbed


def test_what_airflow_shows_of_a_part(shop: Shop, dag_file: Write, capfd: pytest.CaptureFixture[str]) -> None:
    outcome = dag_file(COPY.format(IN_PARTS.replace("60", "{{ 3 * 20 }}"))).run()
    printed = capfd.readouterr().out
    parts = _parts(outcome, ORDER)
    found: list[Any] = []
    for number, part in enumerate(parts, 1):
        fields = outcome.rendered(part)
        assert fields["filters"] == {"customer": "id <= 60"}
        assert fields["rule"] == "relevant"
        assert fields["sql"].startswith("-- public.Order\n")
        found += shop[0].rows(fields["sql"].rsplit(";", 1)[0])
        assert outcome.instances[part].rendered_map_index == f"part {number} of {len(parts)}"
        assert f"public.Order, part {number}: relevant" in printed
    assert sorted(found) == shop[1].rows('SELECT * FROM "Order" ORDER BY id')


def test_fewer_rows_than_the_catalog_says(shop: Shop, dag_file: Write, catalog: Path) -> None:
    """One part, empty perhaps: a task that is mapped over nothing would be skipped, and the copy with it."""
    shop[0].run('DELETE FROM payment; DELETE FROM "Order" WHERE id > 5; ANALYZE')
    outcome = dag_file(COPY.format(f'{IN_PARTS}, catalog="{catalog.name}"')).run()
    assert outcome.state == "success"
    assert list(_parts(outcome, ORDER)) == [f"{ORDER}.parts[0]"]
    assert list(_parts(outcome, PAYMENT)) == [f"{PAYMENT}.parts[0]"]
    assert (shop[1].counts()["Order"], shop[1].counts()["payment"]) == (5, 0)


def test_no_more_parts_than_airflow_maps(
    shop: Shop, dag_file: Write, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More would be refused when `cut` hands them over."""
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "2")
    outcome = dag_file(COPY.format(IN_PARTS.replace("100", "20"))).run()
    assert outcome.state == "success"
    assert len(_parts(outcome, ORDER)) == len(_parts(outcome, PAYMENT)) == 2
    assert _left(shop[1]) == undisturbed


# -- failures, and what is cleared


@pytest.fixture
def failed(shop: Shop, dag_file: Write, undisturbed: dict[str, Any]) -> Outcome:
    """A run of which some parts of `Order` were refused by the target; it refuses nothing any more."""
    if not shop[1].counts():
        shop[1].server.psql(shop[1].name, SHOP)
    shop[1].run('ALTER TABLE "Order" ADD CONSTRAINT picky CHECK (id <= 250) NOT VALID')
    outcome = dag_file(COPY.format(f"{IN_PARTS}, replace_existing=True")).run()
    assert outcome.state == "failed"
    assert set(_parts(outcome, ORDER).values()) == {"success", "failed"}
    assert outcome.tasks["copy.release"] == "success"
    shop[1].run('ALTER TABLE "Order" DROP CONSTRAINT picky')
    return outcome


# Airflow 3.3 clears these with any task; before, only *Downstream* does.
SETUP = {f"copy.{task}" for task in ("prepare", "prepared", "wait", "hold", "release")}


def _unsuccessful(outcome: Outcome) -> set[str]:
    return {*SETUP, *outcome.of_state("failed"), *outcome.of_state("upstream_failed")}


def _after_the_tables(outcome: Outcome) -> set[str]:
    after = {t for t in outcome.tasks if ".references." in t or t.rpartition(".")[2] in ("loaded", "finish")}
    return {*SETUP, *after}


def test_clearing_the_parts_that_failed(shop: Shop, failed: Outcome, undisturbed: dict[str, Any]) -> None:
    """And what has failed with them. `prepare` is cleared with them, so it loads the others."""
    again = failed.rerun(_unsuccessful(failed))
    assert again.state == "success"
    assert _left(shop[1]) == undisturbed


def test_clearing_all_parts(shop: Shop, failed: Outcome, undisturbed: dict[str, Any]) -> None:
    again = failed.rerun({*_parts(failed, ORDER), *_unsuccessful(failed)})
    assert again.state == "success"
    assert _left(shop[1]) == undisturbed


def test_a_table_is_cut_again(shop: Shop, failed: Outcome) -> None:
    """Cleared with all that follows, into fewer parts and into more: none of the former is left over."""
    again = {f"{ORDER}.cut", f"{ORDER}.parts", f"{PAYMENT}.cut", f"{PAYMENT}.parts", *_after_the_tables(failed)}
    wanted = 'SELECT * FROM "Order" WHERE customer_id <= 60 ORDER BY id'
    before = _parts(failed, ORDER)

    shop[0].run('DELETE FROM payment; DELETE FROM "Order" WHERE id > 50; ANALYZE')
    fewer = failed.rerun(again)
    assert fewer.state == "success"
    assert _parts(fewer, ORDER) == dict.fromkeys(before, "success")
    assert [part["empty"] for part in fewer.xcom(f"{ORDER}.cut")] == [False, *[True] * (len(before) - 1)]
    assert shop[1].rows('SELECT * FROM "Order" ORDER BY id') == shop[0].rows(wanted)

    shop[0].run("INSERT INTO \"Order\" SELECT n, n % 100 + 1, 'NZD' FROM generate_series(1000, 2000) n; ANALYZE")
    more = fewer.rerun(again)
    assert more.state == "success"
    assert len(_parts(more, ORDER)) > len(before)
    assert set(_parts(more, ORDER).values()) == {"success"}
    assert shop[1].rows('SELECT * FROM "Order" ORDER BY id') == shop[0].rows(wanted)


def test_clearing_the_cut_alone(shop: Shop, failed: Outcome, undisturbed: dict[str, Any]) -> None:
    """The parts that have succeeded will not run again: the table is loaded by it."""
    again = failed.rerun({f"{ORDER}.cut", *_unsuccessful(failed)})
    assert again.state == "success"
    assert _left(shop[1]) == undisturbed


def test_clearing_another_table(shop: Shop, failed: Outcome, undisturbed: dict[str, Any]) -> None:
    """Then the tables that are cut are loaded by the setup."""
    again = failed.rerun(_unsuccessful(failed)).rerun({"copy.tables.visit", *_after_the_tables(failed)})
    assert again.state == "success"
    assert _left(shop[1]) == undisturbed


def test_clearing_everything(shop: Shop, failed: Outcome, undisturbed: dict[str, Any]) -> None:
    again = failed.rerun(failed.tasks)
    assert again.state == "success"
    assert _left(shop[1]) == undisturbed
