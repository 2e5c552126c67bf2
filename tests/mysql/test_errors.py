"""What cannot work is said before a row moves; what goes wrong later undoes itself and says what, without a value."""

from __future__ import annotations

import os
import re
import resource
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_subset_provider.core import engines
from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.engines.mysql.errors import without_values
from airflow_subset_provider.core.engines.mysql.server import MARIADB, MYSQL, recognised
from airflow_subset_provider.core.errors import EndpointError, RequestError, RetryableError, SubsetError, TargetError
from airflow_subset_provider.core.run import Endpoint, Run, reflect, subset
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.spec import Spec
from airflow_subset_provider.core.validate import Validation, validate
from sandbox.mariadb import MariaDbEndpoint, MariaDbServer
from sandbox.mysql import MySqlServer
from sandbox.mysql_family import MySqlFamilyEndpoint
from sandbox.postgresql import PostgresEndpoint
from sandbox.process import memory_directory
from tests.conftest import ROOM
from tests.databases import CreateDatabase
from tests.mysql.conftest import End, MakePair, Pair

SHOP = (
    "CREATE TABLE customer (id INT PRIMARY KEY, name VARCHAR(20))",
    "CREATE TABLE orders (id INT PRIMARY KEY, customer INT, FOREIGN KEY (customer) REFERENCES customer (id))",
    "INSERT INTO customer VALUES (1, 'a'), (2, 'b'), (3, 'c')",
    "INSERT INTO orders VALUES (10, 1), (11, 2), (12, NULL)",
)


@pytest.fixture
def shop(pair: Pair) -> Pair:
    pair.source.run(*SHOP)
    return pair


@pytest.mark.parametrize("clause", ["id = 1 -- it", "id = 1 # it", "id", "name LIKE '%\\_%' OR id = 1", "id IN (1, 2)"])
def test_a_good_filter_passes(shop: Pair, clause: str) -> None:
    assert shop.subset(filters={"customer": clause}).dangling == 0


def test_a_process_with_many_open_files(shop: Pair) -> None:
    """select() takes no descriptor above 1023, and a worker may have more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    with ExitStack() as files:
        files.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while files.enter_context(Path(os.devnull).open()).fileno() < 1100:
            pass
        assert shop.subset(filters={"customer": "id = 1"}).dangling == 0


def test_the_source_is_never_written(shop: Pair) -> None:
    with engines.get("mysql").source(shop.source.endpoint(), "test") as source, pytest.raises(EndpointError):
        source.rows("DELETE FROM orders")


def test_local_infile_off_in_the_server(
    shop: Pair, setting: Callable[[str, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    setting("local_infile", "0")
    assert shop.subset(filters={"customer": "id = 1"}, target_options={"local_infile": True}).kept == 2
    assert "rows go as INSERTs, which is slower" in caplog.text


def test_local_infile_off_in_the_client(shop: Pair, caplog: pytest.LogCaptureFixture) -> None:
    assert shop.subset(filters={"customer": "id = 1"}, target_options={"local_infile": False}).kept == 2
    assert "rows go as INSERTs, which is slower" in caplog.text


def test_local_infile_on_at_both_ends_says_nothing(shop: Pair, caplog: pytest.LogCaptureFixture) -> None:
    assert shop.subset(filters={"customer": "id = 1"}, target_options={"local_infile": True}).kept == 2
    assert "INSERT" not in caplog.text


def test_text_that_is_taken_for_a_number_is_told(shop: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """By `prepare`, from what the clause says; by the table's own step, from what its rows are."""
    report = shop.subset(filters={"customer": "id IN ('1', 'x7') OR name > 3"})
    (told,) = [w for w in report.warnings if "1292" in w]
    assert told.startswith(f"filters['{shop.source.name}.customer']: Truncated incorrect ")
    assert "value: 'x7' (warning 1292): text was compared as a number" in told
    assert told in caplog.text
    assert re.search(rf"{shop.source.name}\.customer: Truncated incorrect \w+ value \(warning 1292\)", caplog.text)
    assert "'b'" not in caplog.text


