"""What random examples once found, shrunk to the least and named by what makes it hard; expectations written out."""

from __future__ import annotations

import pytest

from tests.scenarios.conftest import Scenario, SubsetOf, ids

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


KEYS_WITH_A_NULL = """
CREATE TABLE root (id int PRIMARY KEY, v int NOT NULL);
CREATE TABLE middle (id int PRIMARY KEY, root_id int NOT NULL REFERENCES root);
CREATE TABLE leaf (id int PRIMARY KEY, a int, b int, middle_id int NOT NULL REFERENCES middle, UNIQUE (a, b));
CREATE TABLE twig (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES leaf (a, b));
INSERT INTO root VALUES (1, 0), (2, 1);
INSERT INTO middle VALUES (10, 1), (20, 2);
INSERT INTO leaf VALUES (100, 0, NULL, 10), (200, 0, NULL, 20), (300, 0, 3, 10), (400, 0, 4, 20);
INSERT INTO twig VALUES (1, 0, NULL), (2, 0, 3), (3, 0, 4);
"""


def test_a_ban_is_on_one_row_and_not_on_all_whose_key_has_the_same_null(subset_of: SubsetOf) -> None:
    """Leaf 200 must go with middle 20; leaf 100 has the same values in the columns that twigs reference."""
    rows = subset_of(
        KEYS_WITH_A_NULL,
        filters={"root": "v = 0"},
        tables={"*": "whole"},
        relations={"middle.root_id": {"references": "null"}},
    )
    assert ids(rows["leaf"]) == [100, 300]
    assert rows["twig"] == [(1, 0, None), (2, 0, 3), (3, None, None)]


TWINS = """
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent_id int);
INSERT INTO parent VALUES (1), (2);
INSERT INTO child VALUES (10, 1), (20, 2);
ALTER TABLE child ADD CONSTRAINT first FOREIGN KEY (parent_id) REFERENCES parent{not_valid};
ALTER TABLE child ADD CONSTRAINT second FOREIGN KEY (parent_id) REFERENCES parent;
"""


@pytest.mark.parametrize("name", ["first", "second"])
def test_a_foreign_key_declared_twice_answers_to_both_names(name: str, engine: str, subset_of: SubsetOf) -> None:
    twins = TWINS.format(not_valid=" NOT VALID" if engine == "postgresql" else "")
    rows = subset_of(twins, filters={"parent": "id = 1"}, relations={name: {"follow": False}})
    assert rows == {"parent": [(1,), (2,)], "child": [(10, 1), (20, 2)]}


@pytest.mark.engines("postgresql", because="every foreign key of MySQL claims to be valid")
def test_a_valid_constraint_stays_valid_beside_an_unvalidated_twin(scenario: Scenario) -> None:
    scenario.run(TWINS.format(not_valid=" NOT VALID"), filters={"parent": "id = 1"})
    assert scenario.db.target.unvalidated() == ["first"]


REFERENCED_NULLABLE_KEY = """
CREATE TABLE root (id int PRIMARY KEY);
CREATE TABLE middle (id int PRIMARY KEY, root_id int UNIQUE REFERENCES root);
CREATE TABLE leaf (id int PRIMARY KEY, middle_root_id int REFERENCES middle (root_id));
INSERT INTO root VALUES (1), (2);
INSERT INTO middle VALUES (10, 1), (20, 2), (30, NULL);
INSERT INTO leaf VALUES (100, 1), (200, 2);
"""


def test_a_nullable_key_that_others_reference_is_not_nulled(subset_of: SubsetOf) -> None:
    """Nulling middle's key would cut off leaf, so `null` falls back to `drop` there."""
    rows = subset_of(
        REFERENCED_NULLABLE_KEY,
        filters={"root": "id = 1"},
        tables={"middle": "whole", "leaf": "whole"},
        references="null",
    )
    assert rows == {"root": [(1,)], "middle": [(10, 1), (30, None)], "leaf": [(100, 1), (200, None)]}


CHAIN_TO_A_SKIPPED_TABLE = """
CREATE TABLE skipped (id int PRIMARY KEY);
CREATE TABLE a (id int PRIMARY KEY, skipped_id int NOT NULL REFERENCES skipped);
CREATE TABLE b (id int PRIMARY KEY, a_id int NOT NULL REFERENCES a);
CREATE TABLE c (id int PRIMARY KEY, b_id int NOT NULL);
INSERT INTO skipped VALUES (1);
INSERT INTO a VALUES (10, 1);
INSERT INTO b VALUES (20, 10);
INSERT INTO c VALUES (30, 20);
"""


@pytest.mark.parametrize(
    ("constraint", "declaration"),
    [
        ("ALTER TABLE c ADD FOREIGN KEY (b_id) REFERENCES b;", {}),
        pytest.param(
            "ALTER TABLE c ADD FOREIGN KEY (b_id) REFERENCES b NOT VALID;",
            {},
            marks=pytest.mark.engines("postgresql", because="every foreign key of MySQL claims to be valid"),
        ),
        ("", {"to": "b.id"}),
    ],
    ids=["valid", "unvalidated", "virtual"],
)
def test_a_ban_drops_rows_below_any_kind_of_key(
    constraint: str, declaration: dict[str, str], subset_of: SubsetOf
) -> None:
    """b includes a, which must go, so both are banned; whether the server checks c's key makes no difference."""
    rows = subset_of(
        CHAIN_TO_A_SKIPPED_TABLE + constraint,
        tables={"skipped": "skip"},
        relations={"c.b_id": {"references": "drop", **declaration}},
    )
    assert rows == {"skipped": [], "a": [], "b": [], "c": []}
