"""Every difference between two schemas is named, and none that is not one."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from airflow_subset_provider.core.checks import check_drift
from airflow_subset_provider.core.drift import changes, differences
from airflow_subset_provider.core.errors import DriftError
from airflow_subset_provider.core.schema import Column, Key, Schema, TableName
from airflow_subset_provider.core.spec import OnDrift
from tests.core.build import key, make, plan

OLD = make(
    [key("c", "x,y", "p", "a,b", name="c_xy")],
    p="id, a, b, code?!:text",
    c="id, p? -> p, x?, y?",
)


def told(new: Schema) -> list[str]:
    return [str(f) for f in differences(OLD, new)]


def table(n: int, **change: object) -> Schema:
    return replace(OLD, tables=tuple(replace(t, **change) if i == n else t for i, t in enumerate(OLD.tables)))


def column(**change: object) -> Schema:
    columns = OLD.tables[1].columns
    return table(1, columns=(columns[0], replace(columns[1], **change), *columns[2:]))


def keys(*found: object) -> Schema:
    return replace(OLD, foreign_keys=tuple(found))


FIRST, SECOND = OLD.foreign_keys
P = OLD.tables[0]


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (make(p="id"), None),
        (
            replace(OLD, tables=OLD.tables[:1], foreign_keys=()),
            [
                "public.c: table dropped",
                "public.c(p) -> public.p: foreign key dropped",
                "public.c(x, y) -> public.p: foreign key dropped",
            ],
        ),
        (column(type="bigint"), ["public.c.p: type changed from integer to bigint"]),
        (column(nullable=False), ["public.c.p: column changed (nullable: True -> False)"]),
        (column(generated=True), ["public.c.p: column changed (generated: False -> True)"]),
        (column(default=True), ["public.c.p: column changed (default: False -> True)"]),
        (column(binary=False), ["public.c.p: column changed (binary: True -> False)"]),
        (column(collation="x"), ["public.c.p: column changed (collation:  -> x)"]),
        (
            table(1, columns=(*OLD.tables[1].columns, Column("z", "text"))),
            ["public.c.z: column added (text)"],
        ),
        (table(1, columns=OLD.tables[1].columns[:3]), ["public.c.y: column dropped"]),
        (table(1, columns=()), None),
        (table(1, columns=OLD.tables[1].columns[::-1]), ["public.c: order of columns changed"]),
        (table(0, keys=P.keys[1:]), ["public.p: primary key dropped (id)"]),
        (table(0, keys=(*P.keys, Key("n", ("a", "b")))), ["public.p: unique key added (a, b)"]),
        (table(0, keys=(P.keys[0], replace(P.keys[1], columns=("a",)))), None),
        (table(0, partitions=("public.p1",)), ["public.p: partitions changed"]),
        (table(0, inherited=True), ["public.p: other tables inherit from it"]),
        (table(0, engine="MyISAM"), ["public.p: storage engine changed from  to MyISAM"]),
        (
            table(0, keys=(*P.keys, Key("n", ("a", "b"))), inherited=True),
            ["public.p: unique key added (a, b)", "public.p: other tables inherit from it"],
        ),
        (replace(OLD, dialect="mysql"), ["source: server changed from postgresql to mysql"]),
        (keys(FIRST), None),
        (keys(SECOND), None),
        (keys(FIRST, SECOND, key("c", "id", "p")), ["public.c(id) -> public.p: foreign key added"]),
        (keys(FIRST, replace(SECOND, validated=False)), ["public.c(p) -> public.p: foreign key changed"]),
        (keys(FIRST, replace(SECOND, only_on=("x",))), ["public.c(p) -> public.p: foreign key changed"]),
        (keys(replace(FIRST, parent_columns=("b", "a")), SECOND), ["public.c(x, y) -> public.p: foreign key changed"]),
        (keys(replace(FIRST, name="other"), SECOND), ["public.c(x, y) -> public.p: foreign key renamed"]),
        (keys(replace(FIRST, also=("other",)), SECOND), ["public.c(x, y) -> public.p: foreign key renamed"]),
        (table(0, keys=(replace(P.keys[0], name="other"), P.keys[1])), ["public.p: keys renamed"]),
    ],
)
def test_each_difference(new: Schema, said: list[str] | None) -> None:
    assert new.fingerprint != OLD.fingerprint
    found = told(new)
    assert found if said is None else found == said


def test_an_added_table_is_named() -> None:
    new = make([FIRST], p="id, a, b, code?!:text", c="id, p? -> p, x?, y?", n="id, c -> c")
    assert told(new) == ["public.n: table added", "public.n(c) -> public.c: foreign key added"]


def test_two_keys_over_the_same_columns_to_one_table() -> None:
    """They read alike as labels, so the parent's columns are told."""
    other = replace(SECOND, name="c_p_code", parent_columns=("a",))
    both = keys(FIRST, SECOND, other)
    assert [str(f) for f in differences(both, OLD)] == ["public.c(p) -> public.p(a): foreign key dropped"]
    assert [str(f) for f in differences(OLD, both)] == ["public.c(p) -> public.p(a): foreign key added"]
    assert not changes(OLD, both)[0].harmless


