"""`validate`: each broken filter is named by table, clause, position and cause; good ones are counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli

# table, clause, the character the server stopped at (0: only running it shows the fault), the cause
BROKEN = [
    ("customer", "idd = 1", 1, 'column "idd" does not exist'),
    ("customer", "id = 1 AND", 11, "the clause ends too early"),
    ("customer", "(id = 1", 8, "the clause ends too early"),
    ("customer", "id = = 1", 6, 'syntax error at or near "="'),
    ("customer", "id = 1; DROP TABLE customer", 7, 'syntax error at or near ";"'),
    ("customer", "id = 1) OR (1 = 1", 7, 'syntax error at or near ")"'),
    ("customer", "id = 1 ORDER BY id", 8, 'syntax error at or near "ORDER"'),
    ("customer", "id = 1 LIMIT 3", 8, 'syntax error at or near "LIMIT"'),
    ("customer", "id = 1 UNION SELECT 1", 8, 'syntax error at or near "UNION"'),
    ("customer", "name", 1, "must be type boolean"),
    ("customer", "id + 1", 1, "must be type boolean"),
    ("orders", "nosuch(id) = 1", 1, "function nosuch(bigint) does not exist"),
    ("orders", "id IN (SELECT order_id FROM itms)", 29, 'relation "itms" does not exist'),
    ("orders", "customer.id = 1", 1, 'missing FROM-clause entry for table "customer"'),
    ("orders", "placed > 'yesterdayy'", 10, "invalid input syntax for type timestamp"),
    ("customer", "id = 'abc'", 6, 'invalid input syntax for type bigint: "abc"'),
    ("customer", "name > 3", 6, "operator does not exist"),
    ("customer", "count(*) > 1", 1, "aggregate functions are not allowed in WHERE"),
    ("customer", "row_number() OVER () = 1", 1, "window functions are not allowed in WHERE"),
    ("customer", "name = 'O'Hara'", 11, 'syntax error at or near "Hara"'),
    ("item", "order_id IN (SELECT id, customer_id FROM orders)", 10, "subquery has too many columns"),
    ("product", "price / (id - id) > 1", 0, "division by zero"),
    ("product", "name::bigint = 1", 0, 'invalid input syntax for type bigint: "…"'),
    ("product", "id = $1", 6, "there is no parameter $1"),
]


@pytest.mark.parametrize(("table", "clause", "position", "cause"), BROKEN, ids=[clause for _, clause, *_ in BROKEN])
def test_a_broken_filter(cli: Cli, shop_source: str, table: str, clause: str, position: int, cause: str) -> None:
    done = cli("validate", "--source", shop_source, "--filter", f"{table}: {clause}")
    assert done.code == 1
    lines = done.err.splitlines()
    assert lines[0].startswith(f"error: filters['{table}']: ")
    assert cause in lines[0]
    assert clause in lines[0]
    if position:
        assert f"character {position}" in lines[0]
        assert lines[1:] == [f"    {clause}", " " * (position + 3) + "^"]
    else:
        assert lines[1:] == []


def test_all_faults_at_once_beside_the_good_ones(cli: Cli, shop_source: str) -> None:
    filters = {"customer": "idd = 1", "ordres": "id = 1", "orders": "id <= 7", "product": "name"}
    options = [o for table, clause in filters.items() for o in ("-f", f"{table}: {clause}")]
    done = cli("validate", "--source", shop_source, *options, "--table", "nosuch*: skip")
    assert done.code == 1
    wrong = [line.split(": ")[1] for line in done.err.splitlines() if line.startswith("error")]
    assert sorted(wrong) == ["filters['customer']", "filters['ordres']", "filters['product']", "tables['nosuch*']"]
    assert "Did you mean orders" in done.err
    assert "public.orders" in done.out
    assert " 7 " in done.out


def test_good_filters_are_counted(cli: Cli, shop_source: str) -> None:
    done = cli("validate", "--source", shop_source, "-f", "customer: id <= 10 -- the first", "--no-suggest")
    assert (done.code, done.err) == (0, "")
    assert "public.customer     10        ~100   id <= 10 -- the first" in done.out


def test_a_clause_of_several_lines(cli: Cli, shop_source: str, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("filters:\n  customer: |-\n    id = 1\n      AND nme = 'x'\n")
    done = cli("validate", "--source", shop_source, "--spec", spec)
    assert done.err.splitlines()[1:] == ["    " + "  AND nme = 'x'", "    " + "      ^"]


def test_suggestions(cli: Cli, shop_source: str) -> None:
    done = cli("validate", "--source", shop_source, "-f", "customer: id <= 100")
    assert "CREATE INDEX ON public.item (order_id)" in done.out
    assert 'relations: {"public.shipment.customer_id": {"to": "public.customer.id"}}' in done.out
    assert "suggestion: public.item: " in done.out
