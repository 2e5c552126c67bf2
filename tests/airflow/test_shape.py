"""The DAG mirrors the foreign-key graph, and drops in where an operator would."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from airflow.sdk import DAG, TaskGroup
from markdown_it import MarkdownIt

from airflow_subset_provider import SubsetOperator
from airflow_subset_provider.core.run import Endpoint, reflect
from airflow_subset_provider.core.schema import Schema
from sandbox.postgresql import PostgresEndpoint
from tests.airflow.conftest import Database, is_airflow_3_1, serialization
from tests.core.build import made
from tests.databases import Dump, Library, dump_params, dumps


def _operator(**arguments: Any) -> SubsetOperator:
    defaults: dict[str, Any] = {"task_id": "copy", "source_conn_id": "source", "target_conn_id": "target"}
    return SubsetOperator(**defaults | {"filters": {"customer": "id = 1"}} | arguments)


def _edges(dag: Any, group: str) -> set[tuple[str, str]]:
    """The edges between the tasks of one inner group, by what the tasks are called in it."""
    inside = [t for t in dag.tasks if t.task_id.startswith(f"{group}.")]
    names = {t.task_id: t.task_id.removeprefix(f"{group}.") for t in inside}
    return {(names[t.task_id], names[d]) for t in inside for d in t.downstream_task_ids if d in names}


def test_names_that_are_markup_are_shown_in_the_documentation(catalog: Path) -> None:
    clause = "name = '```'\nAND id = 7 -- `|"
    with DAG("d", schedule=None) as dag:
        group = _operator(catalog=catalog, filters={"customer": clause})
    docs = (dag.get_task("copy.tables.customer").doc_md, getattr(group, "doc_md", None))
    for doc in docs if not is_airflow_3_1() else docs[:1]:
        assert doc is not None
        spans = [
            t.content for token in MarkdownIt().parse(doc) for t in token.children or () if t.type == "code_inline"
        ]
        assert " ".join(clause.splitlines()) in spans


def test_a_large_cycle_fits_into_airflows_tables(tmp_path: Path) -> None:
    """SQLite, which is Airflow's database here, takes any length; Postgres does not, and fails when a run is made."""
    from airflow.models.taskinstance import TaskInstance

    names = [f"{'n' * 60}{number:03}" for number in range(70)]
    lines = {name: f"id, next? -> {other}" for name, other in zip(names, [*names[1:], names[0]], strict=True)}
    catalog = tmp_path / "catalog.json"
    catalog.write_text(made(lines).to_json())
    with DAG("d", schedule=None) as dag:
        _operator(catalog=catalog, filters={names[0]: "id = 1"})
    columns = TaskInstance.__table__.columns
    for task in dag.tasks:
        assert len(task.task_display_name) < 500 < columns["task_display_name"].type.length
        assert len(task.task_id) <= columns["task_id"].type.length
    (cycle,) = (task for task in dag.tasks if task.task_id.startswith("copy.tables."))
    assert cycle.task_display_name == f"public.{' + public.'.join(names[:3])} and 67 more"
    assert cycle.doc_md is not None
    assert all(name in cycle.doc_md for name in names)


@pytest.fixture
def catalog(shop: tuple[Database, Database], shop_catalog: str, airflow_home: Path) -> Path:
    return airflow_home / "dags" / shop_catalog


def test_layout(catalog: Path) -> None:
    with DAG("d", schedule=None) as dag:
        group = _operator(catalog=catalog, others="referenced")
    assert {t.task_id.removeprefix("copy."): set(t.downstream_task_ids) for t in dag.tasks} == {
        "prepare": {"copy.wait", "copy.hold", "copy.prepared", "copy.release"},
        "prepared": set(),
        "hold": set(),
        "wait": {"copy.tables.customer", "copy.release"},
        "tables.customer": {"copy.tables.Order", "copy.tables.payment", "copy.tables.visit"},
        "tables.Order": {"copy.tables.payment"},
        "tables.payment": {"copy.loaded"},
        "tables.visit": {"copy.loaded"},
        "loaded": {"copy.references.Order"},
        "references.Order": {"copy.references.currency", "copy.references.customer"},
        "references.currency": {"copy.finish"},
        "references.customer": {"copy.references.department_and_1_more"},
        "references.department_and_1_more": {"copy.finish"},
        "finish": {"copy.release"},
        "release": set(),
    }
    assert [t.task_id for t in group.leaves] == ["copy.finish"]
    assert [t.task_id for t in group.roots] == ["copy.prepare"]