def test_names_with_dots_are_not_mixed_up() -> None:
    one, two = TableName("public", "a.b"), TableName("public.a", "b")
    tables = [replace(OLD.tables[1], name=name) for name in (one, two)]
    old = replace(OLD, tables=(*OLD.tables[:1], *tables), foreign_keys=(replace(SECOND, child=one),))
    new = replace(old, foreign_keys=(*old.foreign_keys, replace(SECOND, child=two)))
    assert [str(f) for f in differences(old, new)] == ["public.a.b(p) -> public.p: foreign key added"]


def test_the_same() -> None:
    assert told(OLD) == []
    assert told(replace(OLD, server="other", tables=tuple(replace(t, rows=7) for t in OLD.tables))) == []


# -- what is harmless

WIDE = make(
    p="id, note?:character varying(10), price?:PRICE",
    c="id, p -> p, code!:character varying(10)",
    z="id, p -> p",
)
WIDE = Schema.from_json(WIDE.to_json().replace("PRICE", "numeric(8,2)"))


def changed(n: int, column: str, **change: object) -> Schema:
    """WIDE with one column of its nth table changed."""
    table = WIDE.tables[n]
    columns = tuple(replace(c, **change) if c.name == column else c for c in table.columns)
    return replace(WIDE, tables=(*WIDE.tables[:n], replace(table, columns=columns), *WIDE.tables[n + 1 :]))


def with_table(n: int, **change: object) -> Schema:
    return replace(WIDE, tables=(*WIDE.tables[:n], replace(WIDE.tables[n], **change), *WIDE.tables[n + 1 :]))


