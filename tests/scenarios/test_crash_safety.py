"""Runs that end in the middle: what they put out of force comes back, and the next run finds a target it can use."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_subset_provider.core.errors import EarlyError, IntegrityError, LockedError, SubsetError, TargetError
from airflow_subset_provider.core.proof import Proof
from airflow_subset_provider.core.repair import repair
from airflow_subset_provider.core.run import Run
from airflow_subset_provider.core.state import State
from tests.scenarios.ends import Row
from tests.scenarios.kit import Lab, MakeLab

TABLES = """
CREATE TABLE region (id int PRIMARY KEY);
CREATE TABLE shop (id int PRIMARY KEY, region int NOT NULL REFERENCES region, chief int);
CREATE TABLE staff (id serial PRIMARY KEY, shop int NOT NULL REFERENCES shop, boss int REFERENCES staff);
ALTER TABLE shop ADD CONSTRAINT shop_chief FOREIGN KEY (chief) REFERENCES staff;
CREATE TABLE sale (id int, shop int REFERENCES shop, staff int REFERENCES staff, day int)"""
MYSQL = f"{TABLES}; CREATE TRIGGER no BEFORE UPDATE ON staff FOR EACH ROW SIGNAL SQLSTATE '45000';"
SCHEMAS = {
    "postgresql": f"""{TABLES} PARTITION BY LIST (day);
