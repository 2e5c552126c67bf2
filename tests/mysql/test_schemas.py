"""Databases as schemas, and what is known of them before anything is copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from airflow_subset_provider.core import engines, exact, indexes
from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.engines.base import Source
from airflow_subset_provider.core.errors import DriftError, EndpointError, RequestError
from airflow_subset_provider.core.run import Endpoint, Run, reflect, subset
from airflow_subset_provider.core.schema import ForeignKey, TableName
from airflow_subset_provider.core.spec import Spec
from airflow_subset_provider.core.validate import validate
from sandbox.mariadb import MariaDbEndpoint
from sandbox.mysql import MySqlEndpoint
from sandbox.mysql_family import MySqlFamilyEndpoint
from tests.databases import CreateDatabase
from tests.mysql.conftest import End, MakePair, Pair

GIPK = "show_gipk_in_create_table_and_information_schema"


@pytest.fixture
def shop(pair: Pair) -> Pair:
    pair.source.run(
        "CREATE TABLE customer (id INT PRIMARY KEY, code VARCHAR(9), boss INT, UNIQUE KEY prefix (code(3)), "
        "FOREIGN KEY (boss) REFERENCES customer (id))",
        "CREATE TABLE orders (a INT, b INT, customer INT, total INT AS (a + b), hidden INT INVISIBLE, "
        "PRIMARY KEY (a, b), CONSTRAINT one FOREIGN KEY (customer) REFERENCES customer (id))",
        "CREATE TABLE line (n INT PRIMARY KEY, x INT, y INT, UNIQUE (x, y), "
        "FOREIGN KEY (x, y) REFERENCES orders (a, b))",
        "INSERT INTO customer VALUES (1, 'abc', NULL), (2, 'abd', 1), (3, 'xyz', 2)",
        "INSERT INTO orders (a, b, customer) VALUES (1, 1, 1), (1, 2, 3), (2, 1, 3), (2, 2, NULL)",
        "INSERT INTO line VALUES (1, 1, 1), (2, 1, 2), (3, 2, 1), (4, NULL, 2)",
    )
    return pair


@pytest.fixture
def source(shop: Pair) -> Iterator[Source]:
    with engines.get("mysql").source(shop.source.endpoint(), "test") as source:
        yield source


def test_reflection(shop: Pair) -> None:
    schema = reflect(shop.source.endpoint())
    name = shop.source.name
    assert schema.dialect in shop.source.server.version.lower()
    orders = schema[TableName(name, "orders")]
    assert orders.primary_key == ("a", "b")
    assert [c.name for c in orders.copied] == ["a", "b", "customer", "hidden"]
    assert orders.engine == "InnoDB"
    assert schema[TableName(name, "customer")].identity == ("id",)
    assert len(schema[TableName(name, "customer")].keys) == 1  # a prefix is no key
    line = TableName(name, "line")
    assert ForeignKey("line_ibfk_1", line, ("x", "y"), orders.name, ("a", "b")) in schema.foreign_keys


def test_columns_of_keys_are_spelled_as_their_tables_spell_them(pair: Pair) -> None:
    """The servers keep a key that was made before the table it references in the letters it was made with."""
    pair.source.run(
        "SET foreign_key_checks = 0",
        "CREATE TABLE child (Id INT PRIMARY KEY, Up INT, Boss INT, FOREIGN KEY (UP) REFERENCES parent (iD), "
        "FOREIGN KEY (bOSS) REFERENCES child (ID))",
        "CREATE TABLE parent (ID INT PRIMARY KEY)",
        "INSERT INTO parent VALUES (1), (2)",
        "INSERT INTO child VALUES (1, 1, NULL), (2, 2, 1), (3, 1, 1)",
    )
    keys = {(k.columns, k.parent_columns) for k in reflect(pair.source.endpoint()).foreign_keys}
    assert keys == {(("Up",), ("ID",)), (("Boss",), ("Id",))}
    assert pair.subset(filters={"child": "Id = 2"}, others="referenced").dangling == 0
    assert pair.target.run("SELECT Id FROM child ORDER BY Id") == ((1,), (2,))
    assert pair.target.run("SELECT ID FROM parent ORDER BY ID") == ((1,), (2,))


STRANGE = (
    "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9), g VARCHAR(9) AS (CONCAT(v, 'é')) STORED, n INT, KEY n (n), "
    "CHECK (v <> 'ß')) COMMENT 'ü' DEFAULT CHARSET utf8mb4",
    "CREATE TABLE bytes (id INT PRIMARY KEY, b BINARY(2) NOT NULL DEFAULT x'fe0a', e ENUM('é') CHARACTER SET latin1, "
    "KEY b (b)) DEFAULT CHARSET utf8mb4",
    "CREATE TABLE expressed (id INT PRIMARY KEY, v VARCHAR(9) CHARACTER SET latin1 AS (CONCAT(id, _latin1 x'e9')))",
    "CREATE TRIGGER fired BEFORE INSERT ON t FOR EACH ROW SET NEW.v = CONCAT('é', NEW.v, _latin1 x'e9')",
)


def test_literals_that_are_no_utf8(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a client of another character set wrote, and bytes, come through as they are."""
    with closing(pair.source.connect(charset="latin1", autocommit=True)) as connection:
        for statement in STRANGE:
            connection.query(statement.encode("latin1"))
    tables = ("t", "bytes", "expressed")
    pair.source.run(*(f"INSERT INTO {t} (id) VALUES (1)" for t in tables), f"ANALYZE TABLE {', '.join(tables)}")
    for large in (indexes.LARGE, 1):  # MySQL's own ALTER TABLE, for indexes, writes literals in its client's set
        monkeypatch.setattr(indexes, "LARGE", large)
        assert pair.subset(filters=dict.fromkeys(tables, "id = 1")).kept == 3
        for table in tables:
            assert large == 1 or _shown(pair.target, f"TABLE {table}") == _shown(pair.source, f"TABLE {table}")
            assert pair.target.rows(table) == pair.source.rows(table)
        assert "SET NEW.v = CONCAT('é', NEW.v, _latin1 x'e9')" in _shown(pair.target, "TRIGGER fired").decode()


