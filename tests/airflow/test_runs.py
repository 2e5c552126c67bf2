"""Whole runs: what the copy holds, what Airflow shows of it, and what is left when a step fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec import to_builtins
from msgspec.structs import replace
from packaging.version import Version

from airflow_subset_provider.compat import AirflowFailException
from airflow_subset_provider.core.errors import RetryableError
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.run import Run
from airflow_subset_provider.operators import prepare
from airflow_subset_provider.operators.agreement import Word
from airflow_subset_provider.operators.readiness import Ready
from tests.airflow.conftest import DagFile, Database, Outcome, is_airflow_3_1

Write = Callable[..., DagFile]
Shop = tuple[Database, Database]

COPY = """
SubsetOperator(task_id="copy", source_conn_id="source", target_conn_id="target", create_schema=True, {})
"""
ONE_CUSTOMER = 'filters={"customer": "id = 7"}, others="referenced"'
KEPT = {
    "customer": 1,
    "Order": 5,
    "payment": 0,
    "visit": 10,
    "currency": 2,
    "department": 3,
    "employee": 6,
}


@pytest.fixture(autouse=True)
def _expected(shop: Shop) -> None:
    """KEPT by hand: what customer 7's rows reach in the source."""
    orders = shop[0].rows('SELECT id, currency FROM "Order" WHERE customer_id = 7')
    KEPT["Order"], KEPT["currency"] = len(orders), len({currency for _, currency in orders})
    KEPT["payment"] = shop[0].value("SELECT count(*) FROM payment WHERE customer_id = 7")
    people = """
        WITH RECURSIVE e(id, d, m) AS (
            SELECT id, department_id, manager_id FROM employee WHERE id = (SELECT agent_id FROM customer WHERE id = 7)
            UNION SELECT n.id, n.department_id, n.manager_id FROM e JOIN department ON department.id = e.d
                JOIN employee n ON n.id = e.m OR n.id = department.boss_id)
        SELECT count(*), count(DISTINCT d) FROM e"""
    ((KEPT["employee"], KEPT["department"]),) = shop[0].rows(people)


def test_the_copy_and_its_numbers(shop: Shop, dag_file: Write) -> None:
    outcome = dag_file(COPY.format(ONE_CUSTOMER)).run()
    assert outcome.state == "success"
    assert outcome.of_state("success") == set(outcome.tasks)
    assert shop[1].counts() == KEPT
    assert shop[1].foreign_keys() == shop[0].foreign_keys()
    report = outcome.xcom("copy.finish")
    assert {t["table"].removeprefix("public."): t["kept"] for t in report["tables"]} == KEPT
    assert report["kept"] == sum(KEPT.values())
    assert report["dangling"] == 0
    extracted = {
        table: numbers for task in outcome.tasks if ".tables." in task for table, numbers in outcome.xcom(task).items()
    }
    assert {table: n["extracted"] for table, n in extracted.items()} == {
        f"public.{t}": KEPT[t] for t in ("customer", "Order", "payment", "visit")
    }
    visit = extracted["public.visit"]
    assert visit["rule"] == "relevant"
    assert "visit(customer_id) → customer" in visit["reason"]
    assert visit["bytes"] > 0
    assert visit["rows_per_s"] > 0
    referred = outcome.xcom("copy.references.currency")["public.currency"]
    assert (referred["referred"], referred["kept"]) == (KEPT["currency"], KEPT["currency"])
    assert outcome.xcom("copy.prepare")["tables"] == len(KEPT)


def test_twice_in_a_row(shop: Shop, dag_file: Write) -> None:
    dag = dag_file(COPY.format(ONE_CUSTOMER))
    assert [dag.run().state, dag.run().state] == ["success", "success"]
    assert shop[1].counts() == KEPT


def test_what_rendered_template_shows(shop: Shop, dag_file: Write) -> None:
    outcome = dag_file(COPY.format('filters={"customer": "id = {{ 3 + 4 }}"}')).run()
    fields = outcome.rendered("copy.tables.Order")
    assert fields["rule"] == "relevant"
    assert fields["filters"] == {"customer": "id = 7"}
    assert fields["sql"].startswith("-- public.Order\n")
    assert "id = 7" in fields["sql"]
    ((query, _),) = [fields["sql"].rsplit(";", 1)]
    assert len(shop[0].rows(query)) == KEPT["Order"]
    cycle = outcome.rendered("copy.tables.department_and_1_more")
    assert cycle["sql"].count("-- public.") == 2
    assert cycle["rule"] == "public.department: whole\npublic.employee: whole"


