"""NULL in every place where a key can hold one."""

from __future__ import annotations

from tests.scenarios.kit import MakeLab


def test_a_row_without_reference_is_not_connected_to_a_filter(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE p (id int PRIMARY KEY);
    CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p, q int REFERENCES p);
    """
    rows = (
        "INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1, NULL, NULL), (2, 1, NULL), (3, NULL, 1), (4, 2, NULL);"
    )
    db = lab(schema, rows)
    db.run(filters={"p": "id = 1"})
    assert db.target.ids() == {"p": [1], "c": [2, 3]}


def test_orders_are_not_lost_because_another_key_is_null(lab: MakeLab) -> None:
    """Of a table below one filter by two tables, rows connected by either of them are kept."""
    schema = """
    CREATE TABLE customer (id int PRIMARY KEY);
    CREATE TABLE coupon (id int PRIMARY KEY, customer int REFERENCES customer);
    CREATE TABLE "order" (id int PRIMARY KEY, customer int NOT NULL REFERENCES customer, coupon int REFERENCES coupon);
    """
    rows = """
    INSERT INTO customer VALUES (1), (2); INSERT INTO coupon VALUES (1, 1), (2, 2), (3, NULL);
    INSERT INTO "order" VALUES (1, 1, NULL), (2, 1, 1), (3, 2, 1), (4, 2, NULL), (5, 1, 3), (6, 2, 2);
    """
    db = lab(schema, rows)
    db.run(filters={"customer": "id = 1"})
    assert db.target.ids() == {"customer": [1, 2], "coupon": [1, 3], "order": [1, 2, 3, 5]}


def test_a_null_in_the_parents_unique_key(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE p (id int PRIMARY KEY, code int UNIQUE);
    CREATE TABLE c (id int PRIMARY KEY, code int REFERENCES p (code));
    """
    rows = "INSERT INTO p VALUES (1, 10), (2, NULL), (3, NULL); INSERT INTO c VALUES (1, 10), (2, NULL);"
    db = lab(schema, rows)
    db.run(filters={"p": "true"})
    assert db.target.ids() == {"p": [1, 2, 3], "c": [1]}
    db.run(filters={"p": "id > 1", "c": "true"}, relations={"c.*": {"follow": False, "references": "drop"}})
    assert db.target.ids() == {"p": [2, 3], "c": [2]}


def test_a_clause_that_is_null_keeps_nothing(lab: MakeLab) -> None:
    schema = "CREATE TABLE p (id int PRIMARY KEY, x int); CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p);"
    db = lab(schema, "INSERT INTO p VALUES (1, NULL), (2, 5); INSERT INTO c VALUES (1, 1), (2, 2);")
    db.run(filters={"p": "x <> 4"})
    assert db.target.ids() == {"p": [2], "c": [2]}
    db.run(filters={"p": "id NOT IN (SELECT x FROM p)"})
    assert db.target.ids() == {"p": [], "c": []}
