"""Each foreign key as a run uses it: policies, the columns that become NULL, and keys that the user declares."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from airflow_subset_provider.core.errors import RequestError
from airflow_subset_provider.core.relations import Relation
from airflow_subset_provider.core.schema import Column, Schema, TableName
from airflow_subset_provider.core.spec import Policy
from tests.core.build import key, make, plan

SHOP = make(
    p="id, code!:text, name?!:character varying(9)",
    c="id, p? -> p, must -> p, n?:bigint, kind?:text, t?:text",
    d="id, c? -> c, c2? -> c",
)


def used(schema: Schema = SHOP, **request: object) -> dict[str, Relation]:
    """Relations by the key's name; a filter on a table of its own keeps everything else as it is."""
    return {r.key.name: r for r in plan(schema, **request).relations}


# -- settings


def test_a_key_is_included_and_followed_unless_somebody_says_otherwise() -> None:
    assert {(r.follow, r.policy, r.reachable, r.note) for r in used().values()} == {(True, Policy.INCLUDE, True, "")}


def test_the_most_specific_pattern_decides_each_setting_by_itself() -> None:
    found = used(
        references="null",
        relations={
            "*": {"follow": False},
            "d.*": {"references": "drop"},
            "d.c": {"follow": True},
            "public.d.c2": {"references": "include"},
        },
    )
    assert {n: (r.follow, r.policy.value) for n, r in found.items()} == {
        "c_p": (False, "null"),
        "c_must": (False, "drop"),  # it cannot be NULL
        "d_c": (True, "drop"),
        "d_c2": (False, "include"),
    }


@pytest.mark.parametrize("pattern", ["d.c", "public.d.c", "d_c", "d.[c]", "*.d.c", "d_?"])
def test_all_spellings_of_a_key(pattern: str) -> None:
    assert used(relations={pattern: {"follow": False}})["d_c"].follow is False


def test_a_composite_key_is_spelled_with_commas() -> None:
    schema = make([key("c", "a,b", "p", "a,b")], p="a, b", c="id, a?, b?")
    assert used(schema, relations={"c.a,b": {"references": "drop"}})["c_a_b"].policy is Policy.DROP


def test_null_of_a_key_that_cannot_be_null_becomes_drop_with_a_note() -> None:
    relation = used(references="null")["c_must"]
    assert relation.policy is Policy.DROP
    assert relation.note == "it cannot be NULL: rows are left out"


@pytest.mark.parametrize("policy", ["include", "null", "drop"])
def test_a_parent_that_is_not_copied(policy: str) -> None:
    found = used(references=policy, tables={"p": "skip"}, filters={"c": "true"})
    assert (found["c_p"].policy, found["c_must"].policy) == (Policy.NULL, Policy.DROP)
    assert not found["c_p"].reachable
    assert not found["c_p"].follow
    assert found["c_p"].note == "its parent is not copied: set to NULL"
    assert "as its parent is not copied" in found["c_must"].note


def test_a_parent_out_of_scope() -> None:
    schema = make([key("c", "x", "other.gone")], c="id, x?")
    relation = used(schema)["c_x"]
    assert (relation.policy, relation.reachable, relation.follow) == (Policy.NULL, False, False)


def test_a_parent_skipped_by_others() -> None:
    found = used(filters={"d": "true"}, others="skip")
    assert {n: r.policy.value for n, r in found.items() if n.startswith("d")} == {"d_c": "null", "d_c2": "null"}


# -- which columns become NULL


def nulls(columns: str, *keys: str, generated: str = "") -> dict[str, tuple[str, ...]]:
    parents = {f"p{n}": "id, y, z" for n in range(len(keys))}
    found = [key("c", k, f"p{n}", ",".join(["id", "y", "z"][: k.count(",") + 1])) for n, k in enumerate(keys)]
    schema = make(found, c=f"id, {columns}", **parents)
    if generated:
        tables = [
            replace(t, columns=tuple(replace(c, generated=c.name == generated) for c in t.columns))
            for t in schema.tables
        ]
        schema = replace(schema, tables=tuple(tables))
    return {r.key.name: r.nulls for r in plan(schema).relations}


def test_a_composite_key_gives_up_its_nullable_columns() -> None:
    assert nulls("a?, b?", "a,b") == {"c_a_b": ("a", "b")}
    assert nulls("a, b?", "a,b") == {"c_a_b": ("b",)}
    assert nulls("a, b", "a,b") == {"c_a_b": ()}


def test_a_column_of_two_keys_is_kept_where_another_can_go() -> None:
    assert nulls("t?, a?, b?", "t,a", "t,b") == {"c_t_a": ("a",), "c_t_b": ("b",)}
    assert nulls("t?, a, b?", "t,a", "t,b") == {"c_t_a": ("t",), "c_t_b": ("b",)}
    assert nulls("t?, a?, b", "t", "t,a", "t,b") == {"c_t": ("t",), "c_t_a": ("a",), "c_t_b": ("t",)}