def test_filters_are_rendered_once_a_run(dag_file: Write) -> None:
    clause = "id = 7 AND '{{ macros.datetime.now() }}' <> '{{ macros.uuid.uuid4() }}'"
    outcome = dag_file(COPY.format(f'filters={{"customer": "{clause}"}}')).run()
    assert outcome.state == "success"
    rendered = outcome.xcom("copy.prepare", "prepared")["filters"]["customer"]
    assert "{{" not in rendered
    tables = [task for task in outcome.tasks if ".tables." in task]
    assert {outcome.rendered(task)["filters"]["customer"] for task in tables} == {rendered}
    assert rendered in outcome.rendered("copy.tables.payment")["sql"]
    assert outcome.rendered("copy.finish")["filters"]["customer"] == rendered


def test_a_tasks_result_reaches_the_filter_in_a_text(shop: Shop, dag_file: Write) -> None:
    group = COPY.format('filters={"customer": f"id = {which}"}, others="skip"').strip()
    which = "from airflow.sdk import task\nwhich = task(lambda: 9, task_id='which')()"
    outcome = dag_file(f"{which}\nwhich >> {group}").run()
    assert outcome.state == "success"
    assert shop[1].rows("SELECT id FROM customer") == [(9,)]
    assert outcome.rendered("copy.tables.customer")["filters"] == {"customer": "id = 9"}


def test_params_reach_the_filter(shop: Shop, dag_file: Write) -> None:
    body = COPY.format('filters={"customer": "id = {{ params.customer }}"}, others="skip"')
    assert dag_file(body, "params={'customer': 1}").run(customer=9).state == "success"
    assert shop[1].rows("SELECT id FROM customer") == [(9,)]


def test_native_rendering_leaves_text(shop: Shop, dag_file: Write) -> None:
    body = COPY.format('filters={"customer": "{{ True }}"}, others="skip"')
    assert dag_file(body, "render_template_as_native_obj=True").run().state == "success"
    assert shop[1].value("SELECT count(*) FROM customer") == 100


def test_two_groups_one_after_the_other_on_one_target(shop: Shop, dag_file: Write) -> None:
    outcome = dag_file(
        """
        def copy(name, clause):
            return SubsetOperator(task_id=name, source_conn_id="source", target_conn_id="target", create_schema=True,
                                  filters={"customer": clause}, others="referenced")
        copy("first", "id < 5") >> copy("second", "id = 7") >> EmptyOperator(task_id="end")
        """
    ).run()
    assert outcome.state == "success", outcome.of_state("failed")
    assert shop[1].counts() == KEPT


# -- failures


def test_what_is_in_the_sql_folds_no_log(shop: Shop, dag_file: Write, capfd: pytest.CaptureFixture[str]) -> None:
    """Airflow's page looks for the words anywhere in a line; no row answers the filter, so the report quotes it."""
    name = "odd\nname"
    shop[0].run(f'CREATE TABLE "{name}" (id int PRIMARY KEY)')
    filters = {"customer": "id = 7 AND name <> '::group::'\n-- ::endgroup::", name: "1 = 0 AND '::group::' <> ''"}
    outcome = dag_file(f"""
        SubsetOperator(task_id="copy", source_conn_id="source", target_conn_id="target", create_schema=True,
                       filters={filters!r}, others="referenced")
    """).run()
    assert outcome.state == "success"
    lines = [line for line in capfd.readouterr().out.splitlines() if "task_runner.py" not in line]
    begins, ends = ([line for line in lines if mark in line] for mark in ("::group::", "::endgroup::"))
    tables = [task for task in outcome.tasks if ".tables." in task]
    assert len(begins) == len(ends) == len(tables), [*begins, *ends]
    assert all("::group::SQL of public." in line for line in begins)
    assert any("SQL of public.odd name" in line for line in begins)
    assert any("name <> ':: group::'" in line for line in lines)


