"""Real schemas on MariaDB and MySQL: integrity by the source's own catalogue, values row by row, rows by the oracle.

What `plan --exact` counts beforehand is held against what the run then copies, table by table.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from airflow_subset_provider.core import engines, exact
from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.report import Report
from airflow_subset_provider.core.run import Endpoint, reflect, subset
from airflow_subset_provider.core.schema import ForeignKey, Schema, TableName
from airflow_subset_provider.core.spec import Spec
from sandbox.mysql_family import MySqlFamilyEndpoint
from tests import oracle
from tests.conftest import Pair
from tests.databases import Dump, dumps
from tests.real.mysql import Database, Key, endpoint, kept

WORKER = 1024  # MiB that a case may add to this process, the oracle's rows included

# dump -> filters; every filter set is run on both servers with others="whole" and others="referenced".
FILTERS: dict[str, list[dict[str, str]]] = {
    "sakila": [{"customer": "customer_id <= 10"}, {"store": "store_id = 2"}, {"film": "length > 180"}],
    "chinook": [{"Customer": "`Country` = 'Canada'"}, {"Employee": "`Employee`.`EmployeeId` = 3"}],
    "northwind": [{"customer": "country = 'Germany'"}, {"order": "order_date >= '2016-01-01'"}],
    "employees": [{"departments": "crc32(dept_no) % 4 = 1"}, {"employees": "emp_no % 20 = 1"}],
    # Nearly every table references `users`, by three or four keys.
    "openmrs_filled": [{"patient": "patient_id % 10 = 1"}, {"users": "user_id = 1"}],
    # One of its keys references a column that is not unique, and another leads to the same table.
    "koha_filled": [
        {"biblio": "biblionumber % 10 = 1"},
        {"borrowers": "borrowernumber % 10 = 1"},
        {"branches": "branchcode < 'd'"},
    ],
    "zabbix": [
        {"hosts": "hostid % 40 = 3"},
        {"users": "userid = 1"},
        {"items": "itemid < 25000 AND items.name LIKE '%CPU%'"},
    ],
    "sylius": [
        {"sylius_channel": "id % 30 = 1"},
        {"sylius_customer": "id % 10 = 4"},
        {"sylius_product": "id % 20 = 1"},
    ],
    "gitlab": [{"projects": "id % 30 = 1"}, {"users": "id % 50 = 7"}, {"organizations": "id % 25 = 1"}],
}
QUICK = ("sakila", "chinook", "northwind", "employees")  # on MariaDB
ALSO_QUICK = ("mysql-sakila-customer-referenced", "mariadb-koha_filled-borrowers-referenced")


def _case(server: str, dump: Dump, filters: dict[str, str], others: str) -> Any:
    name = f"{server}-{dump.name}-{'-'.join(filters)}-{others}"
    quick = (server == "mariadb" and dump.name in QUICK) or name in ALSO_QUICK
    marks = [pytest.mark.xdist_group(f"{server}-{dump.name}"), *([] if quick else [pytest.mark.long])]
    return pytest.param(server, dump, filters, others, id=name, marks=marks)


def _cases() -> list[Any]:
    return [
        _case(server, there[name], filters, others)
        for server in ("mariadb", "mysql")
        for there in [dumps(server)]
        for name, all_filters in FILTERS.items()
        if name in there
        for filters in all_filters
        for others in ("whole", "referenced")
    ]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("kind", "dump", "filters", "others"), _cases())
def test_a_real_database(
    kind: str, dump: Dump, filters: dict[str, str], others: str, request: pytest.FixtureRequest
) -> None:
    server: MySqlFamilyEndpoint = request.getfixturevalue(f"{kind}_server")
    pair: Pair = request.getfixturevalue(f"{kind}_pair")
    from_name, to_name = pair(dump)
    before = _peak_so_far()
    source = endpoint(server.params(from_name), "source")
    target = endpoint(server.params(to_name), "target")
    spec = Spec.of(filters=filters, others=others)
    schema = reflect(source)
    counted = _counted(spec, schema, source)
    report = subset(spec, source, target, schema=schema)
    assert {str(t): n for t, n in counted.items() if n} == {t.table: t.kept for t in report.tables if t.kept}
    with Database(server.params(from_name)) as here, Database(server.params(to_name)) as there:
        _hold(here, there, schema, spec, report)
    added = _peak() - before
    assert added < WORKER, f"{added:.0f} MiB"


def _peak_so_far() -> float:
    """MiB; what this process holds now, where the system can forget the tests before this one (proc(5), clear_refs)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _counted(spec: Spec, schema: Schema, source: Endpoint) -> dict[TableName, int]:
    with engines.get("mysql").source(source, "test") as session:
        return {t: done.kept for t, done in exact.count(planning.build(spec, schema), session).items()}