def test_what_a_filter_means_to_other_clients_is_told(shop: Pair, setting: Callable[[str, str], None]) -> None:
    """Sessions are in UTC and in modes of their own; a server's clients need not be."""
    shop.source.run("ALTER TABLE customer ADD seen TIMESTAMP DEFAULT '2024-07-01 00:30:00'")
    mine = r"""seen > '2024-07-01' OR name = "\\" || id = 0"""

    def told(clause: str) -> list[str]:
        report, where = shop.subset(filters={"customer": clause}), f"filters['{shop.source.name}.customer']: "
        return [w.removeprefix(where).split(",")[0] for w in report.warnings if w.startswith(where) and " here" in w]

    assert told(mine + " OR seen < NOW()") == []
    setting("time_zone", "'+02:00'")
    setting("sql_mode", "'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'")
    assert told("name <> 'seen at NOW()' /* seen */") == []
    assert told("id > 0 AND CURRENT_DATE > '2024-01-01'") == told("customer.`seen` IS NULL") == ["TIMESTAMPs"]
    assert told(mine) == [
        "TIMESTAMPs",
        *(f"the server's sql_mode has {m}" for m in ("ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "PIPES_AS_CONCAT")),
    ]
    (remark,) = validated(shop, "seen IS NULL").warnings
    assert remark.endswith("while the server's time_zone is +02:00: use CONVERT_TZ")


def validated(shop: Pair, clause: str) -> Validation:
    with engines.get("mysql").source(shop.source.endpoint(), "test") as session:
        return validate(Spec.of(filters={"customer": clause}), reflect(shop.source.endpoint()), session)


def test_a_row_longer_than_a_packet_says_so(pair: Pair, setting: Callable[[str, str], None]) -> None:
    setting("local_infile", "0")
    setting("max_allowed_packet", "1048576")
    pair.source.run("CREATE TABLE t (id INT PRIMARY KEY, a LONGBLOB, b LONGBLOB)")
    pair.source.run("INSERT INTO t VALUES (1, REPEAT('x', 700000), REPEAT('y', 700000))")
    with pytest.raises(SubsetError, match=r"a row takes 1,400,\d+ bytes .* max_allowed_packet = 1,048,576"):
        pair.subset(filters={"t": "id = 1"})


def test_a_row_alone_may_take_the_whole_packet(pair: Pair) -> None:
    """Short rows go together up to a megabyte, as an INSERT is written; that says nothing of a long one."""
    pair.source.run(
        "CREATE TABLE t (id INT PRIMARY KEY, b LONGBLOB)",
        "INSERT INTO t VALUES (1, 'a'), (2, REPEAT('x', 2000000)), (3, 'b'), (4, REPEAT('y', 1500000)), (5, 'c')",
    )
    (packet,) = pair.target.run("SELECT @@max_allowed_packet")[0]
    pair.source.run(f"INSERT INTO t VALUES (6, REPEAT('z', {packet - 3000}))")
    assert pair.subset(filters={"t": "id > 0"}, target_options={"local_infile": False}).kept == 6
    lengths = "SELECT id, LENGTH(b), SHA2(b, 256) FROM t ORDER BY id"
    assert pair.target.run(lengths) == pair.source.run(lengths)


def test_another_default_engine_of_the_target(pair: Pair, setting: Callable[[str, str], None]) -> None:
    """Tables of the run's own hold BLOBs and take part in its transactions."""
    setting("default_tmp_storage_engine", "MEMORY")
    setting("default_storage_engine", "MyISAM")
    pair.source.run(
        "CREATE TABLE t (id INT PRIMARY KEY, up INT, b BLOB, FOREIGN KEY (up) REFERENCES t (id)) ENGINE = InnoDB",
        "INSERT INTO t VALUES (1, NULL, 'a'), (2, 1, 'b'), (3, 2, 'c')",
    )
    assert pair.subset(filters={"t": "id = 3"}).kept == 3
    engines = pair.target.run("SELECT DISTINCT ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()")
    assert engines == (("InnoDB",),)


def test_a_user_without_select_on_one_table(shop: Pair, limited_user: Callable[..., dict[str, Any]]) -> None:
    shop.source.run("CREATE TABLE other (id INT PRIMARY KEY)")
    shop.source.user = limited_user(f"SELECT ON `{shop.source.name}`.orders", f"SELECT ON `{shop.source.name}`.other")
    with pytest.raises(EndpointError, match=r"may not read .*customer"):
        reflect(shop.source.endpoint())


def test_a_table_that_the_source_hides_holds_rows_in_the_target(
    shop: Pair, limited_user: Callable[..., dict[str, Any]]
) -> None:
    """To a user without any right on it, a table is not there, and neither is what it references."""
    shop.target.run(*SHOP)
    shop.source.user = limited_user(f"SELECT ON `{shop.source.name}`.customer")
    with pytest.raises(TargetError, match=r"Empty the table: .* none of that name, or none that its user may see\."):
        shop.subset(filters={"customer": "id = 1"})


def test_a_plan_with_a_table_that_became_unreadable(shop: Pair, limited_user: Callable[..., dict[str, Any]]) -> None:
    plan = planning.build(Spec.of(filters={"customer": "id = 1"}), reflect(shop.source.endpoint()))
    shop.source.user = limited_user(
        f"SELECT ON `{shop.source.name}`.orders", f"INSERT ON `{shop.source.name}`.customer"
    )
    with pytest.raises(SubsetError, match="customer"):
        Run(plan, shop.source.endpoint(), shop.target.endpoint(), fresh=True, create_schema=True).prepare()


@pytest.mark.parametrize("beside", ["", "INSERT (a)", "DELETE", "TRIGGER", "SHOW VIEW"])
@pytest.mark.parametrize(
    "columns",
    [
        "b INT, secret INT, UNIQUE (b, secret)",
        "b INT, secret INT INVISIBLE",
        "b INT, secret INT AS (a + 1)",
        "b INT INVISIBLE, `sec``ret` INT",
    ],
)
def test_columns_that_a_user_may_not_read(
    columns: str, beside: str, pair: Pair, limited_user: Callable[..., dict[str, Any]]
) -> None:
    """The servers do not even show them, so the copy would lack them without a word."""
    pair.source.run(f"CREATE TABLE t (a INT PRIMARY KEY, {columns})", "CREATE TABLE u (a INT PRIMARY KEY)")
    name = pair.source.name
    more = [f"{beside} ON `{name}`.t"] if beside else []
    pair.source.user = limited_user(f"SELECT (a, b) ON `{name}`.t", f"SELECT ON `{name}`.u", *more)
    assert len(reflect(pair.source.endpoint())[TableName(name, "t")].columns) == 2
    with pytest.raises(
        RequestError, match=rf"this user (may read only some|has rights on) columns of {name}\.t\b"
    ) as caught:
        pair.subset()
    assert f"GRANT SELECT ON {name}.t, or skip the table." in str(caught.value)
    assert pair.target.run("SHOW TABLES") == ()


@pytest.mark.parametrize("rights", ["*.*", "`{}`.*", "`{}`.t", "role", "columns"])
def test_a_user_who_may_read_all_columns(
    rights: str, pair: Pair, limited_user: Callable[..., dict[str, Any]], request: pytest.FixtureRequest
) -> None:
    """Whatever says so; of a right on each column, the servers do not tell whether it is all, nor what the keys are."""
    pair.both("CREATE TABLE t (a INT PRIMARY KEY, b INT INVISIBLE, c INT AS (a + 1))")
    pair.source.run("INSERT INTO t (a, b) VALUES (1, 2)")
    mariadb = "MariaDB" in pair.source.server.version
    if rights == "role":
        administrator = replace(pair.source)
        request.addfinalizer(lambda: administrator.run("DROP ROLE subset_reader") and None)
        pair.source.run("CREATE ROLE subset_reader", f"GRANT SELECT ON `{pair.source.name}`.* TO subset_reader")
        user = limited_user("subset_reader")
        pair.source.run(f"SET DEFAULT ROLE subset_reader {'FOR' if mariadb else 'TO'} subset_limited@'%'")
    else:
        on = "SELECT (a, b, c) ON `{}`.t" if rights == "columns" else f"SELECT ON {rights}"
        user = limited_user(on.format(pair.source.name))
    pair.source.user = user
    spec, ends = Spec.of(), (pair.source.endpoint(), pair.target.endpoint())
    if rights == "columns":
        with pytest.raises(RequestError, match="would not be told of others, nor of its keys"):
            subset(spec, *ends)
    else:
        assert subset(spec, *ends).kept == 1
        assert pair.target.run("SELECT a, b FROM t") == ((1, 2),)


def test_a_user_who_may_not_write(shop: Pair, limited_user: Callable[..., dict[str, Any]]) -> None:
    shop.target.run(*SHOP[:2])
    shop.target.user = limited_user(f"SELECT ON `{shop.target.name}`.*")
    with pytest.raises(TargetError, match="GRANT INSERT"):
        shop.subset(filters={"customer": "id = 1"})


COUNTED = "CREATE TABLE counted (id INT AUTO_INCREMENT PRIMARY KEY)"
RIGHTS = "SELECT, INSERT, UPDATE, DELETE, DROP, CREATE, CREATE TEMPORARY TABLES{} ON `{}`.*"


@pytest.mark.parametrize(("given", "lacking"), [(", ALTER", "TRIGGER"), (", TRIGGER", "ALTER")])
def test_a_right_that_is_needed_at_the_end(
    given: str, lacking: str, shop: Pair, limited_user: Callable[..., dict[str, Any]]
) -> None:
    """Without TRIGGER, MySQL hides triggers that would fire; without ALTER, AUTO_INCREMENT stays behind."""
    shop.both(COUNTED)
    shop.source.run("INSERT INTO counted VALUES (5)")
    shop.target.run(*SHOP[:2], "INSERT INTO counted VALUES (77)")
    shop.target.run("CREATE TRIGGER spy BEFORE INSERT ON counted FOR EACH ROW SET @fired = 1")
    shop.target.user = limited_user(RIGHTS.format(given, shop.target.name))
    with pytest.raises(TargetError, match=f"GRANT {lacking} ON .*counted") as refused:
        shop.subset(filters={"customer": "id = 1"})
    assert all(f"GRANT {lacking}" in fault.do for fault in refused.value.faults)
    assert shop.target.run("SELECT id FROM counted") == ((77,),)
    shop.target.user = {}
    assert shop.target.run("SHOW TABLES") == (("counted",), ("customer",), ("orders",))
    assert shop.target.run("SHOW TRIGGERS")[0][0] == "spy"


@pytest.mark.parametrize(("given", "lacking"), [(", ALTER, TRIGGER", 0), (", TRIGGER", 1), ("", 4)])
def test_rights_are_asked_for_beside_a_reader(
    given: str, lacking: int, shop: Pair, limited_user: Callable[..., dict[str, Any]]
) -> None:
    """A transaction that has read a table keeps it from being altered, for as long as it is open."""
    shop.both(COUNTED)
    shop.target.run(*SHOP[:2])
    tables = reflect(shop.source.endpoint())
    with closing(shop.target.connect()) as reader, reader.cursor() as cursor:
        cursor.execute("SELECT * FROM counted")
        shop.target.user = limited_user(RIGHTS.format(given, shop.target.name))
        started = time.monotonic()
        with engines.get("mysql").target(shop.target.endpoint(), "test") as target:
            target.use(tables)
            assert len(target.unwritable(tables.tables)) == lacking
            assert target.value("SELECT @@lock_wait_timeout") == 60
        assert time.monotonic() - started < 50  # a wait for the lock takes 60


def test_a_user_with_rights_on_the_target_database_alone(
    shop: Pair, limited_user: Callable[..., dict[str, Any]]
) -> None:
    """No right to make databases is needed: the state is kept beside the tables."""
    shop.target.user = limited_user(f"ALL ON `{shop.target.name}`.*")
    assert shop.subset(filters={"customer": "id = 1"}).kept == 2


DOCUMENTED = re.compile(
    r"^\| (?P<end>source|target), MySQL \| (?P<rights>[A-Z, ]+) on the databases?\b(?P<rest>.*)", re.MULTILINE
)
FOR_A_SCHEMA = re.compile(r"(?:; |and )([A-Z, ]+) for `create_schema`")


@pytest.fixture
def documented() -> dict[str, tuple[str, str]]:
    """What README asks for, of each end: for a run, and for `create_schema`."""
    found = DOCUMENTED.finditer((Path(__file__).parents[2] / "README.md").read_text())
    return {line["end"]: (line["rights"], ", ".join(FOR_A_SCHEMA.findall(line["rest"]))) for line in found}


FULL = (
    "CREATE TABLE customer (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(20), KEY (name))",
    "CREATE TABLE orders (id INT PRIMARY KEY, customer INT, up INT, FOREIGN KEY (customer) REFERENCES customer (id), "
    "FOREIGN KEY (up) REFERENCES orders (id))",
    "CREATE TRIGGER t BEFORE INSERT ON customer FOR EACH ROW SET NEW.name = 'made'",
    "INSERT INTO orders VALUES (10, NULL, NULL), (11, NULL, 10)",
)


@pytest.mark.parametrize("made", [True, False], ids=["create_schema", "there"])
def test_the_documented_rights_are_enough(
    made: bool, pair: Pair, documented: dict[str, tuple[str, str]], server: MySqlFamilyEndpoint
) -> None:
    pair.source.run(*FULL)
    pair.target.run(*(() if made else FULL[:2]))
    administrator = End(server, server.administration_database, "administrator")
    try:
        for end, name in ((pair.source, "source"), (pair.target, "target")):
            rights = ", ".join(filter(None, documented[name] if made else documented[name][:1]))
            administrator.run(
                f"CREATE USER subset_{name}@'%' IDENTIFIED BY 'limited-1'",
                f"GRANT {rights} ON `{end.name}`.* TO subset_{name}@'%'",
            )
            end.user = {"user": f"subset_{name}", "password": "limited-1"}
        for _ in range(2):
            report = pair.subset(filters={"orders": "id = 11"})
            assert (report.kept, report.warnings) == (2, ())
    finally:
        administrator.run("DROP USER IF EXISTS subset_source@'%', subset_target@'%'")


def test_a_right_that_a_made_schema_takes(pair: Pair, limited_user: Callable[..., dict[str, Any]]) -> None:
    """MySQL asks for it, MariaDB does not."""
    pair.source.run(*FULL)
    pair.target.user = limited_user(RIGHTS.format(", ALTER, TRIGGER", pair.target.name))
    if "MariaDB" in pair.target.server.version:
        assert pair.subset(filters={"orders": "id = 11"}).kept == 2
        return
    with pytest.raises(EndpointError, match=r"REFERENCES command denied .* GRANT REFERENCES on it to this user\."):
        pair.subset(filters={"orders": "id = 11"})
    assert pair.target.run("SHOW TABLES") == ()


def test_myisam_is_said_in_the_plan(shop: Pair) -> None:
    """No foreign keys, no snapshot; its rows come all the same."""
    shop.source.run("CREATE TABLE old (id INT PRIMARY KEY) ENGINE = MyISAM", "INSERT INTO old VALUES (1), (2)")
    plan = planning.build(Spec.of(filters={"customer": "id = 1"}), reflect(shop.source.endpoint()))
    assert any("old" in w and "MyISAM" in w for w in plan.warnings)
    report = shop.subset(filters={"customer": "id = 1"})
    assert any("old" in w and "MyISAM" in w for w in report.warnings)
    assert shop.target.run("SELECT COUNT(*) FROM old") == ((2,),)


@pytest.mark.parametrize("local_infile", [True, False])
def test_tables_without_transactions_are_filled(pair: Pair, local_infile: bool) -> None:
    """MySQL 9.7 warns of each (6414), and no warning of a load but that one is harmless."""
    engines_ = ("MyISAM", "MEMORY")
    for name in engines_:
        pair.source.run(
            f"CREATE TABLE {name} (id INT PRIMARY KEY, up INT) ENGINE = {name}",
            f"INSERT INTO {name} VALUES (1, NULL), (2, 1), (3, 2)",
        )
    relations = {f"{name}.up": {"to": f"{name}.id"} for name in engines_}
    for _ in range(2):
        report = pair.subset(
            filters=dict.fromkeys(engines_, "id = 2"),
            relations=relations,
            target_options={"local_infile": local_infile},
        )
        assert (report.kept, report.dangling) == (4, 0)


def test_a_server_whose_temporary_tables_are_in_memory(pair: Pair, setting: Callable[[str, str], None]) -> None:
    """Such tables take no texts (error 1163), and no savepoint undoes what is done to them."""
    setting("default_tmp_storage_engine", "MEMORY")
    pair.source.run(
        "CREATE TABLE t (id INT PRIMARY KEY, up INT, words TEXT, FOREIGN KEY (up) REFERENCES t (id))",
        "INSERT INTO t VALUES (1, NULL, 'a'), (2, 1, 'b'), (3, 2, 'c')",
    )
    assert pair.subset(filters={"t": "id = 3"}).kept == 3


def test_storage_engines_that_a_target_cannot_have(shop: Pair) -> None:
    """Not every server has all of them."""
    available = shop.target.run("SELECT ENGINE FROM information_schema.ENGINES WHERE SUPPORT = 'YES'")
    names = [name for (name,) in available if name.upper() in ("ARCHIVE", "BLACKHOLE", "MRG_MYISAM")]
    odd = [f"CREATE TABLE {name} (id INT NOT NULL) ENGINE = {name}" for name in names]
    shop.source.run(*odd)
    for _ in ("to be made", "there"):
        with pytest.raises(TargetError, match="storage engine") as refused:
            shop.subset(filters={"customer": "id = 1"})
        assert {fault.what.split(":")[0] for fault in refused.value.faults} == {f"storage engine {n}" for n in names}
        assert "ENGINE = InnoDB" in str(refused.value)
        shop.target.run(*(f"DROP TABLE IF EXISTS {name}" for name in ("orders", "customer", *names)), *SHOP, *odd)
    assert shop.target.run("SELECT COUNT(*) FROM customer") == ((3,),)
    shop.target.run(*(f"DROP TABLE {name}" for name in names))
    shop.target.run(*(f"CREATE TABLE {name} (id INT NOT NULL)" for name in names))
    assert shop.subset(filters={"customer": "id = 1"}).kept == 2


def test_a_server_that_insists_on_transactions(mysql_server: MySqlFamilyEndpoint, make_pair: MakePair) -> None:
    """With GTIDs, no table without transactions is changed beside others (error 1785)."""
    pair = make_pair(mysql_server, mysql_server)
    pair.source.run(*SHOP, *(f"CREATE TABLE {n} (id INT PRIMARY KEY) ENGINE = MyISAM" for n in ("old", "older")))
    options = ["--log-bin=log", "--server-id=1", "--gtid-mode=ON", "--enforce-gtid-consistency=ON"]
    with MySqlServer(options, memory_directory(ROOM)) as server:
        server.create_database("here", None)
        pair.target = End(server, "here", "target")
        for _ in ("to be made", "there"):
            with pytest.raises(TargetError, match="enforce_gtid_consistency") as refused:
                pair.subset(filters={"customer": "id = 1"})
            assert [f.where.rpartition(".")[2] for f in refused.value.faults] == ["old", "older"]
            pair.target.run("DROP TABLE IF EXISTS customer, orders, old, older", *SHOP)
            pair.target.run(*(f"CREATE TABLE {n} (id INT PRIMARY KEY) ENGINE = MyISAM" for n in ("old", "older")))
        assert pair.target.run("SELECT COUNT(*) FROM customer") == ((3,),)
        pair.target.run("ALTER TABLE old ENGINE = InnoDB", "ALTER TABLE older ENGINE = InnoDB")
        assert pair.subset(filters={"customer": "id = 1"}).kept == 2


@pytest.mark.parametrize("engine", ["mysql", "mariadb"])
@pytest.mark.parametrize(("source", "target"), [("mysql", "mariadb"), ("mariadb", "mysql")])
def test_from_one_kind_of_server_to_the_other(
    source: str, target: str, engine: str, servers: Callable[[str], MySqlFamilyEndpoint], make_pair: MakePair
) -> None:
    """Allowed when the types agree; a connection of either engine may lead to either server."""
    pair = make_pair(servers(source), servers(target))
    pair.source.run(*SHOP)
    pair.target.run(*SHOP[:2])
    spec = Spec.of(filters={"customer": "id = 1"})
    assert subset(spec, pair.source.endpoint(), pair.target.endpoint(engine)).kept == 2
    assert pair.target.rows("orders") == pair.source.rows("orders")[:1]
    pair.target.run("DELETE FROM orders", "ALTER TABLE customer MODIFY name VARCHAR(19)")
    with pytest.raises(TargetError, match=r"varchar\(19\)"):
        subset(spec, pair.source.endpoint(), pair.target.endpoint(engine))


@pytest.mark.parametrize("local_infile", [True, False])
@pytest.mark.parametrize(("source", "target"), [("mysql", "mariadb"), ("mariadb", "mysql")])
def test_json_from_one_kind_of_server_to_the_other(
    source: str, target: str, local_infile: bool, servers: Callable[[str], MySqlFamilyEndpoint], make_pair: MakePair
) -> None:
    """A type of its own in MySQL, which takes no bytes; a LONGTEXT in MariaDB. Fetched as referenced, too."""
    pair = make_pair(servers(source), servers(target))
    tables = (
        "CREATE TABLE t (id BIGINT AUTO_INCREMENT PRIMARY KEY, doc JSON, note TEXT, up BIGINT, "
        "FOREIGN KEY (up) REFERENCES t (id)) CHARACTER SET utf8mb4",
    )
    pair.both(*tables)
    doc = "JSON_OBJECT('a', CONCAT('é', CHAR(9), CHAR(92), CHAR(34), CHAR(10)))"
    rows = f"(0, {doc}, 'é', NULL), (1, NULL, NULL, 0), (2, '[1, 2.5]', '', NULL)"
    pair.source.run(f"INSERT INTO t VALUES {rows}")
    pair.subset(filters={"t": "id = 2 OR up = 0"}, target_options={"local_infile": local_infile})
    read = "SELECT id, doc, HEX(note), up FROM t ORDER BY id"
    assert pair.target.run(read) == pair.source.run(read)


FOREIGN = {
    "mysql": "CREATE TABLE {name} (id INT PRIMARY KEY, a INT, KEY ((a + 1)))",  # no functional keys in MariaDB
    "mariadb": "CREATE TABLE {name} (id INT PRIMARY KEY, a INT) WITH SYSTEM VERSIONING",
}


@pytest.mark.parametrize(("source", "target"), [("mysql", "mariadb"), ("mariadb", "mysql")])
def test_a_schema_that_the_other_kind_of_server_does_not_take(
    source: str, target: str, servers: Callable[[str], MySqlFamilyEndpoint], make_pair: MakePair
) -> None:
    """All tables that cannot be made are told at once, and those that can are gone again."""
    pair = make_pair(servers(source), servers(target))
    plain = "CREATE TABLE {name} (id INT PRIMARY KEY) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"
    pair.source.run(*(FOREIGN[source].format(name=n) for n in ("b", "d")), *(plain.format(name=n) for n in ("a", "c")))
    with pytest.raises(TargetError, match="cannot be made as in the source") as refused:
        pair.subset(filters={"a": "id = 1"})
    assert {n for n in "abcd" if f"table {pair.source.name}.{n}" in str(refused.value)} == {"b", "d"}
    assert "run without create_schema" in str(refused.value)
    assert pair.target.run("SHOW TABLES") == ()


@pytest.fixture
def postgres_end(source_server: PostgresEndpoint, fresh_database: CreateDatabase) -> Endpoint:
    name = fresh_database(source_server)
    source_server.run_script(name, "CREATE TABLE customer (id int PRIMARY KEY); INSERT INTO customer VALUES (1)")
    return Endpoint("postgresql", lambda: psycopg.connect(**source_server.params(name)), "elsewhere")


def test_postgres_is_another_kind(shop: Pair, postgres_end: Endpoint) -> None:
    spec = Spec.of(filters={"customer": "id = 1"})
    with pytest.raises(EndpointError, match="cannot copy from mysql to postgresql"):
        subset(spec, shop.source.endpoint(), postgres_end)
    with pytest.raises(EndpointError, match="cannot copy from postgresql to mysql"):
        subset(spec, postgres_end, shop.source.endpoint(), replace_existing=True)
    assert shop.source.run("SELECT COUNT(*) FROM customer") == ((3,),)


@pytest.mark.parametrize("local_infile", [True, False])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ADD UNIQUE (name)", "Duplicate entry"),
        ("ADD CHECK (name <> 'secret-3')", "failed for|violated"),
        ("MODIFY name VARCHAR(20) CHARACTER SET utf8mb4 NOT NULL", "null|NULL"),
    ],
)
def test_a_row_that_the_target_does_not_take_is_fatal(pair: Pair, change: str, words: str, local_infile: bool) -> None:
    table = "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20) CHARACTER SET utf8mb4)"
    pair.source.run(table, "INSERT INTO t VALUES (1, 'secret-1'), (2, 'secret-1'), (3, 'secret-3'), (4, NULL)")
    pair.target.run(table, f"ALTER TABLE t {change}")
    with pytest.raises(SubsetError, match=words) as error:
        pair.subset(filters={"t": "1"}, target_options={"local_infile": local_infile})
    assert "secret" not in str(error.value)
    assert pair.target.run("SELECT COUNT(*) FROM t") == ((0,),)


