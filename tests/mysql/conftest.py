"""Two databases and the engine between them, on MariaDB and on MySQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import MySQLdb
import pytest

from airflow_subset_provider.core.report import Report
from airflow_subset_provider.core.run import Endpoint, subset
from airflow_subset_provider.core.spec import Spec
from sandbox.mysql_family import MySqlFamilyEndpoint
from tests.databases import CreateDatabase


@dataclass
class End:
    """One database: statements by hand, and an endpoint for the engine."""

    server: MySqlFamilyEndpoint
    name: str
    label: str
    user: dict[str, Any] = field(default_factory=dict)

    def connect(self, **options: Any) -> Any:
        return MySQLdb.connect(**{**self.server.params(self.name), **self.user, "charset": "utf8mb4", **options})

    def endpoint(self, engine: str = "mysql", **options: Any) -> Endpoint:
        return Endpoint(engine, lambda: self.connect(**options), self.label)

    def run(self, *statements: str) -> tuple[tuple[Any, ...], ...]:
        """Run statements, each in the modes that let odd values in; the rows of the last."""
        with closing(self.connect(autocommit=True)) as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', time_zone = '+02:00'")
            for statement in statements:
                cursor.execute(statement)
            return tuple(cursor.fetchall())

    def rows(self, table: str, columns: list[str] | None = None) -> list[tuple[Any, ...]]:
        """All rows, every value as the hex digits of its bytes, sorted."""
        names = columns or [c for (c,) in self.run(COLUMNS.format(table=table))]
        texts = ", ".join(f"HEX({quoted(n)})" for n in names)
        return sorted(self.run(f"SELECT {texts} FROM {quoted(table)}"), key=str)


COLUMNS = """SELECT COLUMN_NAME FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{table}' ORDER BY ORDINAL_POSITION"""


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


@dataclass
class Pair:
    """Source and target."""

    source: End
    target: End

    def both(self, *statements: str) -> None:
        self.source.run(*statements)
        self.target.run(*statements)

    def subset(self, *, target_options: dict[str, Any] | None = None, **spec: Any) -> Report:
        """A run, with the schema made where the target has none."""
        return subset(
            Spec.of(**spec),
            self.source.endpoint(),
            self.target.endpoint(**(target_options or {})),
            create_schema=True,
            replace_existing=True,
        )


MakePair = Callable[[MySqlFamilyEndpoint, MySqlFamilyEndpoint], Pair]


@pytest.fixture
def make_pair(fresh_database: CreateDatabase) -> MakePair:
    def make(source: MySqlFamilyEndpoint, target: MySqlFamilyEndpoint) -> Pair:
        return Pair(
            End(source, fresh_database(source, hint="source"), "source"),
            End(target, fresh_database(target, hint="target"), "target"),
        )

    return make


@pytest.fixture
def servers(request: pytest.FixtureRequest) -> Callable[[str], MySqlFamilyEndpoint]:
    """`servers("mysql")` or `servers("mariadb")`."""
    return lambda name: request.getfixturevalue(f"{name}_server")


@pytest.fixture(params=["mariadb", "mysql"])
def server(request: pytest.FixtureRequest, servers: Callable[[str], MySqlFamilyEndpoint]) -> MySqlFamilyEndpoint:
    """Either server."""
    return servers(request.param)


@pytest.fixture
def pair(server: MySqlFamilyEndpoint, make_pair: MakePair) -> Pair:
    """Two databases of one server."""
    return make_pair(server, server)


@pytest.fixture
def setting(server: MySqlFamilyEndpoint) -> Iterator[Callable[[str, str], None]]:
    """`setting(name, value)` sets a global variable until the test's end."""
    administrator = End(server, server.administration_database, "administrator")
    before: dict[str, Any] = {}

    def change(name: str, value: str) -> None:
        before[name] = administrator.run(f"SELECT @@GLOBAL.{name}")[0][0]
        administrator.run(f"SET GLOBAL {name} = {value}")

    yield change
    for name, value in before.items():
        with closing(administrator.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(
                f"SET GLOBAL {name} = {'DEFAULT' if value is None else '%s'}", None if value is None else (value,)
            )


@pytest.fixture
def limited_user(server: MySqlFamilyEndpoint) -> Iterator[Callable[..., dict[str, Any]]]:
    """`limited_user("SELECT ON db.*", …)` makes an account with these rights; how to connect as it."""
    administrator = End(server, server.administration_database, "administrator")

    def make(*grants: str) -> dict[str, Any]:
        administrator.run(
            "CREATE USER subset_limited@'%' IDENTIFIED BY 'limited-1'",
            *(f"GRANT {grant} TO subset_limited@'%'" for grant in grants),
        )
        return {"user": "subset_limited", "password": "limited-1"}

    yield make
    administrator.run("DROP USER IF EXISTS subset_limited@'%'")
