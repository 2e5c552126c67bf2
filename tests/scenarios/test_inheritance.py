"""Plain inheritance: every table of the tree has its own rows, keys and rule."""

from __future__ import annotations

import pytest

from tests.scenarios.kit import MakeLab

pytestmark = pytest.mark.engines("postgresql", because="tables of MySQL inherit nothing")

# `a_tree` sorts before `plant`, so it is loaded first: nothing done to `plant` later may touch its rows.
SCHEMA = """
CREATE TABLE place (id int PRIMARY KEY);
CREATE TABLE plant (id int PRIMARY KEY, place int REFERENCES place, up int REFERENCES plant);
CREATE TABLE a_tree (height int, PRIMARY KEY (id)) INHERITS (plant);
CREATE TABLE zinnia (colour text) INHERITS (plant);
CREATE TABLE bed (id int PRIMARY KEY, plant int REFERENCES plant);
"""
ROWS = """
INSERT INTO place VALUES (1), (2), (3);
INSERT INTO plant VALUES (1, 1, NULL), (2, 2, 1), (3, 3, 2);
INSERT INTO a_tree VALUES (11, 1, 999, 5), (3, 2, NULL, 6);
INSERT INTO zinnia VALUES (21, 3, NULL, 'red'), (1, 77, NULL, 'blue');
INSERT INTO bed VALUES (1, 1), (2, 3), (3, NULL);
"""


def test_each_table_has_rows_of_its_own(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    db.run(filters={"place": "id = 1"})
    # Plants 2 and 3 hang below plant 1, whatever their own place; the heirs have no keys, so they are whole.
    assert db.target.ids() == {
        "place": [1, 2, 3],
        "plant": [1, 2, 3],
        "bed": [1, 2],
        "a_tree": [3, 11],
        "zinnia": [1, 21],
    }


def test_heirs_that_are_gone_or_temporary(lab: MakeLab) -> None:
    """Of both the server keeps a mark on the table, the one of the former until it is vacuumed: no drift is in that."""
    db = lab("CREATE TABLE plant (id int PRIMARY KEY); CREATE TABLE moss (id int PRIMARY KEY);", "")
    alone = db.schema("public")
    db.source.execute("CREATE TABLE fern () INHERITS (plant); CREATE TEMP TABLE mine () INHERITS (moss)")
    now = db.schema("public")
    assert {t.name.name: t.inherited for t in now.tables} == {"fern": False, "moss": False, "plant": True}
    db.source.execute("DROP TABLE fern")
    assert db.source.value("SELECT relhassubclass FROM pg_class WHERE oid = 'plant'::regclass")
    assert db.schema("public").fingerprint == alone.fingerprint
    db.source.connection.execute("VACUUM plant")
    assert db.schema("public").fingerprint == alone.fingerprint


def test_a_heir_with_the_same_key_is_no_parent(lab: MakeLab) -> None:
    """Bed 2 references plant 3; a tree has the number 3 too, but a foreign key does not see it."""
    db = lab(SCHEMA, ROWS)
    db.run(filters={"bed": "id = 2"}, others="referenced", tables={"a_tree": "whole", "zinnia": "whole"})
    assert db.target.ids() == {"place": [1, 2, 3], "plant": [1, 2, 3], "bed": [2], "a_tree": [3, 11], "zinnia": [1, 21]}


def test_what_heirs_hold_is_no_reference(lab: MakeLab) -> None:
    """A foreign key is not inherited: a tree's place is neither fetched nor cut."""
    db = lab(SCHEMA, ROWS)
    db.run(filters={"plant": "id = 1"}, others="referenced", tables={"a_tree": "whole", "zinnia": "whole"})
    assert db.target.ids() == {"place": [1], "plant": [1], "bed": [1], "a_tree": [3, 11], "zinnia": [1, 21]}
    db.run(
        filters={"plant": "id IN (1, 3)", "place": "id = 1"},
        references="null",
        relations={"plant.*": {"follow": False}},
    )
    assert db.target.rows("plant") == [(1, 1, None), (3, None, None)]
    assert db.target.rows("a_tree") == [(3, 2, None, 6), (11, 1, 999, 5)]
    db.run(
        filters={"plant": "id IN (1, 3)", "place": "id = 1"},
        references="drop",
        relations={"plant.*": {"follow": False}},
    )
    assert db.target.rows("plant") == [(1, 1, None)]
    assert db.target.rows("zinnia") == [(1, 77, None, "blue"), (21, 3, None, "red")]
