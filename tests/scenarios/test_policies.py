"""Policies mixed within one run, and the rows that cannot be kept because of it."""

from __future__ import annotations

from tests.scenarios.kit import MakeLab

CHAIN = """
CREATE TABLE a (id int PRIMARY KEY);
CREATE TABLE b (id int PRIMARY KEY, a int NOT NULL REFERENCES a, next int REFERENCES b);
CREATE TABLE c (id int PRIMARY KEY, b int NOT NULL REFERENCES b);
CREATE TABLE d (id int PRIMARY KEY, b int REFERENCES b, c int REFERENCES c);
"""
ROWS = """
INSERT INTO a VALUES (1), (2);
INSERT INTO b VALUES (1, 1, NULL), (2, 2, NULL), (3, 1, 2), (4, 1, 3), (5, 1, 1);
INSERT INTO c VALUES (1, 1), (2, 2), (4, 4);
INSERT INTO d VALUES (1, 1, 1), (2, 2, 1), (3, 4, 4), (4, 5, NULL), (5, NULL, 2);
"""


def test_a_referred_row_that_cannot_be_kept_is_banned(lab: MakeLab) -> None:
    """b 2 would be fetched, but its a is not kept: whoever needs it goes without it, or goes."""
    db = lab(CHAIN, ROWS)
    relations = {"b.a": {"references": "drop", "follow": False}}
    report = db.run(filters={"a": "id = 1", "d": "true"}, others="referenced", relations=relations)
    # c 2 cannot do without b 2; b 3 can (its key to b is nullable), so b 4 and c 4 stay.
    assert db.target.rows("a") == [(1,)]
    assert db.target.rows("b") == [(1, 1, None), (3, 1, None), (4, 1, 3), (5, 1, 1)]
    assert db.target.rows("c") == [(1, 1), (4, 4)]
    assert db.target.rows("d") == [(1, 1, 1), (2, None, 1), (3, 4, 4), (4, 5, None), (5, None, None)]
    assert report.kept == 1 + 4 + 2 + 5


def test_a_skipped_parent_bans_from_above(lab: MakeLab) -> None:
    db = lab(CHAIN, ROWS)
    report = db.run(filters={"d": "true"}, others="referenced", tables={"a": "skip"})
    assert db.target.ids("a", "b", "c") == {"a": [], "b": [], "c": []}
    assert db.target.rows("d") == [(n, None, None) for n in range(1, 6)]
    assert any("public.b(a) -> public.a" in w and "rows are left out" in w for w in report.warnings)


def test_every_policy_at_once(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE x (id int PRIMARY KEY); CREATE TABLE y (id int PRIMARY KEY); CREATE TABLE z (id int PRIMARY KEY);
    CREATE TABLE k (id int PRIMARY KEY, x int REFERENCES x, y int REFERENCES y, z int REFERENCES z);
    """
    rows = """
    INSERT INTO x VALUES (1), (2); INSERT INTO y VALUES (1), (2); INSERT INTO z VALUES (1), (2);
    INSERT INTO k VALUES (1, 1, 1, 1), (2, 2, 1, 1), (3, 1, 2, 1), (4, 1, 1, 2), (5, 2, 2, 1), (6, NULL, NULL, NULL);
    """
    db = lab(schema, rows)
    relations = {
        "k.*": {"follow": False},
        "k.y": {"references": "null"},
        "k.z": {"references": "drop"},
    }
    filters = {"x": "id = 1", "y": "id = 1", "z": "id = 1", "k": "true"}
    db.run(filters=filters, relations=relations)
    assert db.target.rows("k") == [(1, 1, 1, 1), (2, 2, 1, 1), (3, 1, None, 1), (5, 2, None, 1), (6, None, None, None)]
    assert db.target.ids("x", "y", "z") == {"x": [1, 2], "y": [1], "z": [1]}


def test_null_falls_back_to_drop_where_the_key_is_not_null(lab: MakeLab) -> None:
    db = lab(CHAIN, ROWS)
    report = db.run(
        filters={"a": "id = 1", "b": "true", "c": "true", "d": "true"},
        references="null",
        relations={"*": {"follow": False}},
    )
    assert db.target.rows("b") == [(1, 1, None), (3, 1, None), (4, 1, 3), (5, 1, 1)]
    assert db.target.ids("c") == {"c": [1, 4]}
    assert db.target.rows("d") == [(1, 1, 1), (2, None, 1), (3, 4, 4), (4, 5, None), (5, None, None)]
    assert [t.dropped for t in report.tables if t.table in ("public.b", "public.c")] == [1, 1]
    assert [t.nulled for t in report.tables if t.table in ("public.b", "public.d")] == [1, 2]
