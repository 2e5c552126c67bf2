"""The contract's table of examples, row by row, and its sentences about one key of two, with ids written out.

The shop: customer → rental → payment, payment also → customer; film → inventory → rental. Payment 6 is made by a
customer of store 2 on a rental of store 1, payment 7 the other way round, payment 8 is for no rental.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.conftest import Rows, SubsetOf, ids

SHOP = """
CREATE TABLE city (id int PRIMARY KEY);
CREATE TABLE address (id int PRIMARY KEY, city_id int NOT NULL REFERENCES city);
CREATE TABLE staff (id int PRIMARY KEY, address_id int NOT NULL REFERENCES address);
CREATE TABLE film (id int PRIMARY KEY);
CREATE TABLE inventory (id int PRIMARY KEY, film_id int NOT NULL REFERENCES film);
CREATE TABLE customer (
    customer_id int PRIMARY KEY, store_id int NOT NULL, address_id int NOT NULL REFERENCES address);
CREATE TABLE rental (
    id int PRIMARY KEY, rental_date date NOT NULL, customer_id int NOT NULL REFERENCES customer,
    inventory_id int NOT NULL REFERENCES inventory, staff_id int NOT NULL REFERENCES staff);
CREATE TABLE payment (
    id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customer, rental_id int REFERENCES rental,
    staff_id int NOT NULL REFERENCES staff);

INSERT INTO city VALUES (1), (2), (3);
INSERT INTO address VALUES (1, 1), (2, 1), (3, 2), (4, 3), (5, 3);
INSERT INTO staff VALUES (1, 5), (2, 4);
INSERT INTO film VALUES (1), (2), (3);
INSERT INTO inventory VALUES (1, 1), (2, 1), (3, 2), (4, 3);
INSERT INTO customer VALUES (41, 1, 1), (42, 1, 2), (43, 2, 3);
INSERT INTO rental VALUES
    (1, '2022-06-30', 41, 1, 1), (2, '2022-07-01', 41, 2, 1), (3, '2022-08-01', 42, 3, 1),
    (4, '2022-06-01', 43, 4, 2), (5, '2022-07-02', 43, 1, 2);
INSERT INTO payment VALUES
    (1, 41, 1, 1), (2, 41, 2, 1), (3, 42, 3, 1), (4, 43, 4, 2), (5, 43, 5, 2),
    (6, 43, 2, 1), (7, 42, 5, 1), (8, 42, NULL, 1);
"""

STAFF = """
CREATE TABLE department (id int PRIMARY KEY);
CREATE TABLE employee (
    id int PRIMARY KEY, department_id int REFERENCES department, manager_id int REFERENCES employee);
INSERT INTO department VALUES (1), (2), (3), (4), (5);
INSERT INTO employee VALUES
    (1, 1, NULL), (2, 1, 1), (3, 2, 2), (7, 3, 3), (8, 4, 7), (9, 4, 8), (10, 3, NULL), (11, 2, 2), (12, NULL, 1);
"""

KIDS = """
CREATE TABLE root (id int PRIMARY KEY);
CREATE TABLE kid (id int PRIMARY KEY, a int REFERENCES root, b int REFERENCES root);
INSERT INTO root VALUES (1), (2), (9);
INSERT INTO kid VALUES (1, 1, 1), (2, 1, 9), (3, 9, 1), (4, 1, NULL), (5, NULL, 9), (6, NULL, NULL), (7, 9, 9);
"""


def kept(rows: dict[str, Rows]) -> dict[str, list[Any]]:
    return {table: ids(found) for table, found in rows.items()}


def test_one_filter_keeps_its_rows_what_lies_below_and_every_other_table_whole(subset_of: SubsetOf) -> None:
    assert kept(subset_of(SHOP, filters={"customer": "store_id = 1"})) == {
        "customer": [41, 42, 43],  # 43 is referred by payment 6 and by rental 5
        "rental": [1, 2, 3, 5],  # 5 is referred by payment 7
        "payment": [1, 2, 3, 6, 7, 8],  # 6 through its rental, 7 and 8 through their customer
        "city": [1, 2, 3],
        "address": [1, 2, 3, 4, 5],
        "staff": [1, 2],
        "film": [1, 2, 3],
        "inventory": [1, 2, 3, 4],
    }


def test_every_filter_above_a_table_applies_to_it(subset_of: SubsetOf) -> None:
    rows = kept(subset_of(SHOP, filters={"customer": "store_id = 1", "rental": "rental_date >= '2022-07-01'"}))
    assert rows["payment"] == [2, 3, 6]  # 7's rental is of no such customer, 8 has none, 1's is too old
    assert rows["rental"] == [2, 3]
    assert rows["customer"] == [41, 42, 43]  # 43 is referred by payment 6
    assert rows["film"] == [1, 2, 3]


def test_others_referenced_keeps_exactly_what_is_referenced(subset_of: SubsetOf) -> None:
    assert kept(subset_of(SHOP, filters={"customer": "customer_id = 42"}, others="referenced")) == {
        "customer": [42, 43],  # 43 is referred by rental 5
        "rental": [3, 5],  # 5 is referred by payment 7
        "payment": [3, 7, 8],
        "inventory": [1, 3],
        "film": [1, 2],
        "staff": [1, 2],
        "address": [2, 3, 4, 5],
        "city": [1, 2, 3],
    }


def test_a_filter_is_never_widened_by_a_self_reference(subset_of: SubsetOf) -> None:
    rows = kept(subset_of(STAFF, filters={"employee": "id = 7"}))
    assert rows == {"employee": [1, 2, 3, 7], "department": [1, 2, 3, 4, 5]}


def test_a_filter_above_a_self_reference_reaches_every_depth(subset_of: SubsetOf) -> None:
    rows = kept(subset_of(STAFF, filters={"department": "id = 3"}))
    # 7 and 10 are the department's own; 8 and 9 report to 7; 3, 2 and 1 are the managers above.
    assert rows == {"department": [1, 2, 3, 4], "employee": [1, 2, 3, 7, 8, 9, 10]}


@pytest.mark.parametrize(
    ("references", "roots", "kids"),
    [
        ("include", [1, 2, 9], [(1, 1, 1), (2, 1, 9), (3, 9, 1), (4, 1, None)]),
        ("null", [1, 2], [(1, 1, 1), (2, 1, None), (3, None, 1), (4, 1, None)]),
        ("drop", [1, 2], [(1, 1, 1), (4, 1, None)]),
    ],
)
def test_two_keys_to_one_parent(references: str, roots: list[int], kids: Rows, subset_of: SubsetOf) -> None:
    rows = subset_of(KIDS, filters={"root": "id <= 2"}, references=references)
    assert ids(rows["root"]) == roots
    assert rows["kid"] == kids
