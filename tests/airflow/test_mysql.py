"""Whole runs on MariaDB and MySQL, by the example DAG that a user would copy, over every kind of connection."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import MySQLdb
import pytest

from airflow_subset_provider import connections
from airflow_subset_provider.core.errors import EndpointError
from airflow_subset_provider.core.report import Report
from airflow_subset_provider.core.run import reflect, subset
from airflow_subset_provider.core.spec import Spec
from sandbox.demo import catalog, database
from sandbox.mysql_family import MySqlFamilyEndpoint, MySqlFamilyServer
from tests.airflow.certificates import Certificates
from tests.airflow.conftest import DagFile, Outcome
from tests.airflow.events import events_of
from tests.databases import CreateDatabase

EXAMPLE = Path(__file__).resolve().parents[2] / "example_dags" / "example_subset_mysql.py"
CATALOG = "shop_mysql.catalog.json"
ONE_CUSTOMER = 42
Write = Callable[..., DagFile]

# The tables by what must be in them, asked of the source: everything below the customer, and what that refers to.
OWN = {
    "customer": "customer_id = {id}",
    "order": "customer_id = {id}",
    "payment": "order_id IN (SELECT order_id FROM `order` WHERE customer_id = {id})",
    "review": "customer_id = {id}",
    "event_log": "customer_id = {id}",
}


@dataclass
class Shop:
    """The demo shop, and an empty database."""

    server: MySqlFamilyEndpoint
    source: str
    target: str

    def rows(self, name: str, statement: str) -> list[tuple[Any, ...]]:
        with closing(MySQLdb.connect(**self.server.params(name), charset="utf8mb4")) as connection:
            connection.query(f"{statement} -- asked by a test")
            result = connection.store_result()
            return [tuple(row) for row in result.fetch_row(0, 0)] if result else []

    def texts(self, name: str, table: str, where: str = "TRUE") -> list[tuple[Any, ...]]:
        """The rows of a table, every value as the hex digits of its bytes, sorted."""
        columns = self.rows(
            name,
            "SELECT COLUMN_NAME FROM information_schema.COLUMNS "
            f"WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{table}' ORDER BY ORDINAL_POSITION",
        )
        picked = ", ".join(f"HEX(`{column}`)" for (column,) in columns)
        return sorted(self.rows(name, f"SELECT {picked} FROM `{table}` WHERE {where}"), key=str)

    def counts(self) -> dict[str, int]:
        """The target's tables and their rows."""
        names = self.rows(
            self.target, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
        )
        return {
            name: self.rows(self.target, f"SELECT COUNT(*) FROM `{name}`")[0][0]
            for (name,) in names
            if not name.startswith("airflow_subset_")
        }

    def dangling(self) -> dict[str, int]:
        """What dangles in the target, by the server's own list of keys, all of one column."""
        keys = self.rows(
            self.target,
            "SELECT TABLE_NAME, COLUMN_NAME, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME FROM "
            "information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA = DATABASE() AND REFERENCED_TABLE_NAME IS NOT NULL",
        )
        assert len(keys) > 30
        counted = {
            f"{t}.{c}": self.rows(
                self.target,
                f"SELECT COUNT(*) FROM `{t}` c WHERE `{c}` IS NOT NULL "
                f"AND NOT EXISTS (SELECT 1 FROM `{pt}` p WHERE p.`{pc}` = c.`{c}`)",
            )[0][0]
            for t, c, pt, pc in keys
        }
        return {key: n for key, n in counted.items() if n}


@pytest.fixture(params=["mariadb", pytest.param("mysql", marks=pytest.mark.long)])
def server(request: pytest.FixtureRequest) -> MySqlFamilyEndpoint:
    found: MySqlFamilyEndpoint = request.getfixturevalue(f"{request.param}_server")
    return found


_built: dict[int, str] = {}


@pytest.fixture(scope="session", autouse=True)
def _forget() -> Iterator[None]:
    """Servers of this session hold what was built in them; the next session has others."""
    yield
    _built.clear()


