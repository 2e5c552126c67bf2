"""`validate`, `plan` and `run` on MySQL and MariaDB: positions, suggestions, estimates, exact counts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.mysql_family import MySqlFamilyEndpoint
from tests.cli.conftest import Cli
from tests.databases import CreateDatabase

SHOP = Path(__file__).with_name("shop_mysql.sql")

# table, clause, the character the fault is at (0: the servers do not tell), the cause in either server's words
BROKEN = [
    ("customer", "idd = 1", 1, "Unknown column 'idd'"),
    ("customer", "id = 1 AND idd = idd", 12, "Unknown column 'idd'"),
    ("customer", "name = 'idd' OR `idd` = 1", 17, "Unknown column 'idd'"),
    ("customer", "id IN (SELECT line FROM item) AND line = 1", 35, "Unknown column 'line'"),
    ("customer", "id = 1 AND", 11, "the clause ends too early"),
    ("customer", "(id = 1", 8, "the clause ends too early"),
    ("customer", "id = = 1", 6, "syntax error near '= 1'"),
    ("customer", "id = 1)", 7, "syntax error near ')'"),
    ("customer", "id = 1; DROP TABLE customer", 7, "syntax error near '; DROP TABLE customer'"),
    ("customer", "id = 1) OR (1 = 1", 7, "syntax error near ') OR (1 = 1'"),
    ("customer", "id = 1 ORDER BY id", 8, "syntax error near 'ORDER BY id'"),
    ("customer", "id = 1 LIMIT 3", 8, "syntax error near 'LIMIT 3'"),
    ("customer", "id = 1 UNION SELECT 1", 8, "syntax error near 'UNION SELECT 1'"),
    ("customer", "id = 1 FOR UPDATE", 8, "syntax error near 'FOR UPDATE'"),
    ("customer", "id = 1 /*", 8, "syntax error near '/*'"),
    ("customer", "id = 'Zoë' AND = 1", 16, "syntax error near '= 1'"),
    ("customer", "(id, name)", 0, "Operand should contain 1 column"),
    ("orders", "nosuch(id) = 1", 1, r"FUNCTION \S+\.nosuch does not exist"),
    ("orders", "id IN (SELECT order_id FROM itms)", 29, r"Table '\S+\.itms' doesn't exist"),
    ("orders", "customer.id = 1", 1, "Unknown column 'customer.id'"),
    ("orders", "placed = DATE '2026-99-01'", 15, "Incorrect DATE value"),
    ("customer", "count(*) > 1", 1, "Invalid use of group function"),
    ("customer", "row_number() OVER () = 1", 1, "indow function"),
    ("customer", "name = 'O'Hara'", 11, 'syntax error near "Hara\'"'),
    ("item", "order_id IN (SELECT id, customer_id FROM orders)", 0, "Operand should contain 1 column"),
    ("customer", "name COLLATE nope = 'x'", 14, "Unknown collation: 'nope'"),
    ("product", "id = ?", 6, "syntax error near '?'"),
    ("product", "id = :id", 6, "syntax error near ':id'"),
    ("product", f"id = 1 /* {'x' * 100} */ AND AND {'id = 1 AND ' * 20}1", 119, "syntax error near 'AND id = 1"),
]


@pytest.fixture(scope="module", params=["mariadb", pytest.param("mysql", marks=pytest.mark.long)])
def server(request: pytest.FixtureRequest) -> MySqlFamilyEndpoint:
    found: MySqlFamilyEndpoint = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture(scope="module")
def source(server: MySqlFamilyEndpoint) -> Iterator[str]:
    """The shop's URL; everybody reads it."""
    server.drop_database("subset_cli_shop")
    server.create_database("subset_cli_shop")
    server.run_script("subset_cli_shop", SHOP)
    yield server.url("subset_cli_shop")
    server.drop_database("subset_cli_shop")


@pytest.mark.parametrize(
    ("table", "clause", "position", "cause"), BROKEN, ids=[clause[:40] for _, clause, *_ in BROKEN]
)
def test_a_broken_filter(cli: Cli, source: str, table: str, clause: str, position: int, cause: str) -> None:
    done = cli("validate", "--source", source, "--filter", f"{table}: {clause}")
    assert done.code == 1
    lines = done.err.splitlines()
    assert lines[0].startswith(f"error: filters['{table}']: ")
    assert cause in lines[0] or re.search(cause, lines[0])
    assert clause in lines[0] or repr(clause) in lines[0]
    assert "check the manual" not in lines[0]
    if position:
        assert f"character {position}" in lines[0]
        assert lines[1:] == [f"    {clause}", " " * (position + 3) + "^"]
    else:
        assert lines[1:] == []


def test_a_fault_that_only_rows_show(cli: Cli, source: str) -> None:
    done = cli("validate", "--source", source, "--filter", "product: id = (SELECT customer_id FROM orders)")
    assert done.code == 1
    assert "returns more than 1 row" in done.err


@pytest.mark.parametrize(
    ("table", "clause", "said"),
    [
        ("customer", "id = 'abc'", r"Truncated incorrect \w+ value: 'abc' \(warning 1292\)"),
        ("customer", "id IN ('1', 'x7')", r"value: 'x7' \(warning 1292\)"),
        ("customer", "name > 3", r"Truncated incorrect \w+ value"),
    ],
)
def test_what_the_server_takes_for_something_else(cli: Cli, source: str, table: str, clause: str, said: str) -> None:
    """Postgres refuses all of these. Each is told once, without the values of rows."""
    done = cli("validate", "--source", source, "--filter", f"{table}: {clause}", "--no-suggest")
    assert done.code == 0, done.err
    (line,) = [line for line in done.out.splitlines() if line.startswith("warning: ")]
    assert line.startswith(f"warning: filters['{table}']: ")
    assert re.search(said, line)
    assert "as a number or a date that it does not spell" in line
    assert "customer 1" not in line