PT, CT, ZT = WIDE.tables
NOT_VALID = replace(WIDE, foreign_keys=tuple(replace(k, validated=False) for k in WIDE.foreign_keys))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (WIDE, replace(WIDE, tables=(*WIDE.tables, make(n="id").tables[0]))),
        (
            WIDE,
            replace(
                WIDE,
                tables=(*WIDE.tables, make(n="id").tables[0]),
                foreign_keys=(*WIDE.foreign_keys, key("n", "id", "p")),
            ),
        ),
        (WIDE, with_table(0, columns=(*PT.columns, Column("new", "integer")))),
        (WIDE, with_table(0, columns=(*PT.columns, Column("new", "integer", nullable=False, default=True)))),
        (WIDE, with_table(0, columns=PT.columns[::-1])),
        (WIDE, changed(0, "note", type="character varying(11)")),
        (WIDE, changed(0, "note", type="character varying")),
        (WIDE, changed(0, "note", type="text")),
        (WIDE, changed(0, "price", type="numeric(9,2)")),
        (WIDE, changed(0, "note", nullable=False)),
        (WIDE, changed(0, "note", default=True)),
        (WIDE, with_table(0, keys=(*PT.keys, Key("n", ("note",))))),
        (WIDE, with_table(0, keys=(replace(PT.keys[0], name="other"),))),
        (WIDE, replace(WIDE, foreign_keys=tuple(replace(k, name=f"new_{k.name}") for k in WIDE.foreign_keys))),
        (with_table(0, inherited=True), WIDE),
        (with_table(0, partitions=("public.p1",)), with_table(0, partitions=("public.p1", "public.p2"))),
        (NOT_VALID, WIDE),
    ],
)
def test_harmless(old: Schema, new: Schema) -> None:
    found = changes(old, new)
    assert found
    assert [str(c) for c in found if not c.harmless] == []
    warnings = check_drift(plan(old, filters={"c": "id = 1"}), new, OnDrift.WARN)
    assert warnings == tuple(f"changed since the catalog was made: {c}" for c in found)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (WIDE, replace(WIDE, tables=WIDE.tables[:2], foreign_keys=WIDE.foreign_keys[:1])),
        (WIDE, with_table(0, columns=PT.columns[:-1])),
        (WIDE, changed(0, "note", type="character varying(9)")),
        (WIDE, changed(0, "note", type="integer")),
        (changed(0, "note", type="text"), WIDE),
        (WIDE, changed(0, "price", type="numeric(9,3)")),
        (WIDE, changed(0, "price", type="numeric(7,2)")),
        (WIDE, changed(0, "note", generated=True)),
        (WIDE, changed(0, "note", binary=False)),
        (WIDE, changed(1, "code", type="character varying(20)")),  # of a key
        (WIDE, changed(1, "p", nullable=True)),
        (WIDE, with_table(1, keys=CT.keys[:1])),
        (WIDE, with_table(0, keys=(Key("n", ("note",), primary=True),))),
        (WIDE, with_table(0, partitions=("public.p1",))),
        (WIDE, with_table(0, inherited=True)),
        (WIDE, with_table(0, inherited=True, keys=(*PT.keys, Key("n", ("note",))))),
        (WIDE, with_table(0, engine="Aria", keys=(*PT.keys, Key("n", ("note",))))),
        (replace(WIDE, tables=WIDE.tables[1:]), WIDE),  # its children's keys had been waiting for it
        (WIDE, NOT_VALID),
        (WIDE, replace(WIDE, foreign_keys=(*WIDE.foreign_keys, key("z", "id", "c")))),
        (WIDE, replace(WIDE, foreign_keys=WIDE.foreign_keys[1:])),
    ],
)
def test_harmful(old: Schema, new: Schema) -> None:
    with pytest.raises(DriftError):
        check_drift(plan(old, filters={"c": "id = 1"}), new, OnDrift.WARN)


@pytest.mark.parametrize(
    "new",
    [
        with_table(2, columns=ZT.columns[:1]),
        with_table(2, keys=()),
        changed(2, "p", type="bigint"),
        replace(WIDE, foreign_keys=WIDE.foreign_keys[:1]),
        replace(WIDE, tables=WIDE.tables[:2], foreign_keys=WIDE.foreign_keys[:1]),
    ],
)
def test_a_skipped_table_may_change(new: Schema) -> None:
    request = {"filters": {"c": "id = 1"}}
    assert check_drift(plan(WIDE, **request, tables={"z": "skip"}), new, OnDrift.WARN)
    with pytest.raises(DriftError):
        check_drift(plan(WIDE, **request), new, OnDrift.WARN)


def test_the_column_of_a_virtual_key_has_its_type() -> None:
    request = {"filters": {"c": "id = 1"}, "relations": {"p.note": {"to": "c.code"}}}
    with pytest.raises(DriftError, match="type changed"):
        check_drift(plan(WIDE, **request), changed(0, "note", type="text"), OnDrift.WARN)


def test_the_error_tells_what_would_be_harmless() -> None:
    harmless = with_table(0, columns=(*PT.columns, Column("new", "integer")))
    with pytest.raises(DriftError, match="on_drift='warn' lets such a run go on"):
        check_drift(plan(WIDE, filters={"c": "id = 1"}), harmless)
    both = replace(harmless, foreign_keys=WIDE.foreign_keys[1:])
    with pytest.raises(DriftError) as caught:
        check_drift(plan(WIDE, filters={"c": "id = 1"}), both, OnDrift.WARN)
    assert [str(f) for f in caught.value.faults][1:] == [
        "public.c(p) -> public.p: foreign key dropped",
        "public.p.new: column added (integer). Harmless by itself.",
    ]
