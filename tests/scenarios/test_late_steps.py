"""An attempt taken for dead that comes to its work once its successor, and the steps after that, have done theirs.

Or a user who clears one table's task while the steps after it run. What has been loaded in a run stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from airflow_subset_provider.core import run as running
from airflow_subset_provider.core.errors import LockedError, TargetError
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.proof import Proof
from airflow_subset_provider.core.run import Run
from airflow_subset_provider.core.state import State
from tests.scenarios.kit import Lab, MakeLab
from tests.scenarios.test_crash_safety import steps

TWO_CHILDREN = """
CREATE TABLE p (id int PRIMARY KEY, x int);
CREATE TABLE c1 (id int PRIMARY KEY, p int REFERENCES p);
CREATE TABLE c2 (id int PRIMARY KEY, p int REFERENCES p);
"""
THREE_PARENTS = """
INSERT INTO p VALUES (1, 1), (2, 2), (3, 3);
INSERT INTO c1 VALUES (1, 1), (2, 2);
INSERT INTO c2 VALUES (1, 1), (2, 2), (3, 3);
"""
CHAIN = """
CREATE TABLE g (id int PRIMARY KEY, x int);
CREATE TABLE p (id int PRIMARY KEY, g int REFERENCES g);
CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p);
"""
CHAIN_ROWS = """
INSERT INTO g VALUES (1, 1), (2, 2);
INSERT INTO p VALUES (1, 1), (2, 1), (3, 1);
INSERT INTO c VALUES (1, 1), (2, 2);
"""
MAY_BAN = {"p.g": {"references": "drop", "follow": False}, "c.p": {"follow": False}}
TRIGGER = {
    "postgresql": """
        CREATE FUNCTION ninety_nine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.x = 99; RETURN NEW; END';
        CREATE TRIGGER ninety_nine BEFORE INSERT ON b FOR EACH ROW EXECUTE FUNCTION ninety_nine();"""
}
OTHER_TRIGGER = "CREATE TRIGGER ninety_nine BEFORE INSERT ON b FOR EACH ROW SET NEW.x = 99;"


def of(run: Run, table: str) -> Component:
    return next(c for c in run.plan.extracts if any(t.name == table for t in c.tables))


def up_to_finish(run: Run) -> Run:
    """The run, all its steps taken but `finish` and `release`."""
    one = run.after(run.prepare())
    for step in steps(one)[1:-1]:
        step()
    return one


def with_trigger(lab: MakeLab, engine: str) -> Lab:
    db = lab("")
    table = "CREATE TABLE b (id int PRIMARY KEY, x int);"
    db.fill(table, "INSERT INTO b VALUES (1, 1);", table + TRIGGER.get(engine, OTHER_TRIGGER))
    return db


@pytest.mark.parametrize(
    ("policy", "table", "right"),
    [("drop", "c2", [(1, 1)]), ("null", "p", [(1, 1), (2, 2), (3, None)])],
)
def test_a_late_load_after_the_references(lab: MakeLab, policy: str, table: str, right: list[Any]) -> None:
    """Fetched parents would be taken for the filter's, or be lost: the copy would hold together, and be another one."""
    db = lab(TWO_CHILDREN, THREE_PARENTS)
    relations = {"c1.p": {"follow": False}, "c2.p": {"follow": False, "references": policy}}
    one = up_to_finish(db.prepared(filters={"p": "id = 1"}, relations=relations))
    one.extract(of(one, table))
    one.finish()
    one.release()
    assert db.target.rows("c2") == right


@pytest.mark.parametrize("table", ["p", "c"])
def test_a_late_load_after_all_is_settled(lab: MakeLab, table: str) -> None:
    db = lab(CHAIN, CHAIN_ROWS)
    run = db.prepared(filters={"p": "id = 1"}, relations=MAY_BAN)
    assert run.plan.may_ban
    one = up_to_finish(run)
    db.source.execute("INSERT INTO c VALUES (3, 3);")
    one.extract(of(one, table))
    one.finish()
    one.release()
    assert db.target.rows("c") == [(1, 1), (2, 2)]


LATE: dict[str, Callable[[Run], Any]] = {
    "a table is cut": lambda run: run.parts(of(run, "c1")).cut(),
    "a table is loaded": lambda run: run.extract(of(run, "p")),
}


@pytest.mark.parametrize("late", LATE)
@pytest.mark.parametrize("when", ["before the report", "after it"])
def test_a_late_load_once_the_copy_is_proven(
    lab: MakeLab, late: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = lab(TWO_CHILDREN, THREE_PARENTS)
    run = db.prepared(filters={"p": "id = 1"}, relations={"c1.p": {"follow": False}, "c2.p": {"references": "null"}})
    one = up_to_finish(replace(run, chunk_rows=1))
    rearm = Proof.rearm

    def disturbed(proof: Proof) -> None:
        rearm(proof)
        LATE[late](one)

    if when == "before the report":
        monkeypatch.setattr(Proof, "rearm", disturbed)
    one.finish()
    if when == "after it":
        LATE[late](one)
    one.release()
    assert db.target.rows("c1") == [(1, 1), (2, 2)]
    assert db.target.rows("p") == [(1, 1), (2, 2)]


def test_a_late_load_once_triggers_are_back(lab: MakeLab, engine: str) -> None:
    db = with_trigger(lab, engine)
    one = up_to_finish(db.prepared())
    one.finish()
    one.extract(of(one, "b"))
    one.release()
    assert db.target.rows("b") == db.source.rows("b")


def test_a_table_is_loaded_again_from_another_state(lab: MakeLab) -> None:
    """By `wait`, in place of tasks that are not run again; once rows have been fetched, it is too late."""
    db = lab(TWO_CHILDREN, THREE_PARENTS)
    run = db.prepared(filters={"p": "id = 1"}, relations={"c1.p": {"follow": False}})
    one = run.after(run.prepare())
    for component in one.plan.extracts:
        one.extract(component)
    db.source.execute("INSERT INTO c1 VALUES (3, 3);")
    one.extract(of(one, "c1"), again=True)
    assert db.target.rows("c1") == db.source.rows("c1")
    for component in one.plan.closures:
        one.refer(component)
    with pytest.raises(TargetError, match=r"c1 cannot be loaded again: later steps have built upon it since"):
        one.extract(of(one, "c1"), again=True)
    one.finish()
    one.release()
    assert db.target.rows("p") == db.source.rows("p")


@pytest.mark.parametrize("killed", [False, True])
def test_a_late_release(lab: MakeLab, engine: str, killed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands still before its first change, and the run is prepared again: it must not put triggers back."""
    db = with_trigger(lab, engine)
    first = db.prepared()
    first.prepare()
    again: list[Run] = []
    altering = running.altering

    def late(*args: Any) -> Any:
        if not again:
            again.append(db.prepared(replace_existing=True))
            monkeypatch.setattr(running, "altering", altering)
            again[0] = again[0].after(again[0].prepare())
        return altering(*args)

    with monkeypatch.context() as patch:
        patch.setattr(running, "altering", late)
        if killed:
            patch.setattr(State, "release", die)
        with suppress(LockedError, ConnectionError):
            first.release()
    for component in again[0].plan.extracts:
        again[0].extract(component)
    again[0].finish()
    again[0].release()
    assert db.target.rows("b") == db.source.rows("b")


def die(*_: Any) -> None:
    raise ConnectionError
