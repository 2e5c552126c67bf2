"""Every example DAG, run as it stands on the demo shop: a user copies the file, so the file is what is tested."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from sandbox.demo import database
from sandbox.postgresql import PostgresEndpoint, find_binaries
from tests.airflow.conftest import DagFile, Database, Outcome
from tests.airflow.mailbox import Mailbox
from tests.databases import CreateDatabase

EXAMPLES = Path(__file__).resolve().parents[2] / "example_dags"

pytestmark = pytest.mark.xdist_group("examples")


@pytest.fixture(scope="module")
def production(source_server: PostgresEndpoint) -> Iterator[Database]:
    """The demo shop."""
    name = f"subset_examples_{os.getpid()}"
    database.build(source_server, name)
    yield Database(source_server, name)
    source_server.drop_database(name)


@pytest.fixture(scope="module")
def folder(airflow_home: Path) -> Iterator[Path]:
    """The examples in a DAGs folder."""
    path = airflow_home / "dags" / f"examples_{os.getpid()}"
    shutil.copytree(EXAMPLES, path, ignore=shutil.ignore_patterns("__pycache__"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def connect(
    production: Database,
    target_server: PostgresEndpoint,
    fresh_database: CreateDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], Database]:
    """`connect("staging")`: an empty database behind the connection `shop_staging`."""
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_PRODUCTION", production.url)
    monkeypatch.setenv("PATH", f"{find_binaries()}{os.pathsep}{os.environ['PATH']}")  # pg_dump

    def make(name: str) -> Database:
        found = Database(target_server, fresh_database(target_server, hint=name))
        monkeypatch.setenv(f"AIRFLOW_CONN_SHOP_{name.upper()}", found.url)
        return found

    return make


def test_debug_a_customer(folder: Path, connect: Callable[[str], Database], production: Database) -> None:
    copy, dag = connect("debugging"), DagFile(folder / "debug_a_customer.py")
    ((customer, since, orders),) = production.rows(
        'SELECT customer_id, max(ordered_at)::date::text, count(*) FROM "order" GROUP BY 1 HAVING count(*) > 3 LIMIT 1'
    )
    assert dag.run(customer_id=customer, orders_since=since).state == "success"
    assert copy.value(f"SELECT count(*) FROM customer WHERE customer_id = {customer}") == 1
    assert 0 < copy.value(f'SELECT count(*) FROM "order" WHERE customer_id = {customer}') < orders
    assert copy.value(f'SELECT min(ordered_at) FROM "order" WHERE customer_id = {customer}').date().isoformat() == since


@pytest.mark.parametrize(
    "conf",
    [
        {"customer_id": "42 OR true"},
        {"customer_id": "42"},
        {"customer_id": -1},
        {"orders_since": "2020-01-01' OR 'a' = 'a"},
        {"orders_since": "yesterday"},
    ],
)
def test_its_form_lets_no_sql_in(folder: Path, connect: Callable[[str], Database], conf: dict[str, object]) -> None:
    try:
        from airflow.sdk.exceptions import ParamValidationError
    except ImportError:  # Airflow 3.1
        from airflow.exceptions import ParamValidationError

    copy = connect("debugging")
    with pytest.raises(ParamValidationError):
        DagFile(folder / "debug_a_customer.py").run(**conf)
    assert copy.counts() == {}


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    with Mailbox() as box:
        extra = {"disable_tls": True, "disable_ssl": True}
        smtp = {"conn_type": "smtp", "host": "127.0.0.1", "port": box.port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(smtp))
        yield box


def _mail(mailbox: Mailbox, outcome: Outcome, callback: Any) -> Message:
    """What a callback of the DAG sends, called as the DAG processor does (`dag.test()` of Airflow 3.3 renders none)."""
    mailbox.mails.clear()
    ti = next(iter(outcome.instances.values()))
    reason = "success" if outcome.state == "success" else "task_failure"
    callback({"dag": outcome.dag, "run_id": ti.run_id, "reason": reason})
    (mail,) = mailbox.mails
    return mail


def test_nightly_staging_and_what_follows(
    folder: Path,
    connect: Callable[[str], Database],
    mailbox: Mailbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_SUBSET_REPORTS", str(tmp_path))
    copy, dag = connect("staging"), DagFile(folder / "nightly_staging.py")
    outcome = dag.run()
    assert outcome.state == "success"
    assert 100 < copy.value("SELECT count(*) FROM customer") < 1000
    assert copy.value("SELECT count(*) FROM exchange_rate") == 198
    assert _mail(mailbox, outcome, outcome.dag.on_success_callback)["Subject"] == "Staging is fresh"
    (night,) = tmp_path.iterdir()
    assert sorted(p.name for p in night.iterdir()) == ["report.html", "report.json", "report.md"]

    follower = DagFile(folder / "after_the_refresh.py").load()
    assert follower.timetable.asset_condition == outcome.dag.get_task("refresh.finish").outlets[0]
    assert DagFile(folder / "after_the_refresh.py").run().state == "success"
    assert copy.value("SELECT count(*) FROM customer WHERE email = 'tester@example.com'") == 1


def test_nightly_staging_tells_of_a_failure(
    folder: Path,
    connect: Callable[[str], Database],
    mailbox: Mailbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_SUBSET_REPORTS", str(tmp_path))
    connect("staging").run("CREATE TABLE customer (customer_id integer)")
    outcome = DagFile(folder / "nightly_staging.py").run()
    assert outcome.state == "failed"
    mail = _mail(mailbox, outcome, outcome.dag.on_failure_callback)
    assert mail["Subject"] == "Staging was NOT refreshed"
    (text,) = (part.get_payload(decode=True) for part in mail.walk() if part.get_content_type() == "text/html")
    assert isinstance(text, bytes)
    assert b"nightly_staging, manual__" in text
    assert b": task_failure." in text


def test_tenants(folder: Path, connect: Callable[[str], Database], production: Database) -> None:
    copies = {"NZ": connect("aotearoa"), "CH": connect("schweiz")}
    dag = DagFile(folder / "tenants.py")
    assert {t.pool for t in dag.load().tasks} == {"shop_production"}
    assert dag.run().state == "success"
    for country, copy in copies.items():
        own = f"SELECT count(*) FROM customer WHERE country_code = '{country}'"
        assert copy.value(own) == production.value(own) > 0
        # Customers of other countries are there only where one of their own was referred by them.
        assert copy.value("SELECT count(*) FROM customer") < 1.5 * copy.value(own)


def test_masked_ready(folder: Path, connect: Callable[[str], Database], production: Database) -> None:
    vault, staging, dag = connect("vault"), connect("staging"), DagFile(folder / "masked_ready.py")
    expected = production.value("SELECT count(*) FROM customer WHERE country_code = 'NZ'")
    for _ in range(2):  # the second time, masked rows are what the vault holds
        assert dag.run().state == "success"
        assert staging.counts() == vault.counts()
        assert staging.value("SELECT count(*) FROM customer") >= expected
        assert staging.value("SELECT count(*) FROM customer WHERE email NOT LIKE '%@example.com'") == 0
    known = {email for (email,) in production.rows("SELECT email FROM customer")}
    assert not known & {email for (email,) in staging.rows("SELECT email FROM customer")}


@pytest.mark.parametrize(
    ("mask", "left"),
    [
        ("company = NULL, phone = NULL,", "company = NULL,"),
        ("first_name = 'Customer', last_name", "last_name"),
        ("'Street ' || address_id", "street"),
    ],
)
def test_a_mask_that_misses_something_publishes_nothing(
    folder: Path, connect: Callable[[str], Database], mask: str, left: str
) -> None:
    connect("vault")
    staging, path = connect("staging"), folder / "masked_ready.py"
    broken = folder / "masked_broken.py"
    text = path.read_text()
    assert mask in text
    broken.write_text(text.replace(mask, left).replace('"masked_ready",', '"masked_broken",'))
    outcome = DagFile(broken).run()
    assert outcome.of_state("failed") == {"nothing_left"}
    assert staging.counts() == {}
