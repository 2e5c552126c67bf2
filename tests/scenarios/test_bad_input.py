"""Requests that cannot be met: one error that names what, where and what to do, and a target that is as it was.

`lab.refusal` makes sure of the second half: rows, constraints, triggers, sequences and schemas are compared.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from msgspec.structs import replace

from airflow_subset_provider.core import engines
from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core import preview as previewing
from airflow_subset_provider.core import run as running
from airflow_subset_provider.core.errors import (
    DriftError,
    EndpointError,
    RequestError,
    RetryableError,
    SubsetError,
    TargetError,
)
from airflow_subset_provider.core.schema import Schema, TableName
from airflow_subset_provider.core.spec import Spec
from tests.scenarios.ends import Database
from tests.scenarios.kit import Lab, MakeLab

SCHEMA = """
CREATE TABLE customer (id int PRIMARY KEY, store int, name varchar(20));
CREATE TABLE rental (id serial PRIMARY KEY, customer int NOT NULL REFERENCES customer, amount numeric(8, 2));
CREATE TABLE parking (id int PRIMARY KEY);
"""
ROWS = """
INSERT INTO customer VALUES (1, 1, 'Ann'), (2, 2, 'Bob');
INSERT INTO rental VALUES (1, 1, 1.50), (2, 2, 2.50); INSERT INTO parking VALUES (1);
"""
POSTGRES = pytest.mark.engines("postgresql", because="spelled as Postgres has it, with its answer")
MYSQL = pytest.mark.engines("mariadb", "mysql", because="spelled as they have it, with their answer")


def params(mark: pytest.MarkDecorator, cases: list[Any]) -> list[Any]:
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=mark) for case in cases]


@pytest.fixture
def shop(shared_lab: MakeLab) -> Lab:
    """One pair for all that is refused: nothing changes in it."""
    return shared_lab(SCHEMA, ROWS)


# -- names


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"filters": {"custmer": "id = 1"}}, ["no table 'custmer'", "filters['custmer']", "Did you mean customer"]),
        ({"filters": {"public.rentals": "id = 1"}}, ["no table 'public.rentals'", "Did you mean public.rental"]),
        ({"filters": {"shop.customer": "true"}}, ["no table 'shop.customer'", "schema public"]),
        ({"tables": {"zzz*": "skip"}}, ["matches no table", "tables['zzz*']"]),
        ({"sample": {"custmer": 5}}, ["no table 'custmer'", "sample['custmer']"]),
        ({"relations": {"rental.custmer": {"follow": False}}}, ["matches no foreign key", "rental.customer"]),
        ({"relations": {"rental.nobody": {"to": "customer"}}}, ["no column 'rental.nobody'"]),
        ({"relations": {"rental.amount": {"to": "customer"}}}, ["types do not agree", "(8,2)"]),
        ({"relations": {"parking.id": {"to": "customer.store"}}}, ["public.customer(store) is not unique", "(id)"]),
        (
            {"filters": {"customer": "true"}, "tables": {"customer": "skip"}},
            ["has a filter, so it cannot have the rule 'skip'", "Drop the filter or the rule"],
        ),
        ({"filters": {"customer": "true", "public.customer": "true"}}, ["named twice", "Join the clauses with AND"]),
        ({"others": "skip"}, ["nothing would be copied", 'others="whole"']),
        ({"others": "referenced"}, ["nothing would be copied"]),
    ],
)
def test_what_the_schema_does_not_have(request_: dict[str, Any], words: list[str], shop: Lab) -> None:
    error = shop.refusal(**request_)
    assert isinstance(error, RequestError)
    assert len(error.faults) == 1
    for word in words:
        assert word in str(error)


def test_no_such_schema(shop: Lab) -> None:
    error = shop.refusal(schemas=("public", "nowhere", "never"), filters={"customer": "true"})
    kind = "schema" if shop.engine == "postgresql" else "database"
    assert [f.what for f in error.faults] == [f"no {kind} 'never'", f"no {kind} 'nowhere'"]
    assert error.faults[0].where == "source"


# -- clauses


CLAUSES = [
    ("nosuch = 1", 'column "nosuch" does not exist'),
    ("rental.amount > 1", 'missing FROM-clause entry for table "rental"'),
    ("id ==== 1", "operator does not exist"),
    ("id = ", "the clause ends too early"),
    ("id = 1)", "syntax error"),
    ("(id = 1", "the clause ends too early"),
    ("id = 1;", "syntax error"),
    ("1=1; DROP TABLE customer", "syntax error"),
    ("1=1); DROP TABLE customer; --", "syntax error"),
    ("1=1) OR (2=2", "syntax error"),
    ("1=1) UNION SELECT 1 --", "syntax error"),
    ("1=1 UNION SELECT 1", "syntax error"),
    ("true ORDER BY id", "syntax error"),
    ("true LIMIT 1", "syntax error"),
    ("true GROUP BY id", "syntax error"),
    ("true FOR UPDATE", "syntax error"),
    ("id = 1 /*", "unterminated /* comment"),
    ("name = 'Ann", "unterminated quoted string"),
    ('name = "Ann"', 'column "Ann" does not exist'),
    ("count(*) > 1", "aggregate functions are not allowed in WHERE"),
    ("row_number() OVER () = 1", "window functions are not allowed in WHERE"),
    ("unnest(ARRAY[id]) = 1", "set-returning functions are not allowed in WHERE"),
    ("id", "must be type boolean"),
    ("id + 1", "must be type boolean"),
    ("'yes please'", "invalid input syntax for type boolean"),
    ("1, 2", "syntax error"),
    ("*", "syntax error"),
    ("-- nothing", "the clause ends too early"),
    ("name = 5", "operator does not exist"),
    ("id = 'x'", "invalid input syntax for type integer"),
    ("id = (SELECT id, store FROM customer)", "subquery"),
    ("id IN (SELECT id FROM nowhere)", 'relation "nowhere" does not exist'),
    ("id = $1", "there is no parameter $1"),
    ("id = 1/0", "division by zero"),
    ("nosuch(id)", "function nosuch(integer) does not exist"),
    ("id = 1 \0 OR true", ""),
]
MYSQL_CLAUSES = [
    ("nosuch = 1", "Unknown column 'nosuch'"),
    ("rental.amount > 1", "Unknown column 'rental.amount'"),
    ("id ==== 1", "syntax"),
    ("id = ", "the clause ends too early"),
    ("id = 1)", "syntax"),
    ("(id = 1", "the clause ends too early"),
    ("id = 1;", "syntax"),
    ("id = 1; DELETE FROM rental", "syntax"),
    ("1=1); DROP TABLE customer; -- ", "syntax"),
    ("1=1) OR (2=2", "syntax"),
    ("1=1) UNION SELECT 1 -- ", "syntax"),
    ("id = 1 UNION SELECT 1", "syntax"),
    ("1=1) INTO OUTFILE '/tmp/x' -- ", "syntax"),
    ("true ORDER BY id", "syntax"),
    ("true LIMIT 1", "syntax"),
    ("true GROUP BY id", "syntax"),
    ("true FOR UPDATE", "syntax"),
    ("id = 1 /*", ""),
    ("name = 'Ann", ""),
    ("COUNT(*) > 1", "group function"),
    ("ROW_NUMBER() OVER () = 1", "indow function"),
    ("(id, name)", "1 column"),
    ("1, 2", "syntax"),
    ("*", "syntax"),
    ("-- nothing", "the clause ends too early"),
    ("id = (SELECT id, store FROM customer)", ""),
    ("id IN (SELECT id FROM nowhere)", "nowhere"),
    ("id = ?", "syntax"),
    ("nosuch(id)", "nosuch"),
    ("id = 1 \0 OR true", ""),
]


@pytest.mark.parametrize(("clause", "words"), [*params(POSTGRES, CLAUSES), *params(MYSQL, MYSQL_CLAUSES)])
def test_a_clause_that_is_not_one_condition(clause: str, words: str, shop: Lab) -> None:
    error = shop.refusal(filters={"customer": clause})
    assert isinstance(error, RequestError)
    assert len(error.faults) == 1
    assert words in error.faults[0].what
    assert error.faults[0].where == "filters['public.customer']"
    assert error.faults[0].do


SLY = {
    "postgresql": "CREATE OR REPLACE FUNCTION sly() RETURNS boolean LANGUAGE plpgsql AS "
    "$$ BEGIN DELETE FROM public.parking; RETURN true; END $$",
    "mysql": "CREATE FUNCTION public.sly() RETURNS int MODIFIES SQL DATA "
    "BEGIN DELETE FROM public.parking; RETURN 1; END",
}
SLY["mariadb"] = SLY["mysql"]


def test_a_clause_must_not_write(lab: MakeLab) -> None:
    """The source session is read-only, whatever a function in the clause does."""
    shop = lab(SCHEMA, ROWS)
    shop.source.connection.cursor().execute(SLY[shop.engine])
    with pytest.raises(SubsetError, match=r"read-only transaction|READ ONLY transaction"):
        running.subset(running.Spec.of(filters={"customer": "sly()"}), shop.source.endpoint(), shop.target.endpoint())
    assert shop.source.ids("parking") == {"parking": [1]}


def test_all_faults_at_once(shop: Lab) -> None:
    error = shop.refusal(filters={"customer": "nosuch = 1", "rental": "count(*) > 1", "parking": "id = 1"})
    assert [f.where for f in error.faults] == ["filters['public.customer']", "filters['public.rental']"]
    assert str(error).startswith("2 faults:\n  1. ")
    error = shop.refusal(filters={"a": "x", "b": "y"}, sample={"c": 1}, tables={"d": "skip"}, relations={"e": {}})
    assert len(error.faults) == 5


def test_faults_of_both_ends_at_once(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS, target=SCHEMA + "DROP TABLE parking; ALTER TABLE rental DROP amount;")
    error = db.refusal(filters={"customer": "nosuch = 1"})
    text = str(error)
    assert "nosuch" in text
    assert "the target has no table public.parking" in text
    assert "rental.amount: the target has no such column" in text


# -- the two ends


def test_source_and_target_are_one_database(shop: Lab) -> None:
    """Under every spelling of its address."""
    before = shop.source.everything()
    for address in shop.source.addresses():
        error = shop.refusal(
            filters={"customer": "true"}, target=shop.source.endpoint(**address), replace_existing=True
        )
        assert isinstance(error, EndpointError)
        assert "source and target are the same database" in str(error)
    assert shop.source.everything() == before


@pytest.mark.engines("postgresql", because="in tests/mysql both ends are on one server")
def test_two_databases_of_one_server_are_two(lab: MakeLab) -> None:
    db, other = lab(SCHEMA, ROWS), lab(SCHEMA)
    report = running.subset(
        running.Spec.of(filters={"customer": "id = 1"}), db.source.endpoint(), other.source.endpoint()
    )
    assert report.kept == 3
    assert other.source.ids("rental") == {"rental": [1]}


def test_nobody_listens(shop: Lab) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for side in ("source", "target"):
        end = getattr(shop, side).endpoint(port=port)
        error = shop.refusal(filters={"customer": "true"}, **{side: end})
        assert isinstance(error, RetryableError)
        assert error.faults[0].where == side
        assert str(port) in str(error) or shop.engine != "postgresql"  # their client names the host alone


def test_a_wrong_password_is_not_repeated(shop: Lab) -> None:
    for side in ("source", "target"):
        end = getattr(shop, side).endpoint(password="hunter2-wrong", host="127.0.0.1")
        error = shop.refusal(filters={"customer": "true"}, **{side: end})
        assert re.search("password authentication failed|Access denied", str(error))
        assert "hunter2" not in str(error) + repr(error) + repr(error.faults)
        assert not isinstance(error, RetryableError)
        assert error.faults[0].where == side


def test_a_database_that_is_not_there(shop: Lab) -> None:
    elsewhere = {"dbname" if shop.engine == "postgresql" else "database": "nowhere"}
    error = shop.refusal(filters={"customer": "true"}, target=shop.target.endpoint(**elsewhere))
    assert re.search("\"nowhere\" does not exist|Unknown database 'nowhere'", str(error))
    assert not isinstance(error, RetryableError)


# -- the target's tables


def test_a_target_without_any_of_the_tables(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS, target="")
    error = db.refusal(filters={"customer": "true"})
    assert len(error.faults) == 1
    assert "has none of the 3 tables (public." in str(error)
    assert "create_schema=True (--create-schema)" in str(error)


def test_a_filter_that_no_row_answers_is_told(shop: Lab) -> None:
    report = shop.run(filters={"customer": "id = 404"})
    assert "public.customer: no row answers its filter, id = 404" in report.warnings


TOO_NARROW = [
    ("DROP TABLE parking", ["the target has no table public.parking", "Make it in the target"]),
    ("ALTER TABLE customer DROP name", ["customer.name", "no such column", "character varying(20)"]),
    ("ALTER TABLE customer ADD extra int NOT NULL", ["customer.extra", "needs a value"]),
    ("ALTER TABLE customer ALTER store TYPE text", ["customer.store", "text", "integer"]),
    ("ALTER TABLE customer ALTER store TYPE smallint", ["customer.store", "smallint"]),
    ("ALTER TABLE customer ALTER store TYPE real", ["customer.store", "real"]),
    ("ALTER TABLE customer ALTER name TYPE varchar(19)", ["customer.name", "(19)", "(20)"]),
    ("ALTER TABLE customer ALTER name TYPE char(30)", ["customer.name", "character(30)"]),
    ("ALTER TABLE rental ALTER amount TYPE numeric(9, 1)", ["rental.amount", "numeric(9,1)"]),
    ("ALTER TABLE rental ALTER amount TYPE numeric(8, 3)", ["rental.amount", "numeric(8,3)"]),
    ("ALTER TABLE rental ALTER amount TYPE double precision", ["rental.amount", "double precision"]),
    ("ALTER TABLE rental DROP amount, ADD amount numeric(8,2) GENERATED ALWAYS AS (1) STORED", ["generates"]),
]
MYSQL_TOO_NARROW = [
    ("DROP TABLE parking", ["the target has no table public.parking", "Make it in the target"]),
    ("ALTER TABLE customer DROP name", ["customer.name", "no such column", "varchar(20)"]),
    ("ALTER TABLE customer ADD extra int NOT NULL", ["customer.extra", "needs a value"]),
    ("ALTER TABLE customer MODIFY store varchar(20)", ["customer.store", "varchar(20)", "int"]),
    ("ALTER TABLE customer MODIFY store smallint", ["customer.store", "smallint"]),
    ("ALTER TABLE customer MODIFY store int unsigned", ["customer.store", "unsigned"]),
    ("ALTER TABLE customer MODIFY store float", ["customer.store", "float"]),
    ("ALTER TABLE customer MODIFY name varchar(19)", ["customer.name", "(19)", "(20)"]),
    ("ALTER TABLE customer MODIFY name varchar(20) CHARACTER SET latin1", ["customer.name", "latin1"]),
    ("ALTER TABLE rental MODIFY amount decimal(9, 1)", ["rental.amount", "decimal(9,1)"]),
    ("ALTER TABLE rental MODIFY amount decimal(8, 3)", ["rental.amount", "decimal(8,3)"]),
    ("ALTER TABLE rental MODIFY amount double", ["rental.amount", "double"]),
    ("ALTER TABLE rental DROP amount, ADD amount decimal(8,2) GENERATED ALWAYS AS (1) STORED", ["generates"]),
]


@pytest.mark.parametrize(("change", "words"), [*params(POSTGRES, TOO_NARROW), *params(MYSQL, MYSQL_TOO_NARROW)])
def test_a_target_that_cannot_take_the_rows(change: str, words: list[str], lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS, target=f"{SCHEMA}{change};")
    error = db.refusal(filters={"customer": "id = 1"})
    assert isinstance(error, TargetError)
    assert len(error.faults) == 1
    for word in words:
        assert word in str(error)


WIDER = [
    "ALTER TABLE customer ALTER store TYPE bigint",
    "ALTER TABLE customer ALTER name TYPE text",
    "ALTER TABLE customer ALTER name TYPE varchar(21)",
    "ALTER TABLE customer ALTER name TYPE varchar",
    "ALTER TABLE rental ALTER amount TYPE numeric(10, 3)",
    "ALTER TABLE rental ALTER amount TYPE numeric",
    "ALTER TABLE customer ADD extra int NOT NULL DEFAULT 5, ADD more int",
]
MYSQL_WIDER = [
    "ALTER TABLE customer MODIFY store bigint",
    "ALTER TABLE customer MODIFY name varchar(21)",
    "ALTER TABLE customer MODIFY name longtext",
    "ALTER TABLE rental MODIFY amount decimal(10, 3)",
    "ALTER TABLE customer ADD extra int NOT NULL DEFAULT 5, ADD more int",
]


@pytest.mark.parametrize("change", [*params(POSTGRES, WIDER), *params(MYSQL, MYSQL_WIDER)])
def test_a_target_that_can_take_more(change: str, lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS, target=f"{SCHEMA}{change};")
    db.run(filters={"customer": "id = 1"})
    assert db.target.query("SELECT id, store, name FROM customer") == [(1, 1, "Ann")]


STRICTER = """
CREATE TABLE customer (id int PRIMARY KEY, store int NOT NULL, name varchar(20) NOT NULL);
CREATE TABLE rental (id serial PRIMARY KEY, customer int NOT NULL REFERENCES customer, amount numeric(8, 2) NOT NULL);
CREATE TABLE parking (id int PRIMARY KEY);
"""
NULLS = """
INSERT INTO customer VALUES (1, NULL, NULL), (2, 2, 'Bob'), (3, 3, NULL);
INSERT INTO rental VALUES (1, 1, NULL), (2, 2, 2.50);
"""


def test_a_target_that_is_stricter_about_null(lab: MakeLab) -> None:
    """All such columns at once, and only where rows that would come are NULL there."""
    db = lab(SCHEMA, NULLS, target=STRICTER)
    db.target.execute("INSERT INTO parking VALUES (77)")
    error = db.refusal(filters={"customer": "id = 1"}, replace_existing=True)
    assert isinstance(error, TargetError)
    assert [fault.where for fault in error.faults] == [
        f"{db.target.label}, public.{column}" for column in ("customer.store", "customer.name", "rental.amount")
    ]
    assert "NULL in rows of the source, but NOT NULL in the target" in str(error)
    report = db.run_unlike(db.target.constraints(), filters={"customer": "id = 2"}, replace_existing=True)
    assert db.target.ids() == {"customer": [2], "rental": [2], "parking": []}
    assert [w for w in report.warnings if w.startswith("public.customer: NOT NULL in the target alone: store, name")]


def test_a_target_with_a_unique_key_of_its_own_is_told(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS, target=SCHEMA.replace("name varchar(20)", "name varchar(20) UNIQUE"))
    report = db.run_unlike(db.target.constraints(), filters={"customer": "id = 1"})
    assert [w for w in report.warnings if "unique" in w] == [
        "public.customer: unique in the target alone: (name). Rows of the source that repeat it would stop the run"
    ]


def test_a_target_that_numbers_its_rows_is_not(lab: MakeLab) -> None:
    """A key that MySQL makes by itself is such a one (sql_generate_invisible_primary_key)."""
    table = "CREATE TABLE t (a int{});"
    db = lab(table.format(""), "INSERT INTO t VALUES (1), (1);", target=table.format(", n serial UNIQUE"))
    report = db.run_unlike(db.target.constraints(), filters={"t": "a = 1"})
    assert (report.kept, report.warnings) == (2, ())
    assert db.target.rows("t") == [(1, 1), (1, 2)]


def test_a_narrower_target_of_text(lab: MakeLab) -> None:
    db = lab("CREATE TABLE t (a text);", "", target="CREATE TABLE t (a varchar(9));")
    assert re.search(r"character varying\(9\)|varchar\(9\)", str(db.refusal()))


@MYSQL
def test_a_column_of_an_enum_that_lacks_a_value_in_the_target(lab: MakeLab) -> None:
    table = "CREATE TABLE t (id int PRIMARY KEY, m ENUM({}));"
    db = lab(table.format("'sad', 'happy'"), "INSERT INTO t VALUES (1, 'happy');", target=table.format("'sad'"))
    assert "'happy'" in str(db.refusal())


@POSTGRES
def test_an_enum_that_lacks_a_value_in_the_target(lab: MakeLab) -> None:
    table = "CREATE TABLE t (id int PRIMARY KEY, m mood, n mood[]);"
    db = lab(
        "CREATE TYPE mood AS ENUM ('sad', 'happy');" + table,
        "INSERT INTO t VALUES (1, 'happy', '{sad}');",
        target="CREATE TYPE mood AS ENUM ('sad');" + table,
    )
    error = db.refusal()
    assert "'happy'" in str(error)


XY = "CREATE TYPE xy AS (x int, y varchar(9));"


@POSTGRES
@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        (
            XY,
            "CREATE TYPE xy AS (y varchar(9), x int);",
            r"public\.xy is \(y character .*, x integer\), the source's \(x ",
        ),
        (XY, "CREATE TYPE xy AS (x int, z varchar(9));", r"public\.xy is \(x integer, z character varying\(9\)\)"),
        (XY, "CREATE TYPE xy AS (x int, y varchar(5));", r"public\.xy is \(x integer, y character varying\(5\)\)"),
        (XY, "CREATE TYPE xy AS (x int, y varchar(9), z int);", r"public\.xy is .*, z integer\), the source's"),
        (XY, "CREATE DOMAIN xy AS text;", r"public\.xy is a domain over text, the source's \(x integer, y char"),
        (XY, "CREATE TABLE xy (y varchar(9), x int);", r"public\.xy is \(y character varying\(9\), x integer\)"),
        (
            "CREATE DOMAIN xy AS varchar(9);",
            "CREATE DOMAIN xy AS varchar(5);",
            r"a domain over character varying\(5\), the",
        ),
        ("CREATE TYPE xy AS ENUM ('x', 'y');", "CREATE TYPE xy AS ENUM ('x');", r"the target's public\.xy lacks 'y'"),
        (
            "CREATE TYPE xy AS RANGE (subtype = timestamp);",
            "CREATE TYPE xy AS RANGE (subtype = date);",
            r"public\.xy is a range of date, the source's a range of timestamp without time zone",
        ),
    ],
)
@pytest.mark.parametrize("around", ["xy", "xy[]", "a domain", "a domain of arrays", "a composite"])
def test_types_of_one_name_that_are_made_otherwise(
    lab: MakeLab, source: str, target: str, said: str, around: str
) -> None:
    """Their names agree, and a value of one may well be read as one of the other."""
    outer = {
        "a domain": "CREATE DOMAIN outer_xy AS xy;",
        "a domain of arrays": "CREATE DOMAIN outer_xy AS xy[];",
        "a composite": "CREATE TYPE outer_xy AS (n int, inner_xy xy[]);",
    }.get(around, "")
    table = f"{outer} CREATE TABLE t (id int PRIMARY KEY, at {'outer_xy' if outer else around});"
    db = lab(source + table, "", target=target + table)
    assert re.search(said, str(db.refusal()))


@POSTGRES
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("interval", "interval day"),
        ("interval[]", "interval year to month[]"),
        ("text", "name"),
        ("varchar(80)", "name"),
        ("xy_multirange", "xy_multirange"),
        ("numeric(5)", "numeric(5, -2)"),
        ("numeric(5, -2)", "numeric(5)"),
        ("timestamp", "timestamp(5)"),
        ("int", "oid"),
        ("bigint", "regtype"),
    ],
)
def test_types_that_cut_values(lab: MakeLab, source: str, target: str) -> None:
    """Each is taken for the other by its name or by the server's implicit casts."""
    ranges = ("CREATE TYPE xy AS RANGE (subtype = float8);", "CREATE TYPE xy AS RANGE (subtype = float4);")
    theirs, ours = (
        f"{xy} CREATE TABLE t (id int PRIMARY KEY, v {type_});"
        for xy, type_ in zip(ranges, (source, target), strict=True)
    )
    assert "public.t.v: the target's type" in str(lab(theirs, "", target=ours).refusal())


