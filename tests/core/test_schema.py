"""The schema as data: JSON and back, and a fingerprint that changes with what matters and nothing else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from msgspec.structs import fields, replace

from airflow_subset_provider.core.graph import condensed
from airflow_subset_provider.core.schema import Column, ForeignKey, Key, Schema, Table, TableName
from tests.core.build import key, make

P, C = TableName("public", "p"), TableName("Shop Floor", 'c"ö')
KIND = Column("kind", "text", collation='pg_catalog."C"')
SCHEMA = Schema(
    "postgresql",
    ("Shop Floor", "public"),
    (
        Table(
            C,
            (Column("id", "integer", nullable=False), Column("p", "numeric(10,2)"), KIND),
            (Key("c_pkey", ("id",), primary=True), Key("c_p", ("p", "kind"))),
            partitions=("public.c1", "public.c2"),
            rows=5,
        ),
        Table(P, (Column("id", "integer", False, generated=True, default=True, binary=False),), engine="InnoDB"),
    ),
    (
        ForeignKey("c_p_fkey", C, ("p",), P, ("id",), when=(("kind", "x"),), virtual=True),
        ForeignKey("p_self", P, ("id",), P, ("id",), validated=False, only_on=("public.c1",)),
    ),
    server="PostgreSQL 16.1",
)


def test_json_and_back() -> None:
    text = SCHEMA.to_json()
    again = Schema.from_json(text)
    assert again == SCHEMA
    assert again.fingerprint == SCHEMA.fingerprint
    assert again.to_json() == text
    assert again[C].rows == 5
    assert all(isinstance(t.name, TableName) for t in again.tables)
    hash(again.foreign_keys[0])


def test_the_catalog_file_reads_well_in_a_diff() -> None:
    lines = SCHEMA.to_json().splitlines()
    assert len([line for line in lines if '"columns"' in line]) == len(SCHEMA.tables) + len(SCHEMA.foreign_keys)
    assert json.loads(SCHEMA.to_json())["fingerprint"] == SCHEMA.fingerprint


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"catalog_version": 99}', "not json"])
def test_what_is_no_catalog(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (json's own error is one, too)
        Schema.from_json(text)


def edited(**change: Any) -> Schema:
    """A catalog of two tables, `c` with a key and a foreign key to `p`, after somebody's hand."""
    schema = condensed(make([key("c", "x,y", "p", "a,b")], p="id, a, b", c="id, x, y", o="id -> other.far"))
    shape = json.loads(schema.to_json())
    for where, value in change.items():
        *path, last = where.split("__")
        place = shape
        for step in path:
            place = place[int(step)] if step.isdigit() else place[step]
        if value is None:
            del place[int(last) if last.isdigit() else last]
        else:
            place[int(last) if last.isdigit() else last] = value
    return Schema.from_json(json.dumps(shape))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tables__1": None}, "foreign key c_x_y of public.c: there is no such table"),
        ({"tables__1__columns__1": None}, "foreign key c_x_y of public.c: there is no column x"),
        ({"tables__0__columns__2": None}, "foreign key c_x_y of public.c, in public.p: there is no column b"),
        ({"tables__0__columns": []}, "key p_pkey of public.p: there is no column id"),
        ({"tables__0__columns__1__name": "id"}, "public.p has two columns of one name"),
        ({"tables__0__keys__0__columns": ["nosuch"]}, "key p_pkey of public.p: there is no column nosuch"),
        ({"tables__0__keys__0__columns": []}, "key p_pkey of public.p: it names no column"),
        ({"tables__0__name__1": "c"}, "public.c is there twice"),
        ({"foreign_keys__0__columns": ["x"]}, "foreign key c_x_y of public.c: (x) cannot reference (a, b)"),
        ({"foreign_keys": None}, "'foreign_keys' is missing"),
        ({"tables__0__keys": None}, "'keys' is missing"),
        ({"tables": ["p"]}, "string indices"),
        ({"tables": 5}, "not iterable"),
        ({"tables__0__columns__0__name": ["id"]}, "unhashable"),
    ],
)
def test_a_catalog_that_contradicts_itself(change: dict[str, Any], said: str) -> None:
    """Merged badly, say: nobody may stumble over it later, in the middle of a DAG's parse."""
    with pytest.raises(ValueError, match=re.escape(said)):
        edited(**change)


def test_a_catalog_that_is_nested_without_end() -> None:
    with pytest.raises(ValueError, match="recursion"):
        Schema.from_json("[" * 100_000)


@pytest.mark.parametrize(
    "change",
    [
        {"tables__0": None},  # the parent's table alone: now it is out of scope
        {"tables__2__columns": [], "tables__2__keys": [], "foreign_keys__1": None},  # Postgres has such tables
    ],
)
def test_a_catalog_that_may_be_edited_so(change: dict[str, Any]) -> None:
    assert edited(**change).components == ()


