"""The target's triggers do not fire during a run, and are afterwards what they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.engines.mysql import triggers as engine_triggers
from airflow_subset_provider.core.errors import EndpointError
from airflow_subset_provider.core.repair import repair
from airflow_subset_provider.core.run import Run, reflect
from airflow_subset_provider.core.spec import Spec
from sandbox.mariadb import MariaDbEndpoint
from sandbox.mysql import MySqlEndpoint
from tests.databases import CreateDatabase
from tests.mysql.conftest import End, MakePair, Pair

TABLES = (
    "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20))",
    "CREATE TABLE fired (what VARCHAR(50))",
)
TRIGGERS = (
    "CREATE TRIGGER b_first BEFORE INSERT ON t FOR EACH ROW BEGIN INSERT INTO fired VALUES ('first; \\'é\\''); END",
    'CREATE TRIGGER a_second BEFORE INSERT ON t FOR EACH ROW FOLLOWS b_first INSERT INTO fired VALUES ("second")',
    "CREATE TRIGGER gone AFTER DELETE ON t FOR EACH ROW INSERT INTO fired VALUES ('gone')",
    "CREATE TRIGGER changed AFTER UPDATE ON t FOR EACH ROW INSERT INTO fired VALUES ('changed')",
)


@pytest.fixture
def armed(pair: Pair) -> Pair:
    pair.both(*TABLES)
    pair.source.run("INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    pair.target.run(*TRIGGERS, "SET sql_mode = 'ANSI_QUOTES'", "INSERT INTO t VALUES (7, 'old')", "DELETE FROM fired")
    return pair


def triggers(pair: Pair) -> tuple[tuple[Any, ...], ...]:
    return pair.target.run(
        "SELECT TRIGGER_NAME, EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER, ACTION_STATEMENT, DEFINER, SQL_MODE, "
        "COLLATION_CONNECTION FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() ORDER BY 1"
    )


def test_triggers_do_not_fire_and_come_back(armed: Pair) -> None:
    before = triggers(armed)
    assert len(before) == len(TRIGGERS)
    assert armed.subset(filters={"t": "id = 1"}).kept == 1
    assert triggers(armed) == before
    assert armed.target.run("SELECT * FROM fired") == ()
    armed.target.run("INSERT INTO t VALUES (9, 'x')")
    assert armed.target.run("SELECT * FROM fired") == (("first; 'é'",), ("second",))


def test_a_run_that_dies_gives_them_back(armed: Pair) -> None:
    before = triggers(armed)
    plan = planning.build(Spec.of(filters={"t": "id = 1"}), reflect(armed.source.endpoint()))
    run = Run(plan, armed.source.endpoint(), armed.target.endpoint(), replace_existing=True)
    run.prepare()
    assert triggers(armed) == ()
    run.release()
    assert triggers(armed) == before
    run.release()


def test_another_run_takes_over_what_a_dead_one_left(armed: Pair) -> None:
    before = triggers(armed)
    plan = planning.build(Spec.of(filters={"t": "id = 1"}), reflect(armed.source.endpoint()))
    Run(plan, armed.source.endpoint(), armed.target.endpoint(), key="dead", replace_existing=True).prepare()
    assert armed.subset(filters={"t": "id = 1"}).kept == 1
    assert triggers(armed) == before


def test_a_trigger_made_after_a_run_that_died_hides_none_of_those_before(armed: Pair) -> None:
    before = triggers(armed)
    plan = planning.build(Spec.of(filters={"t": "id = 1"}), reflect(armed.source.endpoint()))
    Run(plan, armed.source.endpoint(), armed.target.endpoint(), key="dead", replace_existing=True).prepare()
    armed.target.run("CREATE TRIGGER z_later BEFORE INSERT ON t FOR EACH ROW INSERT INTO fired VALUES ('later')")
    assert armed.subset(filters={"t": "id = 1"}).kept == 1
    after = triggers(armed)
    assert after[:-1] == before
    assert after[-1][:4] == ("z_later", "INSERT", "BEFORE", 3)
    assert armed.target.run("SELECT * FROM fired") == ()


def test_a_trigger_made_again_by_hand_is_the_one_that_stays(armed: Pair) -> None:
    before = triggers(armed)
    plan = planning.build(Spec.of(filters={"t": "id = 1"}), reflect(armed.source.endpoint()))
    Run(plan, armed.source.endpoint(), armed.target.endpoint(), key="dead", replace_existing=True).prepare()
    armed.target.run("CREATE TRIGGER changed AFTER UPDATE ON t FOR EACH ROW INSERT INTO fired VALUES ('by hand')")
    assert armed.subset(filters={"t": "id = 1"}).kept == 1
    assert [t[0] for t in triggers(armed)] == [t[0] for t in before]
    armed.target.run("UPDATE t SET name = 'x'")
    assert armed.target.run("SELECT * FROM fired") == (("by hand",),)


class Killed(BaseException):
    """As good as SIGKILL to what the engine could still do."""


@pytest.mark.parametrize("done", range(len(TRIGGERS)))
@pytest.mark.parametrize("what", ["drop", "make"])
def test_a_run_that_dies_between_two_triggers(
    what: str, done: int, armed: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each DROP and each CREATE is committed by itself: the next run finds some of them, and a note of all."""
    before = triggers(armed)
    plan = planning.build(Spec.of(filters={"t": "id = 1"}), reflect(armed.source.endpoint()))
    run = Run(plan, armed.source.endpoint(), armed.target.endpoint(), key="dead", replace_existing=True)
    if what == "make":
        run.prepare()
    whole, left = getattr(engine_triggers, what), iter(range(done))

    def some(session: Any, table: Any, trigger: Any) -> None:
        if table.name == "t" and next(left, None) is None:
            raise Killed
        whole(session, table, trigger)

    with monkeypatch.context() as patch:
        patch.setattr(engine_triggers, what, some)
        with pytest.raises(Killed):
            (run.prepare if what == "drop" else run.release)()
    assert len(triggers(armed)) == (done if what == "make" else len(TRIGGERS) - done)
    assert armed.subset(filters={"t": "id = 1"}).kept == 1
    assert triggers(armed) == before