CREATE TABLE sale_1 PARTITION OF sale FOR VALUES IN (1); CREATE TABLE sale_2 PARTITION OF sale DEFAULT;
CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''trigger fired''; END';
CREATE TRIGGER no BEFORE UPDATE ON staff FOR EACH ROW EXECUTE FUNCTION no();
""",
    "mariadb": MYSQL,
    "mysql": MYSQL,
}
ROWS = """
SET session_replication_role = replica;
INSERT INTO region VALUES (1), (2); INSERT INTO shop VALUES (1, 1, 11), (2, 2, 21), (3, 1, 22);
INSERT INTO staff VALUES (11, 1, NULL), (12, 1, 21), (21, 2, NULL), (22, 2, 21), (31, 3, 12);
INSERT INTO sale VALUES (1, 1, 11, 1), (2, 2, 21, 2), (3, NULL, 31, 1), (4, NULL, NULL, 2);
RESET session_replication_role;
"""
REQUEST: dict[str, Any] = {"filters": {"region": "id = 1"}}
KEPT = {"region": [1, 2], "sale": [1, 3], "shop": [1, 2, 3], "staff": [11, 12, 21, 22, 31]}


@pytest.fixture
def shop(engine: str, lab: MakeLab) -> Lab:
    return lab(SCHEMAS[engine], ROWS)


def steps(run: Run) -> list[Callable[[], Any]]:
    """Every step of a run, in order."""
    extracts = [lambda c=c: run.extract(c) for c in run.plan.extracts]
    closures = [lambda c=c: run.refer(c) for c in run.plan.closures]
    return [run.prepare, *extracts, *closures, run.finish]


STEPS = 7
EXTRACTED = 4  # the first step after the extracts


def test_there_are_as_many_steps_as_these_tests_think(shop: Lab) -> None:
    assert len(steps(shop.prepared(**REQUEST))) == STEPS


@pytest.mark.parametrize("done", range(1, STEPS))
def test_a_run_that_stops_after_any_step(done: int, shop: Lab) -> None:
    triggers, constraints = shop.target.triggers(), shop.target.constraints()
    run = shop.prepared("first", **REQUEST)
    for step in steps(run)[:done]:
        step()
    run.release()
    if shop.target.proves_keys:
        assert_keys_are_back(shop, constraints)
    else:
        assert shop.target.suspended() == []
    assert shop.target.triggers() == triggers
    run.release()
    shop.run(key="second", **REQUEST)
    assert shop.target.ids() == KEPT
    assert shop.target.constraints() == constraints
    assert shop.target.triggers() == triggers


def assert_keys_are_back(shop: Lab, constraints: list[Row]) -> None:
    """In force for new rows, not validated."""
    # Partitioned tables have no NOT VALID keys before version 18: theirs are valid, or wait in airflow_subset.
    waiting = set(shop.target.suspended())
    assert waiting <= {("sale_shop_fkey", "foreign key"), ("sale_staff_fkey", "foreign key")}
    back = {(t, name, text) for t, name, text, _ in shop.target.constraints()}
    assert {c[:3] for c in constraints} - back <= {
        c[:3] for c in constraints if c[1] in dict(waiting) or "sale" in c[0]
    }
    assert {"shop_region_fkey", "shop_chief", "staff_shop_fkey", "staff_boss_fkey"} <= set(shop.target.unvalidated())


def test_tables_and_triggers_that_are_dropped_while_they_are_out_of_force(shop: Lab) -> None:
    """Nobody knows of the notes of a run that died; what they speak of may be gone when they are read."""
    shop.prepared("first", **REQUEST).prepare()
    if shop.target.proves_keys:
        shop.target.execute("DROP TRIGGER no ON staff; DROP TABLE region; DROP TABLE sale;")
    else:
        shop.target.execute("SET session_replication_role = replica; DROP TABLE staff; RESET session_replication_role;")
    assert shop.target.suspended() != []
    repair(shop.target.endpoint())
    wanted = [("shop_region_fkey", "foreign key")] if shop.target.proves_keys else []
    assert shop.target.suspended() == wanted
    assert shop.target.holders() == []


@pytest.mark.engines(
    "postgresql", because="an orphan of the source is copied and told on MySQL: see tests/mysql/test_errors.py"
)
def test_finish_that_fails_changes_nothing(shop: Lab) -> None:
    """A row that cannot be: its parent is in neither database any more."""
    run = shop.prepared(**REQUEST)
    for step in steps(run)[:-1]:
        step()
    for end in (shop.source, shop.target):
        end.execute("SET session_replication_role = replica")
        end.execute("INSERT INTO staff VALUES (99, 99, NULL)")
        end.execute("RESET session_replication_role")
    with pytest.raises(IntegrityError, match=r"1 rows reference rows that are not in the copy") as caught:
        run.finish()
    assert [f.where for f in caught.value.faults] == ["public.staff(shop) -> public.shop"]
    assert "foreign key" in {kind for _, kind in shop.target.suspended()}
    run.release()
    assert any(name.startswith("staff_") for name in shop.target.unvalidated())
    shop.source.execute("DELETE FROM staff WHERE id = 99")
    shop.run(key="second", **REQUEST)
    assert shop.target.ids() == KEPT


@pytest.mark.engines("postgresql", because="no key is out of force on MySQL")
def test_finish_that_dies_and_then_finds_a_seam(shop: Lab) -> None:
    """The keys that the first attempt put back are in force while the second one heals: they would refuse its rows."""
    run = shop.prepared(**REQUEST)
    for step in steps(run)[:-1]:
        step()
    with run.ends.both() as (source, target):
        Proof(run.plan, source, target, run.tally)._restore()
    shop.target.execute("ALTER TABLE sale DROP CONSTRAINT sale_shop_fkey; INSERT INTO sale VALUES (5, 4, 11, 1)")
    shop.target.execute(
        "INSERT INTO airflow_subset.suspended VALUES "
        "('public', 'sale', 'foreign key', 'sale_shop_fkey', 'FOREIGN KEY (shop) REFERENCES shop(id)', 1)"
    )
    shop.source.execute("INSERT INTO region VALUES (3); INSERT INTO shop VALUES (4, 3)")
    shop.source.execute("INSERT INTO sale VALUES (5, 4, 11, 1)")
    run.finish()
    run.release()
    assert shop.target.ids() == {**KEPT, "region": [1, 2, 3], "sale": [1, 3, 5], "shop": [1, 2, 3, 4]}
    shop.assert_in_force()


CONNECT = {"postgresql": "psycopg", "mariadb": "MySQLdb", "mysql": "MySQLdb"}
SLEEP = {"postgresql": "pg_sleep(300) IS NOT NULL", "mariadb": "SLEEP(300) = 0", "mysql": "SLEEP(300) = 0"}
ASLEEP = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY%pg_sleep%' AND datname = current_database() "
    "AND pid <> pg_backend_pid()",
    "mariadb": "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE '%SLEEP(300)%' AND ID <> CONNECTION_ID()",
}
ASLEEP["mysql"] = ASLEEP["mariadb"]


def test_a_process_that_is_killed(shop: Lab) -> None:
    """kill -9 in the middle of a table: nothing of that table is there, and a new run takes the target over."""
    triggers = shop.target.triggers()
    driver = CONNECT[shop.engine]
    script = f"""
    import {driver}
    from airflow_subset_provider.core.run import Endpoint, subset
    from airflow_subset_provider.core.spec import Spec
    source = Endpoint("{shop.source.engine}", lambda: {driver}.connect(**{shop.source.params!r}), "source")
    target = Endpoint("{shop.target.engine}", lambda: {driver}.connect(**{shop.target.params!r}), "target")
    subset(Spec.of(filters={{"staff": "id < 100 AND {SLEEP[shop.engine]}"}}), source, target, key="killed")
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=Path(__file__).parents[2]) as process:
        _await(lambda: bool(shop.source.query(ASLEEP[shop.engine])))
        process.kill()
    assert shop.target.holders() == ["killed"]
    # The server goes on sleeping until it next writes to the connection: the next run does not wait for that.
    heir = shop.prepared("next", **REQUEST)
    for step in steps(heir):
        step()
    heir.release()
    assert shop.target.ids() == KEPT
    assert shop.target.triggers() == triggers
    shop.assert_in_force()
    for (sleeper,) in shop.source.query(ASLEEP[shop.engine]):
        if shop.engine == "postgresql":
            shop.source.query(f"SELECT pg_terminate_backend({sleeper})")
        else:
            shop.source.execute(f"KILL {sleeper}")


