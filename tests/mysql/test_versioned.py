"""MariaDB's system-versioned tables: the rows of now, and no history of the nights before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sandbox.mariadb import MariaDbEndpoint
from tests.mysql.conftest import MakePair, Pair

PERIOD = (
    ", s TIMESTAMP(6) GENERATED ALWAYS AS ROW START, e TIMESTAMP(6) GENERATED ALWAYS AS ROW END, "
    "PERIOD FOR SYSTEM_TIME (s, e)"
)
ALL = "SELECT id, v FROM h FOR SYSTEM_TIME ALL ORDER BY id"


@pytest.fixture
def server(mariadb_server: MariaDbEndpoint) -> MariaDbEndpoint:
    """MySQL has no such tables."""
    return mariadb_server


@pytest.fixture(params=["", PERIOD], ids=["plain", "with a period"])
def versioned(request: pytest.FixtureRequest, server: MariaDbEndpoint, make_pair: MakePair) -> Pair:
    """A table with a row that has been changed, and one that references it."""
    pair = make_pair(server, server)
    pair.source.run(
        f"CREATE TABLE h (id INT PRIMARY KEY, v INT{request.param}) WITH SYSTEM VERSIONING",
        "CREATE TABLE a (id INT PRIMARY KEY, h INT, FOREIGN KEY (h) REFERENCES h (id)) WITH SYSTEM VERSIONING",
        "INSERT INTO h (id, v) VALUES (1, 1), (2, 2), (3, 3)",
        "INSERT INTO a VALUES (1, 1), (2, 3)",
        "UPDATE h SET v = 20 WHERE id = 2",
    )
    return pair


def test_night_after_night(versioned: Pair) -> None:
    for _ in range(2):
        versioned.subset(filters={"h": "id <= 2"})
        assert versioned.target.run(ALL) == ((1, 1), (2, 20))
    versioned.subset(filters={"a": "id = 2"}, others="referenced")
    assert versioned.target.run(ALL) == ((3, 3),)
    versioned.subset(filters={"h": "id = 2", "a": "id = 2"}, references="null", relations={"a.h": {"follow": False}})
    assert versioned.target.run("SELECT id, h FROM a FOR SYSTEM_TIME ALL") == ((2, None),)


def test_without_the_right_to_delete_history(
    versioned: Pair, limited_user: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    versioned.subset(filters={"h": "id <= 2"})
    rights = "SELECT, INSERT, UPDATE, DELETE, DROP, ALTER, CREATE, TRIGGER, CREATE TEMPORARY TABLES"
    versioned.target.user = limited_user(f"{rights} ON `{versioned.target.name}`.*")
    versioned.subset(filters={"h": "id = 2"})
    assert versioned.target.run("SELECT id, v FROM h") == ((2, 20),)
    assert versioned.target.run(ALL) == ((1, 1), (2, 20), (2, 20))
    assert f"GRANT DELETE HISTORY to this user: earlier rows stay in {versioned.source.name}.a, " in caplog.text
