"""A read replica as the source: it can export its snapshot, and its replay can take it away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_subset_provider.core import parallel
from airflow_subset_provider.core.engines.base import Endpoint
from airflow_subset_provider.core.errors import SnapshotError
from airflow_subset_provider.core.plan import build
from airflow_subset_provider.core.run import Run, reflect
from airflow_subset_provider.core.spec import Spec
from sandbox.postgresql import PostgresEndpoint, PostgresServer, find_binaries
from sandbox.process import SandboxError, confinement
from tests.consistency.bank import SPECS, Bank

pytestmark = pytest.mark.skipif(
    not (find_binaries() / "pg_basebackup").exists(), reason="this Postgres comes without pg_basebackup"
)
WHOLE = Spec.of(**SPECS["whole"])


class Standby(PostgresServer):
    """A hot standby of another private server."""

    def __init__(self, primary: PostgresServer, settings: dict[str, str]) -> None:
        self._primary = primary
        super().__init__(settings)
        self.password = primary.password

    def _initialise(self, binaries: Path) -> Path:
        data = self.socket_dir / "data"
        origin = [f"--host={self._primary.socket_dir}", f"--port={self._primary.port}", f"--username={self.user}"]
        options = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--no-password"]
        done = confinement().run([str(binaries / "pg_basebackup"), f"--pgdata={data}", *origin, *options])
        if done.returncode:
            raise SandboxError(f"pg_basebackup failed: {done.stderr}")
        return data


class Listener:
    """Does something when a phase begins."""

    def __init__(self, **at: Any) -> None:
        self._at = at

    def phase(self, name: str) -> None:
        self._at.get(name, lambda: None)()

    def started(self, *_: Any) -> None: ...

    def done(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def bank(primary: PostgresServer, target_server: PostgresEndpoint) -> Iterator[Bank]:
    made: list[tuple[PostgresEndpoint, str]] = []

    def create(server: PostgresEndpoint, template: str | None = None, hint: str = "") -> str:
        made.append((server, f"subset_standby_{hint}_{len(made)}"))
        server.drop_database(made[-1][1])
        server.create_database(made[-1][1], template)
        return made[-1][1]

    yield Bank(primary, target_server, create)
    for server, name in made:
        server.drop_database(name)


def _reader(standby: Standby, bank: Bank) -> Endpoint:
    params = standby.params(bank.names[0])
    return Endpoint("postgresql", lambda: psycopg.connect(**params), "standby")


def test_a_standby_shows_one_point_in_time(primary: PostgresServer, bank: Bank) -> None:
    with Standby(primary, {"hot_standby_feedback": "on"}) as standby, bank.at_work():
        source = _reader(standby, bank)
        plan = build(WHOLE, reflect(source))
        report = parallel.subset(Run(plan, source, bank.ends[1]), Listener(), 2, True)
        ((version,),) = bank.copied()["version"]
        assert bank.version > version
    assert report.guarantee.startswith("One point in time")
    assert bank.is_one_point(WHOLE)


def test_replay_takes_the_snapshot_away(primary: PostgresServer, bank: Bank) -> None:
    settings = {"hot_standby_feedback": "off", "max_standby_streaming_delay": "0"}
    with Standby(primary, settings) as standby:
        source = _reader(standby, bank)

        def replay() -> None:
            with bank.ends[0].connect() as connection:
                connection.autocommit = True
                connection.execute("DELETE FROM checking")
                connection.execute("VACUUM checking")
            held = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
            with source.connect() as connection:
                connection.autocommit = True
                deadline = time.monotonic() + 30
                while connection.execute(held).fetchone() != (0,):
                    assert time.monotonic() < deadline
                    time.sleep(0.1)

        plan = build(WHOLE, reflect(source))
        with pytest.raises(SnapshotError, match="is gone: the session that held it has ended"):
            parallel.subset(Run(plan, source, bank.ends[1]), Listener(references=replay), 1)