def _await(happened: Callable[[], bool], seconds: float = 240) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


@pytest.mark.parametrize("step", range(3, STEPS))
def test_a_server_that_has_lost_a_table_in_a_crash(step: int, shop: Lab) -> None:
    """As an asynchronous commit may be lost: the rows, and what was noted of them. The task will not run again."""
    run = shop.prepared(**REQUEST)
    for do in steps(run)[:step]:
        do()
    claims = shop.target.state("claims")
    shop.target.execute(f"DELETE FROM sale; UPDATE {claims} SET claims = 0 WHERE table_name = 'sale'")
    with pytest.raises(TargetError, match=r"public.sale: nothing was loaded in this run, or .* lost the rows"):
        steps(run)[max(step, EXTRACTED)]()
    for do in steps(run):
        do()
    run.release()
    assert shop.target.ids() == KEPT


@pytest.mark.engines("postgresql", because="a setting of Postgres")
def test_commits_are_not_lost_where_postgres_can_help_it(shop: Lab) -> None:
    name = shop.target.value("SELECT current_database()")
    for asked, used in (("off", "on"), ("remote_write", "remote_write")):
        shop.target.execute(f"ALTER DATABASE {name} SET synchronous_commit = {asked}")
        with shop.prepared(**REQUEST).ends.target() as target:
            assert target.value("SHOW synchronous_commit") == used


# -- two runs


def test_two_runs_exclude_each_other(shop: Lab) -> None:
    first = shop.prepared("first", **REQUEST)
    first.prepare()
    before = shop.target.everything()
    second = shop.prepared("second", alive=lambda run, since: True, **REQUEST)
    with pytest.raises(LockedError, match=r"run 'first' is writing this target.*airflow-subset repair") as caught:
        second.prepare()
    assert caught.value.retryable
    second.release()
    assert shop.target.everything() == before
    for step in steps(first)[1:]:
        step()
    first.release()
    for step in steps(second):
        step()
    second.release()
    assert shop.target.ids() == KEPT
    shop.assert_in_force()


def test_the_runs_owner_is_asked_about_the_holder(shop: Lab) -> None:
    shop.prepared("first", **REQUEST).prepare()
    asked = []
    shop.prepared("second", alive=lambda run, since: asked.append((run, since.tzinfo is not None)), **REQUEST).prepare()
    assert asked == [("first", True)]
    assert shop.target.holders() == ["second"]


@pytest.mark.parametrize("step", [2, 4, STEPS - 1])
def test_a_step_of_a_replaced_run_refuses_to_write(step: int, shop: Lab) -> None:
    zombie, heir = shop.prepared("zombie", **REQUEST), shop.prepared("heir", **REQUEST)
    zombie.prepare()
    for do in steps(heir):
        do()
    before = shop.target.everything()
    with pytest.raises(LockedError, match="run 'heir' does"):
        steps(zombie)[step]()
    zombie.release()
    assert shop.target.everything() == before
    heir.release()
    with pytest.raises(LockedError, match="nobody does"):
        steps(zombie)[step]()
    assert shop.target.everything() == before


# -- steps repeated


@pytest.mark.parametrize("step", range(STEPS))
def test_a_step_may_be_repeated(step: int, shop: Lab) -> None:
    run = shop.prepared(**REQUEST)
    for n, do in enumerate(steps(run)):
        if n == step:
            do()
        report = do()
    run.release()
    run.release()
    assert shop.target.ids() == KEPT
    shop.assert_in_force()
    assert report.dangling == 0
    assert report.kept == sum(map(len, KEPT.values()))


