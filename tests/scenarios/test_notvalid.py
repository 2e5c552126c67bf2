"""Constraints the source has never checked: copied as they are, and so are the values that break them."""

from __future__ import annotations

import pytest

from tests.scenarios.kit import MakeLab

pytestmark = pytest.mark.engines("postgresql", because="every foreign key of MySQL claims to be valid")

SCHEMA = """
CREATE TABLE p (id int PRIMARY KEY);
CREATE TABLE c (id int PRIMARY KEY, p int, q int CONSTRAINT c_q REFERENCES p);
"""
ROWS = """
INSERT INTO p VALUES (1), (2), (3);
INSERT INTO c VALUES (1, 1, NULL), (2, 99, 1), (3, 2, 2), (4, NULL, NULL), (5, 98, 3), (6, 3, NULL);
ALTER TABLE c ADD CONSTRAINT c_p FOREIGN KEY (p) REFERENCES p NOT VALID;
ALTER TABLE c ADD CONSTRAINT small CHECK (id < 5) NOT VALID;
"""


def test_not_valid_stays_not_valid_and_what_dangles_is_copied(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS, target=SCHEMA)
    # The check constraint would refuse its own rows: they are not asked for.
    db.target.execute("ALTER TABLE c ADD CONSTRAINT c_p FOREIGN KEY (p) REFERENCES p NOT VALID")
    db.target.execute("ALTER TABLE c ADD CONSTRAINT small CHECK (id < 7) NOT VALID")
    db.source.execute("ALTER TABLE c DROP CONSTRAINT small, ADD CONSTRAINT small CHECK (id < 7) NOT VALID")
    report = db.run(filters={"c": "id <> 6"}, others="referenced")
    assert db.target.rows("c") == [(1, 1, None), (2, 99, 1), (3, 2, 2), (4, None, None), (5, 98, 3)]
    assert db.target.ids("p") == {"p": [1, 2, 3]}
    assert sorted(db.target.unvalidated()) == ["c_p", "small"]
    assert {(k.key, k.dangling, k.proof, k.in_source) for k in report.keys} == {
        ("public.c(p) -> public.p", 2, "counted", True),
        ("public.c(q) -> public.p", 0, "validated", False),
    }
    assert report.dangling == 0


def test_what_dangles_in_the_source_is_no_reference(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS.rsplit("ALTER", 1)[0], target=SCHEMA)
    db.target.execute("ALTER TABLE c ADD CONSTRAINT c_p FOREIGN KEY (p) REFERENCES p NOT VALID")
    relations = {"c_q": {"follow": False}, "c_p": {"follow": False}}
    db.run(filters={"c": "true", "p": "id = 1"}, references="drop", relations=relations)
    # 2's p is 99, which is nowhere: nothing to drop it for.
    assert db.target.rows("c") == [(1, 1, None), (2, 99, 1), (4, None, None)]
    db.run(filters={"c": "true", "p": "id = 1"}, references="null", relations=relations)
    assert db.target.rows("c") == [
        (1, 1, None),
        (2, 99, 1),
        (3, None, None),
        (4, None, None),
        (5, 98, None),
        (6, None, None),
    ]


def test_a_key_that_only_the_target_has_valid_is_put_back_as_in_the_source(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS.rsplit("ALTER", 1)[0], target=SCHEMA)
    db.target.execute("ALTER TABLE c ADD CONSTRAINT c_p FOREIGN KEY (p) REFERENCES p")
    db.run(filters={"c": "id <> 6"}, others="referenced")
    assert db.target.unvalidated() == ["c_p"]


def test_a_key_that_the_target_had_not_valid_is_validated_as_in_the_source(lab: MakeLab) -> None:
    db = lab(SCHEMA, "INSERT INTO p VALUES (1); INSERT INTO c VALUES (1, 1, 1);", target=SCHEMA)
    db.target.execute("ALTER TABLE c DROP CONSTRAINT c_q, ADD CONSTRAINT c_q FOREIGN KEY (q) REFERENCES p NOT VALID")
    db.run(filters={"c": "true"})
    assert db.target.unvalidated() == []
