"""Where random examples are judged: pairs of databases on every kind of server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import pytest

from sandbox.mysql_family import MySqlFamilyEndpoint
from sandbox.postgresql import PostgresEndpoint
from tests.databases import CreateDatabase
from tests.property.harness import Pair
from tests.property.model import Dialect
from tests.property.mysql import MySqlDialect, MySqlPair

MYSQL_SERVERS = {"mariadb": "mariadb_server", "mysql": "mysql_server"}
ENGINES = ["postgresql", *MYSQL_SERVERS]


@dataclass
class Court:
    """Where examples are judged."""

    engine: str
    pair: Pair
    dialect: Dialect


@pytest.fixture
def pair(
    source_server: PostgresEndpoint, target_server: PostgresEndpoint, fresh_database: CreateDatabase
) -> Iterator[Pair]:
    source, target = fresh_database(source_server, hint="source"), fresh_database(target_server, hint="target")
    with closing(Pair(source_server.params(source), target_server.params(target))) as pair:
        yield pair


@pytest.fixture(params=ENGINES)
def court(request: pytest.FixtureRequest) -> Iterator[Court]:
    """On every kind of server."""
    if request.param == "postgresql":
        yield Court(request.param, request.getfixturevalue("pair"), Dialect())
    else:
        server = request.getfixturevalue(MYSQL_SERVERS[request.param])
        with _mysql_court(request.param, server, request.getfixturevalue("fresh_database")) as court:
            yield court


@contextmanager
def _mysql_court(engine: str, server: MySqlFamilyEndpoint, fresh_database: CreateDatabase) -> Iterator[Court]:
    dialect = MySqlDialect(fresh_database(server, hint="random"))
    params = server.params(server.administration_database)
    try:
        with closing(MySqlPair(params, params, dialect)) as pair:
            yield Court(engine, pair, dialect)
    finally:
        for name in (dialect.other_schema, f"{dialect.schema}_copy", f"{dialect.schema}_copy_other"):
            server.drop_database(name)
