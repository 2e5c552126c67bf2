"""The real schemas load, and copies of them are what they say they are."""

from __future__ import annotations

import pytest

from sandbox.mariadb import MariaDbEndpoint
from sandbox.mysql import MySqlEndpoint
from sandbox.postgresql import PostgresEndpoint
from sandbox.process import SandboxError
from sandbox.server import Endpoint
from tests.conftest import Pair
from tests.databases import Dump, dump_params

SMALL_MYSQL = ("chinook", "openmrs", "sakila")
FOREIGN_KEYS = {
    "postgresql": "SELECT count(*) FROM pg_constraint WHERE contype = 'f'",
    "mysql": "SELECT count(*) FROM information_schema.referential_constraints WHERE constraint_schema = database()",
}


def assert_pair(source: tuple[Endpoint, str], target: tuple[Endpoint, str]) -> None:
    """The target has the source's foreign keys."""
    counts = [int(server.run_script(name, FOREIGN_KEYS[server.kind])) for server, name in (source, target)]
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize("dump", dump_params("postgres", "pagila", "chinook_quoted", "omop"))
def test_postgres(
    dump: Dump, postgres_pair: Pair, source_server: PostgresEndpoint, target_server: PostgresEndpoint
) -> None:
    source, target = postgres_pair(dump)
    assert_pair((source_server, source), (target_server, target))
    with pytest.raises(SandboxError, match="read-only"):
        source_server.psql(source, "CREATE TABLE never (a int)")


@pytest.mark.parametrize("dump", dump_params("mariadb", *SMALL_MYSQL))
def test_mariadb(dump: Dump, mariadb_pair: Pair, mariadb_server: MariaDbEndpoint) -> None:
    source, target = mariadb_pair(dump)
    assert_pair((mariadb_server, source), (mariadb_server, target))


@pytest.mark.parametrize("dump", dump_params("mysql", *SMALL_MYSQL))
def test_mysql(dump: Dump, mysql_pair: Pair, mysql_server: MySqlEndpoint) -> None:
    source, target = mysql_pair(dump)
    assert_pair((mysql_server, source), (mysql_server, target))


@pytest.mark.long
@pytest.mark.parametrize("dump", dump_params("postgres"))
def test_every_postgres_schema(
    dump: Dump, postgres_pair: Pair, source_server: PostgresEndpoint, target_server: PostgresEndpoint
) -> None:
    source, target = postgres_pair(dump)
    assert_pair((source_server, source), (target_server, target))


@pytest.mark.long
@pytest.mark.parametrize("dump", dump_params("mariadb"))
def test_every_schema_on_mariadb(dump: Dump, mariadb_pair: Pair, mariadb_server: MariaDbEndpoint) -> None:
    source, target = mariadb_pair(dump)
    assert_pair((mariadb_server, source), (mariadb_server, target))


@pytest.mark.long
@pytest.mark.parametrize("dump", dump_params("mysql"))
def test_every_schema_on_mysql(dump: Dump, mysql_pair: Pair, mysql_server: MySqlEndpoint) -> None:
    source, target = mysql_pair(dump)
    assert_pair((mysql_server, source), (mysql_server, target))