def test_a_bad_filter_changes_nothing(shop: Shop, dag_file: Write, capfd: pytest.CaptureFixture[str]) -> None:
    outcome = dag_file(COPY.format('filters={"customer": "nme = {{ 1 }}"}, retries=3')).run()
    assert outcome.state == "failed"
    assert outcome.of_state("failed") == {"copy.prepare"}
    assert outcome.instances["copy.prepare"].try_number == 1
    assert outcome.tasks["copy.release"] == "upstream_failed"
    assert shop[1].counts() == {}
    assert "nme" in capfd.readouterr().out


@pytest.fixture
def picky_target(shop: Shop, dag_file: Write) -> DagFile:
    """A copy of customer 7 whose target refuses payments; the DAG that copies customer 8."""
    clause = "id = {{ dag_run.conf['customer'] }}"
    dag = dag_file(COPY.format(f'filters={{"customer": "{clause}"}}, others="referenced"'))
    assert dag.run(customer=8).state == "success"
    shop[1].run("ALTER TABLE payment ADD CONSTRAINT picky CHECK (amount < 0) NOT VALID")
    return dag


def test_a_failed_table_fails_the_run_and_releases_the_target(shop: Shop, picky_target: DagFile) -> None:
    assert shop[0].value("SELECT count(*) FROM payment WHERE customer_id = 7") > 0
    outcome = picky_target.run(customer=7)
    assert outcome.state == "failed"
    assert outcome.of_state("failed") == {"copy.tables.payment"}
    assert outcome.tasks["copy.finish"] == "upstream_failed"
    assert outcome.tasks["copy.release"] == "success"
    assert shop[1].foreign_keys().keys() == shop[0].foreign_keys().keys()
    assert shop[1].rows("SELECT run FROM airflow_subset.run_lock") == []
    assert shop[1].rows("SELECT name FROM airflow_subset.suspended") == []
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        shop[1].run("INSERT INTO visit VALUES (-1, 'nobody')")


def test_clearing_from_prepare_on_mends_it(shop: Shop, picky_target: DagFile) -> None:
    outcome = picky_target.run(customer=7)
    shop[1].run("ALTER TABLE payment DROP CONSTRAINT picky")
    again = outcome.rerun(outcome.tasks)
    assert again.state == "success"
    assert shop[1].counts() == KEPT
    assert shop[1].foreign_keys() == shop[0].foreign_keys()


def test_clearing_the_failed_table_with_its_downstream(
    shop: Shop, picky_target: DagFile, capfd: pytest.CaptureFixture[str]
) -> None:
    """Airflow 3.3 clears the setup too, and no table may be left empty; 3.1 does not, and nothing may change."""
    outcome = picky_target.run(customer=7)
    shop[1].run("ALTER TABLE payment DROP CONSTRAINT picky")
    found, tries = shop[1].counts(), outcome.instances["copy.prepare"].try_number
    capfd.readouterr()
    again = outcome.rerun(["copy.tables.payment", *outcome.of_state("upstream_failed"), "copy.release"])
    if again.instances["copy.prepare"].try_number > tries:
        assert again.state == "success"
        assert shop[1].counts() == KEPT
        assert shop[1].foreign_keys() == shop[0].foreign_keys()
    else:
        assert again.state == "failed"
        assert shop[1].counts() == found
        assert "Clear the run from `prepare` on" in capfd.readouterr().out


@pytest.mark.parametrize("task", ["copy.tables.payment", "copy.prepare", "copy.references.currency"])
def test_clearing_one_task_alone_is_refused_and_says_what_to_do(
    shop: Shop, dag_file: Write, capfd: pytest.CaptureFixture[str], task: str
) -> None:
    outcome = dag_file(COPY.format(ONE_CUSTOMER)).run()
    capfd.readouterr()
    again = outcome.rerun([task])
    refused = "copy.prepare" if again.tasks["copy.prepare"] == "failed" else task
    assert again.tasks[refused] == "failed"
    if refused == "copy.prepare":
        # `finish`, not cleared, keeps its success, and the run is none all the same, where Airflow (3.3) clears the
        # teardown `prepared` with its setup.
        along = again.tasks["copy.prepared"] == "upstream_failed"
        assert along or Version(version("apache-airflow")) < Version("3.3")
        assert (again.tasks["copy.finish"], again.state) == ("success", "failed" if along else "success")
    printed = capfd.readouterr().out
    assert "with their downstream tasks, or the whole group" in printed or "Clear the run from `prepare` on" in printed
    assert shop[1].counts() == KEPT
    assert shop[1].foreign_keys() == shop[0].foreign_keys()