def test_orphans_of_the_source_are_copied_and_told(shop: Pair) -> None:
    """With foreign_key_checks = 0 anybody can make one; it is no seam of the run."""
    shop.source.run("SET foreign_key_checks = 0", "INSERT INTO orders VALUES (13, 99)")
    report = shop.subset(sample={"orders": "100%"})
    assert [(k.dangling, k.in_source) for k in report.keys] == [(1, True)]
    assert shop.target.run("SELECT COUNT(*) FROM orders") == ((4,),)


def test_cancel_stops_the_statement(shop: Pair) -> None:
    with engines.get("mysql").source(shop.source.endpoint(), "test") as source:
        threading.Timer(0.5, source.cancel).start()
        started = time.monotonic()
        with suppress(RetryableError):  # MariaDB: query interrupted; on MySQL SLEEP returns 1
            source.rows("SELECT SLEEP(300)")
        assert time.monotonic() - started < 120


@pytest.mark.parametrize(
    ("version", "title"),
    [
        ("8.0.45", "MySQL 8.0.45"),
        ("9.7.4-2", "MySQL 9.7.4"),
        ("8.0.28-aurora", "MySQL 8.0.28"),
        ("10.11.19-MariaDB-0+deb12u1", "MariaDB 10.11.19"),
        ("5.5.5-10.6.12-MariaDB-log", "MariaDB 10.6.12"),
        ("11.8.2-MariaDB", "MariaDB 11.8.2"),
    ],
)
def test_servers_are_recognised(version: str, title: str) -> None:
    assert str(recognised(version, "here")) == title


