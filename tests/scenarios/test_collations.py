"""Text keys with a collation of their own, which decides what equals what, and which no statement may lose sight of."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.conftest import Scenario, SubsetOf, ids

pytestmark = pytest.mark.engines("postgresql", because="on MySQL and MariaDB a collation is a part of the type")

# The upper area is known by its code in two collations, and both keys close a cycle; a job's area is a chain away.
AREAS = """
CREATE COLLATION words (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
CREATE TABLE region (name text COLLATE {collation} PRIMARY KEY, id int UNIQUE NOT NULL, boss text COLLATE {collation});
CREATE TABLE area (code varchar(9) COLLATE {collation} PRIMARY KEY, title text UNIQUE,
                   upper varchar(9) COLLATE {collation} REFERENCES area, same_as text REFERENCES area (title),
                   region text COLLATE {collation} REFERENCES region);
ALTER TABLE region ADD FOREIGN KEY (boss) REFERENCES area (code);
CREATE TABLE job (id int PRIMARY KEY, area varchar(9) COLLATE {collation} REFERENCES area);
INSERT INTO region VALUES ('north', 1, NULL), ('south', 2, NULL);
INSERT INTO area VALUES ('a', 'A', NULL, NULL, NULL), ('b', 'B', 'a', NULL, 'north'), ('c', 'C', 'b', 'A', NULL),
                        ('d', 'D', NULL, 'C', NULL), ('e', 'E', 'd', 'E', 'south'), ('f', 'F', NULL, NULL, NULL);
UPDATE region SET boss = 'f' WHERE id = 1;
INSERT INTO job VALUES (1, 'c'), (2, 'e'), (3, 'a');
"""


@pytest.mark.parametrize("collation", ['"C"', "words"])
@pytest.mark.parametrize(
    ("request_", "areas"),
    [
        ({"filters": {"job": "id = 1"}, "others": "referenced"}, ["a", "b", "c", "f"]),
        ({"filters": {"job": "id = 2"}, "others": "referenced"}, ["a", "b", "c", "d", "e", "f"]),
        ({"filters": {"area": "code = 'c'"}}, ["a", "b", "c", "f"]),
        ({"filters": {"region": "id = 1"}, "references": "null"}, ["b", "c", "d", "e"]),
        ({"filters": {"area": "code <> 'a'"}, "references": "drop"}, ["f"]),
    ],
    ids=["up", "up all of it", "from inside", "down", "dropped"],
)
def test_a_cycle_of_keys_with_a_collation(
    collation: str, request_: dict[str, Any], areas: list[str], subset_of: SubsetOf
) -> None:
    rows = subset_of(AREAS.format(collation=collation), **request_)
    assert ids(rows["area"]) == areas


def test_keys_in_another_spelling(subset_of: SubsetOf) -> None:
    """Under a collation that is not deterministic, a reference need not be written like what it means."""
    rows = subset_of(
        """
        CREATE COLLATION words (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
        CREATE TABLE word (text text COLLATE words PRIMARY KEY, root text COLLATE words REFERENCES word);
        CREATE TABLE hit (id int PRIMARY KEY, word text COLLATE words REFERENCES word);
        INSERT INTO word VALUES ('Café', NULL), ('cafés', 'CAFE'), ('tea', NULL);
        INSERT INTO hit VALUES (1, 'CAFÉS'), (2, 'cafes'), (3, 'Tea');
        """,
        filters={"hit": "id < 3"},
        others="referenced",
    )
    assert rows == {"word": [("Café", None), ("cafés", "CAFE")], "hit": [(1, "CAFÉS"), (2, "cafes")]}


TWO_COLLATIONS = """
CREATE TABLE parent (code text COLLATE "C" PRIMARY KEY, upper text COLLATE "POSIX"{self});
CREATE TABLE child (id int PRIMARY KEY, code text COLLATE "POSIX"{key});
INSERT INTO parent VALUES ('a', NULL), ('b', 'a'), ('c', NULL);
INSERT INTO child VALUES (1, 'b'), (2, 'c');
"""
BY_THE_USER = {"child.code": {"to": "parent.code"}, "parent.upper": {"to": "parent.code"}}


@pytest.mark.parametrize("virtual", [False, True])
def test_a_key_between_two_collations(virtual: bool, scenario: Scenario) -> None:
    """Neither collation gives way to the other, as the database's own would."""
    script = TWO_COLLATIONS.format(
        self="" if virtual else " REFERENCES parent", key="" if virtual else " REFERENCES parent"
    )
    relations = BY_THE_USER if virtual else {}
    scenario.run(script, filters={"child": "id = 1"}, others="referenced", relations=relations)
    assert scenario.rows() == {"parent": [("a", None), ("b", "a")], "child": [(1, "b")]}
    scenario.run(script, filters={"parent": "code = 'a'"}, references="null", relations=relations)
    assert scenario.rows() == {"parent": [("a", None)], "child": []}
