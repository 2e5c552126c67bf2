"""A server that keeps names in small letters: lower_case_table_names = 1, the way of Windows and of some hosters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_subset_provider.core.errors import TargetError
from sandbox.mariadb import MariaDbEndpoint, MariaDbServer
from sandbox.mysql import MySqlEndpoint
from sandbox.process import memory_directory
from tests.conftest import ROOM
from tests.mysql.conftest import MakePair, Pair

SHOP = (
    "CREATE TABLE `Order` (`Id` INT AUTO_INCREMENT PRIMARY KEY, Up INT, FOREIGN KEY (Up) REFERENCES `Order` (`Id`))",
    "CREATE TABLE LineItem (id INT PRIMARY KEY, OrderId INT, FOREIGN KEY (OrderId) REFERENCES `Order` (`Id`))",
    "CREATE TRIGGER Fired BEFORE INSERT ON LineItem FOR EACH ROW SET @fired = 1",
    "ALTER TABLE `Order` CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
)
ROWS = (
    "SET foreign_key_checks = 0",
    "INSERT INTO `Order` VALUES (1, NULL), (2, 1), (3, 2)",
    "INSERT INTO LineItem VALUES (1, 1), (2, 2), (3, 3)",
)


@pytest.fixture(scope="module")
def small() -> Iterator[MariaDbEndpoint]:
    with MariaDbServer(["--lower-case-table-names=1"], memory_directory(ROOM)) as server:
        yield server


@pytest.fixture(params=["mariadb", "mysql"])
def shop(request: pytest.FixtureRequest, small: MariaDbEndpoint, make_pair: MakePair) -> Pair:
    source: MariaDbEndpoint | MySqlEndpoint = request.getfixturevalue(f"{request.param}_server")
    pair = make_pair(source, small)
    # Neither server's default collation is one of the other's.
    pair.source.run(f"ALTER DATABASE `{pair.source.name}` COLLATE utf8mb4_unicode_ci", *SHOP, *ROWS)
    return pair


def test_into_a_server_of_small_letters(shop: Pair) -> None:
    for wanted in (2, 3):
        report = shop.subset(filters={"Order": f"Id = {wanted}"})
        assert (report.kept, report.dangling) == (wanted + 1, 0)
        assert {t.table for t in report.tables} == {f"{shop.source.name}.Order", f"{shop.source.name}.LineItem"}
        assert shop.target.run("SELECT * FROM lineitem") == ((wanted, wanted),)
        assert shop.target.run("SHOW TRIGGERS")[0][:3] == ("Fired", "INSERT", "lineitem")
    assert shop.target.run("SELECT * FROM airflow_subset_suspended") == ()


def test_columns_are_found_whatever_their_case(shop: Pair) -> None:
    shop.target.run(*(s.replace("`Id`", "`ID`").replace("OrderId", "orderid") for s in SHOP[:2]))
    assert shop.subset(filters={"Order": "Id = 1"}).dangling == 0
    assert shop.target.run("SELECT orderid FROM lineitem") == ((1,),)


def test_tables_that_differ_in_case_alone_are_refused(shop: Pair) -> None:
    shop.target.run(*SHOP[:2], "INSERT INTO lineitem VALUES (7, NULL)")
    shop.source.run("CREATE TABLE `ORDER` (id INT PRIMARY KEY)")
    with pytest.raises(TargetError, match=r"\.ORDER and .*\.Order are one table here"):
        shop.subset(filters={"LineItem": "id = 1"})
    assert shop.target.run("SELECT id FROM lineitem") == ((7,),)