def test_a_dag_can_be_copied(catalog: Path) -> None:
    with DAG("d", schedule=None) as dag:
        _operator(catalog=catalog)
    copied = copy.deepcopy(dag)
    assert copied.task_ids == dag.task_ids
    copied.get_task("copy.hold").on_kill()
    assert not dag.get_task("copy.hold")._over.is_set()


def test_teardown_does_not_decide(catalog: Path) -> None:
    with DAG("d", schedule=None) as dag:
        _operator(catalog=catalog)
    release, prepare = dag.get_task("copy.release"), dag.get_task("copy.prepare")
    assert release.is_teardown
    assert prepare.is_setup
    assert not release.on_failure_fail_dagrun
    assert [t.task_id for t in dag.tasks if t.is_teardown and t.on_failure_fail_dagrun] == ["copy.prepared"]


def test_a_cycle_is_one_task_with_all_its_tables_names(catalog: Path) -> None:
    with DAG("d", schedule=None) as dag:
        _operator(catalog=catalog)
    task = dag.get_task("copy.tables.department_and_1_more")
    assert task.task_display_name == "public.department + public.employee"
    for text in ("whole", "public.department(boss_id) -> public.employee", "employee(manager_id)"):
        assert text in task.doc_md


@pytest.mark.parametrize("relations", [{}, {"employee.manager_id": {"references": "drop"}}])
def test_every_task_says_what_it_does(catalog: Path, relations: dict[str, Any]) -> None:
    with DAG("d", schedule=None) as dag:
        _operator(catalog=catalog, others="referenced", relations=relations)
    assert [t.task_id for t in dag.tasks if not t.doc_md] == []


def test_no_sql_at_parse_time(catalog: Path) -> None:
    with DAG("d", schedule=None) as dag:
        _operator(catalog=catalog)
    assert dag.get_task("copy.tables.customer").sql == ""


def test_settle_is_one_task(catalog: Path) -> None:
    with DAG("d", schedule=None) as dag:
        group = _operator(
            catalog=catalog, others="referenced", relations={"employee.manager_id": {"references": "drop"}}
        )
    assert group.plan.may_ban
    assert [t for t in dag.task_ids if ".references." in t] == ["copy.references.settle"]


def test_drops_in_like_an_operator(catalog: Path) -> None:
    from airflow.providers.standard.operators.empty import EmptyOperator

    with DAG("d", schedule=None) as dag:
        start, end = EmptyOperator(task_id="start"), EmptyOperator(task_id="end")
        with TaskGroup("nightly"), TaskGroup("shop"):
            first = _operator(catalog=catalog, task_id="first")
            second = _operator(catalog=catalog, task_id="second", others="skip")
        start >> first >> second >> end
    assert isinstance(first, TaskGroup)
    assert dag.get_task("start").downstream_task_ids == {"nightly.shop.first.prepare"}
    assert dag.get_task("nightly.shop.first.finish").downstream_task_ids == {
        "nightly.shop.first.release",
        "nightly.shop.second.prepare",
    }
    assert dag.get_task("end").upstream_task_ids == {"nightly.shop.second.finish"}


def test_without_a_context_manager(catalog: Path) -> None:
    dag = DAG("d", schedule=None)
    _operator(catalog=catalog, dag=dag)
    assert "copy.tables.customer" in dag.task_ids


def test_serialises_the_same_twice(catalog: Path) -> None:
    def serialised() -> str:
        with DAG("d", schedule=None) as dag:
            _operator(catalog=catalog, retries=2)
        return json.dumps(serialization().to_dict(dag), sort_keys=True, default=str)

    first = serialised()
    assert first == serialised()
    assert "public.customer" in first