# -- the lock


def _lock(target: Database, run: str, hours: float) -> None:
    taken = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
    target.run(f"INSERT INTO airflow_subset.run_lock VALUES (1, '{run}', '{taken}')")


@pytest.mark.parametrize(("hours", "state"), [(1, "failed"), (30, "success")])
def test_a_lock_of_a_run_nobody_knows(shop: Shop, dag_file: Write, hours: float, state: str) -> None:
    dag = dag_file(COPY.format(ONE_CUSTOMER))
    assert dag.run().state == "success"
    _lock(shop[1], "elsewhere/manual__1/copy", hours)
    assert dag.run().state == state


def test_prepare_alone_changes_nothing(shop: Shop, dag_file: Write, airflow_home: Path) -> None:
    """`airflow tasks test` runs one task, in a DAG run that is deleted afterwards."""
    dag = dag_file(COPY.format(ONE_CUSTOMER))
    assert dag.run().state == "success"
    command = [sys.executable, "-m", "airflow", "tasks", "test", dag.path.stem, "copy.prepare"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"Try the whole DAG: airflow dags test {dag.path.stem}" in tried.stdout + tried.stderr
    assert shop[1].counts() == KEPT
    assert dag.run().state == "success"


def test_a_lock_of_a_finished_run_is_taken_over(shop: Shop, dag_file: Write) -> None:
    dag = dag_file(COPY.format(ONE_CUSTOMER))
    run_id = dag.run().instances["copy.finish"].run_id
    _lock(shop[1], f"{dag.path.stem}/{run_id}/copy", hours=0)
    assert dag.run().state == "success"


# -- secrets


@pytest.mark.parametrize("clause", ["id = 7", "nonsense ="])
def test_no_password_anywhere(shop: Shop, dag_file: Write, capfd: pytest.CaptureFixture[str], clause: str) -> None:
    dag = dag_file(COPY.format(f'filters={{"customer": "{clause}"}}'))
    outcome = dag.run()
    written = [capfd.readouterr()]
    shown: list[Any] = [written, [outcome.rendered(task) for task in outcome.tasks]]
    shown += [outcome.xcom(task, key) for task in outcome.tasks for key in ("return_value", "prepared", "snapshot")]
    catalogs = "".join(p.read_text() for p in dag.path.parents[1].rglob("*.json"))
    for database in shop:
        assert database.server.password not in repr(shown) + catalogs
        assert database.server.url("x").split("@")[0] not in repr(shown) + catalogs
    assert any(written[0])


# -- interruptions

SLOW = 'filters={"customer": "id = 7 AND pg_sleep(500) IS NOT NULL"}, others="skip"'
ASLEEP = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY%pg_sleep%'"""


def test_an_execution_timeout_stops_the_query(shop: Shop, dag_file: Write) -> None:
    argument = "execution_timeout=__import__('datetime').timedelta(seconds=12)"  # of `prepare`, too
    started = time.monotonic()
    outcome = dag_file(COPY.format(f"{SLOW}, {argument}")).run()
    assert outcome.of_state("failed") == {"copy.tables.customer"}
    assert time.monotonic() - started < 250
    assert shop[0].value(ASLEEP) == 0


def test_killing_a_task_stops_the_query(shop: Shop, dag_file: Write) -> None:
    """SIGTERM is what a worker gets when a running task is cleared or marked as failed."""
    seen = threading.Event()

    def kill_when_asleep() -> None:
        while not shop[0].value(ASLEEP):
            time.sleep(0.2)
        seen.set()
        os.kill(os.getpid(), signal.SIGTERM)

    before, started = signal.getsignal(signal.SIGTERM), time.monotonic()
    threading.Thread(target=kill_when_asleep, daemon=True).start()
    try:
        outcome = dag_file(COPY.format(SLOW)).run()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen.is_set()
    assert outcome.of_state("failed") == {"copy.tables.customer"}
    assert outcome.tasks["copy.release"] == "success"
    assert time.monotonic() - started < 250
    assert shop[0].value(ASLEEP) == 0


NAP = """
    CREATE TABLE pause (seconds int); INSERT INTO pause VALUES (0);
    CREATE FUNCTION nap() RETURNS bool LANGUAGE sql AS 'SELECT pg_sleep((SELECT seconds FROM pause)) IS NOT NULL'"""
NAPPING = ASLEEP.replace("pg_sleep", "nap()")


@pytest.mark.skipif(is_airflow_3_1(), reason="Airflow 3.1 does not clear a table's setups with it")
def test_killing_wait_stops_what_it_loads_again(shop: Shop, dag_file: Write) -> None:
    shop[0].run(NAP)
    dag = dag_file(COPY.format('filters={"customer": "id = 7 AND nap()"}, others="referenced"'))
    assert dag.run().state == "success"
    shop[1].run("ALTER TABLE payment ADD CONSTRAINT picky CHECK (amount < 0) NOT VALID")
    outcome = dag.run()
    assert outcome.of_state("failed") == {"copy.tables.payment"}
    shop[1].run("ALTER TABLE payment DROP CONSTRAINT picky")
    shop[0].run("UPDATE pause SET seconds = 30")
    slept: list[float] = []

    def kill_when_napping() -> None:
        while not shop[0].value(NAPPING):
            time.sleep(0.2)
        shop[0].run("UPDATE pause SET seconds = 0")
        began = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)
        while shop[0].value(NAPPING):
            time.sleep(0.2)
        slept.append(time.monotonic() - began)

    before = signal.getsignal(signal.SIGTERM)
    threading.Thread(target=kill_when_napping, daemon=True).start()
    try:
        along = [*outcome.of_state("upstream_failed"), "copy.release", "copy.hold"]
        again = outcome.rerun(["copy.tables.payment", *along])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert again.tasks["copy.wait"] == "failed"
    assert slept[0] < 15


