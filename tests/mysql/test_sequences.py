"""MariaDB's sequences: a copy has its own, and they go on after the copy's rows."""

from __future__ import annotations

import pytest

from airflow_subset_provider.core.errors import EndpointError
from sandbox.mariadb import MariaDbEndpoint
from tests.mysql.conftest import MakePair, Pair

SEQUENCES = (
    "CREATE SEQUENCE `od``d 'q` START WITH 5 INCREMENT BY 2",
    "CREATE SEQUENCE down START WITH -1 INCREMENT BY -1 MINVALUE -1000 MAXVALUE -1",
    "CREATE SEQUENCE few MAXVALUE 50",
)
TABLE = (
    "CREATE TABLE q (id INT PRIMARY KEY DEFAULT NEXTVAL(`od``d 'q`), `it's` INT DEFAULT (NEXTVAL(down)), "
    "n INT DEFAULT NEXTVAL(few), t VARCHAR(40) DEFAULT 'nextval(`a`.`b`)' COMMENT 'nextval(`a`.`b`)')"
)


@pytest.fixture(params=["mariadb_server", "mariadb_target_server"], ids=["one server", "two servers"])
def pair(request: pytest.FixtureRequest, mariadb_server: MariaDbEndpoint, make_pair: MakePair) -> Pair:
    pair = make_pair(mariadb_server, request.getfixturevalue(request.param))
    pair.source.run(*SEQUENCES, TABLE, *["INSERT INTO q () VALUES ()"] * 4, "INSERT INTO q (id, n) VALUES (90, 900)")
    return pair


def test_a_made_schema_has_its_own(pair: Pair) -> None:
    assert pair.subset(filters={"q": "id > 5"}).kept == 4
    before = pair.target.run("SELECT * FROM q ORDER BY id")
    assert before[0] == (7, -2, 2, "nextval(`a`.`b`)")
    pair.target.run("INSERT INTO q () VALUES ()")
    (new,) = set(pair.target.run("SELECT * FROM q")) - set(before)
    assert new == (92, -6, 5, "nextval(`a`.`b`)")
    pair.source.run("INSERT INTO q () VALUES ()")  # nothing has called the source's
    assert pair.source.run("SELECT MAX(id) FROM q WHERE id < 90") == ((13,),)


def test_of_a_target_made_by_hand(pair: Pair) -> None:
    pair.target.run(*SEQUENCES, TABLE)
    for where, first in (("id < 90", 13), ("id > 5", 92)):
        pair.subset(filters={"q": where})
        pair.target.run("INSERT INTO q () VALUES ()")
        assert pair.target.run("SELECT id FROM q ORDER BY id DESC")[0] == (first,)


def test_a_target_that_calls_one_of_another_database(
    mariadb_server: MariaDbEndpoint, make_pair: MakePair, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be the source's: a run leaves it alone, and says so."""
    pair = make_pair(mariadb_server, mariadb_server)
    pair.source.run("CREATE SEQUENCE sq", "CREATE TABLE q (id INT PRIMARY KEY DEFAULT NEXTVAL(sq))")
    pair.source.run("INSERT INTO q VALUES (70)")
    pair.target.run(f"CREATE TABLE q (id INT PRIMARY KEY DEFAULT NEXTVAL(`{pair.source.name}`.sq))")
    assert pair.subset(filters={"q": "id = 70"}).kept == 1
    assert f"{pair.target.name}.q.id is filled by sequence {pair.source.name}.sq" in caplog.text
    assert pair.source.run("SELECT NEXTVAL(sq)") == ((1,),)


def test_of_a_database_out_of_scope(mariadb_server: MariaDbEndpoint, make_pair: MakePair) -> None:
    pair, other = make_pair(mariadb_server, mariadb_server), make_pair(mariadb_server, mariadb_server).source
    other.run("CREATE SEQUENCE sq")
    pair.source.run(f"CREATE TABLE q (id INT PRIMARY KEY DEFAULT NEXTVAL(`{other.name}`.sq))")
    with pytest.raises(EndpointError, match=rf"source, .*\.q: a default calls sequence {other.name}\.sq"):
        pair.subset(filters={"q": "id = 1"})
    assert pair.target.run("SHOW TABLES") == ()