def test_everything_again_from_the_middle_on(shop: Lab) -> None:
    """As when somebody clears a table's task and all below it."""
    run = shop.prepared(**REQUEST)
    for do in [*steps(run)[:-1], *steps(run)[2:]]:
        report = do()
    run.release()
    assert shop.target.ids() == KEPT
    shop.assert_in_force()
    assert report.kept == sum(map(len, KEPT.values()))


# -- a worker that was taken for dead and still works, while its task is tried again


@pytest.mark.engines("postgresql", because="held up by its table locks: tests/chaos has MySQL")
@pytest.mark.parametrize("step", range(STEPS))
def test_two_attempts_at_one_step(step: int, shop: Lab) -> None:
    """Both are stopped where they first write, so that both have read the target as it was.

    At `prepare` the first may have lost the lock to the second by then, and have ended.
    """
    attempts = [shop.prepared(**REQUEST) for _ in range(2)]
    for do in steps(attempts[0])[:step]:
        do()
    with ThreadPoolExecutor(2) as pool, shop.target.holding("region", "shop", "staff", "sale"):
        doing = [pool.submit(steps(attempt)[step]) for attempt in attempts]
        _await(lambda: shop.target.value(WAITING) + sum(f.done() for f in doing) >= 2)
        shop.target.release()
        errors = [e for e in (f.exception() for f in doing) if e is not None]
    assert [type(e) for e in errors] == [LockedError] * len(errors)
    assert len(errors) <= (1 if step == 0 else 0)  # of two attempts at `prepare`, the later one holds the target
    for do in steps(attempts[0])[step + 1 :]:
        report = do()
    attempts[0].release()
    assert shop.target.ids() == KEPT
    shop.assert_in_force()
    assert step == STEPS - 1 or report.kept == sum(map(len, KEPT.values()))


def test_a_late_attempt_at_prepare_empties_nothing(shop: Lab) -> None:
    """Stopped between taking the lock and emptying the tables, it goes on when the next attempt has loaded rows."""
    late, run = shop.prepared(**REQUEST), shop.prepared(**REQUEST)
    with late.ends.both() as (source, target):
        claim = late.preparation(source, target).claim(late.plan.schema, {}, State(target).begin())
        for do in steps(run)[:-1]:
            do()
        with pytest.raises(LockedError):
            late.preparation(source, target).clear(claim)
    run.finish()
    run.release()
    assert shop.target.ids() == KEPT
    shop.assert_in_force()


# Not pg_stat_activity: a transaction sees it as it was when it first looked.
WAITING = """
SELECT count(DISTINCT w.pid) FROM pg_locks w JOIN pg_locks d ON d.pid = w.pid
JOIN pg_database b ON b.oid = d.database AND b.datname = current_database() WHERE NOT w.granted
"""


# -- a failing load


def test_a_row_that_the_target_refuses(engine: str, lab: MakeLab) -> None:
    schema = SCHEMAS[engine]
    db = lab(schema, ROWS, target=schema + "ALTER TABLE staff ADD CONSTRAINT small CHECK (shop < 3);")
    with pytest.raises(SubsetError, match=r"violates check constraint|small. is violated|small. failed") as caught:
        db.run(**REQUEST)
    assert "public.staff" in str(caught.value)
    assert "(31," not in str(caught.value)  # the server's DETAIL quotes the row: no data in messages
    assert db.target.holders() == []
    assert db.target.ids("staff") == {"staff": []}
    db.target.execute("ALTER TABLE staff DROP CONSTRAINT small")
    db.run(key="second", **REQUEST)
    assert db.target.ids() == KEPT


def test_a_clause_that_fails_while_it_runs(shop: Lab) -> None:
    with pytest.raises(SubsetError, match=r"more than (one|1) row"):
        shop.run(filters={"staff": "id = (SELECT c.id FROM staff c WHERE c.shop = staff.shop)"})
    shop.run(key="second", **REQUEST)
    assert shop.target.ids() == KEPT


# -- a step that has its turn while the target is prepared again

EARLY = "CREATE TABLE x (id int PRIMARY KEY); CREATE TABLE z (id int PRIMARY KEY, x_id int NOT NULL REFERENCES x);"
EARLY_ROWS = "INSERT INTO x VALUES (1), (2), (3); INSERT INTO z VALUES (1, 1), (2, 2), (3, 3);"
KEPT_UP = {"filters": {"x": "id <= 2"}, "relations": {"z.x_id": {"follow": False, "references": "drop"}}}