# -- what `prepare` said


def _heard(dag: Any, **said: Any) -> Any:
    task = dag.get_task("copy.tables.customer")
    job = task.job
    same = Ready(
        fingerprint=job.plan.schema.fingerprint,
        request=job.request,
        taken="then",
        started=1.0,
        drift=[],
        warnings=[],
        report="",
        filters=job.plan.spec.filters,
        marks={},
    )
    task._ready = replace(same, **said)
    return task


class Instance:
    """A task's instance, as far as it is asked about the others: their states, and what they have said."""

    dag_id, run_id, task_id, map_index = "dag", "run", "copy.tables.customer", -1

    def __init__(self, states: dict[str, str], said: dict[str, Any] | None = None) -> None:
        self._states = {f"copy.{task}": state for task, state in states.items()}
        self._said = {f"copy.{task}": to_builtins(word) for task, word in (said or {}).items()}

    def get_task_states(self, **_: Any) -> Any:
        return {self.run_id: self._states}

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        return self._said.get(task_ids)


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ({"request": "another"}, "asks for other rows than when the run began"),
        ({"fingerprint": "another"}, "structure changed during the run"),
        ({"filters": {"customer": None}, "marks": {"customer": "x"}}, "asks for other rows than when the run began"),
    ],
)
def test_a_task_of_another_request_refuses(shop: Shop, dag_file: Write, said: dict[str, Any], match: str) -> None:
    task = _heard(dag_file(COPY.format(ONE_CUSTOMER)).load(), **said)
    with pytest.raises(AirflowFailException, match=rf"{match}.* Clear the run from `copy\.prepare` on"):
        task.execute({"ti": Instance({"prepare": "success"}, {"prepare": task._ready})})
    # What it heard may be of the time before the DAG was edited and the run cleared.
    with pytest.raises(RetryableError, match=rf"`copy\.prepare` runs again, as the DAG's .*{match}"):
        task.execute({"ti": Instance({"prepare": "running"})})