@POSTGRES
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("timestamp", "timestamp(6)"),
        ("time[]", "time(6)[]"),
        ("interval", "interval(6)"),
        ("numeric(3, -2)", "numeric(5)"),
    ],
)
def test_types_that_cut_nothing(lab: MakeLab, source: str, target: str) -> None:
    theirs, ours = (f"CREATE TABLE t (id int PRIMARY KEY, v {type_});" for type_ in (source, target))
    assert lab(theirs, "INSERT INTO t VALUES (1, NULL);", target=ours).run().kept == 1


@POSTGRES
def test_a_value_that_a_filter_cannot_read_is_not_quoted(lab: MakeLab) -> None:
    """The filter itself is right, as far as a server can tell without reading rows."""
    db = lab("CREATE TABLE t (id int PRIMARY KEY, name text);", "INSERT INTO t VALUES (1, 'ann@example.org');")
    with pytest.raises(SubsetError, match='invalid input syntax for type integer: "…"') as caught:
        db.run(filters={"t": "name::int = 1"})
    assert "ann" not in str(caught.value)


@POSTGRES
def test_an_encoding_is_no_value(lab: MakeLab) -> None:
    db = lab("CREATE TABLE t (id int PRIMARY KEY, name text);", "INSERT INTO t VALUES (1, '5 €');")
    with pytest.raises(SubsetError, match='in encoding "UTF8" has no equivalent in encoding "LATIN1"'):
        db.run(filters={"t": "convert_to(name, 'LATIN1') IS NOT NULL"})