def _shop_of(server: MySqlFamilyEndpoint) -> str:
    """The demo shop on this server, built once; no test writes to it."""
    name = f"subset_shop_{os.getpid()}"
    if server.port not in _built:
        server.drop_database(name)
        database.build(server, name)
        server.run_script(name, f"ANALYZE TABLE {', '.join(f'`{table}`' for table in database.TABLES)}")  # else guessed
        _built[server.port] = name
    return name


@pytest.fixture
def shop(
    server: MySqlFamilyEndpoint, fresh_database: CreateDatabase, monkeypatch: pytest.MonkeyPatch, airflow_home: Path
) -> Shop:
    shop = Shop(server, _shop_of(server), fresh_database(server, hint="copy"))
    monkeypatch.setenv("AIRFLOW_CONN_MYSQL_PRODUCTION", server.url(shop.source))
    monkeypatch.setenv("AIRFLOW_CONN_MYSQL_DEBUGGING", server.url(shop.target))
    monkeypatch.setenv("AIRFLOW__SUBSET__CATALOG_CACHE", str(airflow_home / "catalogs" / shop.target))
    return shop


@pytest.fixture
def example(shop: Shop, airflow_home: Path) -> Iterator[DagFile]:
    """The example as a user would have it: in their DAGs folder, beside the catalog of their own server."""
    path, kept = airflow_home / "dags" / EXAMPLE.name, airflow_home / "dags" / CATALOG
    shutil.copy(EXAMPLE, path)
    kept.write_text(catalog.text(shop.server, shop.source))
    yield DagFile(path)
    path.unlink()
    kept.unlink()


def test_the_example_from_source_to_empty_target(
    shop: Shop, example: DagFile, capfd: pytest.CaptureFixture[str]
) -> None:
    assert shop.counts() == {}
    outcome = example.run(customer_id=ONE_CUSTOMER)
    assert outcome.state == "success"
    assert outcome.of_state("success") == set(outcome.tasks)
    report = outcome.xcom("copy_customer.finish")
    assert {t["table"].partition(".")[2]: t["kept"] for t in report["tables"]} == shop.counts()
    assert report["dangling"] == 0
    assert shop.dangling() == {}
    for table, clause in OWN.items():
        where = clause.format(id=ONE_CUSTOMER)
        assert shop.texts(shop.target, table, where) == shop.texts(shop.source, table, where), table
    assert shop.rows(shop.target, f"SELECT COUNT(*) FROM customer WHERE {OWN['customer'].format(id=ONE_CUSTOMER)}")
    for table in shop.counts():
        assert set(shop.texts(shop.target, table)) <= set(shop.texts(shop.source, table)), table
    _made_the_same_schema(shop)
    place = f"mysql://{shop.server.host}:{shop.server.port}/{shop.target}"
    assert {e.uri for e in events_of(outcome)} == {
        "x-subset://mysql_debugging",
        *(f"{place}/{t}" for t in shop.counts()),
    }
    _rendered_what_runs(shop, outcome)
    _showed_no_password(shop, outcome, capfd.readouterr().out)

    assert example.run(customer_id=7).state == "success"
    assert (7,) in shop.rows(shop.target, "SELECT customer_id FROM customer")
    assert shop.dangling() == {}


def _made_the_same_schema(shop: Shop) -> None:
    here, there = (reflect(catalog.endpoint(shop.server, name)) for name in (shop.source, shop.target))
    assert [(t.name.name, t.columns, t.keys, t.engine) for t in here.tables] == [
        (t.name.name, t.columns, t.keys, t.engine) for t in there.tables
    ]
    assert [(k.name, k.columns, k.parent.name) for k in here.foreign_keys] == [
        (k.name, k.columns, k.parent.name) for k in there.foreign_keys
    ]


def _rendered_what_runs(shop: Shop, outcome: Outcome) -> None:
    sql = outcome.rendered("copy_customer.tables.order")["sql"]
    assert sql.startswith(f"-- {shop.source}.order\n")
    assert f"customer_id = {ONE_CUSTOMER}" in sql
    query = sql.rsplit(";", 1)[0].split("\n", 1)[1]
    assert len(shop.rows(shop.source, query)) == shop.counts()["order"]


def _showed_no_password(shop: Shop, outcome: Outcome, printed: str) -> None:
    shown: list[Any] = [printed, [outcome.rendered(task) for task in outcome.tasks]]
    shown += [outcome.xcom(task, key) for task in outcome.tasks for key in ("return_value", "prepared")]
    assert printed
    assert shop.server.password not in repr(shown)


