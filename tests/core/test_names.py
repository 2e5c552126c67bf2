"""From what a user writes to tables and keys."""

from __future__ import annotations

import pytest

from airflow_subset_provider.core import names
from airflow_subset_provider.core.errors import Fault
from tests.core.build import key, made, make, name

SHOP = make(
    (),
    ("public", "crm"),
    **{
        "customer": "id, store?, Name?:text",
        "crm.customer": "id, crm_id?",
        "rental": "id, customer -> customer",
        "a.b": "id",
        "public.a": "id, b.c?",
    },
)


def test_a_table_by_its_name_or_with_its_schema() -> None:
    assert names.find_table(SHOP, "rental", "filters") == name("rental")
    assert names.find_table(SHOP, "public.rental", "filters") == name("rental")
    assert names.find_table(SHOP, "crm.customer", "filters") == name("crm.customer")


def test_an_ambiguous_table_lists_the_candidates() -> None:
    fault = names.find_table(SHOP, "customer", "filters['customer']")
    assert isinstance(fault, Fault)
    assert fault.what == "'customer' is ambiguous"
    assert "public.customer" in fault.do
    assert "crm.customer" in fault.do
    assert fault.where == "filters['customer']"


@pytest.mark.parametrize(
    ("text", "near"),
    [("custmer", "customer"), ("rentals", "rental"), ("public.rentl", "public.rental"), ("Rental", "rental")],
)
def test_an_unknown_table_names_the_nearest(text: str, near: str) -> None:
    fault = names.find_table(SHOP, text, "")
    assert isinstance(fault, Fault)
    assert near in fault.do
    assert "schema public, crm" in fault.what


def test_nothing_near() -> None:
    fault = names.find_table(SHOP, "xyzzy", "")
    assert isinstance(fault, Fault)
    assert fault.do == "Check the spelling and the schemas in scope."


def test_columns() -> None:
    assert names.find_columns(SHOP, "rental.customer", "") == (name("rental"), ("customer",))
    assert names.find_columns(SHOP, "public.rental.customer", "") == (name("rental"), ("customer",))
    assert names.find_columns(SHOP, "rental.id, customer", "") == (name("rental"), ("id", "customer"))
    assert names.find_columns(SHOP, "rental", "") == (name("rental"), ("id",))
    assert names.find_columns(SHOP, "crm.customer.crm_id", "") == (name("crm.customer"), ("crm_id",))
    assert names.find_columns(SHOP, "customer.Name", "") == (name("customer"), ("Name",))
    assert names.find_columns(SHOP, "a.b.c", "") == (name("public.a"), ("b.c",))


@pytest.mark.parametrize("text", ["rental.nobody", "rental.customer,nobody", "nobody", "rental.", "customer.name", "."])
def test_unknown_columns(text: str) -> None:
    fault = names.find_columns(SHOP, text, "here")
    assert isinstance(fault, Fault)
    assert "no column" in fault.what


def test_ambiguous_columns() -> None:
    fault = names.find_columns(SHOP, "customer.id", "here")
    assert isinstance(fault, Fault)
    assert "ambiguous" in fault.what
    assert "schema.table.column" in fault.do


def test_all_spellings_of_a_key() -> None:
    spelled = names.key_spellings(key("crm.t", "a,b", "p", "x,y", name="t_fk"))
    assert {"t.a,b", "crm.t.a,b", "t_fk"} <= set(spelled)


@pytest.mark.parametrize(
    ("patterns", "first"),
    [
        (["*", "log_*", "log_entry"], "log_entry"),
        (["log_entry", "log_*", "*"], "log_entry"),
        (["log_*", "log_en*"], "log_en*"),
        (["l*", "*_entry"], "*_entry"),
        (["public.log_entry", "*"], "public.log_entry"),
        (["log_entr?", "log_ent*"], "log_entr?"),
        (["a*", "log_[ae]ntry", "log_[e]ntry"], "log_[ae]ntry"),
    ],
)
def test_the_most_specific_pattern_comes_first(patterns: list[str], first: str) -> None:
    assert names.matching(patterns, ("log_entry", "public.log_entry"))[0] == first


def test_of_equally_specific_patterns_the_last_comes_first() -> None:
    assert names.matching(["log*", "*log", "l*og"], ("log",)) == ["l*og", "*log", "log*"]


def test_patterns_are_matched_by_case_and_as_a_whole() -> None:
    assert names.matching(["Log", "lo", "og", "LOG*"], ("log",)) == []


def test_a_name_that_looks_like_a_pattern_matches_itself() -> None:
    assert names.matching(["odd[name]"], ("odd[name]",)) == ["odd[name]"]
    schema = made({"odd[name]*": "id"})
    assert names.find_table(schema, "odd[name]*", "") == name("odd[name]*")