def _shown(end: End, what: str) -> bytes:
    with closing(end.connect()) as connection:
        connection.converter = {}
        connection.query("SET character_set_results = NULL")
        connection.query(f"SHOW CREATE {what}")
        row: tuple[bytes, ...] = connection.store_result().fetch_row(0, 0)[0]
    return row[1 if what.startswith("TABLE") else 2]


def test_a_connection_without_a_database_needs_names(shop: Pair) -> None:
    endpoint = Endpoint("mysql", lambda: shop.source.connect(database=""), "bare")
    with pytest.raises(EndpointError, match="names no database"):
        reflect(endpoint)
    assert len(reflect(endpoint, [shop.source.name]).tables) == 3
    with pytest.raises(EndpointError, match="no database 'nowhere'"):
        reflect(endpoint, ["nowhere"])


def test_a_catalog_of_another_database(shop: Pair, fresh_database: CreateDatabase) -> None:
    """Its statements name that database, and the server would answer them over any connection."""
    catalog = reflect(shop.source.endpoint())
    moved = End(shop.source.server, fresh_database(shop.source.server, hint="moved"), "source")
    spec = Spec.of(filters={"customer": "id = 1"})

    def run(spec: Spec) -> int:
        return subset(spec, moved.endpoint(), shop.target.endpoint(), schema=catalog, create_schema=True).kept

    said = f"the catalog is of the database '{shop.source.name}', the connection leads to '{moved.name}'"
    with pytest.raises(DriftError, match=said) as caught:
        run(spec)
    assert f"Say schemas=['{shop.source.name}']" in str(caught.value)
    assert not shop.target.run("SHOW TABLES")
    with engines.get("mysql").source(moved.endpoint(), "test") as source:
        assert [fault.what for fault in validate(spec, catalog, source).faults] == [said]
    assert run(Spec.of(filters={"customer": "id = 1"}, schemas=[shop.source.name])) == 3


def test_what_is_logged_is_what_runs(shop: Pair, source: Source) -> None:
    """A `mysql` connection may lead to either server, and its rendered SQL is that server's."""
    plan = planning.build(Spec.of(filters={"customer": "id = 3"}), reflect(shop.source.endpoint()))
    run = Run(plan, shop.source.endpoint(), shop.target.endpoint())
    for component in plan.extracts:
        for statement in run.extract_sql(component).values():
            source.rows(statement)