def test_components_are_each_table_once() -> None:
    """They are no part of the fingerprint."""
    assert len(edited().components) == 3
    for components in ([], [[["public", "p"]]], [[["public", t]] for t in "pcop"], [[["public", t]] for t in "pcx"]):
        assert edited(components=components).components == ()


def test_the_fingerprint_does_not_see_order_estimates_or_the_server() -> None:
    table = SCHEMA.tables[0]
    same = [
        replace(SCHEMA, server="PostgreSQL 17.2"),
        replace(SCHEMA, tables=SCHEMA.tables[::-1]),
        replace(SCHEMA, foreign_keys=SCHEMA.foreign_keys[::-1]),
        replace(SCHEMA, schemas=SCHEMA.schemas[::-1]),
        replace(SCHEMA, tables=(replace(table, rows=999), SCHEMA.tables[1])),
        replace(SCHEMA, tables=(replace(table, keys=table.keys[::-1]), SCHEMA.tables[1])),
    ]
    assert {s.fingerprint for s in same} == {SCHEMA.fingerprint}


def test_the_fingerprint_sees_everything_else() -> None:
    table, key = SCHEMA.tables[0], SCHEMA.foreign_keys[0]

    def with_table(**change: object) -> Schema:
        return replace(SCHEMA, tables=(replace(table, **change), SCHEMA.tables[1]))

    def with_column(**change: object) -> Schema:
        return with_table(columns=(replace(table.columns[0], **change), *table.columns[1:]))

    def with_unique(**change: object) -> Schema:
        return with_table(keys=(table.keys[0], replace(table.keys[1], **change)))

    def with_key(**change: object) -> Schema:
        return replace(SCHEMA, foreign_keys=(replace(key, **change), SCHEMA.foreign_keys[1]))

    different = [
        replace(SCHEMA, dialect="mysql"),
        replace(SCHEMA, schemas=("public",)),
        replace(SCHEMA, tables=SCHEMA.tables[:1]),
        replace(SCHEMA, foreign_keys=SCHEMA.foreign_keys[:1]),
        with_table(name=TableName("public", "other")),
        with_table(columns=table.columns[:2]),
        with_table(columns=table.columns[::-1]),
        with_table(keys=table.keys[:1]),
        with_table(partitions=("public.c1",)),
        with_table(inherited=True),
        with_table(engine="MyISAM"),
        with_column(name="other"),
        with_column(type="bigint"),
        with_column(nullable=True),
        with_column(generated=True),
        with_column(default=True),
        with_column(binary=False),
        with_unique(columns=("kind", "p")),
        with_unique(primary=True),
        with_key(columns=("kind",)),
        with_key(parent=C),
        with_key(parent_columns=("other",)),
        with_key(validated=False),
        with_key(virtual=False),
        with_key(only_on=("x",)),
        with_key(when=()),
        with_key(name="other"),
    ]
    prints = [s.fingerprint for s in different]
    assert SCHEMA.fingerprint not in prints
    assert len(set(prints)) == len(prints)


def test_every_field_is_in_the_catalog() -> None:
    shape = json.loads(SCHEMA.to_json())
    assert shape["tables"][0].keys() == {f.name for f in fields(Table)}
    assert shape["foreign_keys"][0].keys() == {f.name for f in fields(ForeignKey)}


def test_what_names_a_row() -> None:
    columns = (Column("a", "int", False), Column("b", "int", False), Column("c", "int"))
    primary, unique, nullable = Key("p", ("b",), True), Key("u", ("a", "b")), Key("n", ("a", "c"))
    assert Table(P, columns, (nullable, unique, primary)).identity == ("b",)
    assert Table(P, columns, (nullable, unique)).identity == ("a", "b")
    assert Table(P, columns, (nullable,)).identity == ()
    assert Table(P, columns).primary_key == ()


def test_lookups() -> None:
    assert C in SCHEMA
    assert TableName("public", "nobody") not in SCHEMA
    with pytest.raises(KeyError):
        SCHEMA[TableName("public", "nobody")]
    assert SCHEMA[C].column("p").type == "numeric(10,2)"
    assert SCHEMA[C].column("nobody") is None
    assert [c.name for c in SCHEMA[P].copied] == []
    assert SCHEMA.by_child[C] == SCHEMA.foreign_keys[:1]
    assert SCHEMA.foreign_keys[0].label == 'Shop Floor.c"ö(p) -> public.p'
    assert [k.on_itself for k in SCHEMA.foreign_keys] == [False, True]
