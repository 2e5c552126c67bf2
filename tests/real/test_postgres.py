"""Real schemas with real or filled data: integrity by the source's own catalogue, values row by row.

Rows by the oracle.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from airflow_subset_provider.core.run import reflect, subset
from airflow_subset_provider.core.schema import Schema, TableName
from airflow_subset_provider.core.spec import Spec
from sandbox.postgresql import PostgresEndpoint
from tests import oracle
from tests.conftest import Pair
from tests.databases import Dump, dumps
from tests.real.postgres import Database, endpoint

MUSICBRAINZ = ("musicbrainz", "cover_art_archive", "event_art_archive", "documentation", "statistics", "wikidocs")

# dump -> schemas and filters; every filter set is run with others="whole" and others="referenced".
FILTERS: dict[str, tuple[tuple[str, ...], list[dict[str, str]]]] = {
    "pagila": (
        ("public",),
        [
            {"customer": "customer_id <= 10"},
            {"customer": "store_id = 1", "rental": "rental_date >= '2022-07-01'"},
            {"film": "title LIKE 'A%' AND film_id IN (SELECT film_id FROM film_actor WHERE actor_id < 20)"},
        ],
    ),
    "sakila": (
        ("public",),
        [{"customer": "customer_id <= 10"}, {"store": "store_id = 2"}, {"film": "length > 180"}],
    ),
    "chinook": (("public",), [{"customer": "country = 'Canada'"}, {"employee": "employee_id = 3"}]),
    "chinook_quoted": (
        ("public",),
        [{"Customer": "\"Country\" = 'Canada'"}, {"Employee": '"Employee"."EmployeeId" = 3'}],
    ),
    "northwind": (("public",), [{"customers": "country = 'Germany'"}, {"orders": "order_date >= '1998-01-01'"}]),
    "musicbrainz_sample": (
        MUSICBRAINZ,
        [{"artist": "id > 0 AND name ILIKE '%a%'"}, {"musicbrainz.release": "id % 2 = 0"}],
    ),
    "musicbrainz": (MUSICBRAINZ, [{"artist": "id % 20 = 1"}, {"editor": "id % 30 = 1"}, {"area": "id % 10 = 1"}]),
    "omop": (
        ("public",),
        [{"person": "person_id % 16 = 1"}, {"care_site": "care_site_id % 40 = 1"}, {"concept": "concept_id % 9 = 0"}],
    ),
    "gitlab": (("public",), [{"projects": "id % 30 = 1"}, {"users": "id % 50 = 7"}, {"organizations": "id % 25 = 1"}]),
    "canvas_filled": (
        ("public",),
        [{"users": "id % 20 = 1"}, {"courses": "id % 12 = 1", "users": "id % 2 = 0"}, {"accounts": "id % 20 = 1"}],
    ),
    "zabbix": (
        ("public",),
        [{"hosts": "hostid % 40 = 3"}, {"users": "userid = 1"}, {"items": "itemid < 25000 AND name LIKE '%CPU%'"}],
    ),
    "sylius": (
        ("public",),
        [{"sylius_channel": "id % 30 = 1"}, {"sylius_customer": "id % 10 = 4"}, {"sylius_product": "id % 20 = 1"}],
    ),
}


def _cases() -> list[Any]:
    there = dumps("postgres")
    return [
        pytest.param(
            there[name],
            schemas,
            filters,
            others,
            id=f"{name}-{'-'.join(filters)}-{others}",
            marks=pytest.mark.xdist_group(name),
        )
        for name, (schemas, all_filters) in FILTERS.items()
        if name in there
        for filters in all_filters
        for others in ("whole", "referenced")
    ]


@pytest.mark.parametrize(("dump", "schemas", "filters", "others"), _cases())
def test_a_real_database(
    dump: Dump,
    schemas: tuple[str, ...],
    filters: dict[str, str],
    others: str,
    postgres_pair: Pair,
    source_server: PostgresEndpoint,
    target_server: PostgresEndpoint,
) -> None:
    from_name, to_name = postgres_pair(dump)
    source = endpoint(source_server.params(from_name), "source")
    target = endpoint(target_server.params(to_name), "target")
    spec = Spec.of(filters=filters, schemas=schemas, others=others)
    schema = reflect(source, schemas)
    report = subset(spec, source, target, schema=schema)

    with Database(source_server.params(from_name)) as here, Database(target_server.params(to_name)) as there:
        assert report.dangling == 0
        assert {k: n for k in here.foreign_keys() if (n := there.dangling(k)) > here.dangling(k)} == {}
        assert there.constraints() == here.constraints()
        counts = _compare(here, there, schema, spec)
    assert {t.table: t.kept for t in report.tables if t.kept} == counts
    assert all(t.kept for t in report.tables if t.reason == "filter"), "a filter that selects nothing shows nothing"


def _compare(here: Database, there: Database, schema: Schema, spec: Spec) -> dict[str, int]:
    """Every table of the copy against the source and the oracle; its row counts."""
    expected = oracle.subset(schema, spec, *_rows(here, schema, spec.filters)).kept
    counts = {}
    for name, found in here.tables(list(schema.schemas)).items():
        columns = [c for c in found if c in {own.name for own in schema[TableName(*name)].copied}]
        kept = there.rows(name, columns)
        assert not kept - here.rows(name, columns), f"{name}: rows that the source does not have"
        want = Counter({_in_order(schema, name, columns, row): n for row, n in expected[TableName(*name)].items()})
        assert kept == want, name
        if kept:
            counts[str(TableName(*name))] = kept.total()
    return counts


def _rows(database: Database, schema: Schema, filters: dict[str, str]) -> tuple[oracle.Rows, oracle.Answers]:
    """All rows as texts, and the numbers of those that answer each filter."""
    rows: dict[TableName, list[dict[str, str | None]]] = {}
    answers: dict[TableName, set[int]] = {}
    database.connection.execute(f"SET search_path = {', '.join(schema.schemas)}")
    for table in schema.tables:
        clause = next((c for t, c in filters.items() if t in (table.name.name, str(table.name))), None)
        names = [c.name for c in table.columns]
        only = "" if table.partitions else "ONLY"
        picked = ", ".join(f'"{table.name.name}"."{n}"::text' for n in names)
        found = database.connection.execute(
            f'SELECT ({clause or "true"}), {picked} FROM {only} "{table.name.schema}"."{table.name.name}"'
        ).fetchall()
        rows[table.name] = [dict(zip(names, row[1:], strict=True)) for row in found]
        if clause:
            answers[table.name] = {n for n, row in enumerate(found) if row[0]}
    return rows, answers


def _in_order(schema: Schema, name: tuple[str, str], columns: list[str], row: tuple[Any, ...]) -> tuple[Any, ...]:
    values = dict(zip((c.name for c in schema[TableName(*name)].copied), row, strict=True))
    return tuple(values[c] for c in columns)


def test_pagila_exactly(postgres_pair: Pair, source_server: PostgresEndpoint, target_server: PostgresEndpoint) -> None:
    if "pagila" not in dumps("postgres"):
        pytest.skip("the pagila dump is not on this machine")
    from_name, to_name = postgres_pair(dumps("postgres")["pagila"])
    spec = Spec.of(filters={"customer": "customer_id <= 10"}, others="referenced")
    subset(spec, endpoint(source_server.params(from_name), "source"), endpoint(target_server.params(to_name), "target"))
    with Database(target_server.params(to_name)) as there:
        _is_exact(there)


def _is_exact(there: Database) -> None:
    counts = there.counts(["public"])
    assert counts == {
        "customer": 10,
        "rental": 278,
        "payment": 278,
        "inventory": 275,
        "film": 241,
        "address": 14,
        "city": 12,
        "country": 11,
        "staff": 2,
        "store": 2,
        "language": 1,
    }
    assert sum(counts.values()) == 1124
    _insert_everywhere(there)


def _insert_everywhere(there: Database) -> None:
    """Every sequence goes on behind its column's values: an insert with defaults alone for the key does not collide."""
    serials = there.connection.execute(
        "SELECT d.adrelid::regclass::text, a.attname, pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d "
        "JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum JOIN pg_class c ON c.oid = d.adrelid "
        "WHERE pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%' AND NOT c.relispartition"
    ).fetchall()
    assert len(serials) >= 13
    for table, column, default in serials:
        following = there.connection.execute(f"SELECT {default}, (SELECT coalesce(max({column}), 0) FROM {table})")  # type: ignore[arg-type]
        value, greatest = following.fetchone()
        assert value > greatest, (table, column)
