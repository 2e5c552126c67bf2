"""Statements as they go to the server, compared letter by letter, and planned by a real one.

`UPDATE_SNAPSHOTS=1 pytest tests/sql` writes the files anew; read the diff before you commit it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from airflow_subset_provider.core import engines, select
from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.run import Endpoint, reflect
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.spec import Rule, Spec
from sandbox.postgresql import PostgresEndpoint
from tests.databases import CreateDatabase
from tests.sql.cases import CASES, Case
from tests.sql.recorder import Recorder

SNAPSHOTS = Path(__file__).parent / "snapshots" / "postgresql"
FLAVOUR = engines.get("postgresql").flavour


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_snapshot(case: Case, source_server: PostgresEndpoint, fresh_database: CreateDatabase) -> None:
    params = source_server.params(fresh_database(source_server, hint=case.name))
    with psycopg.connect(**params, autocommit=True) as connection:
        connection.execute(case.ddl)
        spec = Spec.of(**case.request)
        schema = reflect(Endpoint("postgresql", lambda: psycopg.connect(**params), "source"), spec.schemas)
        told = list(_statements(case, planning.build(spec, schema)))
        for title, statement in told:
            connection.execute(statement if statement.startswith("CREATE") else f"EXPLAIN {statement}")
            assert title
    _compare(case.name, "\n".join(f"-- {title}\n{statement};\n" for title, statement in told))


def _statements(case: Case, plan: Plan) -> Iterator[tuple[str, str]]:
    for table in plan.copied:
        if plan.rule(table) in (Rule.RELEVANT, Rule.WHOLE) and table.name in (case.extracts or (table.name,)):
            yield str(table), FLAVOUR.compile(select.extract(plan, table, FLAVOUR))
    recorder = Recorder(plan)
    integrity = recorder.settle(plan, FLAVOUR)
    if case.close:
        integrity.close(plan.graph.component_of[TableName("public", case.close)])
    if case.drop:
        integrity.drop(plan.graph.component_of[TableName("public", case.drop)])
    yield from recorder.told


def _compare(name: str, text: str) -> None:
    file = SNAPSHOTS / f"{name}.sql"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert file.exists(), f"no snapshot {file.name}: run with UPDATE_SNAPSHOTS=1"
    assert text == file.read_text()


def test_every_snapshot_belongs_to_a_case() -> None:
    assert {f.stem for f in SNAPSHOTS.glob("*.sql")} == {c.name for c in CASES}
