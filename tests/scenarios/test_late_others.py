"""The same of the other steps (`test_late_steps`): prepare, cut, references, release, and loading again.

Each leaves a mark in the target, and whoever comes later, however late, goes by the mark.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from threading import Event, get_ident
from typing import Any

import pytest

from airflow_subset_provider.core import run as running
from airflow_subset_provider.core.errors import LockedError, TargetError
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.preparation import Preparation
from airflow_subset_provider.core.progress import Progress
from airflow_subset_provider.core.proof import Proof
from airflow_subset_provider.core.run import Run
from airflow_subset_provider.core.spec import Spec
from airflow_subset_provider.core.state import State
from tests.scenarios.kit import MakeLab
from tests.scenarios.test_crash_safety import steps
from tests.scenarios.test_late_steps import (
    CHAIN,
    CHAIN_ROWS,
    MAY_BAN,
    OTHER_TRIGGER,
    THREE_PARENTS,
    TRIGGER,
    TWO_CHILDREN,
    die,
    of,
    up_to_finish,
    with_trigger,
)


class Pause:
    """A place in the code where one thread stands still until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cls: type, name: str) -> None:
        """Whoever calls `stop` first in its thread stands still before `cls.name`."""
        self.reached, self._on = Event(), Event()
        self._thread = 0
        real = getattr(cls, name)

        def paused(*args: Any, **kwargs: Any) -> Any:
            if get_ident() == self._thread:
                self.reached.set()
                assert self._on.wait(60)
            return real(*args, **kwargs)

        monkeypatch.setattr(cls, name, paused)

    def late(self, work: Callable[[], Any]) -> Any:
        """Do the work, with the pause."""
        self._thread = get_ident()
        return work()

    def go_on(self) -> None:
        """Let it."""
        self._on.set()


# -- prepare