def _hold(here: Database, there: Database, schema: Schema, spec: Spec, report: Report) -> None:
    assert report.dangling == 0
    keys = here.foreign_keys()
    assert keys
    assert there.foreign_keys() == keys
    assert {k: n for k in keys if (n := there.dangling(k)) > here.dangling(k)} == {}
    assert {t: c for t, c in there.counters().items() if c[0] <= c[1]} == {}
    counts = _compare(here, there, schema, spec)
    assert {t.table: t.kept for t in report.tables if t.kept} == counts
    assert all(t.kept for t in report.tables if t.reason == "filter"), "a filter that selects nothing shows nothing"


def _compare(here: Database, there: Database, schema: Schema, spec: Spec) -> dict[str, int]:
    """Every table of the copy against the source and the oracle; its row counts."""
    rows, answers = _rows(here, schema, spec.filters)
    expected = oracle.subset(schema, spec, rows, answers, lambda key: here.matches(_bare(key))).kept
    counts, columns = {}, there.tables()
    for table in schema.tables:
        copied = [c.name for c in table.copied]
        picked = {c: e for c, e in columns[table.name.name].items() if c in copied}
        found = kept(there.rows(table.name.name, picked))
        source = Counter(tuple(row[c] for c in picked) for row in rows[table.name])
        assert not found - source, f"{table.name}: rows that the source does not have"
        want = Counter(
            {
                tuple(dict(zip(copied, row, strict=True))[c] for c in picked): n
                for row, n in expected[table.name].items()
            }
        )
        assert found == want, table.name
        if found:
            counts[str(table.name)] = found.total()
    return counts


def _bare(key: ForeignKey) -> Key:
    return Key(key.name, key.child.name, key.columns, key.parent.name, key.parent_columns)


def _rows(database: Database, schema: Schema, filters: dict[str, str]) -> tuple[oracle.Rows, oracle.Answers]:
    """All rows, and the numbers of those that answer each filter."""
    rows: dict[TableName, list[dict[str, str | None]]] = {}
    answers: dict[TableName, set[int]] = {}
    columns = database.tables()
    for table in schema.tables:
        clause, picked = filters.get(table.name.name), columns[table.name.name]
        found = database.rows(table.name.name, picked, clause or "TRUE")
        rows[table.name] = [dict(zip(picked, row[1:], strict=True)) for row in found]
        if clause:
            answers[table.name] = {n for n, row in enumerate(found) if row[0]}
    return rows, answers


def test_sakila_exactly(mariadb_pair: Callable[[Dump], tuple[str, str]], mariadb_server: MySqlFamilyEndpoint) -> None:
    if "sakila" not in dumps("mariadb"):
        pytest.skip("the sakila dump is not on this machine")
    from_name, to_name = mariadb_pair(dumps("mariadb")["sakila"])
    ends = [endpoint(mariadb_server.params(name), name) for name in (from_name, to_name)]
    subset(Spec.of(filters={"customer": "customer_id <= 10"}, others="referenced"), *ends)
    with Database(mariadb_server.params(to_name)) as there:
        counts = there.counts()
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
