"""An attempt taken for dead that is at work all the same, between two statements that each commit by themselves.

It is stopped before one of them, another attempt does its work meanwhile, or tries to, and then it goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest

from airflow_subset_provider.core import indexes
from airflow_subset_provider.core.engines.mysql import indexes as mysql_indexes
from airflow_subset_provider.core.engines.mysql import target as mysql_target
from airflow_subset_provider.core.engines.mysql import triggers
from airflow_subset_provider.core.errors import LockedError
from airflow_subset_provider.core.progress import Progress
from airflow_subset_provider.core.run import Run
from tests.scenarios.kit import Lab, MakeLab
from tests.scenarios.test_crash_safety import steps

pytestmark = pytest.mark.engines("mariadb", "mysql", because="DDL commits there (MySQL manual 15.3.3)")

TABLES = """
CREATE TABLE a (id int PRIMARY KEY, x int);
CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a, x int);
CREATE INDEX a_x ON a (x);
CREATE INDEX b_x ON b (x);
"""
TRIGGERS = """
CREATE TRIGGER ta BEFORE UPDATE ON a FOR EACH ROW SIGNAL SQLSTATE '45000';
CREATE TRIGGER tb BEFORE INSERT ON b FOR EACH ROW SET NEW.x = 99;
"""
ROWS = """
INSERT INTO a VALUES (1, 1), (2, 2);
INSERT INTO b VALUES (1, 1, 1), (2, 2, 2), (3, 1, 3);
"""


@pytest.fixture
def db(lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(mysql_target, "PATIENCE", 1)
    monkeypatch.setattr(indexes, "LARGE", 1)
    made = lab("")
    made.fill(TABLES, ROWS, TABLES + TRIGGERS)
    return made


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`with late(step, module, function, when):` the step in a thread, stopped before that call of the function."""

    @contextmanager
    def stopped(step: Callable[[], Any], owner: Any, name: str, when: Callable[..., bool]) -> Iterator[None]:
        there, on, real = threading.Event(), threading.Event(), getattr(owner, name)
        thread = threading.Thread(target=_quietly, args=[step])

        def call(*args: Any) -> Any:
            if threading.current_thread() is thread and not there.is_set() and when(*args):
                there.set()
                on.wait(60)
            return real(*args)

        monkeypatch.setattr(owner, name, call)
        thread.start()
        try:
            assert there.wait(30)
            yield
        finally:
            on.set()
            thread.join(60)

    return stopped


def _quietly(step: Callable[[], Any]) -> None:
    with suppress(LockedError):  # rightly, where another run has the target by then
        step()


def _whole(run: Run) -> None:
    one = run.after(run.prepare())
    for step in steps(one)[1:]:
        step()
    one.release()


BETWEEN = {
    "a table is emptied": (mysql_target.MySqlTarget, "execute", lambda _, s: str(s).startswith("TRUNCATE")),
    "a trigger is dropped": (triggers, "drop", lambda _s, _t, trigger: trigger.name == "ta"),
    "an index is dropped": (mysql_indexes, "drop", lambda _, items: items[0].name == "b_x"),
}


@pytest.mark.parametrize("between", BETWEEN)
def test_a_late_prepare(db: Lab, late: Callable[..., Any], between: str) -> None:
    db.run()
    before = db.target.triggers(), db.target.indexes()
    first, second = (db.prepared("run", replace_existing=True) for _ in range(2))
    with late(first.prepare, *BETWEEN[between]), pytest.raises(LockedError, match="another run is preparing"):
        second.prepare()
    _whole(second)
    assert db.target.rows("b") == db.source.rows("b")
    assert (db.target.triggers(), db.target.indexes()) == before


@pytest.mark.parametrize("step", ["release", "finish"])
def test_a_trigger_does_not_come_back_while_another_run_loads(db: Lab, late: Callable[..., Any], step: str) -> None:
    first = db.prepared("first", replace_existing=True)
    if step == "release":
        first.prepare()
    else:
        for done in steps(first)[:-1]:
            done()
    second = db.prepared("second", replace_existing=True, alive=lambda *_: False)
    is_second = lambda _s, _t, trigger: trigger.name == "tb"  # noqa: E731
    with late(getattr(first, step), triggers, "make", is_second), pytest.raises(LockedError):
        second.prepare()
    _whole(second)
    assert db.target.rows("b") == db.source.rows("b")
    assert len(db.target.triggers()) == 2


@pytest.mark.parametrize("key", ["PRIMARY KEY", "NOT NULL"])
def test_a_part_that_cannot_be_undone(lab: MakeLab, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """MyISAM keeps the rows of a part that was interrupted."""
    db = lab("")
    db.source.query("CREATE TABLE m (id int PRIMARY KEY, v int)")
    db.target.query(f"CREATE TABLE m (id int {key}, v int) ENGINE=MyISAM")
    db.source.execute("INSERT INTO m SELECT n, n FROM generate_series(1, 200) n;")
    run = replace(db.prepared(), chunk_rows=50)
    run.prepare()
    parts = run.parts(run.plan.extracts[0])
    cut = parts.cut()
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "note_chunk", _killed)
        with pytest.raises(ConnectionError):
            parts.load(1)
    for part in cut:
        parts.load(part.number)
    assert run.finish().kept == 200
    run.release()
    assert db.target.rows("m") == db.source.rows("m")


def _killed(*_: Any) -> None:
    raise ConnectionError