def test_large_tables_in_parts(shop: Shop, dag_file: Write) -> None:
    outcome = dag_file(
        """
        SubsetOperator(task_id="copy", source_conn_id="mysql_production", target_conn_id="mysql_debugging",
                       create_schema=True, filters={"customer": "customer_id <= 5000"}, others="referenced",
                       chunk_rows=8000)
        """
    ).run()
    assert outcome.state == "success"
    orders = [task for task in outcome.tasks if task.startswith("copy.tables.order.parts[")]
    assert len(orders) > 1
    found = [outcome.rendered(task)["sql"].rsplit(";", 1)[0].split("\n", 1)[1] for task in orders]
    rows = [len(shop.rows(shop.source, query)) for query in found]
    assert all(rows)
    assert sum(rows) == len(shop.texts(shop.source, "order", "customer_id <= 5000"))
    report = outcome.xcom("copy.finish")
    assert {t["table"].partition(".")[2]: t["kept"] for t in report["tables"]} == shop.counts()
    for table in ("order", "review"):
        where = "customer_id <= 5000"
        assert shop.texts(shop.target, table, where) == shop.texts(shop.source, table, where), table
    assert shop.dangling() == {}


def test_a_connection_that_leads_to_another_database_by_now(
    server: MySqlFamilyEndpoint,
    fresh_database: CreateDatabase,
    dag_file: Write,
    monkeypatch: pytest.MonkeyPatch,
    airflow_home: Path,
) -> None:
    """The cached schema names the old one, which the server shows over any connection, or has no more."""
    names = [fresh_database(server, hint=hint) for hint in ("copy", "one", "two", "three")]
    shop = Shop(server, names[1], names[0])
    monkeypatch.setenv("AIRFLOW_CONN_MYSQL_DEBUGGING", server.url(shop.target))
    monkeypatch.setenv("AIRFLOW__SUBSET__CATALOG_CACHE", str(airflow_home / "catalogs" / shop.target))
    for name in names[1:]:
        _execute(server, name, "CREATE TABLE customer (id INT PRIMARY KEY, name VARCHAR(99))")
        _execute(server, name, f"INSERT INTO customer VALUES (7, '{name}')")
    file = dag_file(
        """
        SubsetOperator(task_id="copy", source_conn_id="mysql_production", target_conn_id="mysql_debugging",
                       create_schema=True, filters={"customer": "id = 7"})
        """
    )

    def lead_to(name: str) -> str:
        monkeypatch.setenv("AIRFLOW_CONN_MYSQL_PRODUCTION", server.url(name))
        return file.run().state

    def copied() -> str:
        return str(shop.rows(shop.target, "SELECT name FROM customer")[0][0])

    assert (lead_to(names[1]), copied()) == ("success", names[1])
    assert lead_to(names[2]) == "failed"
    assert (lead_to(names[2]), copied()) == ("success", names[2])
    server.drop_database(names[2])
    assert lead_to(names[3]) == "failed"
    assert (lead_to(names[3]), copied()) == ("success", names[3])


def _execute(server: MySqlFamilyEndpoint, name: str, statement: str) -> None:
    with closing(MySQLdb.connect(**server.params(name), charset="utf8mb4", autocommit=True)) as connection:
        connection.query(statement)