def test_a_task_that_did_not_hear_prepare_is_tried_again(shop: Shop, dag_file: Write) -> None:
    task = dag_file(COPY.format(ONE_CUSTOMER)).load().get_task("copy.tables.customer")
    with pytest.raises(RetryableError, match=r"`copy\.prepare` has not said yet .* `retries`; else clear it"):
        task.execute({"ti": Instance({"prepare": "running"})})
    with pytest.raises(AirflowFailException, match=r"`copy\.prepare` has not made the target ready: failed"):
        task.execute({"ti": Instance({"prepare": "failed"})})


GONE = "000FFFFF-00000001-1"  # no session holds it


def test_a_snapshot_that_is_gone(shop: Shop, dag_file: Write) -> None:
    """Airflow clears `hold` with `prepare`: until that has begun again, this task hears what was said before."""
    task = _heard(dag_file(COPY.format(ONE_CUSTOMER)).load())
    ready = task._ready
    said = {"prepare": ready, "wait": Word(ready.started, GONE), "hold": Word(ready.started, GONE)}
    heard = Instance({"prepare": "success", "wait": "success"}, said)
    task.render_template_fields({"ti": heard})
    with pytest.raises(AirflowFailException, match=rf"{GONE}.* is gone.* Clear the whole task group 'copy'"):
        task.execute({"ti": heard})
    cleared = Instance({"wait": "success"}, said)
    with pytest.raises(RetryableError, match=r"`copy\.prepare` runs again, and the snapshot of before is gone"):
        task.execute({"ti": cleared})
    said["prepare"] = replace(ready, taken="now", started=2.0)
    ended = Instance({"prepare": "success"}, said)
    with pytest.raises(RetryableError, match=r"`copy\.prepare` runs again"):
        task.execute({"ti": ended})
    later = Instance({"prepare": "success", "wait": "success"}, said | {"wait": Word(2.0, GONE)})
    with pytest.raises(RetryableError, match=r"`copy\.wait` has not said yet"):
        task.execute({"ti": later})
    task.render_template_fields({"ti": ended})
    with pytest.raises(RetryableError, match=r"`copy\.wait` has not said yet"):
        task.execute({"ti": ended})
    with pytest.raises(AirflowFailException, match=r"`copy\.wait` has not run since `copy\.prepare` did"):
        task.execute({"ti": Instance({"prepare": "success", "wait": "success"}, said)})


def test_what_finish_says_of_a_hold_that_was_run_again(shop: Shop, dag_file: Write) -> None:
    """It may have withdrawn before, and Airflow has forgotten that."""
    dag = dag_file(COPY.format(ONE_CUSTOMER)).load()
    finish, table = dag.get_task("copy.finish"), _heard(dag)
    finish._ready = table._ready
    of = table._ready.started
    held = Word(of, "a")
    for said, exported in ((held, "a"), (Word(of, "another"), "a"), (Word(of, None, "no slot"), None), (None, None)):
        ti = Instance({"wait": "success"}, {"wait": held} | ({"hold": said} if said else {}))
        assert finish._exported({"ti": ti}) == exported
        assert table._exported({"ti": ti}) == "a"


def test_an_attempt_at_prepare_that_is_late(shop: Shop, dag_file: Write) -> None:
    """Taken for dead, it goes on where another has ended, and perhaps the whole run with it."""
    task = dag_file(COPY.format(ONE_CUSTOMER)).load().get_task("copy.prepare")

    with pytest.raises(AirflowFailException, match="Another attempt at this task has ended"):
        task.step(None, {"ti": Instance({"prepare": "success"})})


@pytest.mark.parametrize(
    ("argument", "same"),
    [
        ('filters={"customer": "id = 8"}', True),  # `prepare` says which clauses hold
        ('filters={"employee": "id = 7"}', False),
        ('filters={"customer": "id = 7"}, sample={"customer": "10%"}', False),
        ('filters={"customer": "id = 7"}, references="null"', False),
        ('filters={"customer": "id = 7"}, chunk_rows=5, retries=3', True),
        ('filters={"customer": "id = 7"}, consistent=False', False),
        ('filters={"customer": "id = 7"}, schemas={"public"}', False),
    ],
)
def test_what_makes_another_request(shop: Shop, dag_file: Write, argument: str, same: bool) -> None:
    first, second = (
        dag_file(COPY.format(a)).load().get_task("copy.prepare").job.request
        for a in ('filters={"customer": "id = 7"}', argument)
    )
    assert (first == second) is same


