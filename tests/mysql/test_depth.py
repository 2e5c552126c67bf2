"""Recursion is complete at any depth, or an error; and it stays linear."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_subset_provider.core import engines, select
from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.errors import SubsetError
from airflow_subset_provider.core.run import reflect
from airflow_subset_provider.core.spec import Spec
from sandbox.mariadb import MariaDbServer
from sandbox.mysql import MySqlServer
from sandbox.mysql_family import MySqlFamilyEndpoint
from sandbox.process import memory_directory
from tests.conftest import ROOM
from tests.mysql.conftest import MakePair, Pair

LIMITED = {
    "mariadb": (MariaDbServer, "max-recursive-iterations=100"),
    "mysql": (MySqlServer, "cte-max-recursion-depth=100"),
}


@pytest.fixture(scope="module", params=list(LIMITED))
def limited(request: pytest.FixtureRequest) -> Iterator[MySqlFamilyEndpoint]:
    """A server whose limit nobody may raise."""
    request.getfixturevalue(f"{request.param}_server")  # skips where there is no MySQL
    kind, option = LIMITED[request.param]
    with kind([f"--{option}", f"--maximum-{option}"], memory_directory(ROOM)) as server:
        yield server


def test_a_limit_that_nobody_may_raise_is_an_error(limited: MySqlFamilyEndpoint, make_pair: MakePair) -> None:
    """MySQL stops with an error; MariaDB hands out what it has and only warns. Either way nothing is cut short."""
    pair = make_pair(limited, limited)
    fill(pair, 400)
    with pytest.raises(SubsetError, match="recursi"):
        pair.subset(filters={"desk": "id = 1"}, others="referenced")
    assert pair.target.run("SELECT COUNT(*) FROM employee") == ((0,),)
    with pytest.raises(SubsetError, match="recursi"):
        pair.subset(filters={"seat": "id = 1"}, tables={"desk": "skip"})
    assert pair.target.run("SELECT COUNT(*) FROM employee") == ((0,),)
    shallow = {"filters": {"employee": "id > 340"}, "references": "null", "others": "skip"}
    assert pair.subset(**shallow).kept == 60 + 1  # and the desk


@pytest.mark.parametrize("limited", ["mariadb"], indirect=True)
def test_a_limit_that_is_reached_behind_other_warnings_is_an_error(
    limited: MySqlFamilyEndpoint, make_pair: MakePair
) -> None:
    """A server lists at most 65,535 warnings, and MariaDB's of the limit may not be among them."""
    pair = make_pair(limited, limited)
    fill(pair, 400)
    many = " CROSS JOIN ".join(f"(SELECT 1{' UNION ALL SELECT 1' * 41}) AS t{n}" for n in range(3))
    pair.source.run(
        "ALTER TABLE employee ADD name VARCHAR(9) DEFAULT 'x'",
        f"INSERT INTO employee (id, boss) SELECT 1000 + ROW_NUMBER() OVER (), 1 FROM {many}",
    )
    request = {"filters": {"seat": "id = 1", "employee": "name = 0"}, "tables": {"desk": "skip"}}
    with pytest.raises(SubsetError, match="recursi"):
        pair.subset(**request)
    assert pair.target.run("SELECT COUNT(*) FROM employee") == ((0,),)
    pair.source.run("UPDATE employee SET boss = 1 WHERE id BETWEEN 2 AND 400", "DELETE FROM employee WHERE id > 50000")
    assert pair.subset(**request).kept == 49_400 + 1  # shallow, and the list has room


def fill(pair: Pair, length: int) -> None:
    """Employee 1 sits on the only seat; each later one reports to the one before; the desk is the last one's."""
    rows = ", ".join(f"({n}, {n - 1 if n > 1 else 'NULL'}, {1 if n == 1 else 'NULL'})" for n in range(1, length + 1))
    pair.source.run(
        "CREATE TABLE seat (id INT PRIMARY KEY)",
        "CREATE TABLE employee (id INT PRIMARY KEY, boss INT, seat INT, "
        "FOREIGN KEY (boss) REFERENCES employee (id), FOREIGN KEY (seat) REFERENCES seat (id))",
        "CREATE TABLE desk (id INT PRIMARY KEY, user INT, FOREIGN KEY (user) REFERENCES employee (id))",
        "INSERT INTO seat VALUES (1)",
        f"INSERT INTO employee VALUES {rows}",
        f"INSERT INTO desk VALUES (1, {length})",
    )


def test_many_keys_in_one_cycle(pair: Pair) -> None:
    """MariaDB's optimizer takes three times longer for every recursive member more, so there are few."""
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