@pytest.mark.parametrize("target", ["gross int", "gross int NOT NULL DEFAULT 0", ""])
def test_a_generated_column_that_the_target_does_not_generate(lab: MakeLab, target: str) -> None:
    """It is never written: its values would be lost, and references with them."""
    theirs = "CREATE TABLE t (id int PRIMARY KEY, net int, gross int GENERATED ALWAYS AS (net * 2) STORED);"
    ours = f"CREATE TABLE t (id int PRIMARY KEY, net int{', ' if target else ''}{target});"
    said = "the source generates this column, the target does not" if target else "the target has no such column"
    assert said in str(lab(theirs, "", target=ours).refusal())


@POSTGRES
def test_types_that_have_room(lab: MakeLab) -> None:
    """And a composite type that lost an attribute, and one that is nobody's column."""
    table = "CREATE TABLE t (id int PRIMARY KEY, a xy, b xy[], c d, e m, f interval day, g r, h r_multirange);"
    made = "CREATE TYPE r AS RANGE (subtype = date);"
    source = f"{XY} {made} CREATE DOMAIN d AS xy; CREATE TYPE m AS ENUM ('a'); CREATE TYPE unused AS (a int);"
    target = (
        "CREATE TYPE xy AS (gone int, x int, y varchar(99)); ALTER TYPE xy DROP ATTRIBUTE gone; CREATE DOMAIN d AS xy;"
        f"{made} CREATE TYPE m AS ENUM ('b', 'a'); CREATE TYPE unused AS (b int);"
    )
    row = "(1, '(1,a)', '{\"(2,b)\"}', '(3,c)', 'a', '2 days', '[2024-01-01,2024-01-03)', '{}')"
    db = lab(source + table, f"INSERT INTO t VALUES {row};", target=target + table.replace("interval day", "interval"))
    assert db.run().kept == 1
    assert [str(v) for v in db.target.rows("t")[0]] == [str(v) for v in db.source.rows("t")[0]]


