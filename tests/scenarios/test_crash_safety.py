"""Runs that end in the middle: what they put out of force comes back, and the next run finds a target it can use."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_subset_provider.core.errors import IntegrityError, LockedError, SubsetError, TargetError
from airflow_subset_provider.core.proof import Proof
from airflow_subset_provider.core.run import Run
from tests.scenarios.kit import TRIGGERS, MakeLab, lab_fixture  # noqa: F401

SCHEMA = """
CREATE TABLE region (id int PRIMARY KEY);
CREATE TABLE shop (id int PRIMARY KEY, region int NOT NULL REFERENCES region, chief int);
CREATE TABLE staff (id serial PRIMARY KEY, shop int NOT NULL REFERENCES shop, boss int REFERENCES staff);
ALTER TABLE shop ADD CONSTRAINT shop_chief FOREIGN KEY (chief) REFERENCES staff;
CREATE TABLE sale (id int, shop int REFERENCES shop, staff int REFERENCES staff, day int) PARTITION BY LIST (day);
CREATE TABLE sale_1 PARTITION OF sale FOR VALUES IN (1); CREATE TABLE sale_2 PARTITION OF sale DEFAULT;
CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''trigger fired''; END';
CREATE TRIGGER no BEFORE UPDATE ON staff FOR EACH ROW EXECUTE FUNCTION no();
"""
ROWS = """
SET session_replication_role = replica;
INSERT INTO region VALUES (1), (2); INSERT INTO shop VALUES (1, 1, 11), (2, 2, 21), (3, 1, 22);
INSERT INTO staff VALUES (11, 1, NULL), (12, 1, 21), (21, 2, NULL), (22, 2, 21), (31, 3, 12);
INSERT INTO sale VALUES (1, 1, 11, 1), (2, 2, 21, 2), (3, NULL, 31, 1), (4, NULL, NULL, 2);
RESET session_replication_role;
"""
REQUEST: dict[str, Any] = {"filters": {"region": "id = 1"}}
KEPT = {"region": [1, 2], "sale": [1, 3], "shop": [1, 2, 3], "staff": [11, 12, 21, 22, 31]}


def steps(run: Run) -> list[Callable[[], Any]]:
    """Every step of a run, in order."""
    extracts = [lambda c=c: run.extract(c) for c in run.plan.extracts]
    closures = [lambda c=c: run.refer(c) for c in run.plan.closures]
    return [run.prepare, *extracts, *closures, run.finish]


STEPS = 7
EXTRACTED = 4  # the first step after the extracts


def test_there_are_as_many_steps_as_these_tests_think(lab: MakeLab) -> None:
    assert len(steps(lab(SCHEMA, ROWS).prepared(**REQUEST))) == STEPS


@pytest.mark.parametrize("done", range(1, STEPS))
def test_a_run_that_stops_after_any_step(done: int, lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    triggers, constraints = db.target.query(TRIGGERS), db.target.constraints()
    run = db.prepared("first", **REQUEST)
    for step in steps(run)[:done]:
        step()
    run.release()
    # Partitioned tables have no NOT VALID keys before version 18: theirs are valid, or wait in airflow_subset.
    waiting = {(name, kind) for name, kind in db.target.query("SELECT name, kind FROM airflow_subset.suspended")}
    assert waiting <= {("sale_shop_fkey", "foreign key"), ("sale_staff_fkey", "foreign key")}
    back = {(t, name, text) for t, name, text, _ in db.target.constraints()}
    assert {c[:3] for c in constraints} - back <= {
        c[:3] for c in constraints if c[1] in dict(waiting) or "sale" in c[0]
    }
    assert db.target.query(TRIGGERS) == triggers
    assert {"shop_region_fkey", "shop_chief", "staff_shop_fkey", "staff_boss_fkey"} <= set(db.target.unvalidated())
    run.release()
    db.run(key="second", **REQUEST)
    assert db.target.ids() == KEPT
    assert db.target.constraints() == constraints
    assert db.target.query(TRIGGERS) == triggers


def test_finish_that_fails_changes_nothing(lab: MakeLab) -> None:
    """A row that cannot be: its parent is in neither database any more."""
    db = lab(SCHEMA, ROWS)
    run = db.prepared(**REQUEST)
    for step in steps(run)[:-1]:
        step()
    db.target.execute("INSERT INTO staff VALUES (99, 99, NULL)")
    db.source.execute("SET session_replication_role = replica; INSERT INTO staff VALUES (99, 99, NULL)")
    with pytest.raises(IntegrityError, match=r"1 rows reference rows that are not in the copy") as caught:
        run.finish()
    assert [f.where for f in caught.value.faults] == ["public.staff(shop) -> public.shop"]
    assert db.target.value("SELECT count(*) FROM airflow_subset.suspended WHERE kind = 'foreign key'") > 0
    run.release()
    assert "staff_shop_fkey" in db.target.unvalidated()
    db.source.execute("DELETE FROM staff WHERE id = 99; RESET session_replication_role")
    db.run(key="second", **REQUEST)
    assert db.target.ids() == KEPT


def test_finish_that_dies_and_then_finds_a_seam(lab: MakeLab) -> None:
    """The keys that the first attempt put back are in force while the second one heals: they would refuse its rows."""
    db = lab(SCHEMA, ROWS)
    run = db.prepared(**REQUEST)
    for step in steps(run)[:-1]:
        step()
    with run.ends.both() as (source, target):
        Proof(run.plan, source, target, run.tally)._restore()
    db.target.execute("ALTER TABLE sale DROP CONSTRAINT sale_shop_fkey; INSERT INTO sale VALUES (5, 4, 11, 1)")
    db.target.execute(
        "INSERT INTO airflow_subset.suspended VALUES "
        "('public', 'sale', 'foreign key', 'sale_shop_fkey', 'FOREIGN KEY (shop) REFERENCES shop(id)', 1)"
    )
    db.source.execute("INSERT INTO region VALUES (3); INSERT INTO shop VALUES (4, 3)")
    db.source.execute("INSERT INTO sale VALUES (5, 4, 11, 1)")
    run.finish()
    run.release()
    assert db.target.ids() == {**KEPT, "region": [1, 2, 3], "sale": [1, 3, 5], "shop": [1, 2, 3, 4]}
    db.assert_in_force()


def test_a_process_that_is_killed(lab: MakeLab) -> None:
    """kill -9 in the middle of a table: nothing of that table is there, and a new run takes the target over."""
    db = lab(SCHEMA, ROWS)
    triggers = db.target.query(TRIGGERS)
    script = f"""
    import psycopg
    from airflow_subset_provider.core.run import Endpoint, subset
    from airflow_subset_provider.core.spec import Spec
    source = Endpoint("postgresql", lambda: psycopg.connect(**{db.source.params!r}), "source")
    target = Endpoint("postgresql", lambda: psycopg.connect(**{db.target.params!r}), "target")
    subset(Spec.of(filters={{"staff": "id < 100 AND pg_sleep(60) IS NOT NULL"}}), source, target, key="killed")
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=Path(__file__).parents[2]) as process:
        sleeping = (
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%pg_sleep%' AND datname = current_database()"
        )
        _await(lambda: db.source.value(sleeping) > 0)
        process.kill()
    assert db.target.value("SELECT run FROM airflow_subset.run_lock") == "killed"
    # The server goes on sleeping until it next writes to the connection: the next run does not wait for that.
    heir = db.prepared("next", **REQUEST)
    for step in steps(heir):
        step()
    heir.release()
    assert db.target.ids() == KEPT
    assert db.target.query(TRIGGERS) == triggers
    db.assert_in_force()
    db.source.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%pg_sleep%'"
        "AND datname = current_database() AND pid <> pg_backend_pid()"
    )


