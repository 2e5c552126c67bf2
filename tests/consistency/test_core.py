"""Runs without Airflow from a source that never rests: one point in time, or no dangling reference at least."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from airflow_subset_provider.core import parallel, snapshot
from airflow_subset_provider.core.engines.base import Endpoint
from airflow_subset_provider.core.errors import DriftError, EndpointError, RequestError, SnapshotError
from airflow_subset_provider.core.plan import build
from airflow_subset_provider.core.report import Report
from airflow_subset_provider.core.run import Run, reflect, subset
from airflow_subset_provider.core.spec import Spec
from tests.cli.conftest import Cli
from tests.consistency.bank import SPECS, Bank

HELD = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"


class Silent:
    """A listener that does something when a phase begins."""

    def __init__(self, **at: Callable[[], None]) -> None:
        self._at = at

    def phase(self, name: str) -> None:
        self._at.get(name, lambda: None)()

    def started(self, *_: Any) -> None: ...

    def done(self, *_: Any) -> None: ...


def _serial(bank: Bank, spec: Spec, consistent: bool | None) -> Report:
    return subset(spec, *bank.ends, consistent=consistent)


def _two_jobs(bank: Bank, spec: Spec, consistent: bool | None) -> Report:
    plan = build(spec, reflect(bank.ends[0]))
    return parallel.subset(Run(plan, *bank.ends), Silent(), 2, consistent)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("run", [_serial, _two_jobs])
def test_one_point_in_time(bank: Bank, run: Callable[..., Report], name: str) -> None:
    spec = Spec.of(**SPECS[name])
    assert build(spec, reflect(bank.ends[0])).may_ban == (name == "settled")
    with bank.at_work():
        report = run(bank, spec, None)
        ((version,),) = bank.copied()["version"]
        assert bank.version > version + 10
    assert report.guarantee.startswith("One point in time")
    assert report.dangling == 0
    assert bank.unvalidated() == []
    assert bank.sum() == 0
    assert bank.is_one_point(spec)


@pytest.mark.parametrize("name", SPECS)
def test_without_it_nothing_dangles(bank: Bank, name: str) -> None:
    with bank.at_work():
        report = _serial(bank, Spec.of(**SPECS[name]), consistent=False)
    assert report.guarantee.startswith("Each table at its own time")
    assert report.dangling == 0
    assert bank.unvalidated() == []


def test_the_command_line(bank: Bank, cli: Cli) -> None:
    ends = ("--source", bank.urls[0], "--target", bank.urls[1])
    request = ("--filter", "branch: id <= 3")
    with bank.at_work():
        done = cli("run", "-q", *ends, *request, "--jobs", 2)
    assert done.code == 0, done.err
    assert "guarantee: One point in time" in done.out
    assert bank.is_one_point(Spec.of(**SPECS["whole"]))
    with bank.at_work():
        done = cli("run", "-q", *ends, *request, "--jobs", 2, "--no-consistent")
    assert done.code == 0, done.err
    assert "guarantee: Each table at its own time, seams healed" in done.out
    assert "0 dangling references" in done.out
    assert bank.unvalidated() == []


# -- the holder


def test_a_lost_holder_fails_the_steps_that_follow(bank: Bank) -> None:
    plan = build(Spec.of(**SPECS["whole"]), reflect(bank.ends[0]))

    def kill() -> None:
        with bank.ends[0].connect() as connection:
            assert len(connection.execute(HELD).fetchall()) == 1
            connection.execute(HELD.replace("pid", "pg_terminate_backend(pid)"))

    with pytest.raises(
        SnapshotError, match=r"the snapshot \S+ is gone: the session that held it has ended .* Run again"
    ):
        parallel.subset(Run(plan, *bank.ends), Silent(references=kill), 1)
    with bank.ends[1].connect() as connection:
        assert connection.execute("SELECT count(*) FROM airflow_subset.run_lock").fetchone() == (0,)
    assert _serial(bank, Spec.of(**SPECS["whole"]), None).dangling == 0


def test_the_holder_outlives_the_servers_patience(bank: Bank) -> None:
    """A source that ends transactions that idle for half a second."""
    with psycopg.connect(bank.urls[0], autocommit=True) as connection:
        connection.execute(
            f'ALTER DATABASE "{bank.names[0]}" SET idle_in_transaction_session_timeout = 500'  # type: ignore[arg-type]
        )
    plan = build(Spec.of(**SPECS["whole"]), reflect(bank.ends[0]))
    wait = threading.Event()
    with bank.at_work():
        report = parallel.subset(Run(plan, *bank.ends), Silent(references=lambda: bool(wait.wait(2)) or None), 2, True)
    assert report.guarantee.startswith("One point in time")
    assert bank.is_one_point(Spec.of(**SPECS["whole"]))


def test_drift_between_prepare_and_the_snapshot(bank: Bank) -> None:
    run = Run(build(Spec.of(**SPECS["whole"]), reflect(bank.ends[0])), *bank.ends)
    run.prepare()
    with psycopg.connect(bank.urls[0]) as connection:
        connection.execute("ALTER TABLE note ADD COLUMN late int")
    with snapshot.held(bank.ends[0], "test") as holder, pytest.raises(DriftError, match="late"):
        run.reading(holder.exported)
    run.release()


# -- sources that cannot


@pytest.fixture
def refusing(bank: Bank) -> Iterator[Endpoint]:
    """The source as a user who may not export a snapshot."""
    role = f"{bank.names[0]}_reader"
    with psycopg.connect(bank.urls[0], autocommit=True) as connection:
        connection.execute(
            f"CREATE ROLE {role}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role};"
            "REVOKE EXECUTE ON FUNCTION pg_export_snapshot FROM PUBLIC"
        )

        def connect() -> Any:
            opened = bank.ends[0].connect()
            opened.execute(f"SET ROLE {role}")
            opened.commit()
            return opened

        yield Endpoint("postgresql", connect, "source")
        connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_source_that_refuses(bank: Bank, refusing: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    spec = Spec.of(**SPECS["whole"])
    report = subset(spec, refusing, bank.ends[1])
    assert report.guarantee.startswith("Each table at its own time")
    (said,) = [r.getMessage() for r in caplog.records if "Not one point in time" in r.getMessage()]
    assert "permission denied for function pg_export_snapshot" in said
    with pytest.raises(EndpointError, match="permission denied for function pg_export_snapshot"):
        subset(spec, refusing, bank.ends[1], consistent=True)


def test_mysql_cannot() -> None:
    for engine in ("mysql", "mariadb"):
        assert snapshot.wanted(engine, None) is False
        assert snapshot.wanted(engine, False) is False
        with pytest.raises(RequestError, match=r"consistent: a .* server cannot show one state to several sessions"):
            snapshot.wanted(engine, True)


def test_a_made_up_snapshot(bank: Bank) -> None:
    for name in ("00000003-0000001B-1", "x'; DROP TABLE note; --"):
        with pytest.raises(SnapshotError, match="is gone"):
            snapshot.prove(bank.ends[0], "test", name)