def test_no_piece_of_a_secret_is_in_what_is_said_of_a_clause_that_is_refused(
    shop: Shop, dag_file: Write, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A syntax error quotes the clause from where the server stopped, and not to its end."""
    monkeypatch.setenv("AIRFLOW_VAR_API_SECRET", r"Ses\'ame-4711-and-what-makes-it-longer-than-a-server-quotes")
    clauses = ("name = = '{{ var.value.api_secret }}'", "nmae = '{{ var.value.api_secret }}'")
    for clause in clauses:
        assert dag_file(SLOW.format(clause, "")).run().of_state("failed") == {"copy.prepare"}
    printed = "".join(capfd.readouterr())
    assert "syntax error near *** in filter \"name = = '***'\"" in printed
    assert "Unknown column ***" in printed
    assert "ame-4711" not in printed


# -- interruptions

SLOW = """
SubsetOperator(task_id="copy", source_conn_id="mysql_production", target_conn_id="mysql_debugging", create_schema=True,
               filters={{"customer": "{}"}}, others="skip", {})
"""
# A row that is found by its key is read by MySQL's planner, and its conditions are answered there: in `prepare`.
ASLEEP_WHEN_READ, ASLEEP_WHEN_PLANNED = "customer_id < 9 AND SLEEP(500) = 0", "customer_id = 7 AND SLEEP(500) = 0"
ASLEEP = """
SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND INFO LIKE '%SLEEP(%'
AND INFO NOT LIKE '%asked by a test%'
"""


def _asleep(shop: Shop) -> int:
    return int(shop.rows(shop.source, ASLEEP)[0][0])


@pytest.mark.parametrize("clause", [ASLEEP_WHEN_READ, ASLEEP_WHEN_PLANNED], ids=["read", "planned"])
def test_killing_a_task_kills_its_query(shop: Shop, dag_file: Write, clause: str) -> None:
    """SIGTERM is what a worker gets when a running task is cleared or marked as failed."""
    seen = threading.Event()

    def kill_when_asleep() -> None:
        while not _asleep(shop):
            time.sleep(0.2)
        seen.set()
        os.kill(os.getpid(), signal.SIGTERM)

    before, started = signal.getsignal(signal.SIGTERM), time.monotonic()
    threading.Thread(target=kill_when_asleep, daemon=True).start()
    try:
        outcome = dag_file(SLOW.format(clause, "")).run()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen.is_set()
    (failed,) = outcome.of_state("failed")
    planned = clause == ASLEEP_WHEN_PLANNED and failed == "copy.prepare"
    assert planned or (failed, outcome.tasks["copy.release"]) == ("copy.tables.customer", "success")
    assert time.monotonic() - started < 250
    assert _asleep(shop) == 0
    assert not shop.counts().get("customer")


def test_an_execution_timeout_kills_the_query(shop: Shop, dag_file: Write) -> None:
    argument = "execution_timeout=__import__('datetime').timedelta(seconds=12)"
    started = time.monotonic()
    outcome = dag_file(SLOW.format(ASLEEP_WHEN_READ, argument)).run()
    assert outcome.of_state("failed") == {"copy.tables.customer"}
    assert time.monotonic() - started < 250
    assert _asleep(shop) == 0


# -- connections


def _connection(server: MySqlFamilyEndpoint, dbname: str, extra: dict[str, Any], **fields: Any) -> str:
    shape = {
        "conn_type": "mysql",
        "host": server.host,
        "port": server.port,
        "login": server.user,
        "password": server.password,
        "schema": dbname,
        "extra": extra,
    }
    return json.dumps({**shape, **fields})


@pytest.fixture
def connect(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`connect(extra, **fields)`: both connections of the example with these extras."""

    def change(extra: dict[str, Any], **fields: Any) -> None:
        for conn_id, name in (("PRODUCTION", shop.source), ("DEBUGGING", shop.target)):
            monkeypatch.setenv(f"AIRFLOW_CONN_MYSQL_{conn_id}", _connection(shop.server, name, extra, **fields))

    return change


def _copy(clause: str) -> Report:
    """A run over the two connections, without a DAG around it."""
    ends = [connections.endpoint(conn_id) for conn_id in ("mysql_production", "mysql_debugging")]
    spec = Spec.of(filters={"customer": clause}, others="referenced")
    return subset(spec, *ends, create_schema=True)


@pytest.mark.parametrize(
    "extra",
    [{"charset": "latin1"}, {"charset": "utf8mb4", "cursor": "dictcursor"}, {"cursor": "sscursor"}],
    ids=lambda extra: " ".join(extra.values()),
)
def test_extras_that_change_how_a_driver_reads(shop: Shop, connect: Callable[..., None], extra: dict[str, Any]) -> None:
    """Names with accents (Zoë, Søren) are the same bytes at the other end, whatever the connection says."""
    connect(extra)
    accents = "first_name <> CONVERT(CONVERT(first_name USING ascii) USING utf8mb4)"
    somebody = shop.rows(shop.source, f"SELECT MIN(customer_id) FROM customer WHERE {accents}")[0][0]
    assert _copy(f"customer_id = {somebody} AND first_name <> 'ß'").dangling == 0
    kept = shop.texts(shop.target, "customer", accents)
    assert kept
    assert set(kept) <= set(shop.texts(shop.source, "customer", accents))
    employees = shop.texts(shop.target, "employee")
    assert employees
    assert set(employees) <= set(shop.texts(shop.source, "employee"))


def test_a_unix_socket(shop: Shop, connect: Callable[..., None]) -> None:
    if not isinstance(shop.server, MySqlFamilyServer):
        pytest.skip("the server of a URL is on another machine, or may be")
    connect({"unix_socket": str(shop.server.socket)}, host="localhost", port=1)
    with closing(connections.endpoint("mysql_production").connect()) as connection:
        assert "UNIX" in connection.get_host_info().upper()
    assert _copy(f"customer_id = {ONE_CUSTOMER}").dangling == 0
    assert shop.counts()["customer"] > 0


def test_another_driver_is_refused_with_advice(shop: Shop, connect: Callable[..., None]) -> None:
    connect({"client": "mysql-connector-python"})
    with pytest.raises(EndpointError, match="Remove `client`"):
        reflect(connections.endpoint("mysql_production"))


# -- TLS, to servers that were started with certificates of this test's own


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["mariadb", pytest.param("mysql", marks=pytest.mark.long)])
def tls(request: pytest.FixtureRequest, certificates: Certificates, airflow_home: Path) -> Iterator[Shop]:
    """A server with one account that must come over TLS, as both connections' user."""
    # The fixture first: it says loudly that a MySQL cannot be had.
    kind = type(request.getfixturevalue(f"{request.param}_server"))
    if not issubclass(kind, MySqlFamilyServer):
        pytest.skip("the server of a URL has certificates of its own, or none")
    with kind(certificates.server_options) as server:
        shop = Shop(server, "shop", "copy")
        database.build(server, shop.source)
        server.create_database(shop.target)
        server.run_script(
            "mysql", "CREATE USER secure@'%' IDENTIFIED BY 'tls-1' REQUIRE SSL; GRANT ALL ON *.* TO secure@'%'"
        )
        yield shop


