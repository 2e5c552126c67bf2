"""Recursion is complete at any depth, or an error; and it stays linear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from airflow_subset_provider.core.engines.mysql import server as servers
from airflow_subset_provider.core.errors import SubsetError
from tests.mysql.conftest import Pair

LONG = 20_000


def fill(pair: Pair, length: int, columns: str = "") -> None:
    """employee 1 is its own chain's head; each later one reports to the one before."""
    rows = ", ".join(f"({n}, {n - 1 if n > 1 else 'NULL'})" for n in range(1, length + 1))
    pair.source.run(
        f"CREATE TABLE employee (id INT PRIMARY KEY, boss INT {columns}, FOREIGN KEY (boss) REFERENCES employee (id))",
        "CREATE TABLE desk (id INT PRIMARY KEY, user INT, FOREIGN KEY (user) REFERENCES employee (id))",
        f"INSERT INTO employee (id, boss) VALUES {rows}",
        f"INSERT INTO desk VALUES (1, {length})",
    )


def test_a_long_chain_upwards(pair: Pair) -> None:
    fill(pair, LONG)
    assert pair.subset(filters={"desk": "id = 1"}, others="referenced").kept == LONG + 1


def test_a_long_chain_downwards(pair: Pair) -> None:
    pair.source.run("CREATE TABLE seat (id INT PRIMARY KEY)", "INSERT INTO seat VALUES (1)")
    fill(pair, LONG, ", seat INT, FOREIGN KEY (seat) REFERENCES seat (id)")
    pair.source.run("UPDATE employee SET seat = 1 WHERE id = 1")
    assert pair.subset(filters={"seat": "id = 1"}, tables={"desk": "skip"}).kept == LONG + 1


def test_a_long_chain_dropped(pair: Pair) -> None:
    fill(pair, LONG)
    report = pair.subset(filters={"employee": "id > 1"}, references="drop")
    assert report.kept == 0


def test_a_limit_that_cannot_be_raised_is_an_error(
    pair: Pair, setting: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MySQL stops with an error; MariaDB hands out what it has and only warns."""
    fill(pair, 400)
    for name in ("MYSQL", "MARIADB"):
        monkeypatch.setattr(servers, name, replace(getattr(servers, name), unlimited=()))
    mariadb = "MariaDB" in pair.source.server.version
    setting("max_recursive_iterations" if mariadb else "cte_max_recursion_depth", "100")
    with pytest.raises(SubsetError, match="recursi"):
        pair.subset(filters={"desk": "id = 1"}, others="referenced")
    assert pair.target.run("SELECT COUNT(*) FROM employee") == ((0,),)


def test_many_keys_in_one_cycle(pair: Pair) -> None:
    """MariaDB's optimizer takes ten times longer for every two more recursive members, so there are few."""
    names = [f"t{n}" for n in range(12)]
    for name in names:
        keys = ", ".join(f"f_{n} INT" for n in names)
        pair.source.run(f"CREATE TABLE {name} (id INT PRIMARY KEY, {keys}, root INT)")
    pair.source.run("CREATE TABLE root (id INT PRIMARY KEY)", "INSERT INTO root VALUES (1), (2)")
    for i, name in enumerate(names):
        above = names[i - 1]
        pair.source.run(
            *(f"INSERT INTO {name} (id, f_{above}) VALUES ({row}, {row})" for row in (1, 2)),
        )
    pair.source.run(
        *(
            f"ALTER TABLE {name} ADD FOREIGN KEY (f_{other}) REFERENCES {other} (id)"
            for i, name in enumerate(names)
            for other in (names[i - 1], names[i - 2])
        ),
        "ALTER TABLE t0 ADD FOREIGN KEY (root) REFERENCES root (id)",
        "UPDATE t0 SET root = id",
    )
    report = pair.subset(filters={"root": "id = 1"})
    assert {t.table.split(".")[1]: t.kept for t in report.tables} == {**dict.fromkeys(names, 1), "root": 1}
    report = pair.subset(filters={"t5": "id = 2"}, others="referenced")
    assert report.kept == 13  # the cycle's rows of that number, and the root
