"""The condensation of the foreign-key graph, and the ids its components have in task names."""

from __future__ import annotations

import re
import sys

import pytest
from msgspec.structs import replace

from airflow_subset_provider.core import graph
from airflow_subset_provider.core.graph import Graph
from airflow_subset_provider.core.schema import Schema
from tests.core.build import key, made, make, name


def condensed(schema: Schema) -> Graph:
    return graph.build(schema, schema.foreign_keys)


def ids(*names: str, schemas: tuple[str, ...] = ("public",)) -> list[str]:
    return [c.id for c in condensed(made(dict.fromkeys(names, "id"), schemas=schemas)).components]


def test_parents_come_first_and_ties_by_name() -> None:
    schema = make(z="id", a="id, z -> z", m="id, z -> z, a -> a", b="id", y="id, b? -> b")
    found = condensed(schema)
    assert [c.id for c in found.components] == ["b", "y", "z", "a", "m"]
    assert found.edges == {("b", "y"), ("z", "a"), ("z", "m"), ("a", "m")}
    assert not any(c.cyclic for c in found.components)


def test_the_order_does_not_hang_on_the_order_of_reflection() -> None:
    tables = {"z": "id", "a": "id, z -> z", "m": "id, z -> z, a -> a", "b": "id, n -> c", "c": "id, n -> b"}
    there, back = made(tables), made(dict(reversed(tables.items())))
    assert [c.id for c in condensed(there).components] == [c.id for c in condensed(back).components]


def test_the_title_of_a_large_cycle_is_short() -> None:
    names = [f"{'n' * 60}{n:03}" for n in range(70)]
    (cycle,) = condensed(
        made({a: f"id, next -> {b}" for a, b in zip(names, [*names[1:], names[0]], strict=True)})
    ).components
    assert cycle.short_title == f"public.{names[0]} + public.{names[1]} + public.{names[2]} and 67 more"
    assert all(name in cycle.title for name in names)


def test_a_self_reference_is_a_cycle_without_an_edge() -> None:
    found = condensed(make(t="id, up? -> t, other? -> t"))
    (component,) = found.components
    assert component.cyclic
    assert [k.columns for k in component.inside] == [("up",), ("other",)]
    assert found.edges == frozenset()


def test_a_cycle_is_one_component_with_all_its_keys() -> None:
    schema = make(
        top="id", a="id, b? -> b, top -> top", b="id, c? -> c", c="id, a? -> a, self? -> c", below="id, a -> a, c -> c"
    )
    found = condensed(schema)
    assert [c.id for c in found.components] == ["top", "a_and_2_more", "below"]
    cycle = found.components[1]
    assert cycle.title == cycle.short_title == "public.a + public.b + public.c"
    assert {k.name for k in cycle.inside} == {"a_b", "b_c", "c_a", "c_self"}
    assert found.edges == {("top", "a_and_2_more"), ("a_and_2_more", "below")}
    assert found.component_of[name("b")] is cycle


def test_two_cycles_that_share_a_table_are_one_component() -> None:
    found = condensed(make(a="id, b? -> b", b="id, a? -> a, c? -> c", c="id, b? -> b"))
    assert [len(c.tables) for c in found.components] == [3]


def test_keys_to_tables_out_of_scope_are_left_out() -> None:
    schema = make([key("t", "id", "other.gone")], t="id")
    assert condensed(schema).edges == frozenset()


def test_several_keys_between_two_tables_are_one_edge() -> None:
    assert condensed(make(p="id", c="id, a -> p, b -> p")).edges == {("p", "c")}


def test_ids_are_safe_for_tasks_whatever_the_names() -> None:
    odd = ["a b", "a.b", "a/b", "a_b", "a-b", "日本", "中国", "", "x" * 300, "%s", "A_B", "é"]
    found = ids(*odd)
    assert len(set(found)) == len(odd)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,160}", i) for i in found)


def test_names_that_are_equal_as_ids_are_numbered() -> None:
    assert ids("a b", "a%b", "a_b", "a_b-2") == ["a_b", "a_b-2", "a_b-3", "a_b-2-2"]


def test_ids_name_the_schema_where_there_are_several() -> None:
    assert ids("crm.customer", "shop.customer", schemas=("crm", "shop")) == ["crm__customer", "shop__customer"]


def test_ids_that_collide_with_a_cycles_name() -> None:
    schema = make(a="id, b? -> b", b="id, a? -> a", a_and_1_more="id")
    assert len({c.id for c in condensed(schema).components}) == 2


def test_nothing() -> None:
    assert condensed(make()) == Graph((), frozenset())


def test_a_thousand_tables_in_a_chain() -> None:
    tables = {f"t{n}": f"id, up -> t{n - 1}" if n else "id" for n in range(1000)}
    assert [c.id for c in condensed(made(tables)).components] == [f"t{n}" for n in range(1000)]


# -- components that came with the catalog


def test_components_come_with_the_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = make(z="id", a="id, z -> z, up? -> a", m="id, z -> z, n? -> n", n="id, m? -> m, out? -> gone")
    again = Schema.from_json(graph.condensed(schema).to_json())
    without = condensed(schema)
    monkeypatch.setitem(sys.modules, "networkx", None)
    assert condensed(again) == without


def test_a_virtual_key_that_closes_a_cycle_joins_components() -> None:
    schema = graph.condensed(make(p="id", c="id, p -> p", d="id, c -> c"))
    back, forth = key("p", "id", "c"), key("d", "id", "p")
    for keys in ((*schema.foreign_keys, back), (*schema.foreign_keys, forth)):
        assert graph.build(schema, keys) == graph.build(replace(schema, components=()), keys)
    assert len(graph.build(schema, (*schema.foreign_keys, back)).components) == 2


def test_a_catalog_edited_by_hand_has_no_components() -> None:
    text = graph.condensed(make(p="id", c="id, p -> p")).to_json()
    assert Schema.from_json(text).components
    edited = Schema.from_json(text.replace('"name": "c_p"', '"name": "c_q"'))
    assert edited.components == ()
    assert [c.id for c in condensed(edited).components] == ["p", "c"]
