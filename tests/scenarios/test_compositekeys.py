"""Composite keys: pairs kept in order, shared columns, parts that are NULL."""

from __future__ import annotations

import pytest

from tests.scenarios.kit import MakeLab


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(
            "", marks=pytest.mark.engines("postgresql", because="InnoDB wants a key in the reference's order")
        ),
        ", UNIQUE (number, hall)",
    ],
)
def test_the_key_lists_its_columns_in_another_order_than_the_reference(more: str, lab: MakeLab) -> None:
    schema = f"""
    CREATE TABLE seat (hall int, number int, PRIMARY KEY (hall, number){more});
    CREATE TABLE ticket (id int PRIMARY KEY, n int, h int, FOREIGN KEY (n, h) REFERENCES seat (number, hall));
    """
    rows = """
    INSERT INTO seat VALUES (1, 2), (2, 1), (1, 1), (3, 1);
    INSERT INTO ticket VALUES (1, 2, 1), (2, 1, 2), (3, 1, 1), (4, NULL, 1), (5, 1, NULL), (6, 1, 3);
    """
    db = lab(schema, rows)
    db.run(filters={"seat": "hall = 1"})
    assert db.target.rows("seat") == [(1, 1), (1, 2)]
    assert db.target.ids("ticket") == {"ticket": [1, 3]}
    db.run(filters={"ticket": "id IN (1, 4, 6)"}, others="referenced")
    assert db.target.rows("seat") == [(1, 2), (3, 1)]
    assert db.target.ids("ticket") == {"ticket": [1, 4, 6]}


def test_a_reference_with_one_column_null_is_no_reference(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE p (a int, b int, PRIMARY KEY (a, b));
    CREATE TABLE c (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES p);
    """
    rows = """
    INSERT INTO p VALUES (1, 1), (2, 2);
    INSERT INTO c VALUES (1, 1, 1), (2, 1, NULL), (3, NULL, 1), (4, 2, 2), (5, 77, NULL);
    """
    db = lab(schema, rows)
    for policy in ("include", "null", "drop"):
        # The parent is skipped: a reference that can never be kept is nulled, whatever the policy.
        db.run(filters={"c": "id <> 4"}, others="skip", references=policy)
        assert db.target.rows("c") == [(1, None, None), (2, 1, None), (3, None, 1), (5, 77, None)]
    db.run(filters={"c": "id <> 4", "p": "a = 2"}, references="drop", relations={"c.a,b": {"follow": False}})
    assert db.target.rows("c") == [(2, 1, None), (3, None, 1), (5, 77, None)]


def test_nulling_one_of_two_keys_that_share_a_column(lab: MakeLab) -> None:
    """The tenant belongs to both keys, so it stays; each key gives up the column of its own."""
    schema = """
    CREATE TABLE account (tenant int, id int, PRIMARY KEY (tenant, id));
    CREATE TABLE budget (tenant int, id int, PRIMARY KEY (tenant, id));
    CREATE TABLE entry (
        id int PRIMARY KEY, tenant int, account int, budget int,
        FOREIGN KEY (tenant, account) REFERENCES account, FOREIGN KEY (tenant, budget) REFERENCES budget);
    """
    rows = """
    INSERT INTO account VALUES (1, 1), (1, 2); INSERT INTO budget VALUES (1, 8), (1, 9);
    INSERT INTO entry VALUES (1, 1, 1, 8), (2, 1, 1, 9), (3, 1, 2, 8), (4, 1, 2, 9);
    """
    db = lab(schema, rows)
    db.run(
        filters={"account": "id = 1", "budget": "id = 8", "entry": "true"},
        references="null",
        relations={"entry.*": {"follow": False}},
    )
    assert db.target.rows("entry") == [(1, 1, 1, 8), (2, 1, 1, None), (3, 1, None, 8), (4, 1, None, None)]


def test_two_keys_over_the_same_columns(lab: MakeLab) -> None:
    """Every column belongs to both keys, so a key that is nulled takes all of them along."""
    schema = """
    CREATE TABLE x (a int, b int, PRIMARY KEY (a, b));
    CREATE TABLE y (a int, b int, PRIMARY KEY (a, b));
    CREATE TABLE c (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES x, FOREIGN KEY (a, b) REFERENCES y);
    """
    rows = (
        "INSERT INTO x VALUES (1, 1), (2, 2); INSERT INTO y VALUES (1, 1), (2, 2);"
        "INSERT INTO c VALUES (1, 1, 1), (2, 2, 2);"
    )
    db = lab(schema, rows)
    db.run(filters={"x": "a = 1", "c": "true"}, references="null", relations={"c.a,b": {"follow": False}})
    assert db.target.rows("c") == [(1, 1, 1), (2, None, None)]


def test_a_composite_self_reference_with_a_not_null_part(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE item (
        shop int NOT NULL, id int NOT NULL, parent int, PRIMARY KEY (shop, id),
        FOREIGN KEY (shop, parent) REFERENCES item (shop, id));
    """
    rows = "INSERT INTO item VALUES (1, 1, NULL), (1, 2, 1), (1, 3, 2), (2, 1, NULL), (2, 2, 1);"
    db = lab(schema, rows)
    db.run(filters={"item": "shop = 1 AND id = 3"})
    assert db.target.rows("item") == [(1, 1, None), (1, 2, 1), (1, 3, 2)]
    db.run(filters={"item": "id > 1"}, references="null")
    assert db.target.rows("item") == [(1, 2, None), (1, 3, 2), (2, 2, None)]