@pytest.mark.parametrize("calls_itself", ["10.5.9-MariaDB", "5.7.44-log"])
def test_an_old_server_is_refused_at_either_end(
    calls_itself: str, mariadb_server: MariaDbEndpoint, make_pair: MakePair
) -> None:
    """MariaDB calls itself what it is told to; a MySQL of an age is recognised by the same words."""
    pair = make_pair(mariadb_server, mariadb_server)
    pair.source.run(*SHOP)
    spec = Spec.of(filters={"customer": "id = 1"})
    with MariaDbServer([f"--version={calls_itself}"], memory_directory(ROOM)) as server:
        old = End(server, "mysql", "old").endpoint()
        for copy in (
            lambda: subset(spec, old, pair.target.endpoint()),
            lambda: subset(spec, pair.source.endpoint(), old),
        ):
            with pytest.raises(EndpointError, match=r"MariaDB 10.5.9 is too old|MySQL 5.7.44 is too old") as refused:
                copy()
            assert [f.where for f in refused.value.faults] == ["old"]
            assert "or later" in str(refused.value)


@pytest.mark.parametrize("version", ["5.7.44", "8.0.18", "10.5.9-MariaDB", "5.5.5-10.3.1-MariaDB"])
def test_old_servers_are_refused(version: str) -> None:
    with pytest.raises(EndpointError, match="too old"):
        recognised(version, "here")
    assert MYSQL.name != MARIADB.name


@pytest.mark.parametrize(
    "message",
    [
        "Duplicate entry 'it's secret' for key 't.name'",
        "Incorrect date value: 'secret' for column 'd' at row 1",
        "Incorrect integer value: 'secret' for column `a`.`b`.`c` at row 3",
        "Truncated incorrect DOUBLE value: 'secret'",
        "Invalid utf8mb4 character string: 'secret'",
        "Incorrect string value: '\\xFFsecret' for column 'a' at row 1",
    ],
)
def test_messages_lose_their_values(message: str) -> None:
    assert "secret" not in without_values(message)