@pytest.mark.parametrize("dump", dump_params("postgres"))
def test_edges_are_the_condensation(
    dump: Dump, postgres_library: Library, source_server: PostgresEndpoint, tmp_path: Path
) -> None:
    database = Database(source_server, postgres_library.shared(dump))
    found = database.rows("SELECT DISTINCT schemaname::text FROM pg_stat_user_tables")
    schema = reflect(Endpoint("postgresql", database.connect, "source"), sorted(name for (name,) in found))
    catalog = tmp_path / "catalog.json"
    catalog.write_text(schema.to_json())
    with DAG("d", schedule=None) as dag:
        _operator(catalog=catalog, filters={}, others="whole")
    titles = {t.task_id.removeprefix("copy.tables."): t.task_display_name for t in dag.tasks if ".tables." in t.task_id}
    nodes, edges = _condensation(schema)
    assert set(titles.values()) == nodes
    assert {(titles[a], titles[b]) for a, b in _edges(dag, "copy.tables")} == edges


def _condensation(schema: Schema) -> tuple[set[str], set[tuple[str, str]]]:
    """By reachability: two tables are in one component when each reaches the other."""
    graph = nx.DiGraph()
    graph.add_nodes_from(str(t.name) for t in schema.tables)
    graph.add_edges_from((str(k.parent), str(k.child)) for k in schema.foreign_keys if k.parent in schema)
    below = {table: nx.descendants(graph, table) | {table} for table in graph}
    members = {
        t: sorted((u for u in below[t] if t in below[u]), key=lambda name: tuple(name.split(".", 1))) for t in graph
    }
    title = {
        t: " + ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        for t, found in members.items()
    }
    return set(title.values()), {(title[a], title[b]) for a, b in graph.edges if title[a] != title[b]}


LAZY = """
import sys
import airflow.sdk.execution_time.task_runner
from airflow.sdk import DAG, BaseOperator
with DAG("any", schedule=None):
    BaseOperator(task_id="any")
already = set(sys.modules)
from airflow_subset_provider import SubsetOperator
with DAG("d", schedule=None):
    SubsetOperator(task_id="copy", source_conn_id="a", target_conn_id="b", filters={"customer": "id = 1"},
                   catalog=sys.argv[1], relations={"payment.id": {"to": "Order"}})
print(sorted({m.partition(".")[0] for m in set(sys.modules) - already} & {"networkx", "psycopg", "psycopg2", "rich"}))
def ours(*modules):
    return sorted(m for m in modules if f"airflow_subset_provider.core.{m}" in sys.modules)
print(ours("run", "state", "select", "report", "engines.base"))
from airflow_subset_provider.core.run import Run
print(ours("bans", "checks", "preparation", "proof", "report"))
"""


def test_a_parse_and_a_tables_task_import_only_what_they_need(catalog: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LAZY, str(catalog)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-3:] == ["[]", "[]", "[]"]


BUDGET = """
import re, sys, time
from airflow.sdk import DAG
started = time.process_time()  # a busy machine makes nothing of it longer
from airflow_subset_provider import SubsetOperator
with DAG("d", schedule=None) as dag:
    SubsetOperator(task_id="copy", source_conn_id="a", target_conn_id="b", filters={"namespaces": "id < 10"},
                   catalog=sys.argv[1], retries=3)
seconds = time.process_time() - started
# Not ru_maxrss: a process inherits it from the one that it was forked from.
peak = re.search("VmHWM:[^0-9]*([0-9]+) kB", open("/proc/self/status").read())
print(len(dag.tasks), seconds, int(peak[1]) / 1024)
"""


@pytest.mark.skipif("gitlab" not in dumps("postgres"), reason="the dumps are not on this machine")
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.xdist_group("gitlab")
def test_a_thousand_tables_build_in_time_and_memory(
    postgres_library: Library, source_server: PostgresEndpoint, tmp_path: Path
) -> None:
    database = Database(source_server, postgres_library.shared(dumps("postgres")["gitlab"]))
    catalog = tmp_path / "gitlab.json"
    catalog.write_text(reflect(Endpoint("postgresql", database.connect, "source")).to_json())
    printed = subprocess.run(
        [sys.executable, "-c", BUDGET, str(catalog)], capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]
    tasks, seconds, megabytes = printed.split()
    assert int(tasks) > 900
    assert float(seconds) < 3
    assert float(megabytes) < 300
