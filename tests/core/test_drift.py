"""Every difference between two schemas is named, and none that is not one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_subset_provider.core.drift import differences
from airflow_subset_provider.core.schema import Column, Key, Schema
from tests.core.build import key, make

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
        (table(0, partitions=("public.p1",)), ["public.p: partitions or storage changed"]),
        (table(0, inherited=True), ["public.p: partitions or storage changed"]),
        (table(0, engine="MyISAM"), ["public.p: partitions or storage changed"]),
        (keys(FIRST), None),
        (keys(SECOND), None),
        (keys(FIRST, SECOND, key("c", "id", "p")), ["public.c(id) -> public.p: foreign key added"]),
        (keys(FIRST, replace(SECOND, validated=False)), ["public.c(p) -> public.p: foreign key changed"]),
        (keys(FIRST, replace(SECOND, only_on=("x",))), ["public.c(p) -> public.p: foreign key changed"]),
        (keys(replace(FIRST, parent_columns=("b", "a")), SECOND), ["public.c(x, y) -> public.p: foreign key changed"]),
        (keys(replace(FIRST, name="other"), SECOND), ["public.c(x, y) -> public.p: foreign key changed"]),
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
    """They read alike as labels."""
    other = replace(SECOND, name="c_p_code", parent_columns=("a",))
    both = keys(FIRST, SECOND, other)
    assert [str(f) for f in differences(both, OLD)] != []
    assert [str(f) for f in differences(OLD, both)] != []


def test_the_same() -> None:
    assert told(OLD) == []
    assert told(replace(OLD, server="other", tables=tuple(replace(t, rows=7) for t in OLD.tables))) == []
