"""referential_integrity=False: filters apply to their own tables, no reference is looked at, and nothing is hidden."""

from __future__ import annotations

from tests.scenarios.kit import MakeLab

SCHEMA = """
CREATE TABLE p (id int PRIMARY KEY);
CREATE TABLE c (id int PRIMARY KEY, p int NOT NULL CONSTRAINT c_p REFERENCES p);
CREATE TABLE d (id int PRIMARY KEY, c int CONSTRAINT d_c REFERENCES c, up int CONSTRAINT d_up REFERENCES d);
"""
ROWS = """
INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1, 1), (2, 2), (3, 2);
INSERT INTO d VALUES (1, 1, NULL), (2, 2, 1), (3, 3, 2), (4, NULL, NULL);
"""


def test_each_filter_for_itself(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    report = db.run(filters={"c": "id = 2"}, referential_integrity=False)
    assert db.target.ids() == {"p": [1, 2], "c": [2], "d": [1, 2, 3, 4]}
    assert any("foreign keys may not hold" in w for w in report.warnings)
    assert "healed" not in report.guarantee
    assert {k.key: k.dangling for k in report.keys} == {
        "public.c(p) -> public.p": 0,
        "public.d(c) -> public.c": 2,
        "public.d(up) -> public.d": 0,
    }
    assert report.dangling == 2
    assert "d_c" in db.target.unvalidated()


def test_others_and_tables_still_hold(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    db.run(filters={"d": "id >= 3"}, others="skip", tables={"p": "whole"}, referential_integrity=False)
    assert db.target.ids() == {"p": [1, 2], "c": [], "d": [3, 4]}
    db.run(filters={"d": "id >= 3"}, others="referenced", referential_integrity=False)
    assert db.target.ids() == {"p": [], "c": [], "d": [3, 4]}


def test_a_sound_run_afterwards_validates_everything(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    db.run(filters={"p": "id = 2"}, others="skip", referential_integrity=False)
    assert db.target.unvalidated() or not db.target.proves_keys  # nothing dangles, but nobody has looked
    db.run(filters={"p": "id = 2"})
    assert db.target.unvalidated() == []
    assert db.target.ids() == {"p": [1, 2], "c": [1, 2, 3], "d": [1, 2, 3]}