def test_a_child_does_not_come_before_the_parent_that_decides_what_it_drops(
    lab: MakeLab, caplog: pytest.LogCaptureFixture
) -> None:
    db = lab("")
    db.fill(EARLY, EARLY_ROWS)
    run = db.prepared(**KEPT_UP)
    of = {c.tables[0].name: c for c in run.plan.extracts}
    run.prepare()
    run.extract(of["x"])
    with caplog.at_level(logging.INFO):
        run.extract(of["z"])
    assert any(m.endswith("z: 1 rows left out: a reference of theirs is not kept") for m in caplog.messages)
    first = db.target.rows("z")
    assert len(first) == 2
    run.prepare()
    with pytest.raises(EarlyError, match=r"x: it is not loaded yet since the target was emptied"):
        run.extract(of["z"])
    run.extract(of["x"])
    run.extract(of["z"])
    run.finish()
    run.release()
    assert db.target.rows("z") == first


def test_a_step_of_an_earlier_preparation_is_refused(lab: MakeLab) -> None:
    db = lab("")
    db.fill(EARLY, EARLY_ROWS)
    run = db.prepared(**KEPT_UP)
    of = {c.tables[0].name: c for c in run.plan.extracts}
    before = run.after(run.prepare())
    before.extract(of["x"])
    now = run.after(run.prepare())
    for step in (partial(before.extract, of["x"]), before.finish):
        with pytest.raises(LockedError, match="prepared once more since this step began"):
            step()
    for component in run.plan.extracts:
        now.extract(component)
    assert now.finish().kept == 4
    run.release()


CHAIN = """
CREATE TABLE x (id int PRIMARY KEY);
CREATE TABLE p (id int PRIMARY KEY, x_id int);
CREATE TABLE c (id int PRIMARY KEY, p_id int NOT NULL REFERENCES p);
"""
CHAIN_ROWS = """
INSERT INTO x VALUES (1), (2), (3); INSERT INTO p VALUES (1, 1), (2, 2), (3, 3); INSERT INTO c VALUES (1, 1), (2, 2);
"""


def test_a_parent_is_not_closed_before_the_children_that_are_to_be_closed(lab: MakeLab) -> None:
    """Under a virtual key nothing would dangle, and the rows of x would be missing without a word."""
    db = lab("")
    db.fill(CHAIN, CHAIN_ROWS)
    run = db.prepared(filters={"c": "id <= 2"}, others="referenced", relations={"p.x_id": {"to": "x.id"}})
    run.prepare()
    of = {c.tables[0].name: c for c in run.plan.closures}
    for early in (partial(run.refer, of["p"]), run.finish):
        with pytest.raises(EarlyError, match="c: nothing was loaded"):
            early()
    for component in run.plan.extracts:
        run.extract(component)
    with pytest.raises(EarlyError, match="p: rows that are referenced have not been fetched"):
        run.refer(of["x"])
    run.refer(of["p"])
    with pytest.raises(EarlyError, match="x: rows that are referenced have not been fetched"):
        run.finish()
    run.refer(of["x"])
    run.finish()
    run.release()
    assert [len(db.target.rows(t)) for t in ("c", "p", "x")] == [2, 2, 2]


def test_nothing_is_nulled_before_the_rows_that_are_referenced_are_there(lab: MakeLab) -> None:
    db = lab("")
    db.fill(
        CHAIN + "CREATE TABLE d (id int PRIMARY KEY, p_id int, CONSTRAINT d_p FOREIGN KEY (p_id) REFERENCES p (id));",
        CHAIN_ROWS + "INSERT INTO d VALUES (1, 1), (2, 2), (3, 3);",
    )
    request = {"filters": {"c": "id <= 2", "d": "id <= 3"}, "others": "referenced"}
    run = db.prepared(**request, relations={"d.p_id": {"references": "null"}})
    run.prepare()
    for component in run.plan.extracts:
        run.extract(component)
    with pytest.raises(EarlyError, match="p: rows that are referenced have not been fetched"):
        run.finish()
    for component in run.plan.closures:
        run.refer(component)
    run.finish()
    run.release()
    assert db.target.rows("d") == [(1, 1), (2, 2), (3, None)]


def test_cancel_reaches_the_sessions_of_the_runs_that_come_of_one(lab: MakeLab) -> None:
    db = lab("")
    db.fill(EARLY, EARLY_ROWS)
    run = db.prepared(filters={"x": f"id <= 2 AND {SLEEP[db.engine]}"})
    later = run.after(run.prepare()).reading(None)
    with ThreadPoolExecutor() as pool:
        extract = pool.submit(later.extract, next(c for c in run.plan.extracts if c.tables[0].name == "x"))
        _await(lambda: bool(db.source.query(ASLEEP[db.engine])))
        run.cancel()
        with pytest.raises(SubsetError):
            extract.result(timeout=30)
    run.release()