@pytest.fixture
def descending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table below a filter is found by one walk, as where CTEs would be written out too often."""
    monkeypatch.setattr(select, "MOST_EXPANSIONS", -1)
    monkeypatch.setattr(select.Extract, "shared", frozenset(["all"]))


@pytest.mark.usefixtures("descending")
@pytest.mark.parametrize("key", ["PRIMARY KEY (id), ", ""])
def test_a_null_in_a_key_that_others_reference_below_one_filter(key: str, pair: Pair) -> None:
    """Rows are told apart by their primary key, or by their references: never by a key that may be NULL."""
    pair.source.run(
        "CREATE TABLE a (id INT PRIMARY KEY, v INT)",
        f"CREATE TABLE b (id INT NOT NULL, {key}u INT, a INT, UNIQUE (u), FOREIGN KEY (a) REFERENCES a (id))",
        "CREATE TABLE c (id INT PRIMARY KEY, u INT, FOREIGN KEY (u) REFERENCES b (u))",
        "INSERT INTO a VALUES (1, 1), (2, 2)",
        "INSERT INTO b VALUES (1, 7, 1), (2, NULL, 1), (3, 9, 2), (4, NULL, 2), (5, NULL, NULL)",
        "INSERT INTO c VALUES (1, 7), (2, 9), (3, NULL)",
    )
    pair.subset(filters={"a": "v = 1"})
    assert pair.target.run("SELECT id FROM b ORDER BY id") == ((1,), (2,))
    assert pair.target.run("SELECT id FROM c") == ((1,),)


@pytest.mark.usefixtures("descending")
def test_a_filter_above_a_cycle_holds_for_its_tables_that_no_followed_key_connects_to_it(pair: Pair) -> None:
    """Found by a property test: `a` has one filter above it, its own, but its cycle has another one."""
    pair.source.run(
        "CREATE TABLE root (id INT PRIMARY KEY, v INT)",
        "CREATE TABLE a (id INT PRIMARY KEY, v INT, c INT)",
        "CREATE TABLE b (id INT PRIMARY KEY, a INT, root INT, FOREIGN KEY (a) REFERENCES a (id), "
        "FOREIGN KEY (root) REFERENCES root (id))",
        "CREATE TABLE c (id INT PRIMARY KEY, b INT, CONSTRAINT back FOREIGN KEY (b) REFERENCES b (id))",
        "ALTER TABLE a ADD FOREIGN KEY (c) REFERENCES c (id)",
        "INSERT INTO root VALUES (1, 0)",
        "INSERT INTO a VALUES (1, 0, NULL), (2, 0, NULL)",
        "INSERT INTO b VALUES (1, 1, 1), (2, 2, NULL)",
    )
    pair.subset(filters={"root": "v = 0", "a": "v = 0"}, relations={"back": {"follow": False}})
    assert pair.target.run("SELECT id FROM b") == ((1,),)
    assert pair.target.run("SELECT id FROM a") == ((1,),)  # which b's row references


def test_tables_below_a_cycle_of_seven_keys_do_not_take_the_servers_memory(pair: Pair) -> None:
    """With a member for each key, MariaDB took 2.2 GB to plan the last table's SELECT; on GitLab it was killed."""
    keys = [f"k{n}" for n in range(7)]
    lower = {"low": ("node", "node"), "lower": ("node", "low"), "lowest": ("low", "lower")}
    pair.source.run(
        "CREATE TABLE root (id INT PRIMARY KEY)",
        f"CREATE TABLE node (id INT PRIMARY KEY, {', '.join(f'{k} INT' for k in keys)}, root INT, "
        "FOREIGN KEY (root) REFERENCES root (id))",
        "INSERT INTO root VALUES (1), (2)",
        "INSERT INTO node (id, k0, root) VALUES (1, NULL, 1), (2, 1, NULL), (3, NULL, 2)",
        *(f"ALTER TABLE node ADD FOREIGN KEY ({k}) REFERENCES node (id)" for k in keys),
        *(
            f"CREATE TABLE {name} (id INT PRIMARY KEY, a INT, b INT, c INT, FOREIGN KEY (a) REFERENCES {a} (id), "
            f"FOREIGN KEY (b) REFERENCES {b} (id), FOREIGN KEY (c) REFERENCES node (id))"
            for name, (a, b) in lower.items()
        ),
        *(f"INSERT INTO {name} VALUES (1, 1, NULL, NULL), (2, NULL, 2, NULL), (3, 3, NULL, 3)" for name in lower),
    )
    assert pair.subset(filters={"root": "root.id = 1"}).kept == 1 + 2 + 2 * 3
    schema = reflect(pair.source.endpoint())
    plan = planning.build(Spec.of(filters={"root": "root.id = 1"}), schema)
    with engines.get("mysql").source(pair.source.endpoint(), "test") as session:
        for table in plan.copied:
            session.rows(f"EXPLAIN {session.compile(select.extract(plan, table, session))}")
        found = session.rows("SHOW SESSION STATUS LIKE 'Max_memory_used'")  # MariaDB's
    assert all(int(most) < 64 * 2**20 for _, most in found), found