def test_a_table_that_is_gone_takes_its_triggers_with_it(armed: Pair) -> None:
    """Dropped by hand after a run that died: nothing can be put back, and nothing stands in the next run's way."""
    plan = planning.build(Spec.of(filters={"t": "id = 1"}), reflect(armed.source.endpoint()))
    Run(plan, armed.source.endpoint(), armed.target.endpoint(), key="dead", replace_existing=True).prepare()
    armed.target.run("DROP TABLE t")
    repair(armed.target.endpoint())
    armed.target.run(TABLES[0])
    assert armed.subset(filters={"t": "id = 1"}).kept == 1


def test_a_trigger_that_could_not_be_made_again_is_not_dropped(
    armed: Pair, limited_user: Callable[..., dict[str, Any]]
) -> None:
    """Dropping takes TRIGGER alone, making one in another's name takes more."""
    before = triggers(armed)
    armed.target.user = limited_user(f"ALL ON `{armed.target.name}`.*")
    with pytest.raises(EndpointError, match="could not be put back"):
        armed.subset(filters={"t": "id = 1"})
    armed.target.user = {}
    assert triggers(armed) == before
    assert armed.target.run("SELECT id FROM t") == ((7,),)


def test_triggers_under_a_mode_that_mysql_knows_no_more(
    mariadb_server: MariaDbEndpoint, mysql_server: MySqlEndpoint, make_pair: MakePair
) -> None:
    """MariaDB's default up to this day, MySQL 5.7's as well; it is about GRANT."""
    pair = make_pair(mariadb_server, mysql_server)
    pair.source.run(*TABLES, "SET sql_mode = 'STRICT_ALL_TABLES,NO_AUTO_CREATE_USER'", *TRIGGERS[2:])
    pair.source.run("ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
    pair.source.run("INSERT INTO t VALUES (1, 'a')")
    assert pair.subset(filters={"t": "id = 1"}).kept == 1
    assert {t[6] for t in triggers(pair)} == {"STRICT_ALL_TABLES"}


def test_a_made_schema_has_the_triggers_too(pair: Pair) -> None:
    pair.source.run(*TABLES, *TRIGGERS)
    pair.source.run("INSERT INTO t VALUES (1, 'a')", "DELETE FROM fired")
    assert pair.subset(filters={"t": "id = 1"}).kept == 1
    assert len(triggers(pair)) == len(TRIGGERS)
    pair.target.run("INSERT INTO t VALUES (9, 'x')")
    assert pair.target.run("SELECT * FROM fired") == (("first; 'é'",), ("second",))


def test_triggers_that_the_source_s_user_may_not_see(pair: Pair, limited_user: Callable[..., dict[str, Any]]) -> None:
    """Nobody can say whether there are any; information_schema shows none."""
    pair.source.run(*TABLES, *TRIGGERS)
    pair.source.user = limited_user(f"SELECT ON `{pair.source.name}`.*")
    report = pair.subset(filters={"t": "id = 1"})
    (told,) = [w for w in report.warnings if "TRIGGER" in w]
    assert told.startswith(f"source: triggers of fired, t in {pair.source.name}, if there are any, were not made")
    assert triggers(pair) == ()
    assert not any("TRIGGER" in w for w in pair.subset(filters={"t": "id = 1"}).warnings)


@pytest.mark.parametrize("right", ["SELECT, TRIGGER ON `{}`.*", "ALL ON `{}`.t", "ALL ON *.*"])
def test_triggers_that_it_may_see(right: str, pair: Pair, limited_user: Callable[..., dict[str, Any]]) -> None:
    """Of a table alone, too; a database's name is a pattern in a grant."""
    pair.source.run(*TABLES, *TRIGGERS)
    pattern = pair.source.name.replace("_", "\\_")
    rights = [right.format(pattern)] if "*" in right else [f"SELECT ON `{pattern}`.*", right.format(pair.source.name)]
    pair.source.user = limited_user(*rights)
    report = pair.subset(filters={"t": "id = 1"})
    told = [w for w in report.warnings if "TRIGGER" in w]
    assert [w.split(" in ")[0] for w in told] == (["source: triggers of fired"] if "`.t" in right else [])
    assert len(triggers(pair)) == len(TRIGGERS)


def test_rights_by_a_role(pair: Pair, limited_user: Callable[..., dict[str, Any]]) -> None:
    pair.source.run(*TABLES, *TRIGGERS)
    pair.source.user = limited_user(f"SELECT ON `{pair.source.name}`.*")
    to = "FOR" if "MariaDB" in pair.source.server.version else "TO"
    administrator = End(pair.source.server, pair.source.name, "administrator")
    administrator.run("CREATE ROLE subset_role", f"GRANT TRIGGER ON `{pair.source.name}`.* TO subset_role")
    try:
        administrator.run("GRANT subset_role TO subset_limited@'%'")
        administrator.run(f"SET DEFAULT ROLE subset_role {to} subset_limited@'%'")
        assert not any("TRIGGER" in w for w in pair.subset(filters={"t": "id = 1"}).warnings)
    finally:
        administrator.run("DROP ROLE subset_role")
    assert len(triggers(pair)) == len(TRIGGERS)


def test_a_trigger_that_names_the_sources_database(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """On one server the copy would write into the source; on another one into nothing."""
    source = pair.source.name
    pair.source.run(
        *TABLES,
        TRIGGERS[2],
        f"CREATE TRIGGER logs AFTER INSERT ON t FOR EACH ROW INSERT INTO `{source}` . fired VALUES ('{source}')",
        f"CREATE TRIGGER names BEFORE INSERT ON t FOR EACH ROW SET NEW.name = '{source}'",
        "INSERT INTO t VALUES (1, 'a')",
        "DELETE FROM fired",
    )
    report = pair.subset(filters={"t": "id = 1"})
    told = f"trigger {source}.logs was not made: it names database {source}, which is not the copy's."
    assert [w for w in report.warnings if "not made" in w] == [f"{told} Make it in the target as it is to be there"]
    assert told in caplog.text
    assert [t[0] for t in triggers(pair)] == ["gone", "names"]
    pair.target.run("INSERT INTO t VALUES (9, 'x')")
    assert pair.source.run("SELECT * FROM fired") == ()


def test_a_trigger_that_names_another_database_of_the_server(pair: Pair, fresh_database: CreateDatabase) -> None:
    """Somebody's, whom the source's rows concern and a copy's do not."""
    other = fresh_database(pair.source.server, hint="other")
    pair.source.run(*TABLES, f"CREATE TABLE {other}.log (id INT)")
    pair.source.run(f"CREATE TRIGGER logs AFTER INSERT ON t FOR EACH ROW INSERT INTO {other}.log VALUES (1)")
    report = pair.subset(filters={"t": "id = 1"})
    assert [w.split(":")[0] for w in report.warnings if other in w] == [f"trigger {pair.source.name}.logs was not made"]
    assert triggers(pair) == ()