def test_a_late_preparation(lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has looked at everything, and stands still before it takes the lock; then the whole run is over."""
    db = lab(TWO_CHILDREN, THREE_PARENTS)
    pause = Pause(monkeypatch, Preparation, "claim")
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(pause.late, db.prepared().prepare)
        assert pause.reached.wait(60)
        one = up_to_finish(db.prepared())
        one.finish()
        one.release()
        pause.go_on()
        with pytest.raises(LockedError, match="another attempt has begun after this one, and prepared it"):
            late.result()
    assert db.target.rows("c2") == db.source.rows("c2")
    assert db.target.holders() == []
    assert db.target.suspended() == []


def test_a_preparation_that_an_earlier_attempt_overtakes(lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was taken for dead for good reasons, and Airflow waits for the later one."""
    db = lab(TWO_CHILDREN, THREE_PARENTS)
    earlier, later = db.prepared(), db.prepared()
    pause, second = Pause(monkeypatch, Preparation, "claim"), Pause(monkeypatch, State, "create")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(pause.late, earlier.prepare)
        assert pause.reached.wait(60)
        then = pool.submit(second.late, later.prepare)
        assert second.reached.wait(60)
        pause.go_on()
        dead = earlier.after(first.result())
        second.go_on()
        one = later.after(then.result())
    with pytest.raises(LockedError, match="prepared once more"):
        steps(dead)[1]()
    for step in steps(one)[1:]:
        step()
    assert db.target.rows("c2") == db.source.rows("c2")


def test_a_target_that_was_prepared_before(lab: MakeLab) -> None:
    """By a run that gave it up, or that died."""
    db = lab(TWO_CHILDREN, THREE_PARENTS)
    db.prepared("first").prepare()
    for key in ("second", "second", "third"):
        one = up_to_finish(db.prepared(key, replace_existing=True))
        one.finish()
        one.release()
        assert db.target.rows("c2") == db.source.rows("c2")


# -- parts


def test_a_late_cut(lab: MakeLab) -> None:
    """Tasks that have loaded a part are not taken again."""
    db = lab(TWO_CHILDREN, THREE_PARENTS)
    run = replace(db.prepared(), chunk_rows=1)
    one = run.after(run.prepare())
    for table in ("p", "c1"):
        one.extract(of(one, table))
    parts = one.parts(of(one, "c2"))
    numbers = [chunk.number for chunk in parts.cut()]
    assert len(numbers) == 3
    for number in numbers[:2]:
        parts.load(number)
    assert [chunk.number for chunk in parts.cut()] == numbers
    parts.load(numbers[2])
    one.finish()
    one.release()
    assert db.target.rows("c2") == db.source.rows("c2")


# -- references


def _closed(plan: Plan, table: str) -> Any:
    return next(c for c in plan.closures if any(t.name == table for t in c.tables))


CALLED_BY_NO_KEY = """
CREATE TABLE g (id int PRIMARY KEY);
CREATE TABLE p (id int PRIMARY KEY, g int REFERENCES g);
CREATE TABLE c (id int PRIMARY KEY, p int);
"""


@pytest.mark.parametrize("proven", [False, True])
def test_late_references_to_what_has_come_since(lab: MakeLab, proven: bool) -> None:
    """Nobody would look for what those reference in turn."""
    db = lab(CALLED_BY_NO_KEY, "INSERT INTO g VALUES (1), (2); INSERT INTO p VALUES (1, 1);")
    db.source.execute("INSERT INTO c VALUES (1, 1), (2, 2);")
    relations = {"c.p": {"to": "p", "follow": False}, "p.g": {"follow": False}}
    one = up_to_finish(db.prepared(filters={"g": "id = 1", "p": "id = 1"}, relations=relations))
    db.source.execute("INSERT INTO p VALUES (2, 2);")
    if proven:
        one.finish()
    one.refer(_closed(one.plan, "p"))
    if not proven:
        one.finish()
    one.release()
    assert (db.target.rows("p"), db.target.rows("g")) == ([(1, 1)], [(1,)])


def test_late_references_once_triggers_are_back(lab: MakeLab, engine: str) -> None:
    db = lab("")
    schema = "CREATE TABLE b (id int PRIMARY KEY, x int); CREATE TABLE c (id int PRIMARY KEY, b int);"
    rows = "INSERT INTO b VALUES (1, 1); INSERT INTO c VALUES (1, 1), (2, 2);"
    db.fill(schema, rows, schema + TRIGGER.get(engine, OTHER_TRIGGER))
    one = up_to_finish(db.prepared(filters={"b": "id = 1"}, relations={"c.b": {"to": "b", "follow": False}}))
    one.finish()
    db.source.execute("INSERT INTO b VALUES (2, 2);")
    one.refer(_closed(one.plan, "b"))
    one.release()
    assert db.target.rows("b") == [(1, 1)]


@pytest.mark.engines("mysql", "mariadb", because="keys reference columns that are not unique")
def test_late_references_to_rows_that_nothing_tells_apart(lab: MakeLab, engine: str) -> None:
    """They would make way for the source's, whose references are not NULL. Though nothing has changed there."""
    allowed = "SET SESSION restrict_fk_on_non_standard_key = 0; " if engine == "mysql" else ""
    db = lab("")
    schema = f"""{allowed}
    CREATE TABLE g (id int PRIMARY KEY);
    CREATE TABLE p (k int, x int, g int, KEY (k), FOREIGN KEY (g) REFERENCES g (id));
    CREATE TABLE c (id int PRIMARY KEY, p int, FOREIGN KEY (p) REFERENCES p (k));"""
    rows = (
        "INSERT INTO g VALUES (1), (2);"
        "INSERT INTO p VALUES (1, 1, 1), (1, 2, 2), (2, 1, 1); INSERT INTO c VALUES (1, 1), (2, 2);"
    )
    db.fill(schema, rows, schema)
    relations = {"p.g": {"references": "null", "follow": False}, "c.p": {"follow": False}}
    one = up_to_finish(db.prepared(filters={"g": "id = 1", "p": "x = 1"}, relations=relations))
    one.finish()
    assert (1, 2, None) in db.target.rows("p")
    one.refer(_closed(one.plan, "p"))
    one.release()
    assert (1, 2, None) in db.target.rows("p")


@pytest.mark.parametrize("bans", [False, True])
def test_references_beside_a_late_load(lab: MakeLab, bans: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds its table loaded, and has claimed it all the same: that is no sign that references were fetched."""
    schema, rows = (CHAIN, CHAIN_ROWS) if bans else (TWO_CHILDREN, THREE_PARENTS)
    relations = MAY_BAN if bans else {"c1.p": {"follow": False}, "c2.p": {"follow": False}}
    db = lab(schema, rows)
    run = db.prepared(filters={"p": "id = 1"}, relations=relations)
    one = run.after(run.prepare())
    for component in one.plan.extracts:
        one.extract(component)
    assert one.plan.may_ban is bans
    pause = Pause(monkeypatch, Progress, "loaded")

    def fetch() -> None:
        if bans:
            one.settle()
        for component in () if bans else one.plan.closures:
            one.refer(component)

    with ThreadPoolExecutor(2) as pool:
        late = pool.submit(pause.late, lambda: one.extract(of(one, "p")))
        assert pause.reached.wait(60)
        fetched = pool.submit(fetch)
        time.sleep(0.5)  # until it waits for the claim; where it does not yet, nothing is seen of the fault
        pause.go_on()
        late.result()
        fetched.result()
    one.finish()
    one.release()
    assert len(db.target.rows("p")) == (2 if bans else 3)


# -- loading again


@pytest.mark.parametrize("when", ["after the nulls", "before the report", "after it"])
def test_a_table_is_loaded_again_too_late(lab: MakeLab, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a `wait` taken for dead, where no task of references has left a mark."""
    db = lab(
        "CREATE TABLE p (id int PRIMARY KEY, x int); CREATE TABLE c (id int PRIMARY KEY, p int);",
        "INSERT INTO p VALUES (1, 1), (2, 2); INSERT INTO c VALUES (1, 1), (2, 2);",
    )
    relations = {"c.p": {"to": "p", "follow": False, "references": "null"}}
    one = up_to_finish(db.prepared(filters={"p": "id = 1"}, relations=relations))
    assert not one.plan.closures

    def late() -> None:
        with pytest.raises(TargetError, match="c cannot be loaded again: later steps have built upon it since"):
            one.extract(of(one, "c"), again=True)

    nulled, rearm = Proof._null, Proof.rearm
    if when == "after the nulls":
        monkeypatch.setattr(Proof, "_null", lambda proof: (nulled(proof), late()))
    if when == "before the report":
        monkeypatch.setattr(Proof, "rearm", lambda proof: (late(), rearm(proof)))
    one.finish()
    if when == "after it":
        late()
    one.release()
    assert db.target.rows("c") == [(1, 1), (2, None)]


# -- release


@pytest.mark.parametrize("killed", [False, True])
def test_a_release_that_knows_its_preparation(
    lab: MakeLab, engine: str, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the task does: while it waits for the others, the run is prepared again."""
    db = with_trigger(lab, engine)
    first = db.prepared()
    assert first.held() is None
    first.prepare()
    held = first.held()
    assert held is not None
    second = db.prepared(replace_existing=True)
    second = second.after(second.prepare())
    with monkeypatch.context() as patch:
        if killed:
            patch.setattr(State, "release", die)
        with suppress(ConnectionError), pytest.raises(LockedError, match="prepared once more"):
            held.release()
    for step in steps(second)[1:-1]:
        step()
    second.finish()
    second.release()
    assert db.target.rows("b") == db.source.rows("b")
    assert db.target.suspended() == []


def test_two_copies_at_once_under_one_key(lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that came second succeeds; the other does not release what is not its own."""
    db = lab(TWO_CHILDREN, THREE_PARENTS)
    pause = Pause(monkeypatch, Run, "extract")

    def copy() -> Any:
        return running.subset(Spec.of(), db.source.endpoint(), db.target.endpoint(), replace_existing=True)

    refer = Run.finish

    def finish(run: Run, *args: Any) -> Any:
        if not first.done():
            pause.go_on()
            with pytest.raises(LockedError, match="prepared once more"):
                first.result()
        return refer(run, *args)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(pause.late, copy)
        assert pause.reached.wait(60)
        monkeypatch.setattr(Run, "finish", finish)
        copy()
    assert first.done()
    assert db.target.rows("c2") == db.source.rows("c2")
    assert db.target.holders() == []
