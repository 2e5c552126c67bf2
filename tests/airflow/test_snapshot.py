"""`hold` and `wait` in the group: how they lie in it, and that a DAG that is only tried out does without them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_subset_provider import SubsetOperator
from airflow_subset_provider.compat import AirflowFailException, group_arguments
from airflow_subset_provider.core.errors import RequestError
from airflow_subset_provider.operators.agreement import Word, agreed, heard, withdrawn
from tests.airflow.conftest import DagFile, Database

Write = Callable[..., DagFile]
Shop = tuple[Database, Database]

COPY = """
SubsetOperator(task_id="copy", source_conn_id="source", target_conn_id="target", create_schema=True,
               filters={{"customer": "id = 7"}}, {})
"""


@pytest.fixture
def catalog(shop: Shop, shop_catalog: str, airflow_home: Path) -> Path:
    return airflow_home / "dags" / shop_catalog


def _dag(catalog: Path, **arguments: Any) -> Any:
    with DAG("d", schedule=None) as dag:
        SubsetOperator(
            task_id="copy",
            source_conn_id="source",
            target_conn_id="target",
            filters={"customer": "id = 1"},
            catalog=catalog,
            **arguments,
        )
    return dag


# -- layout


def test_hold_is_never_retried_and_has_no_timeout(catalog: Path) -> None:
    from datetime import timedelta

    arguments = {"retries": 3, "execution_timeout": timedelta(seconds=9), "pool_slots": 2, "priority_weight": 5}
    dag = _dag(catalog, **arguments)
    hold, wait, prepare = (dag.get_task(f"copy.{name}") for name in ("hold", "wait", "prepare"))
    assert (hold.retries, hold.execution_timeout, hold.pool_slots) == (0, None, 1)
    assert hold.is_teardown
    assert not hold.on_failure_fail_dagrun
    assert (wait.retries, wait.mode) == (3, "reschedule")
    assert wait.is_setup
    assert prepare.execution_timeout == timedelta(seconds=9)
    tables = [t for t in dag.tasks if ".tables." in t.task_id]
    assert all(hold.priority_weight > t.priority_weight * len(dag.tasks) for t in tables)


def test_what_a_dag_asks_of_its_sensors_is_not_for_wait(catalog: Path) -> None:
    """Were it skipped, so would be all that follows: a success that has emptied the target."""
    defaults = {"soft_fail": True, "timeout": 1, "mode": "poke", "exponential_backoff": True, "silent_fail": True}
    wait = _dag(catalog, default_args=defaults).get_task("copy.wait")
    assert (wait.soft_fail, wait.never_fail, wait.silent_fail) == (False, False, False)
    assert (wait.mode, wait.timeout, bool(wait.exponential_backoff)) == ("reschedule", 7 * 86_400, False)
    assert not _dag(catalog, default_args={"never_fail": True}).get_task("copy.wait").never_fail


def test_the_group_still_ends_with_finish(catalog: Path) -> None:
    dag = _dag(catalog)
    assert [t.task_id for t in dag.task_group.get_leaves()] == ["copy.finish"]
    assert dag.get_task("copy.hold").downstream_task_ids == set()


def test_clearing_a_table_takes_both_along(catalog: Path) -> None:
    from tests.airflow.conftest import serialization

    dag = serialization().deserialize_dag(serialization().serialize_dag(_dag(catalog)))
    cleared = set(dag.partial_subset(["copy.tables.payment"], include_upstream=False).task_dict)
    assert cleared == {f"copy.{t}" for t in ("tables.payment", "prepare", "prepared", "wait", "hold", "release")}


def test_off(catalog: Path) -> None:
    dag = _dag(catalog, consistent=False)
    assert not {"copy.hold", "copy.wait"} & set(dag.task_ids)
    if "doc_md" in group_arguments({"doc_md": ""}):  # Airflow 3.1 has no documentation of task groups
        assert "seams healed" in dag.task_group.children["copy"].doc_md


def test_a_database_that_cannot(catalog: Path, tmp_path: Path) -> None:
    shape = json.loads(catalog.read_text())
    mysql = tmp_path / "mysql.json"
    mysql.write_text(json.dumps({**shape, "dialect": "mysql"}))
    assert "copy.hold" not in _dag(mysql).task_ids
    with pytest.raises(RequestError, match="consistent: a mysql server cannot show one state to several sessions"):
        _dag(mysql, consistent=True)
    with pytest.raises(RequestError, match="consistent: 'yes' is neither True, False nor None"):
        _dag(catalog, consistent="yes")


# -- dag.test()


@pytest.mark.parametrize("argument", ["", "consistent=True"])
def test_a_dag_that_is_tried_out_falls_back(
    shop: Shop, dag_file: Write, argument: str, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = dag_file(COPY.format(argument)).run()
    assert outcome.state == "success"
    assert outcome.of_state("success") == set(outcome.tasks)
    said = capfd.readouterr().out
    notice = "Not one point in time, but each table at its own time, seams healed: dag.test() runs one task at a time"
    assert notice in said
    assert outcome.xcom("copy.wait")["guarantee"] == "each table at its own time, seams healed"
    assert outcome.xcom("copy.finish")["guarantee"].startswith("Each table at its own time")


# -- what the tasks tell each other


class Said:
    """XComs."""

    def __init__(self, **words: Word) -> None:
        self._words = words

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        assert key == "snapshot"
        word = self._words.get(task_ids.removeprefix("copy."))
        return word and {"of": word.of, "exported": word.exported, "why": word.why}


def ended() -> bool:
    """`wait` will say no more."""
    return True


@pytest.fixture
def job(catalog: Path) -> Any:
    return _dag(catalog).get_task("copy.hold").job


def test_an_xcom_of_an_earlier_run_counts_for_nothing(job: Any) -> None:
    old = Said(hold=Word(1.0, "old"), wait=Word(1.0, "old"))
    assert heard(job, old, "hold", 2.0) is None
    with pytest.raises(AirflowFailException, match=r"`copy\.wait` has not run since `copy.prepare` did"):
        agreed(job, old, 2.0, ended)
    assert withdrawn(job, Said(hold=Word(1.0, None, "no slot")), 2.0) is None


def test_what_wait_agreed_to_stands_unless_hold_withdrew(job: Any) -> None:
    word = Word(2.0, "a")
    assert agreed(job, Said(wait=word, hold=Word(2.0, "another")), 2.0, ended).exported == "a"
    assert withdrawn(job, Said(wait=word, hold=Word(2.0, "another")), 2.0) is None
    assert withdrawn(job, Said(wait=word), 2.0) is None
    assert withdrawn(job, Said(wait=word, hold=Word(2.0, None, "no slot")), 2.0) == Word(2.0, None, "no slot")
