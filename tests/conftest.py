"""Servers, databases and header lines that every test may use.

Each pytest-xdist worker has servers of its own. A server that was asked for and cannot be reached is an error, never a
skip; only a MySQL that Debian's archive does not hand out is skipped, and the summary says so in so many words.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from sandbox import servers
from sandbox.mariadb import MariaDbEndpoint
from sandbox.mysql import MySqlEndpoint
from sandbox.mysql_download import MySqlUnavailable
from sandbox.postgresql import PostgresEndpoint
from sandbox.process import memory_directory
from sandbox.server import Endpoint
from tests import databases
from tests.databases import CreateDatabase, Dump, Library

# Making and dropping tables is most of what tests do on MySQL and MariaDB, and on a disk most of what they wait for.
ROOM = 6 * 2**30

Pair = Callable[[Dump], tuple[str, str]]

# Airflow reads these when it is first imported. Every process gets a home of its own, so workers share no metadata.
AIRFLOW_HOME = tempfile.mkdtemp(prefix="subset-airflow-")
os.environ["AIRFLOW_HOME"] = AIRFLOW_HOME
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


def pytest_unconfigure() -> None:
    """Remove this process's Airflow home."""
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


def pytest_report_header() -> list[str]:
    """What the tests run against."""
    counts = [f"{len(databases.dumps(server))} for {server}" for server in ("postgres", "mariadb", "mysql")]
    dumps = f"found ({', '.join(counts)})" if databases.DUMPS_DIRECTORY.exists() else "none on this machine"
    return [*servers.describe(), f"real schemas: {dumps}"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly that MySQL was not tested: a line among other skips is overlooked."""
    skipped = [report.longrepr for report in terminalreporter.getreports("skipped")]
    reasons = [where[-1] for where in skipped if isinstance(where, tuple) and "MySQL could not be" in where[-1]]
    if reasons:
        terminalreporter.section(f"MySQL WAS NOT TESTED ({len(reasons)} tests)", red=True)
        terminalreporter.line(reasons[0])


@pytest.fixture(scope="session")
def source_server() -> Iterator[PostgresEndpoint]:
    """The Postgres that subsets are taken from."""
    with servers.open_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def target_server() -> Iterator[PostgresEndpoint]:
    """The Postgres that subsets are written to: another server, unless SUBSET_TEST_POSTGRES_URL names one for both."""
    with servers.open_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDbEndpoint]:
    """A MariaDB, for sources and targets."""
    with servers.open_mariadb(root=memory_directory(ROOM)) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_target_server() -> Iterator[MariaDbEndpoint]:
    """Another MariaDB, for targets whose databases have the source's names."""
    with servers.open_mariadb(servers.MARIADB_TARGET_URL, memory_directory(ROOM)) as server:
        yield server


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[MySqlEndpoint]:
    """A MySQL, for sources and targets. SUBSET_REQUIRE_MYSQL=1 turns the skip into a failure."""
    with _mysql(servers.MYSQL_URL) as server:
        yield server


@pytest.fixture(scope="session")
def mysql_target_server() -> Iterator[MySqlEndpoint]:
    """Another MySQL, for targets whose databases have the source's names."""
    with _mysql(servers.MYSQL_TARGET_URL) as server:
        yield server


def _mysql(variable: str) -> MySqlEndpoint:
    try:
        return servers.open_mysql(variable, memory_directory(ROOM))
    except MySqlUnavailable as reason:
        if os.environ.get("SUBSET_REQUIRE_MYSQL"):
            raise
        pytest.skip(str(reason))


@pytest.fixture
def fresh_database() -> Iterator[CreateDatabase]:
    """`fresh_database(server, template=None, hint="")` makes a database, dropped after the test; returns its name."""
    with _database_factory() as create:
        yield create


@pytest.fixture(scope="session")
def postgres_library(source_server: PostgresEndpoint, target_server: PostgresEndpoint) -> Iterator[Library]:
    """The real Postgres databases."""
    with _database_factory() as create:
        yield Library(source_server, target_server, create)


@pytest.fixture(scope="session")
def mariadb_library(mariadb_server: MariaDbEndpoint) -> Iterator[Library]:
    """The real MySQL databases, on MariaDB."""
    with _database_factory() as create:
        yield Library(mariadb_server, mariadb_server, create)


@pytest.fixture(scope="session")
def mysql_library(mysql_server: MySqlEndpoint) -> Iterator[Library]:
    """The real MySQL databases, on MySQL."""
    with _database_factory() as create:
        yield Library(mysql_server, mysql_server, create)


@pytest.fixture
def postgres_pair(postgres_library: Library, target_server: PostgresEndpoint, fresh_database: CreateDatabase) -> Pair:
    """`postgres_pair(dump)`: a source that everybody reads and an empty target of this test's own."""
    return _pair(postgres_library, target_server, fresh_database)


@pytest.fixture
def mariadb_pair(mariadb_library: Library, mariadb_server: MariaDbEndpoint, fresh_database: CreateDatabase) -> Pair:
    """`mariadb_pair(dump)`: a source that everybody reads and an empty target of this test's own."""
    return _pair(mariadb_library, mariadb_server, fresh_database)


@pytest.fixture
def mysql_pair(mysql_library: Library, mysql_server: MySqlEndpoint, fresh_database: CreateDatabase) -> Pair:
    """`mysql_pair(dump)`: a source that everybody reads and an empty target of this test's own."""
    return _pair(mysql_library, mysql_server, fresh_database)


def _pair(library: Library, target: Endpoint, fresh_database: CreateDatabase) -> Pair:
    def pair(dump: Dump) -> tuple[str, str]:
        return library.shared(dump), fresh_database(target, template=library.empty_template(dump), hint=dump.name)

    return pair


_numbers = itertools.count(1)


@contextmanager
def _database_factory() -> Iterator[CreateDatabase]:
    with ExitStack() as drops:

        def create(server: Endpoint, template: str | None = None, hint: str = "") -> str:
            name = _unique_name(hint)
            drops.callback(server.drop_database, name)
            server.create_database(name, template)
            return name

        yield create


def _unique_name(hint: str) -> str:
    """Unique among the processes that share a server, and short enough for MySQL's 64 characters."""
    readable = re.sub(r"\W+", "_", hint)[:30] or "db"
    return f"subset_{readable}_{os.getpid()}_{next(_numbers)}"
