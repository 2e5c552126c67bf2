"""What is settled before a row moves: every table's rule and reason, what each filter reaches, and the steps."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from airflow_subset_provider.core.errors import RequestError
from airflow_subset_provider.core.plan import Plan, Sample
from airflow_subset_provider.core.spec import Rule
from tests.core.build import key, make, name, plan

# country ← city ← address ← customer ← rental ← payment; payment → customer too; rental → inventory → film.
SHOP = make(
    country="id",
    city="id, country -> country",
    address="id, city -> city",
    customer="id, address -> address, store",
    film="id",
    inventory="id, film -> film",
    rental="id, customer -> customer, inventory -> inventory",
    payment="id, customer -> customer, rental? -> rental",
    log="id",
)


def rules(found: Plan) -> dict[str, str]:
    return {t.name: p.rule.value for t, p in found.tables.items()}


def reasons(found: Plan) -> dict[str, str]:
    return {t.name: p.reason for t, p in found.tables.items()}


def titles(components: object) -> list[str]:
    return [c.id for c in components]  # type: ignore[attr-defined]


# -- rules


def test_a_filter_reaches_all_that_lies_below_it() -> None:
    found = plan(SHOP, filters={"customer": "store = 1"})
    assert {t for t, r in rules(found).items() if r == "relevant"} == {"customer", "rental", "payment"}
    assert {r for t, r in rules(found).items() if t not in ("customer", "rental", "payment")} == {"whole"}
    assert reasons(found)["customer"] == "filter"
    assert reasons(found)["rental"] == "below a filter: rental(customer) → customer"
    assert reasons(found)["payment"] == "below a filter: payment(customer) → customer"
    assert reasons(found)["film"] == "no filter reaches it: others='whole'"


def test_the_reason_is_the_shortest_path() -> None:
    found = plan(SHOP, filters={"city": "true"}, relations={"payment.customer": {"follow": False}})
    assert reasons(found)["payment"] == (
        "below a filter: payment(rental) → rental(customer) → customer(address) → address(city) → city"
    )


@pytest.mark.parametrize("others", ["whole", "referenced", "skip"])
def test_others(others: str) -> None:
    found = plan(SHOP, filters={"rental": "true"}, others=others)
    assert rules(found)["log"] == rules(found)["film"] == others


def test_overrides_by_pattern_the_most_specific_wins() -> None:
    found = plan(
        SHOP,
        filters={"customer": "true"},
        tables={"*": "referenced", "c*": "skip", "city": "whole", "public.log": "skip", "payment": "relevant"},
    )
    assert rules(found) == {
        "country": "skip",
        "city": "whole",
        "address": "referenced",
        "customer": "relevant",  # a filter names its table exactly: no wildcard beats it
        "film": "referenced",
        "inventory": "referenced",
        "rental": "referenced",
        "payment": "relevant",
        "log": "skip",
    }
    assert reasons(found)["country"] == "tables['c*']"
    assert reasons(found)["log"] == "tables['public.log']"


def test_a_rule_of_its_own_stops_the_filters() -> None:
    for rule in ("whole", "referenced", "skip"):
        found = plan(SHOP, filters={"city": "true"}, tables={"customer": rule})
        assert rules(found)["customer"] == rule
        assert rules(found)["rental"] == "whole"
        assert rules(found)["address"] == "relevant"


def test_relevant_without_a_filter_is_empty_and_says_so() -> None:
    found = plan(SHOP, filters={"rental": "true"}, tables={"log": "relevant"})
    assert rules(found)["log"] == "relevant"
    assert reasons(found)["log"] == "tables['log'], though no filter reaches it"


def test_follow_off_stops_the_filters_at_one_key() -> None:
    found = plan(SHOP, filters={"customer": "true"}, relations={"rental.*": {"follow": False}})
    assert rules(found)["rental"] == "whole"
    assert rules(found)["payment"] == "relevant"


def test_a_sample_is_a_filter() -> None:
    found = plan(SHOP, sample={"customer": " 2.5 %", "film": 10}, filters={"film": "true"}, seed=3)
    assert found.tables[name("customer")].sample == Sample(2.5, None, 3)
    assert found.tables[name("film")].sample == Sample(None, 10, 3)
    assert found.tables[name("film")].filter == "true"
    assert rules(found)["payment"] == "relevant"
    assert {t.name.name for t in found.tables.values() if t.filtered} == {"film", "customer"}


def test_integrity_off_lets_no_filter_down() -> None:
    found = plan(SHOP, filters={"customer": "true"}, referential_integrity=False)
    assert rules(found)["customer"] == "relevant"
    assert rules(found)["payment"] == "whole"
    assert found.relations == ()
    assert found.closures == ()
    assert any("foreign keys may not hold" in w for w in found.warnings)


# -- what applies where


def above(found: Plan, table: str) -> set[str]:
    return {t.name for t in found.filters_above(found.graph.component_of[name(table)])}


def ways(found: Plan, table: str, filtered: str) -> list[str]:
    return [r.key.name for r in found.ways(name(table), name(filtered))]


def test_every_filter_above_counts() -> None:
    found = plan(SHOP, filters={"customer": "a", "rental": "b", "country": "c"})
    assert above(found, "country") == set()
    assert above(found, "customer") == {"country"}
    assert above(found, "rental") == {"country", "customer"}
    assert above(found, "payment") == {"country", "customer", "rental"}
    assert ways(found, "payment", "customer") == ["payment_customer", "payment_rental"]
    assert ways(found, "payment", "rental") == ["payment_rental"]
    assert ways(found, "rental", "country") == ["rental_customer"]
    assert above(found, "film") == set()


def test_a_filter_does_not_pass_a_table_with_a_rule_of_its_own() -> None:
    found = plan(SHOP, filters={"country": "a", "rental": "b"}, tables={"customer": "whole"})
    assert above(found, "rental") == set()
    assert above(found, "payment") == {"rental"}
    assert ways(found, "payment", "rental") == ["payment_rental"]


def test_inside_a_cycle_its_own_filters_are_not_above() -> None:
    schema = make(top="id", a="id, b? -> b, top? -> top", b="id, a? -> a, self? -> b", low="id, b? -> b")
    found = plan(schema, filters={"top": "x", "a": "y"})
    assert above(found, "a") == above(found, "b") == {"top"}
    assert above(found, "low") == {"top", "a"}
    assert ways(found, "a", "top") == ["a_top"]
    assert ways(found, "b", "top") == []
    assert ways(found, "low", "top") == ways(found, "low", "a") == ["low_b"]
    cycle = found.graph.component_of[name("a")]
    assert {r.key.name for r in found.inside(cycle)} == {"a_b", "b_a", "b_self"}


def test_a_deep_chain_of_filters_is_settled_at_once() -> None:
    schema = make(**{f"t{n}": f"id, up -> t{n - 1}, other -> t{n // 2}" if n else "id" for n in range(400)})
    found = plan(schema, filters={f"t{n}": "x" for n in range(0, 400, 4)})
    assert len(above(found, "t399")) == 100


# -- steps


def test_steps_of_a_plain_request() -> None:
    found = plan(SHOP, filters={"customer": "true"}, others="referenced")
    assert titles(found.extracts) == ["customer", "rental", "payment"]
    assert titles(found.closures) == ["rental", "inventory", "film", "customer", "address", "city", "country"]


def test_whole_tables_need_no_closing() -> None:
    found = plan(SHOP, filters={"customer": "true"})
    assert found.extracts == found.graph.components
    assert titles(found.closures) == ["rental", "customer"]


def test_null_and_drop_need_no_closing() -> None:
    assert plan(SHOP, filters={"customer": "true"}, references="drop").closures == ()
    assert plan(SHOP, filters={"customer": "true"}, references="null").closures == ()


def test_what_is_not_copied_needs_no_closing() -> None:
    found = plan(SHOP, filters={"rental": "true"}, others="skip")
    assert titles(found.closures) == ["rental"]
    assert set(found.copied) == {name("rental"), name("payment")}


def test_a_self_reference_is_closed() -> None:
    found = plan(make(t="id, up? -> t"), filters={"t": "true"})
    assert titles(found.closures) == ["t"]


def test_bans_are_possible_only_where_a_referred_row_may_have_to_go() -> None:
    mixed = {"address.city": {"references": "drop"}}
    assert not plan(SHOP, filters={"customer": "true"}, others="referenced").may_ban
    assert plan(SHOP, filters={"customer": "true"}, others="referenced", relations=mixed).may_ban
    assert plan(SHOP, filters={"customer": "true"}, others="referenced", tables={"country": "skip"}).may_ban
    assert not plan(SHOP, filters={"customer": "true"}, references="drop").may_ban
    assert not plan(SHOP, filters={"film": "true"}, relations={"payment.rental": {"references": "drop"}}).may_ban


# -- warnings and faults


def test_warnings_name_the_key_and_what_happens_to_it() -> None:
    found = plan(SHOP, filters={"customer": "true"}, tables={"address": "skip", "film": "skip"})
    assert set(found.warnings) == {
        "public.inventory(film) -> public.film: it cannot be NULL: rows are left out, as its parent is not copied",
        "public.customer(address) -> public.address: it cannot be NULL: rows are left out, as its parent is not copied",
    }


def test_a_filter_in_a_cycle_that_another_filter_reaches_elsewhere() -> None:
    """dep has no key that leads to loc, so none of its rows is a seed, whatever its own filter says."""
    office = make([key("dep", "mgr", "emp")], loc="id", dep="id, mgr?", emp="id, loc -> loc, dep -> dep")
    assert plan(office, filters={"dep": "id = 3"}, others="referenced").warnings == ()
    both = plan(office, filters={"dep": "id = 3", "loc": "id = 1"}, others="referenced")
    assert both.warnings == (
        "public.dep: its filter only narrows what the cycle public.dep + public.emp leads to, as no foreign key of "
        "public.dep leads to public.loc, which is filtered too",
    )


def test_a_cycle_with_filters_above_different_tables_of_it() -> None:
    pair = make([key("a", "b", "b")], x="id", y="id", a="id, b?, x -> x", b="id, a -> a, y -> y")
    assert plan(pair, filters={"x": "true", "y": "true"}).warnings == (
        "cycle public.a + public.b: no row is relevant, as no table of it is below all of public.x and public.y",
    )
    assert plan(pair, filters={"x": "true"}).warnings == ()


def test_a_skipped_child_is_no_reason_to_warn() -> None:
    assert plan(SHOP, filters={"rental": "true"}, tables={"address": "skip", "customer": "skip"}).warnings != ()
    assert not any(
        "customer(address)" in w for w in plan(SHOP, tables={"address": "skip", "customer": "skip"}).warnings
    )


@pytest.mark.parametrize(
    ("request_", "where"),
    [
        ({"filters": {"nobody": "x"}}, "filters['nobody']"),
        ({"sample": {"nobody": 1}}, "sample['nobody']"),
        ({"tables": {"nobody": "skip"}}, "tables['nobody']"),
        ({"tables": {"x*": "skip"}}, "tables['x*']"),
        ({"relations": {"nobody": {}}}, "relations['nobody']"),
        ({"filters": {"log": "x", "public.log": "x"}}, "filters['public.log']"),
        ({"filters": {"log": "x"}, "tables": {"log": "whole"}}, "tables['log']"),
        ({"sample": {"log": 1}, "tables": {"public.log": "skip"}}, "tables['public.log']"),
        ({"others": "skip"}, "filters"),
        ({"others": "referenced"}, "filters"),
        ({"tables": {"*": "skip"}}, "filters"),
    ],
)
def test_what_cannot_be(request_: dict[str, object], where: str) -> None:
    with pytest.raises(RequestError) as caught:
        plan(SHOP, **request_)
    (fault,) = caught.value.faults
    assert fault.where == where
    assert fault.do


def test_a_large_table_is_not_copied_whole_by_accident() -> None:
    large = replace(SHOP, tables=tuple(replace(t, rows=11 if t.name.name == "log" else 5) for t in SHOP.tables))
    with pytest.raises(RequestError, match=r"public\.log would be copied whole, and has about 11 rows"):
        plan(large, filters={"customer": "true"}, whole_limit=10)
    assert rules(plan(large, filters={"customer": "true"}, whole_limit=11))["log"] == "whole"
    assert rules(plan(large, filters={"customer": "true"}, whole_limit=10, tables={"log": "whole"}))["log"] == "whole"
    assert rules(plan(large, filters={"customer": "true"}, whole_limit=10, others="skip"))["log"] == "skip"


def test_an_ambiguous_table() -> None:
    schema = make((), ("a", "b"), **{"a.t": "id", "b.t": "id"})
    with pytest.raises(RequestError, match=r"Say which: a\.t, b\.t"):
        plan(schema, filters={"t": "x"})
    assert rules(plan(schema, filters={"a.t": "x"})) == {"t": "whole"}


def test_a_sample_needs_a_key() -> None:
    schema = make(t="id")
    bare = type(schema)("postgresql", ("public",), tuple(type(t)(t.name, t.columns) for t in schema.tables))
    with pytest.raises(RequestError, match="no primary or unique key to sample by"):
        plan(bare, sample={"t": 1})


def test_all_faults_at_once() -> None:
    with pytest.raises(RequestError) as caught:
        plan(
            SHOP,
            filters={"nobody": "x", "log": "x"},
            sample={"none": 1},
            tables={"no*": "skip", "log": "skip"},
            relations={"nope": {}, "log.x": {"to": "film"}},
        )
    assert len(caught.value.faults) == 6


# -- as data


def test_json_and_back() -> None:
    found = plan(
        SHOP,
        filters={"customer": "a%b:c"},
        sample={"film": "5%"},
        relations={"log.id": {"to": "film"}, "rental.*": {"references": "drop"}},
        tables={"city": "skip"},
    )
    again = Plan.from_json(found.to_json())
    assert again == found
    assert again.closures == found.closures


def test_a_plan_does_not_hang_on_the_order_of_the_request() -> None:
    one = plan(SHOP, filters={"customer": "a", "film": "b"}, tables={"log": "skip", "city": "whole"})
    two = plan(SHOP, filters={"film": "b", "customer": "a"}, tables={"city": "whole", "log": "skip"})
    assert rules(one) == rules(two)
    assert list(one.tables) == list(two.tables)
    assert [c.id for c in one.closures] == [c.id for c in two.closures]


def test_a_table_out_of_scope_is_skipped() -> None:
    found = plan(make([key("t", "x", "other.p")], t="id, x?"))
    assert found.rule(name("other.p")) is Rule.SKIP