def test_a_generated_column_cannot_be_set() -> None:
    assert nulls("a?, b?", "a,b", generated="a") == {"c_a_b": ("b",)}
    assert nulls("a?", "a", generated="a") == {"c_a": ()}


def test_a_column_that_others_reference_is_not_nulled() -> None:
    schema = make([key("d", "x", "c", "a")], p="id", c="id, a?! -> p", d="id, x?")
    assert {r.key.name: r.nulls for r in plan(schema).relations} == {"d_x": ("x",), "c_a": ()}


# -- virtual keys


def test_a_virtual_key() -> None:
    found = used(relations={"c.n": {"to": "p.id", "references": "null", "follow": False}})["c.n"]
    assert found.key.virtual
    assert not found.key.validated
    assert (found.key.columns, found.key.parent, found.key.parent_columns) == (
        ("n",),
        TableName("public", "p"),
        ("id",),
    )
    assert (found.policy, found.follow) == (Policy.NULL, False)


def test_a_virtual_key_to_a_table_means_its_primary_key() -> None:
    assert used(relations={"c.n": {"to": "p"}})["c.n"].key.parent_columns == ("id",)
    assert used(relations={"c.t": {"to": "public.p.code"}})["c.t"].key.parent_columns == ("code",)
    assert used(relations={"c.t": {"to": "p.name"}})["c.t"].key.parent_columns == ("name",)


def test_a_virtual_key_closes_a_cycle() -> None:
    found = plan(SHOP, relations={"c.n": {"to": "d"}})
    assert [c.id for c in found.graph.components] == ["p", "c_and_1_more"]


def test_a_polymorphic_key_is_one_key_for_each_parent() -> None:
    found = used(relations={"c.n": {"type": "kind", "to": {"P": "p", "D": "d.id"}, "references": "drop"}})
    assert found["c.n[P]"].key.when == (("kind", "P"),)
    assert found["c.n[D]"].key.parent == TableName("public", "d")
    assert {found["c.n[P]"].policy, found["c.n[D]"].policy} == {Policy.DROP}


@pytest.mark.parametrize(
    ("relations", "words"),
    [
        ({"c.mst": {"to": "p"}}, ["no column 'c.mst'", "c.must"]),
        ({"nobody.n": {"to": "p"}}, ["no column 'nobody.n'"]),
        ({"c.n": {"to": "nobody"}}, ["no column 'nobody'"]),
        ({"c.n": {"to": "p.nobody"}}, ["no column 'p.nobody'"]),
        ({"c.n": {"to": "d.c"}}, ["public.d(c) is not unique", "Reference a unique key: (id)"]),
        ({"c.n,p": {"to": "p"}}, ["pairs 2 with 1 columns"]),
        ({"c.n": {"to": "p.code"}}, ["types do not agree", "c.n is bigint", "p.code is text"]),
        ({"c.n": {"type": "nobody", "to": {"P": "p"}}}, ["no column 'nobody' in public.c"]),
        ({"c.n": {"type": "kind", "to": {"P": "nobody"}}}, ["no column 'nobody'"]),
        ({"c.n": {"type": "kind", "to": {"P": "p.name"}}}, ["types do not agree"]),
        ({"nobody": {"follow": False}}, ["matches no foreign key", "relations['nobody']"]),
        ({"c.q*": {"references": "drop"}}, ["matches no foreign key"]),
    ],
)
def test_what_cannot_be(relations: dict[str, object], words: list[str]) -> None:
    with pytest.raises(RequestError) as caught:
        plan(SHOP, relations=relations)
    (fault,) = caught.value.faults
    assert fault.where == f"relations[{next(iter(relations))!r}]"
    for word in words:
        assert word in str(fault)


def test_every_parent_of_a_polymorphic_key_has_its_fault() -> None:
    with pytest.raises(RequestError) as caught:
        plan(SHOP, relations={"c.n": {"type": "kind", "to": {"A": "a", "B": "b", "P": "p"}}})
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize(
    ("child", "parent"),
    [("smallint", "bigint"), ("text", "character varying(3)"), ("numeric(3,1)", "numeric"), ("uuid", "uuid")],
)
def test_types_of_one_family_agree(child: str, parent: str) -> None:
    p, c = make(p="id", c="id, x?").tables
    tables = (
        replace(p, columns=(Column("id", parent, nullable=False),)),
        replace(c, columns=(c.columns[0], Column("x", child))),
    )
    assert used(Schema("postgresql", ("public",), tables), relations={"c.x": {"to": "p"}})