LEVELS = 9  # each level reads the one above it three times: 3 ** 8 subqueries were each written out


@pytest.fixture
def ladder(pair: Pair) -> Pair:
    """Every rung references the one above it by two keys; the rungs of odd ids hang on odd ids only."""
    pair.source.run(
        "CREATE TABLE t0 (id INT PRIMARY KEY)",
        "INSERT INTO t0 VALUES (1), (2), (3), (4)",
        *(
            statement
            for n in range(1, LEVELS)
            for statement in (
                f"CREATE TABLE t{n} (id INT PRIMARY KEY, a INT, b INT, "
                f"FOREIGN KEY (a) REFERENCES t{n - 1} (id), FOREIGN KEY (b) REFERENCES t{n - 1} (id))",
                f"INSERT INTO t{n} VALUES (1, 1, NULL), (2, NULL, 2), (3, 3, 1), (4, NULL, NULL)",
            )
        ),
        f"CREATE TABLE log (what TEXT, {', '.join(f'r{n} INT' for n in range(LEVELS))}, "
        f"{', '.join(f'FOREIGN KEY (r{n}) REFERENCES t{n} (id)' for n in range(LEVELS))})",
        f"INSERT INTO log (what, r2, r{LEVELS - 1}) VALUES ('a', 1, NULL), ('a', 1, NULL), ('b', 2, 1), "
        "('c', 2, NULL), ('d', NULL, NULL)",
    )
    return pair


def test_many_ways_down_from_one_filter(ladder: Pair) -> None:
    """MySQL refuses such a statement with its CTEs written out, MariaDB's memory ends over it."""
    spec = {"filters": {"t0": "id % 2 = 1"}, "others": "referenced"}
    plan = planning.build(Spec.of(**spec), reflect(ladder.source.endpoint()))
    with engines.get("mysql").source(ladder.source.endpoint(), "test") as source:
        counted = exact.count(plan, source)
    report = ladder.subset(**spec)
    found = {t.table.partition(".")[2]: t.kept for t in report.tables}
    assert found == {f"t{n}": 2 if n > 2 else 3 for n in range(LEVELS)} | {"log": 3}  # 'b' refers to rung 2's row 2
    assert {str(t): s.kept for t, s in counted.items()} == {t.table: t.kept for t in report.tables}
    assert ladder.target.run(f"SELECT id FROM t{LEVELS - 1} ORDER BY id") == ((1,), (3,))
    assert ladder.target.run("SELECT what FROM log ORDER BY what") == (("a",), ("a",), ("b",))


def test_many_ways_down_from_two_filters_are_refused_before_anything_moves(ladder: Pair) -> None:
    ladder.target.run("CREATE TABLE t0 (id INT PRIMARY KEY)", "INSERT INTO t0 VALUES (7)")
    with pytest.raises(RequestError, match=f"t{LEVELS - 1}: lies so deep below several filters"):
        ladder.subset(filters={"t0": "id % 2 = 1", "t1": "id < 4"})
    assert ladder.target.run("SELECT id FROM t0") == ((7,),)


def test_what_would_be_copied_is_counted(shop: Pair, source: Source) -> None:
    spec = {"filters": {"customer": "id = 3"}, "others": "referenced"}
    plan = planning.build(Spec.of(**spec), source.reflect(source.default_schemas))
    counted = exact.count(plan, source)
    report = shop.subset(**spec)
    assert {str(t): s.kept for t, s in counted.items()} == {t.table: t.kept for t in report.tables}


def test_indexes_and_estimates(shop: Pair, source: Source) -> None:
    name = shop.source.name
    indexes = source.indexes([name]) or {}
    assert ("a", "b") in indexes[TableName(name, "orders")]
    assert ("customer",) in indexes[TableName(name, "orders")]
    assert () in indexes[TableName(name, "customer")]  # an index over a prefix answers no comparison of the column
    shop.source.run("ANALYZE TABLE orders")
    assert source.estimate(f"SELECT * FROM `{name}`.orders") == 4