def test_the_order_of_a_set_makes_no_other_request(shop: Shop, dag_file: Write) -> None:
    first, second = (
        dag_file(COPY.format(f'filters={{"customer": "id = 7"}}, schemas={schemas}')).load()
        for schemas in (["public", "information_schema"], ["information_schema", "public"])
    )
    assert first.get_task("copy.prepare").job.request == second.get_task("copy.prepare").job.request


def test_the_order_of_patterns_that_decides_makes_another_request(shop: Shop, dag_file: Write) -> None:
    rules = ({"*y": "whole", "c*": "skip"}, {"c*": "skip", "*y": "whole"})  # currency answers both
    first, second = (dag_file(COPY.format(f"{ONE_CUSTOMER}, tables={r}")).load() for r in rules)
    assert first.get_task("copy.prepare").job.request != second.get_task("copy.prepare").job.request


# -- tasks that have their turn too early, or end too late, when some are cleared

EARLY = """
CREATE SCHEMA n;
CREATE TABLE n.p (id int PRIMARY KEY);
CREATE TABLE n.q (id int PRIMARY KEY);
CREATE TABLE n.c (id int PRIMARY KEY, p_id int NOT NULL REFERENCES n.p, q_id int NOT NULL REFERENCES n.q);
CREATE TABLE n.d (id int PRIMARY KEY, p_id int CONSTRAINT d_p REFERENCES n.p);
"""
EARLY_ROWS = """
INSERT INTO n.p VALUES (1), (2), (3);
INSERT INTO n.q VALUES (1), (2), (3);
INSERT INTO n.c VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3);
INSERT INTO n.d VALUES (1, 1), (2, 2), (3, 3);
"""
EARLY_COPY = COPY.format(
    """schemas=["n"], consistent=False, retries=5, retry_delay=0, others="referenced",
    filters={"c": "id <= 2", "d": "id <= 3"}, relations={"d.p_id": {"references": "null"}}"""
)
ALONG = ["copy.prepare", "copy.prepared", "copy.release", "copy.finish"]
RIGHT = [(1, 1), (2, 2), (3, None)]


@pytest.fixture
def early(shop: Shop, dag_file: Write) -> Outcome:
    for database in shop:
        database.run(EARLY)
    shop[0].run(EARLY_ROWS)
    outcome = dag_file(EARLY_COPY).run()
    assert (outcome.state, shop[1].rows("SELECT * FROM n.d ORDER BY id")) == ("success", RIGHT)
    return outcome


@pytest.mark.parametrize("too_early", ["copy.finish", "copy.references.p"])
def test_a_task_that_comes_too_early_is_tried_again(shop: Shop, early: Outcome, too_early: str) -> None:
    """It had its slot already when another one was cleared, which emptied the target."""
    cleared = [*ALONG, "copy.references.p", "copy.references.q", "copy.tables.c"]
    again = early.rerun([*cleared, "copy.loaded"], first=["copy.prepare", too_early])
    assert (again.state, shop[1].rows("SELECT * FROM n.d ORDER BY id")) == ("success", RIGHT)
    assert again.instances[too_early].try_number > early.instances[too_early].try_number + 1