def _await(happened: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


@pytest.mark.parametrize("step", range(3, STEPS))
def test_a_server_that_has_lost_a_table_in_a_crash(step: int, lab: MakeLab) -> None:
    """As an asynchronous commit may be lost: the rows, and what was noted of them. The task will not run again."""
    db = lab(SCHEMA, ROWS)
    run = db.prepared(**REQUEST)
    for do in steps(run)[:step]:
        do()
    db.target.execute("DELETE FROM sale; UPDATE airflow_subset.claims SET claims = 0 WHERE table_name = 'sale'")
    with pytest.raises(TargetError, match=r"public.sale: nothing was loaded in this run, or .* lost the rows"):
        steps(run)[max(step, EXTRACTED)]()
    for do in steps(run):
        do()
    run.release()
    assert db.target.ids() == KEPT


def test_commits_are_not_lost_where_postgres_can_help_it(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    name = db.target.value("SELECT current_database()")
    for asked, used in (("off", "on"), ("remote_write", "remote_write")):
        db.target.execute(f"ALTER DATABASE {name} SET synchronous_commit = {asked}")
        with db.prepared(**REQUEST).ends.target() as target:
            assert target.value("SHOW synchronous_commit") == used


# -- two runs


def test_two_runs_exclude_each_other(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    first = db.prepared("first", **REQUEST)
    first.prepare()
    before = db.target.everything()
    second = db.prepared("second", alive=lambda run, since: True, **REQUEST)
    with pytest.raises(LockedError, match="run 'first' is writing this target") as caught:
        second.prepare()
    assert caught.value.retryable
    second.release()
    assert db.target.everything() == before
    for step in steps(first)[1:]:
        step()
    first.release()
    for step in steps(second):
        step()
    second.release()
    assert db.target.ids() == KEPT
    db.assert_in_force()


def test_the_runs_owner_is_asked_about_the_holder(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    db.prepared("first", **REQUEST).prepare()
    asked = []
    db.prepared("second", alive=lambda run, since: asked.append((run, since.tzinfo is not None)), **REQUEST).prepare()
    assert asked == [("first", True)]
    assert db.target.value("SELECT run FROM airflow_subset.run_lock") == "second"


@pytest.mark.parametrize("step", [2, 4, STEPS - 1])
def test_a_step_of_a_replaced_run_refuses_to_write(step: int, lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    zombie, heir = db.prepared("zombie", **REQUEST), db.prepared("heir", **REQUEST)
    zombie.prepare()
    for do in steps(heir):
        do()
    before = db.target.everything()
    with pytest.raises(LockedError, match="run 'heir' does"):
        steps(zombie)[step]()
    zombie.release()
    assert db.target.everything() == before
    heir.release()
    with pytest.raises(LockedError, match="nobody does"):
        steps(zombie)[step]()
    assert db.target.everything() == before


# -- steps repeated


@pytest.mark.parametrize("step", range(STEPS))
def test_a_step_may_be_repeated(step: int, lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    run = db.prepared(**REQUEST)
    for n, do in enumerate(steps(run)):
        if n == step:
            do()
        report = do()
    run.release()
    run.release()
    assert db.target.ids() == KEPT
    db.assert_in_force()
    assert report.dangling == 0
    assert report.kept == sum(map(len, KEPT.values()))


def test_everything_again_from_the_middle_on(lab: MakeLab) -> None:
    """As when somebody clears a table's task and all below it."""
    db = lab(SCHEMA, ROWS)
    run = db.prepared(**REQUEST)
    for do in [*steps(run)[:-1], *steps(run)[2:]]:
        report = do()
    run.release()
    assert db.target.ids() == KEPT
    db.assert_in_force()
    assert report.kept == sum(map(len, KEPT.values()))


# -- a worker that was taken for dead and still works, while its task is tried again


@pytest.mark.parametrize("step", range(STEPS))
def test_two_attempts_at_one_step(step: int, lab: MakeLab) -> None:
    """Both are stopped where they first write, so that both have read the target as it was."""
    db = lab(SCHEMA, ROWS)
    attempts = [db.prepared(**REQUEST) for _ in range(2)]
    for do in steps(attempts[0])[:step]:
        do()
    with ThreadPoolExecutor(2) as pool, db.target.holding("region", "shop", "staff", "sale"):
        doing = [pool.submit(steps(attempt)[step]) for attempt in attempts]
        _await(lambda: db.target.value(WAITING) >= 2)
        db.target.release()
        errors = [e for e in (f.exception() for f in doing) if e is not None]
    assert [type(e) for e in errors] == [LockedError] * len(errors)
    assert len(errors) <= (1 if step == 0 else 0)  # of two attempts at `prepare`, the later one holds the target
    for do in steps(attempts[0])[step + 1 :]:
        report = do()
    attempts[0].release()
    assert db.target.ids() == KEPT
    db.assert_in_force()
    assert step == STEPS - 1 or report.kept == sum(map(len, KEPT.values()))


def test_a_late_attempt_at_prepare_empties_nothing(lab: MakeLab) -> None:
    """Stopped between taking the lock and emptying the tables, it goes on when the next attempt has loaded rows."""
    db = lab(SCHEMA, ROWS)
    late, run = db.prepared(**REQUEST), db.prepared(**REQUEST)
    with late.ends.both() as (source, target):
        taken, suspended = late._claim(source, target, late.plan.schema, {})
        for do in steps(run)[:-1]:
            do()
        with pytest.raises(LockedError):
            late._clear(target, taken, suspended)
    run.finish()
    run.release()
    assert db.target.ids() == KEPT
    db.assert_in_force()


# Not pg_stat_activity: a transaction sees it as it was when it first looked.
WAITING = """
SELECT count(DISTINCT w.pid) FROM pg_locks w JOIN pg_locks d ON d.pid = w.pid
JOIN pg_database b ON b.oid = d.database AND b.datname = current_database() WHERE NOT w.granted
"""


# -- a failing load


def test_a_row_that_the_target_refuses(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS, target=SCHEMA + "ALTER TABLE staff ADD CONSTRAINT small CHECK (id < 30);")
    with pytest.raises(SubsetError, match="violates check constraint") as caught:
        db.run(**REQUEST)
    assert "public.staff" in str(caught.value)
    assert "(31," not in str(caught.value)  # the server's DETAIL quotes the row: no data in messages
    assert db.target.query("SELECT * FROM airflow_subset.run_lock") == []
    assert db.target.ids("staff") == {"staff": []}
    db.target.execute("ALTER TABLE staff DROP CONSTRAINT small")
    db.run(key="second", **REQUEST)
    assert db.target.ids() == KEPT


def test_a_clause_that_fails_while_it_runs(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    with pytest.raises(SubsetError, match="division by zero"):
        db.run(filters={"staff": "1 / (id - 31) = 0"})
    db.run(key="second", **REQUEST)
    assert db.target.ids() == KEPT
