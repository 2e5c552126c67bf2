"""Which server a test or benchmark gets: the one a URL in the environment names, else a private one."""

from __future__ import annotations

import os

import psycopg
import pymysql

from sandbox import mariadb, mysql, postgresql
from sandbox.mariadb import MariaDbEndpoint, MariaDbServer
from sandbox.mysql import MySqlEndpoint, MySqlServer
from sandbox.postgresql import PostgresEndpoint, PostgresServer
from sandbox.process import SandboxError

POSTGRES_URL = "SUBSET_TEST_POSTGRES_URL"
MARIADB_URL = "SUBSET_TEST_MARIADB_URL"
MYSQL_URL = "SUBSET_TEST_MYSQL_URL"
# A second server of the kind, for tests whose source and target have databases of the same names.
MARIADB_TARGET_URL = "SUBSET_TEST_MARIADB_TARGET_URL"
MYSQL_TARGET_URL = "SUBSET_TEST_MYSQL_TARGET_URL"


def open_postgres() -> PostgresEndpoint:
    """The Postgres of SUBSET_TEST_POSTGRES_URL, or a new private one."""
    url = os.environ.get(POSTGRES_URL)
    return PostgresEndpoint.from_url(url) if url else PostgresServer()


def open_mariadb(variable: str = MARIADB_URL, root: str | None = None) -> MariaDbEndpoint:
    """The MariaDB that a variable of the environment names, or a new private one with its data in `root`."""
    url = os.environ.get(variable)
    return MariaDbEndpoint.from_url(url) if url else MariaDbServer(root=root)


def open_mysql(variable: str = MYSQL_URL, root: str | None = None) -> MySqlEndpoint:
    """The MySQL that a variable of the environment names, or a new private one with its data in `root`."""
    url = os.environ.get(variable)
    return MySqlEndpoint.from_url(url) if url else MySqlServer(root=root)


def describe() -> list[str]:
    """One line for each kind of server: what would answer, and where it comes from."""
    return [
        f"Postgres: {_describe_url(POSTGRES_URL, PostgresEndpoint) or postgresql.describe_binaries()}",
        f"MariaDB: {_describe_url(MARIADB_URL, MariaDbEndpoint) or mariadb.describe_binaries()}",
        f"MySQL: {_describe_url(MYSQL_URL, MySqlEndpoint) or mysql.describe_binaries()}",
    ]


def _describe_url(variable: str, kind: type[PostgresEndpoint] | type[MariaDbEndpoint] | type[MySqlEndpoint]) -> str:
    url = os.environ.get(variable)
    if not url:
        return ""
    try:
        return f"{kind.from_url(url).version} at {variable}"
    except (psycopg.Error, pymysql.Error, SandboxError) as error:
        return f"{variable} CANNOT BE USED: {error}"