def _secure(monkeypatch: pytest.MonkeyPatch, shop: Shop, extra: dict[str, Any]) -> None:
    fields = {"login": "secure", "password": "tls-1", "host": "127.0.0.1"}
    for conn_id, name in (("PRODUCTION", shop.source), ("DEBUGGING", shop.target)):
        monkeypatch.setenv(f"AIRFLOW_CONN_MYSQL_{conn_id}", _connection(shop.server, name, extra, **fields))


def test_tls(tls: Shop, certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """One server, so one of everything that is slow: a whole run, who is let in, and who is not."""
    _secure(monkeypatch, tls, {"ssl": {"ca": str(certificates.ca)}, "ssl_mode": "VERIFY_CA"})
    with closing(connections.endpoint("mysql_production").connect()) as connection:
        connection.query("SHOW STATUS LIKE 'Ssl_cipher'")
        ((_, cipher),) = connection.store_result().fetch_row(0, 0)
        assert cipher
    assert _copy(f"customer_id = {ONE_CUSTOMER}").dangling == 0
    assert tls.counts()["customer"] > 0

    _secure(monkeypatch, tls, {"ssl": {"ca": str(certificates.ca), **certificates.client}})
    assert reflect(connections.endpoint("mysql_production")).tables
    _secure(monkeypatch, tls, {"ssl": json.dumps({"ca": str(certificates.ca)})})  # as a URI's query has it
    assert reflect(connections.endpoint("mysql_production")).tables

    _secure(monkeypatch, tls, {"ssl": {"ca": str(certificates.other_ca)}, "ssl_mode": "VERIFY_CA"})
    with pytest.raises(EndpointError, match="mysql_production") as refused:
        reflect(connections.endpoint("mysql_production"))
    assert "tls-1" not in str(refused.value)
    _secure(monkeypatch, tls, {"ssl_mode": "DISABLED"})
    with pytest.raises(EndpointError, match="denied"):
        reflect(connections.endpoint("mysql_production"))