def test_an_estimate_where_row_ids_are_filtered(pair: Pair, source: Source) -> None:
    """MariaDB joins two indexes of one table in this way, and tells their shares where it tells of rows."""
    pair.source.run(
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT, filler VARCHAR(200), KEY (a), KEY (b))",
        "INSERT INTO t WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 999) "
        "SELECT x.n * 20 + y.n, (x.n * 20 + y.n) % 100, (x.n * 20 + y.n) % 97, REPEAT('x', 200) "
        "FROM n x JOIN n y WHERE y.n < 20",
        "ANALYZE TABLE t",
    )
    statement = f"SELECT * FROM `{pair.source.name}`.t WHERE a = 7 AND b BETWEEN 1 AND 5"
    filtered = [row for row in pair.source.run(f"EXPLAIN {statement}") if "|filter" in str(row)]
    assert filtered or pair.source.server.version.startswith("MySQL")
    assert 1 <= source.estimate(statement) <= 200


def test_a_database_that_shows_no_table(
    pair: Pair, server: MySqlFamilyEndpoint, fresh_database: CreateDatabase, limited_user: Callable[..., dict[str, Any]]
) -> None:
    """This user has a right on it that shows its name, and none that shows its tables: nobody would miss them."""
    seen, hidden = pair.source.name, fresh_database(server, hint="hidden")
    for name in (seen, hidden):
        End(server, name, name).run("CREATE TABLE t (id INT PRIMARY KEY)")
    pair.source.user = limited_user(f"SELECT ON `{seen}`.*", f"LOCK TABLES ON `{hidden}`.*")
    with pytest.raises(EndpointError, match=f"sees no table of the database {hidden}"):
        reflect(pair.source.endpoint(), (seen, hidden))


@pytest.mark.parametrize("shown", ["ON", "OFF"])
def test_a_primary_key_that_the_server_has_made(
    mysql_server: MySqlEndpoint, make_pair: MakePair, shown: str, request: pytest.FixtureRequest
) -> None:
    """It may be hidden from sessions that do not ask for it, and would be counted anew in the target."""
    pair = make_pair(mysql_server, mysql_server)
    pair.source.run(
        "SET SESSION sql_generate_invisible_primary_key = ON; CREATE TABLE p (x INT);"
        "INSERT INTO p (my_row_id, x) VALUES (10, 1), (20, 2);"
        "CREATE TABLE c (id INT PRIMARY KEY, p BIGINT UNSIGNED, FOREIGN KEY (p) REFERENCES p (my_row_id));"
        "INSERT INTO c VALUES (1, 20)"
    )
    before = pair.source.run(f"SELECT @@GLOBAL.{GIPK}")[0][0]
    request.addfinalizer(lambda: pair.source.run(f"SET GLOBAL {GIPK} = {before}"))
    pair.source.run(f"SET GLOBAL {GIPK} = {shown}")
    subset(
        Spec.of(filters={"c": "id = 1"}, others="referenced"),
        pair.source.endpoint(),
        pair.target.endpoint(),
        create_schema=True,
    )
    assert pair.target.run("SELECT my_row_id, x FROM p") == ((20, 2),)


def test_several_databases_keep_their_names(
    mysql_server: MySqlEndpoint, mariadb_server: MariaDbEndpoint, make_pair: MakePair, fresh_database: CreateDatabase
) -> None:
    pair = make_pair(mysql_server, mariadb_server)
    names = [fresh_database(mysql_server, hint="one"), fresh_database(mysql_server, hint="two")]
    try:
        for server in (mysql_server, mariadb_server):
            if server is mariadb_server:
                for name in names:
                    server.create_database(name)
            one, two = (End(server, name, name) for name in names)
            one.run("CREATE TABLE parent (id INT PRIMARY KEY)")
            two.run(
                f"CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES `{names[0]}`.parent (id))"
            )
        source_one, source_two = (End(mysql_server, name, name) for name in names)
        source_one.run("INSERT INTO parent VALUES (1), (2)")
        source_two.run("INSERT INTO child VALUES (1, 1), (2, 2), (3, NULL)")
        spec = Spec.of(filters={"parent": "id = 2"}, schemas=tuple(names))
        report = subset(spec, pair.source.endpoint(), pair.target.endpoint())
        assert {t.table: t.kept for t in report.tables} == {f"{names[0]}.parent": 1, f"{names[1]}.child": 1}
        assert End(mariadb_server, names[1], "copy").run("SELECT * FROM child") == ((2, 2),)
    finally:
        for name in reversed(names):  # the child first
            mariadb_server.drop_database(name)
