"""Indexes that a run must leave alone on MySQL and MariaDB: tests/scenarios/test_indexes.py has those it drops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_subset_provider.core import indexes
from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.run import Run, reflect
from airflow_subset_provider.core.spec import Spec
from sandbox.mysql_family import MySqlFamilyEndpoint
from tests.databases import CreateDatabase
from tests.mysql.conftest import End, MakePair, Pair

TABLE = "CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT AUTO_INCREMENT, KEY t_a (a), KEY t_b (b)) ENGINE = {engine}"
NUMBERS = (
    "INSERT INTO t (id, a, b) WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 300) {rows}"
)
ROWS = NUMBERS.format(rows="SELECT n, n * 7919 % 331, n FROM s")


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "LARGE", 100)


def filled(pair: Pair, engine: str = "InnoDB") -> list[str]:
    """The keys of the target's table."""
    pair.both(TABLE.format(engine=engine))
    pair.source.run(ROWS, "ANALYZE TABLE t")
    return made(pair)


def made(pair: Pair) -> list[str]:
    """Its keys."""
    lines = (line.strip(" ,") for line in pair.target.run("SHOW CREATE TABLE t")[0][1].splitlines())
    return sorted(line for line in lines if "KEY " in line)


def prepared(pair: Pair) -> Run:
    plan = planning.build(Spec.of(), reflect(pair.source.endpoint()))
    run = Run(plan, pair.source.endpoint(), pair.target.endpoint(), replace_existing=True)
    run.prepare()
    return run


def test_a_counter_keeps_its_index(pair: Pair) -> None:
    before = filled(pair)
    run = prepared(pair)
    assert [line for line in before if line not in made(pair)] == ["KEY `t_a` (`a`)"]
    run.release()
    assert made(pair) == before


def test_myisam_is_left_alone(pair: Pair) -> None:
    before = filled(pair, "MyISAM")
    run = prepared(pair)
    assert made(pair) == before
    run.release()


def test_a_user_who_may_not_alter_tables(pair: Pair, limited_user: Callable[..., dict[str, Any]]) -> None:
    """Where nothing counts, that costs time alone."""
    filled(pair)
    pair.target.run("ALTER TABLE t MODIFY b INT")
    before = made(pair)
    rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, TRIGGER, CREATE TEMPORARY TABLES"
    pair.target.user = limited_user(f"{rights} ON `{pair.target.name}`.*")
    run = prepared(pair)
    assert made(pair) == before
    for component in run.plan.extracts:
        run.extract(component)
    assert made(pair) == before
    run.finish()
    run.release()
    assert pair.target.run("SELECT COUNT(*) FROM t") == ((300,),)
    assert pair.target.run("SELECT COUNT(*) FROM airflow_subset_suspended") == ((0,),)


def test_a_key_that_this_user_cannot_see_keeps_its_index(
    servers: Callable[[str], MySqlFamilyEndpoint],
    make_pair: MakePair,
    fresh_database: CreateDatabase,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """MariaDB has foreign keys to columns that are not unique, here from a database that is out of sight."""
    server = servers("mariadb")
    pair = make_pair(server, server)
    before = filled(pair)
    hidden = fresh_database(server, hint="hidden")
    key = f"FOREIGN KEY (a) REFERENCES `{pair.target.name}`.t (a)"
    End(server, hidden, "hidden").run(f"CREATE TABLE c (id INT PRIMARY KEY, a INT, {key})")
    here = f"`{pair.target.name}`.*"
    pair.target.run("CREATE USER subset_blind@'%' IDENTIFIED BY 'blind-1'", f"GRANT ALL ON {here} TO subset_blind@'%'")
    try:
        pair.target.user = {"user": "subset_blind", "password": "blind-1"}
        run = prepared(pair)
        run.release()
    finally:
        pair.target.user = {}
        pair.target.run("DROP USER subset_blind@'%'")
    assert made(pair) == before
    assert "Cannot drop index 't_a': needed in a foreign key constraint" in caplog.text
