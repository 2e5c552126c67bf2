"""What random examples once found, shrunk to the least and named by what makes it hard; expectations written out."""

from __future__ import annotations

from tests.scenarios.conftest import SubsetOf

WHOLE_OVER_A_DROPPED_ROW = """
CREATE SCHEMA other;
CREATE TABLE other.outside (id int PRIMARY KEY);
CREATE TABLE parent (id int PRIMARY KEY, outside_id int NOT NULL REFERENCES other.outside);
CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent);
CREATE TABLE strict_child (id int PRIMARY KEY, parent_id int NOT NULL REFERENCES parent);
INSERT INTO other.outside VALUES (3);
INSERT INTO parent VALUES (1, 3);
INSERT INTO child VALUES (10, 1), (11, NULL);
INSERT INTO strict_child VALUES (20, 1);
"""


def test_whole_rows_may_include_a_row_that_had_to_be_dropped(subset_of: SubsetOf) -> None:
    """The parent's key leads out of scope and is NOT NULL, so it is dropped, added again by `include`, and banned."""
    rows = subset_of(WHOLE_OVER_A_DROPPED_ROW)
    assert rows == {"parent": [], "child": [(10, None), (11, None)], "strict_child": []}


KEPT_ROW_OVER_A_DROPPED_ONE = """
CREATE TABLE root (id int PRIMARY KEY, v int NOT NULL);
CREATE TABLE middle (id int PRIMARY KEY, root_id int NOT NULL REFERENCES root);
CREATE TABLE leaf (id int PRIMARY KEY, middle_id int NOT NULL REFERENCES middle);
INSERT INTO root VALUES (1, 0), (2, 1);
INSERT INTO middle VALUES (10, 1), (20, 2);
INSERT INTO leaf VALUES (100, 10), (200, 20);
"""


def test_a_ban_goes_down_a_not_null_include_reference(subset_of: SubsetOf) -> None:
    """`null` on a NOT NULL key drops middle 20; leaf 200 is whole and includes it again, so both are banned."""
    rows = subset_of(
        KEPT_ROW_OVER_A_DROPPED_ONE,
        filters={"root": "v = 0"},
        tables={"*": "whole"},
        relations={"middle.root_id": {"references": "null"}},
    )
    assert rows == {"root": [(1, 0)], "middle": [(10, 1)], "leaf": [(100, 10)]}
