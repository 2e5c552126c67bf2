"""A request is checked as a whole, with one fault for every field that is wrong."""

from __future__ import annotations

import json

import pytest
from msgspec import to_builtins
from msgspec.structs import asdict

from airflow_subset_provider.core.errors import RequestError
from airflow_subset_provider.core.spec import Others, Policy, Rule, Spec

BAD = [
    ("filters", {"t": ""}, "filters.t"),
    ("filters", {"t": " \n"}, "filters.t"),
    ("filters", {"t": 5}, "filters.t"),
    ("filters", {"t": None}, "filters.t"),
    ("filters", "id = 1", "filters"),
    ("schemas", "public", "schemas"),
    ("schemas", [1], "schemas.0"),
    ("others", "all", "others"),
    ("others", "relevant", "others"),
    ("tables", {"t": "none"}, "tables.t"),
    ("tables", ["t"], "tables"),
    ("references", "cascade", "references"),
    ("relations", {"t.a": {"follow": "perhaps"}}, "relations.t.a.follow"),
    ("relations", {"t.a": {"references": "cascade"}}, "relations.t.a.references"),
    ("relations", {"t.a": {"refs": "null"}}, "relations.t.a.refs"),
    ("relations", {"t.a": "null"}, "relations.t.a"),
    ("relations", {"t.a": {"to": 5}}, "relations.t.a.to"),
    ("relations", {"t.a": {"to": {"x": 5}, "type": "k"}}, "relations.t.a.to"),
    ("relations", {"t.a": {"type": "kind"}}, "relations.t.a"),
    ("relations", {"t.a": {"to": {"X": "x"}}}, "relations.t.a"),
    ("relations", {"t.a": {"to": "x", "type": "kind"}}, "relations.t.a"),
    ("sample", {"t": "5"}, "sample.t"),
    ("sample", {"t": "-5%"}, "sample.t"),
    ("sample", {"t": "many"}, "sample.t"),
    ("sample", {"t": -1}, "sample.t"),
    ("sample", {"t": 1.5}, "sample.t"),
    ("sample", {"t": True}, "sample.t"),
    ("sample", {"t": "101%"}, "sample.t"),
    ("sample", 5, "sample"),
    ("seed", "x", "seed"),
    ("referential_integrity", "perhaps", "referential_integrity"),
]


@pytest.mark.parametrize(("field", "value", "where"), BAD)
def test_one_bad_value_is_one_fault(field: str, value: object, where: str) -> None:
    with pytest.raises(RequestError) as caught:
        Spec.of(**{field: value})
    (fault,) = caught.value.faults
    assert fault.where == where
    assert fault.what
    assert fault.do


def test_all_of_them_at_once() -> None:
    fields = {"others": "all", "references": "cascade", "seed": "x", "filters": {"a": "", "b": 5}, "sample": {"c": -1}}
    with pytest.raises(RequestError) as caught:
        Spec.of(**fields, filtres={})
    assert sorted(f.where for f in caught.value.faults) == [
        "filters.a",
        "filters.b",
        "filtres",
        "others",
        "references",
        "sample.c",
        "seed",
    ]


@pytest.mark.parametrize(
    ("wrong", "near"), [("filtres", "filters"), ("filter", "filters"), ("reference", "references"), ("table", "tables")]
)
def test_an_unknown_setting_names_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(RequestError) as caught:
        Spec.of(**{wrong: {}})
    (fault,) = caught.value.faults
    assert (fault.what, fault.where) == ("unknown setting", wrong)
    assert near in fault.do


def test_an_unknown_setting_with_nothing_near() -> None:
    with pytest.raises(RequestError, match="Remove it"):
        Spec.of(xyzzy=1)


def test_defaults_and_spellings() -> None:
    spec = Spec.of()
    assert (spec.others, spec.references, spec.referential_integrity) == (Others.WHOLE, Policy.INCLUDE, True)
    spec = Spec.of(schemas=["a"], tables={"*": "skip"}, sample={"a": " 5.5 % ", "b": 0, "c": "100%"})
    assert spec.schemas == ("a",)
    assert spec.tables == {"*": Rule.SKIP}


def test_it_is_plain_data() -> None:
    spec = Spec.of(
        filters={"a": "x"},
        relations={"a.b": {"to": {"X": "p"}, "type": "k", "references": "null"}, "c.d": {"follow": False}},
        sample={"s": "5%", "t": 3},
        references="drop",
    )
    assert Spec.of(**to_builtins(spec)) == Spec.of(**asdict(spec)) == spec
    assert Spec.of(**json.loads(json.dumps(to_builtins(spec)))) == spec
    assert spec.with_filters({"a": "y"}).filters == {"a": "y"}
    assert spec.with_filters({"a": "y"}).relations == spec.relations
    with pytest.raises(RequestError, match=r"filters\.a"):
        spec.with_filters({"a": ""})
