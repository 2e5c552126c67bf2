"""A source that changes between the steps of a run: whatever the seams, nothing dangles in the end.

Each change is made after the extracts and before the references, where it hurts most; or all through the run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from airflow_subset_provider.core.run import subset
from airflow_subset_provider.core.spec import Spec
from tests.consistency import bank
from tests.scenarios.ends import Database
from tests.scenarios.kit import MakeLab

SCHEMA = """
CREATE TABLE lookup (id int PRIMARY KEY);
CREATE TABLE boss (id int PRIMARY KEY, lookup_id int REFERENCES lookup, boss_id int REFERENCES boss);
CREATE TABLE owner (id int PRIMARY KEY, boss_id int NOT NULL REFERENCES boss);
CREATE TABLE item (id int PRIMARY KEY, owner_id int NOT NULL REFERENCES owner, lookup_id int REFERENCES lookup);
CREATE TABLE note (item_id int NOT NULL REFERENCES item, text text);
"""
DATA = """
INSERT INTO lookup SELECT n FROM generate_series(1, 9) n;
INSERT INTO boss SELECT n, n, nullif(n - 1, 0) FROM generate_series(1, 9) n;
INSERT INTO owner SELECT n, n FROM generate_series(1, 9) n;
INSERT INTO item SELECT n, floor((n - 1) / 3) + 1, floor((n - 1) / 3) + 1 FROM generate_series(1, 27) n;
INSERT INTO note SELECT n, 'note ' || n FROM generate_series(1, 27) n;
"""

CHANGES = {
    "a new parent for a kept child": "INSERT INTO boss VALUES (50, 1, 9); UPDATE owner SET boss_id = 50 WHERE id = 1",
    "a parent and its children gone": "DELETE FROM note WHERE item_id = 1; DELETE FROM item WHERE id = 1",
    "a referred row gone, its child moved": "UPDATE owner SET boss_id = 8 WHERE id = 1; "
    "UPDATE boss SET boss_id = 8 WHERE boss_id = 1; DELETE FROM boss WHERE id = 1",
    "a whole table's row gone": "UPDATE item SET lookup_id = 9 WHERE lookup_id = 2; "
    "UPDATE boss SET lookup_id = 9 WHERE lookup_id = 2; DELETE FROM lookup WHERE id = 2",
    "a chain replaced": "INSERT INTO boss SELECT n, 1, n - 1 FROM generate_series(10, 40) n; "
    "UPDATE owner SET boss_id = 40 WHERE id = 2; UPDATE boss SET boss_id = NULL WHERE boss_id = 2; "
    "DELETE FROM boss WHERE id = 2",
    "everything gone": "DELETE FROM note; DELETE FROM item; DELETE FROM owner; UPDATE boss SET boss_id = NULL; "
    "DELETE FROM boss; DELETE FROM lookup",
}


@pytest.mark.parametrize("others", ["whole", "referenced"])
@pytest.mark.parametrize("policy", ["include", "drop"])
@pytest.mark.parametrize("change", CHANGES)
def test_seams_are_healed(change: str, others: str, policy: str, lab: MakeLab) -> None:
    db = lab(SCHEMA, DATA)
    relations = {"item.lookup_id": {"references": policy}}
    run = db.prepared(filters={"owner": "id <= 3"}, others=others, relations=relations)
    run.prepare()
    for number, component in enumerate(run.plan.extracts):
        run.extract(component)
        if number == len(run.plan.extracts) - 2:
            db.source.execute(CHANGES[change])
    if run.plan.may_ban:
        run.settle()
    for component in () if run.plan.may_ban else run.plan.closures:
        run.refer(component)
    report = run.finish()
    run.release()
    assert report.dangling == 0
    assert db.target.unvalidated() == []
    kept = {f"public.{table}": len(db.target.rows(table)) for table in db.target.tables()}
    assert kept == {t.table: t.kept for t in report.tables}


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("null", ["NOT NULL", "NULL"])
def test_a_row_that_healing_fetches_cannot_be_kept(null: str, declared: bool, lab: MakeLab) -> None:
    """Its own reference is left out under `drop`: then so is the row, and whatever cannot do without it."""
    schema = f"""
    CREATE TABLE g (id int PRIMARY KEY);
    CREATE TABLE p (id int PRIMARY KEY, g int {"REFERENCES g" if declared else ""});
    CREATE TABLE c (id int PRIMARY KEY, p int {null} REFERENCES p);
    """
    db = lab(
        schema, "INSERT INTO g VALUES (1); INSERT INTO p VALUES (1, 1), (2, 1); INSERT INTO c VALUES (1, 1), (2, 2);"
    )
    key = {"references": "drop", "follow": False} | ({} if declared else {"to": "g"})
    run = db.prepared(filters={"p": "id = 1"}, relations={"p.g": key, "c.p": {"follow": False}})
    assert run.plan.may_ban
    run.prepare()
    for component in run.plan.extracts:
        run.extract(component)
    db.source.execute("INSERT INTO g VALUES (9); INSERT INTO p VALUES (9, 9)")
    db.source.execute("UPDATE c SET p = 9 WHERE id = 2; DELETE FROM p WHERE id = 2")
    run.settle()
    report = run.finish()
    run.release()
    assert report.dangling == 0
    assert db.target.rows("p") == [(1, 1)]
    assert db.target.rows("c") == [(1, 1), *([(2, None)] if null == "NULL" else [])]


# -- a source that never rests

ACCOUNTS = """
INSERT INTO version VALUES (0);
INSERT INTO branch SELECT n FROM generate_series(1, 9) n;
INSERT INTO account SELECT n, n % 9 + 1, NULL, 0 FROM generate_series(1, 90) n;
INSERT INTO checking SELECT n, n % 9 + 1, 0 FROM generate_series(1, 90) n;
INSERT INTO savings SELECT n, 0 FROM generate_series(1, 90) n;
"""


@contextmanager
def _writing(source: Database, made: list[int]) -> Iterator[None]:
    """The bank's transactions, one after another; two hundred are made before anything else begins."""
    begun, over = threading.Event(), threading.Event()

    def write() -> None:
        with closing(source.connect()) as connection, connection.cursor() as cursor:
            while not over.is_set():
                for statement in bank.change(len(made) + 1).split("; "):
                    cursor.execute(statement)
                connection.commit()
                made.append(len(made) + 1)
                if len(made) == 200:
                    begun.set()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        assert begun.wait(120)
        yield
        assert thread.is_alive()
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("name", bank.SPECS)
def test_beside_a_writer(name: str, lab: MakeLab) -> None:
    """Each table at its own time, as MySQL and MariaDB always do it: nothing dangles in the end."""
    db = lab(bank.SCHEMA, ACCOUNTS)
    made: list[int] = []
    with _writing(db.source, made):
        before = len(made)
        report = subset(Spec.of(**bank.SPECS[name]), db.source.endpoint(), db.target.endpoint(), consistent=False)
        assert len(made) > before + 10
    assert report.guarantee.startswith("Each table at its own time")
    assert report.dangling == 0
    db.assert_in_force()