@pytest.mark.parametrize("still", ["copy.references.p", "copy.tables.c"])
def test_prepare_waits_for_tasks_that_are_at_their_end(
    shop: Shop, early: Outcome, still: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has committed and is about to end would be emptied and not come again."""
    monkeypatch.setattr(prepare, "EVERY", 0.2)
    cleared = [*ALONG, "copy.references.q", *(["copy.references.p"] if "tables" in still else [])]
    again = early.rerun(cleared, still=still, first=["copy.prepare"])
    if "tables" in still:  # then `prepare` loads it
        assert again.state == "success"
    else:  # nothing would fetch them
        assert again.tasks["copy.prepare"] == "failed"
    assert shop[1].rows("SELECT * FROM n.d ORDER BY id") == RIGHT


def test_a_lost_load_is_not_waited_for(shop: Shop, early: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target's server lost the rows in a crash: two tasks that find that must not wait for each other."""
    refer = Run.refer

    def after_a_crash(run: Run, component: Component) -> Any:
        with run.ends.target() as target, target.transaction():
            target.execute("UPDATE airflow_subset.claims SET claims = 0")
        return refer(run, component)

    monkeypatch.setattr(Run, "refer", after_a_crash)
    again = early.rerun(list(early.tasks))
    assert again.of_state("failed") >= {"copy.references.p", "copy.references.q"}
    tries = {t: again.instances[t].try_number - early.instances[t].try_number for t in again.of_state("failed")}
    assert tries["copy.references.p"] == tries["copy.references.q"] == 1


@pytest.mark.skipif(is_airflow_3_1(), reason="Airflow 3.1 does not clear a table's setups with it")
@pytest.mark.parametrize("consistent", [False, None])
def test_a_table_that_hangs_on_a_cleared_one_is_cleared_with_it(
    shop: Shop, dag_file: Write, consistent: bool | None
) -> None:
    """Its rows would be looked for before its parents' are there: refused before anything is emptied."""
    for database in shop:
        database.run(EARLY)
    shop[0].run(EARLY_ROWS)
    outcome = dag_file(
        COPY.format(
            f"""schemas=["n"], consistent={consistent}, retries=3, retry_delay=0, filters={{"p": "id <= 2"}},
            relations={{"d.p_id": {{"follow": False, "references": "drop"}}}}"""
        )
    ).run()
    assert (outcome.state, shop[1].rows("SELECT * FROM n.d ORDER BY id")) == ("success", RIGHT[:2])
    beside = [t for t in outcome.tasks if ".references." in t or t in ("copy.wait", "copy.hold")]
    again = outcome.rerun([*ALONG, *beside, "copy.loaded", "copy.tables.p", "copy.tables.c"])
    assert again.tasks["copy.prepare"] == "failed"
    assert again.instances["copy.prepare"].try_number == outcome.instances["copy.prepare"].try_number + 1
    assert shop[1].rows("SELECT * FROM n.d ORDER BY id") == RIGHT[:2]
    assert shop[1].rows("SELECT * FROM airflow_subset.run_lock") == []


def test_a_table_cleared_alone_while_references_are_fetched(shop: Shop, dag_file: Write) -> None:
    """As Airflow 3.1 does it, which leaves `prepare` as it is: `drop` must not take fetched rows for the filter's."""
    for database in shop:
        database.run(EARLY)
    shop[0].run(EARLY_ROWS)
    outcome = dag_file(
        COPY.format(
            """schemas=["n"], consistent=False, filters={"p": "id <= 1"}, relations={"c.p_id": {"follow": False},
            "d.p_id": {"follow": False, "references": "drop"}}"""
        )
    ).run()
    assert (outcome.state, shop[1].rows("SELECT * FROM n.d")) == ("success", RIGHT[:1])
    extracts = [f"copy.tables.{table}" for table in "pqcd"]
    first = ["copy.prepare", *extracts, "copy.loaded", "copy.references.p", "copy.tables.d"]
    again = outcome.rerun(list(outcome.tasks), first=first)
    assert (again.state, shop[1].rows("SELECT * FROM n.d")) == ("success", RIGHT[:1])


def test_a_clause_with_a_secret_is_not_edited_during_a_run(
    shop: Shop, dag_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`prepare` tells it to nobody: each task renders it from the file."""
    monkeypatch.setenv("AIRFLOW_VAR_API_SECRET", "Swordfish-0815")
    clause = "id <= 7 AND name <> '{{ var.value.api_secret }}'"
    file = dag_file(COPY.format(f'consistent=False, others="referenced", filters={{"customer": "{clause}"}}'))
    outcome = file.run()
    assert outcome.state == "success"
    file.path.write_text(file.path.read_text().replace("id <= 7", "id <= 2"))
    again = outcome.rerun(outcome.tasks, first=["copy.prepare", "copy.tables.customer"], edited=file.load())
    assert again.state == "failed"
    assert "copy.finish" not in again.of_state("success")