def test_a_plan_tells_of_it_too(cli: Cli, source: str) -> None:
    done = cli("plan", "--source", source, "--filter", "customer: id IN ('1', 'x7')")
    assert done.code == 0, done.err
    assert "value: 'x7' (warning 1292)" in " ".join(done.out.split())


@pytest.mark.parametrize("clause", ["id = '1'", "id = 1.5", "name = ''", "id <= 100"])
def test_what_is_compared_as_it_is_written(cli: Cli, source: str, clause: str) -> None:
    done = cli("validate", "--source", source, "--filter", f"customer: {clause}", "--no-suggest")
    assert (done.code, "warning" in done.out) == (0, False), done.out


def test_a_clause_of_several_lines(cli: Cli, source: str, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("filters:\n  customer: |-\n    id = 1\n      AND nme = 'x'\n")
    done = cli("validate", "--source", source, "--spec", spec)
    assert done.err.splitlines()[1:] == ["    " + "  AND nme = 'x'", "    " + "      ^"]


def test_all_faults_at_once_beside_the_good_ones(cli: Cli, source: str) -> None:
    filters = {"customer": "idd = 1", "ordres": "id = 1", "orders": "id <= 7", "product": "id ="}
    options = [o for table, clause in filters.items() for o in ("-f", f"{table}: {clause}")]
    done = cli("validate", "--source", source, *options, "--table", "nosuch*: skip")
    assert done.code == 1
    wrong = [line.split(": ")[1] for line in done.err.splitlines() if line.startswith("error")]
    assert sorted(wrong) == ["filters['customer']", "filters['ordres']", "filters['product']", "tables['nosuch*']"]
    assert "subset_cli_shop.orders" in done.out
    assert " 7 " in done.out


def test_suggestions(cli: Cli, source: str) -> None:
    """Declared keys have an index on these servers; a virtual one may have none, and an undeclared one is found."""
    virtual = ("--relation", "parcel.order_no: to orders.id")
    done = cli("validate", "--source", source, "-f", "customer: id <= 100", *virtual)
    assert done.code == 0, done.err
    assert "ALTER TABLE subset_cli_shop.parcel ADD INDEX (order_no)" in done.out
    assert 'relations: {"subset_cli_shop.shipment.customer_id": {"to": "subset_cli_shop.customer.id"}}' in done.out
    assert "suggestion: subset_cli_shop.item" in done.out or "suggestion: subset_cli_shop.parcel" in done.out
    assert "item ADD INDEX" not in done.out


def _planned(cli: Cli, source: str, *options: str) -> dict[str, dict[str, float]]:
    done = cli("plan", "--source", source, *options, "--format", "json")
    assert done.code == 0, done.err
    return {t["table"].partition(".")[2]: t["rows"] for t in json.loads(done.out)["tables"]}


@pytest.mark.parametrize(
    "filter_",
    [
        "customer: id <= 10",
        "customer: id = 7 OR id = 9",
        "customer: id IN (SELECT customer_id FROM orders WHERE id <= 300)",
        "orders: customer_id <= 20",
        "product: id < 0",
        "customer: id = 100000",
    ],
)
def test_estimates_are_estimates_and_near(cli: Cli, source: str, filter_: str) -> None:
    guessed = _planned(cli, source, "-f", filter_, "--others", "referenced")
    counted = _planned(cli, source, "-f", filter_, "--others", "referenced", "--exact")
    for table, rows in counted.items():
        assert not guessed[table]["exact"]
        assert rows["exact"]
        assert guessed[table]["own"] >= 0
    filtered = filter_.partition(":")[0]
    assert counted[filtered]["own"] / 2.5 - 3 <= guessed[filtered]["own"] <= counted[filtered]["own"] * 2.5 + 3


def test_estimates_are_shown_as_such(cli: Cli, source: str) -> None:
    done = cli("plan", "--source", source, "-f", "customer: id <= 10")
    assert re.search(r"customer\s+relevant\s+~100\s+~\d+ \+ ≤\d+\s+filter: id <= 10", done.out)


@pytest.mark.parametrize("others", ["whole", "referenced"])
@pytest.mark.parametrize("references", ["include", "null", "drop"])
def test_a_run_copies_what_was_counted(
    cli: Cli,
    source: str,
    server: MySqlFamilyEndpoint,
    fresh_database: CreateDatabase,
    tmp_path: Path,
    others: str,
    references: str,
) -> None:
    options = ("-f", "customer: id <= 10", "-f", "orders: id % 3 = 0", "--others", others, "--references", references)
    counted = _planned(cli, source, *options, "--exact")
    target, report = fresh_database(server, hint="cli"), tmp_path / "report.json"
    ends = ("--source", source, "--target", server.url(target))
    done = cli("run", "-q", *ends, *options, "--create-schema", "--report", report)
    assert done.code == 0, done.err
    kept = {t["table"].partition(".")[2]: t["kept"] for t in json.loads(report.read_text())["tables"]}
    assert {t: rows["own"] + rows["referred"] for t, rows in counted.items()} == kept
    assert kept["customer"] > 0
