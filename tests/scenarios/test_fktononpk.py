"""References to something else than the primary key."""

from __future__ import annotations

import pytest

from tests.scenarios.kit import MakeLab

ROWS = """
INSERT INTO country VALUES (1, 'de', 'DEU'), (2, 'fr', 'FRA'), (3, 'at', NULL), (4, 'ch', NULL);
INSERT INTO city VALUES (1, 'DEU'), (2, 'FRA'), (3, 'DEU'), (4, NULL);
"""


@pytest.mark.parametrize(
    "unique",
    ["UNIQUE (iso)", "CONSTRAINT iso_key UNIQUE NULLS DISTINCT (iso)", ""],
    ids=["unique constraint", "named constraint", "unique index only"],
)
def test_a_reference_to_a_unique_nullable_column(unique: str, lab: MakeLab) -> None:
    schema = f"""
    CREATE TABLE country (id int PRIMARY KEY, name text, iso char(3){", " + unique if unique else ""});
    {"" if unique else "CREATE UNIQUE INDEX ON country (iso);"}
    CREATE TABLE city (id int PRIMARY KEY, country char(3) REFERENCES country (iso));
    """
    db = lab(schema, ROWS)
    db.run(filters={"country": "name = 'de'"})
    assert db.target.ids() == {"country": [1], "city": [1, 3]}
    db.run(filters={"city": "id IN (2, 4)"}, others="referenced")
    assert db.target.rows("country") == [(2, "fr", "FRA")]
    db.run(filters={"country": "iso IS NULL"})
    assert db.target.ids() == {"country": [3, 4], "city": []}


def test_a_parent_that_has_no_primary_key_at_all(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE country (name text, iso text UNIQUE);
    CREATE TABLE city (id int, country text REFERENCES country (iso));
    """
    rows = """
    INSERT INTO country VALUES ('de', 'DEU'), ('fr', 'FRA'), ('x', NULL), ('x', NULL);
    INSERT INTO city VALUES (1, 'DEU'), (2, 'FRA'), (2, 'FRA'), (4, NULL);
    """
    db = lab(schema, rows)
    db.run(filters={"country": "name IN ('fr', 'x')"})
    assert db.target.rows("country") == [("fr", "FRA"), ("x", None), ("x", None)]
    assert db.target.rows("city") == [(2, "FRA"), (2, "FRA")]


def test_keys_to_two_different_keys_of_one_parent(lab: MakeLab) -> None:
    """A row fetched by one key may be there already, or be asked for by the other."""
    schema = """
    CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE NOT NULL, up text REFERENCES p (code));
    CREATE TABLE c (id int PRIMARY KEY, by_id int REFERENCES p, by_code text REFERENCES p (code));
    """
    rows = """
    INSERT INTO p VALUES (1, 'one', NULL), (2, 'two', 'one'), (3, 'three', 'two'), (4, 'four', NULL);
    INSERT INTO c VALUES (1, 3, 'three'), (2, 2, 'one'), (3, NULL, 'four');
    """
    db = lab(schema, rows)
    db.run(filters={"c": "id <= 2"}, others="referenced")
    assert db.target.ids() == {"c": [1, 2], "p": [1, 2, 3]}
    db.run(filters={"p": "id = 1"})
    assert db.target.ids() == {"c": [2], "p": [1, 2]}


@pytest.mark.engines("postgresql", because="InnoDB wants one type on both sides")
def test_a_reference_across_types(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE p (id bigint PRIMARY KEY, name varchar(5) UNIQUE, price numeric UNIQUE);
    CREATE TABLE c (id int PRIMARY KEY, p smallint REFERENCES p, name text REFERENCES p (name),
                    price int REFERENCES p (price), padded char(8) REFERENCES p (name));
    """
    rows = """
    INSERT INTO p VALUES (1, 'a', 1.00), (2, 'b', 2), (3, 'c', 3.0), (4, 'd', 4);
    INSERT INTO c VALUES (1, 1, 'b', 3, 'd'), (2, 2, NULL, NULL, NULL);
    """
    db = lab(schema, rows)
    db.run(filters={"c": "id = 1"}, others="referenced")
    assert db.target.ids() == {"c": [1], "p": [1, 2, 3, 4]}
    db.run(filters={"p": "id = 4"}, references="null")
    assert db.target.rows("c") == [(1, None, None, None, "d       ")]