def test_rows_of_somebody_else(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    db.target.execute("INSERT INTO parking VALUES (77)")
    error = db.refusal(filters={"customer": "id = 1"})
    assert isinstance(error, TargetError)
    assert "public.parking holds rows that no subset run wrote" in str(error)
    assert "replace_existing=True" in str(error)
    db.run(filters={"customer": "id = 1"}, replace_existing=True)
    assert db.target.ids("parking") == {"parking": [1]}
    db.run(filters={"customer": "id = 2"})
    assert db.target.ids("customer") == {"customer": [2]}


def test_a_table_that_the_source_has_not_references_the_copy(lab: MakeLab) -> None:
    """Its schema is in scope: no setting takes it into the copy."""
    db = lab(SCHEMA, ROWS, target=f"{SCHEMA}CREATE TABLE note (id int, customer int REFERENCES customer);")
    db.target.execute("INSERT INTO customer VALUES (5, 5, NULL); INSERT INTO note VALUES (1, 5);")
    error = db.refusal(filters={"customer": "id = 1"}, replace_existing=True)
    assert "public.note has rows that reference" in str(error)
    assert "Empty the table: the source has none of that name" in str(error)


def test_a_table_outside_of_the_copy_references_it(lab: MakeLab) -> None:
    outside = """
    CREATE SCHEMA other;
    CREATE TABLE other.note (id int, customer int CONSTRAINT note_c REFERENCES public.customer (id));
    """
    db = lab(SCHEMA, ROWS, target=SCHEMA + outside)
    db.target.execute("INSERT INTO customer VALUES (5, 5, NULL); INSERT INTO other.note VALUES (1, 5);")
    error = db.refusal(filters={"customer": "id = 1"}, replace_existing=True)
    assert "other.note has rows that reference" in str(error)
    assert "schemas" in str(error)
    db.target.execute("TRUNCATE other.note")
    db.source.execute(outside)
    db.run(filters={"customer": "id = 1"}, replace_existing=True)


# -- privileges


rights = pytest.mark.engines("postgresql", because="tests/mysql/test_errors.py has the rights of MySQL")


@pytest.fixture
def users(lab: MakeLab) -> Iterator[tuple[Lab, Callable[..., dict[str, str]]]]:
    """A pair, and a way to make a role that may little on one end of it."""
    db = lab(SCHEMA, ROWS)
    with ExitStack() as undo:

        def make(end: Database, grants: str) -> dict[str, str]:
            name = f"poor_{end.params['dbname'][-20:]}"
            end.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'poor'; {grants.replace('ROLE', name)}")
            undo.callback(end.execute, f"DROP OWNED BY {name}; DROP ROLE {name}")
            return {"user": name, "password": "poor"}

        yield db, make


@rights
def test_no_select_on_one_table(users: Any) -> None:
    db, make = users
    poor = make(db.source, "GRANT SELECT ON rental, parking TO ROLE; GRANT SELECT (id, name) ON customer TO ROLE")
    error = db.refusal(filters={"customer": "nosuch", "rental": "nosuch"}, source=db.source.endpoint(**poor))
    assert f"user '{poor['user']}' may not read public.customer" in str(error)
    assert "GRANT SELECT ON public.customer" in str(error)
    assert "filters['public.rental']" in str(error)
    db.run(filters={"rental": "true"}, tables={"customer": "skip"}, source=db.source.endpoint(**poor))


@rights
def test_a_clause_is_checked_beside_an_unreadable_table_of_a_longer_name(users: Any) -> None:
    db, make = users
    db.source.execute("CREATE TABLE customer_old (id int PRIMARY KEY)")
    db.target.execute("CREATE TABLE customer_old (id int PRIMARY KEY)")
    poor = make(db.source, "GRANT SELECT ON customer, rental, parking TO ROLE")
    error = db.refusal(filters={"customer": "nosuch"}, source=db.source.endpoint(**poor))
    assert "may not read public.customer_old" in str(error)
    assert "filters['public.customer']" in str(error)


@rights
def test_no_usage_on_the_schema(users: Any) -> None:
    db, make = users
    db.source.execute("CREATE SCHEMA secret; CREATE TABLE secret.list (id int)")
    db.target.execute("CREATE SCHEMA secret; CREATE TABLE secret.list (id int)")
    poor = make(db.source, "GRANT SELECT ON ALL TABLES IN SCHEMA public, secret TO ROLE")
    schemas = ["public", "secret"]
    error = db.refusal(filters={"customer": "true"}, schemas=schemas, source=db.source.endpoint(**poor))
    assert "may not read secret.list" in str(error)
    assert "GRANT USAGE ON SCHEMA secret." in str(error)
    assert "GRANT SELECT" not in str(error)


@rights
def test_no_select_on_a_table_that_a_clause_reads(users: Any) -> None:
    db, make = users
    db.source.execute("CREATE SCHEMA secret; CREATE TABLE secret.list (id int)")
    poor = make(db.source, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO ROLE; GRANT USAGE ON SCHEMA secret TO ROLE")
    error = db.refusal(filters={"customer": "id IN (SELECT id FROM secret.list)"}, source=db.source.endpoint(**poor))
    assert "permission denied for table list" in str(error)
    assert "GRANT what the clause reads" in str(error)


@rights
def test_a_plan_of_a_table_that_may_not_be_read(users: Any) -> None:
    """A fault of the database, not of its filter."""
    db, make = users
    poor = make(db.source, "GRANT SELECT ON rental, parking TO ROLE")
    schema = running.reflect(db.source.endpoint())
    with engines.get("postgresql").source(db.source.endpoint(**poor), "test") as source:
        plan = planning.build(Spec.of(filters={"customer": "id = 1"}), schema)
        with pytest.raises(EndpointError, match="permission denied for table customer"):
            previewing.preview(plan, source)
        wrong = planning.build(Spec.of(filters={"customer": "id = 1", "rental": "nosuch"}), schema)
        with pytest.raises(RequestError, match=r"filters\['public\.rental'\]: column .nosuch. does not exist"):
            previewing.preview(wrong, source)


@rights
def test_a_connection_that_is_lost_is_no_fault_of_a_filter(shop: Lab) -> None:
    name = "test of a lost connection"
    with engines.get("postgresql").source(shop.source.endpoint(), name) as source:
        shop.source.query(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{name}'")
        with pytest.raises(RetryableError):
            source.clause_faults(TableName("public", "customer"), "id = 1", "filters")


@rights
def test_row_level_security(users: Any) -> None:
    db, make = users
    db.source.execute("ALTER TABLE customer ENABLE ROW LEVEL SECURITY")
    poor = make(db.source, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO ROLE")
    error = db.refusal(filters={"customer": "true"}, source=db.source.endpoint(**poor))
    assert "row-level security hides rows of public.customer" in str(error)
    assert "BYPASSRLS" in str(error)


@rights
def test_a_target_user_who_may_not_insert_or_does_not_own(users: Any) -> None:
    db, make = users
    poor = make(db.target, "GRANT INSERT ON rental TO ROLE")
    error = db.refusal(filters={"customer": "true"}, target=db.target.endpoint(**poor))
    assert isinstance(error, TargetError)
    text = str(error)
    assert f"user '{poor['user']}' may not insert into public.customer" in text
    assert f"user '{poor['user']}' may not insert into public.parking" in text
    assert f"user '{poor['user']}' does not own public.rental" in text
    assert "may not create the schema airflow_subset" in text


@rights
def test_a_target_user_who_owns_everything_is_enough(users: Any) -> None:
    db, make = users
    name = db.target.value("SELECT current_database()")
    poor = make(
        db.target,
        f'GRANT CREATE ON DATABASE "{name}" TO ROLE; ALTER TABLE customer OWNER TO ROLE;'
        "ALTER TABLE rental OWNER TO ROLE; ALTER TABLE parking OWNER TO ROLE",
    )
    db.run(filters={"customer": "id = 1"}, target=db.target.endpoint(**poor))
    assert db.target.ids() == {"customer": [1], "parking": [1], "rental": [1]}


# -- drift


def test_the_schema_is_not_the_one_of_the_catalog(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    catalog = Schema.from_json(db.schema("public").to_json())
    db.source.execute("ALTER TABLE customer ADD vat int; ALTER TABLE rental DROP amount; DROP TABLE parking")
    error = db.refusal(filters={"customer": "true"}, schema=catalog)
    assert isinstance(error, DriftError)
    assert "airflow-subset reflect" in str(error)
    assert {re.sub(r"\(int.*?\)+", "(int)", str(f)) for f in error.faults[1:]} == {
        "public.customer.vat: column added (int). Harmless by itself.",
        "public.rental.amount: column dropped",
        "public.parking: table dropped",
    }


def test_a_catalog_of_estimates_that_changed_is_no_drift(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    catalog = db.schema("public")
    old = replace(catalog, server="PostgreSQL 9.6", tables=tuple(replace(t, rows=5) for t in catalog.tables))
    db.run(filters={"customer": "id = 1"}, schema=old)
    assert db.target.ids("customer") == {"customer": [1]}
