"""DAG files written, parsed and run as Airflow does: `dag.test()` against real servers, no part of Airflow replaced."""

from __future__ import annotations

import functools
import itertools
import os
import runpy
import textwrap
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import select, update

from sandbox.postgresql import PostgresEndpoint, find_binaries
from tests.databases import CreateDatabase

ROOT = Path(__file__).resolve().parents[2]
SHOP = Path(__file__).with_name("shop.sql")
HEADER = """
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow_subset_provider import SubsetOperator
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Airflow's own warnings are Airflow's; this package's stay errors."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore", "error:::airflow_subset_provider"))


def serialization() -> Any:
    """The class that turns DAGs into what the scheduler reads, and back."""
    from airflow.serialization import serialized_objects

    return getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG  # Airflow 3.1


def is_airflow_3_1() -> bool:
    from airflow import __version__

    return __version__.startswith("3.1.")


def documented_settings() -> str:
    """The `airflow_local_settings.py` that docs/deployment.md shows."""
    section = (ROOT / "docs" / "deployment.md").read_text().split("### Cheaper tasks")[1].split("\n## ")[0]
    return section.split("```python\n")[1].split("```")[0]


def dag_bag(folder: Path) -> Any:
    """What the DAG processor finds in a folder."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import DagBag
    return DagBag(dag_folder=str(folder))


@dataclass
class Database:
    """One database of one server."""

    server: PostgresEndpoint
    name: str

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(**self.server.params(self.name), autocommit=True)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.execute(statement).fetchall()  # type: ignore[arg-type]

    def run(self, statement: str) -> None:
        with self.connect() as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    def value(self, statement: str) -> Any:
        return self.rows(statement)[0][0]

    def counts(self) -> dict[str, int]:
        """Every user table's number of rows."""
        tables = self.rows("SELECT relid::regclass::text, relname FROM pg_stat_user_tables WHERE schemaname = 'public'")
        return {name: self.value(f"SELECT count(*) FROM {quoted}") for quoted, name in tables}

    def foreign_keys(self) -> dict[str, bool]:
        """The names of all foreign keys, and whether they are validated."""
        return dict(self.rows("SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f'"))


@dataclass
class Outcome:
    """A finished run of a DAG; `task[3]` is the fourth instance of a mapped task."""

    state: str
    tasks: dict[str, str | None]
    instances: dict[str, Any]
    dag: Any

    @classmethod
    def of(cls, dag: Any, run: Any) -> Outcome:
        found = run.get_task_instances()
        instances = {ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]": ti for ti in found}
        states = {task: None if ti.state is None else str(ti.state) for task, ti in instances.items()}
        return cls(str(run.state), states, instances, dag)

    def rerun(
        self, task_ids: Iterable[str], *, first: Sequence[str] = (), edited: Any = None, still: str = ""
    ) -> Outcome:
        """Clear exactly these tasks of the run, and let it go on as `dag.test()` does.

        Args:
            first: tasks that had their slots already: they go first, in this order, ready or not.
            edited: the DAG as it is in the file once these have run.
            still: a task that is at its end when the first of them runs, and ends three seconds later.
        """
        from airflow.models.dagrun import DagRun
        from airflow.sdk.definitions.dag import _run_task
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState, TaskInstanceState

        with create_session() as session:
            ti = next(iter(self.instances.values()))
            scheduler_dag = serialization().deserialize_dag(serialization().serialize_dag(self.dag))
            wanted = [self.instances.get(t, t) for t in task_ids]
            marks = [
                t if isinstance(t, str) else t.task_id if t.map_index < 0 else (t.task_id, t.map_index) for t in wanted
            ]
            scheduler_dag.clear(task_ids=marks, run_id=ti.run_id, session=session)
            run = session.scalars(select(DagRun).filter_by(dag_id=ti.dag_id, run_id=ti.run_id)).one()
            run.dag, run.state = scheduler_dag, DagRunState.RUNNING
            session.commit()
            if still:
                _end_later(self.instances[still])
            for name in first:
                session.expire_all()
                task = next(t for t in run.get_task_instances(session=session) if t.task_id == name)
                task.task = scheduler_dag.get_task(name)
                task.try_number += 1
                task.state = TaskInstanceState.SCHEDULED
                session.commit()
                _run_task(ti=task, task=self.dag.task_dict[name])
            while run.state == DagRunState.RUNNING:
                session.expire_all()
                ready, _ = run.update_state(session=session)
                for task in ready:
                    task.try_number += 1
                    task.state = TaskInstanceState.SCHEDULED
                session.commit()
                for task in ready:
                    _run_task(ti=task, task=(edited or self.dag).task_dict[task.task_id])
            return Outcome.of(self.dag, run)

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        ti = self.instances[task_id]
        return ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=ti.map_index)

    def rendered(self, task_id: str) -> dict[str, Any]:
        """What *Rendered Template* shows."""
        from airflow.models.renderedtifields import RenderedTaskInstanceFields

        fields: dict[str, Any] = RenderedTaskInstanceFields.get_templated_fields(self.instances[task_id])
        return fields

    def of_state(self, state: str) -> set[str]:
        return {task for task, found in self.tasks.items() if found == state}


def _end_later(instance: Any) -> None:
    """Airflow sees the task at work for three seconds more."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState

    def put(state: TaskInstanceState) -> None:
        with create_session() as session:
            session.execute(update(TaskInstance).where(TaskInstance.id == instance.id).values(state=state))

    put(TaskInstanceState.RUNNING)
    threading.Timer(3, put, [TaskInstanceState.SUCCESS]).start()


class DagFile:
    """A DAG file in the DAGs folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Any:
        """Parse it as `python dag_file.py` would; its DAG."""
        return runpy.run_path(str(self.path))["dag"]

    def run(self, **conf: Any) -> Outcome:
        """Parse it and run its DAG to the end."""
        dag = self.load()
        if is_airflow_3_1():
            write_version(dag)
        return Outcome.of(dag, dag.test(run_conf=conf or None))


def write_version(dag: Any) -> None:
    """As the DAG processor does.

    Airflow 3.1 looks each task up in the DAG's written version, and its `dag.test()` writes only the first one.
    """
    from airflow.models.dag_version import DagVersion
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import LazyDeserializedDAG

    if (version := DagVersion.get_version(dag.dag_id)) is not None:
        SerializedDagModel.write_dag(LazyDeserializedDAG.from_dag(dag), bundle_name=version.bundle_name)


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """This process's Airflow, with an empty metadata database."""
    home = Path(os.environ["AIRFLOW_HOME"])
    (home / "dags").mkdir(exist_ok=True)
    from airflow.utils.db import initdb

    initdb()
    if is_airflow_3_1():  # which builds its API anew for each task of `dag.test()`: a second each, and open files
        from airflow.sdk.execution_time import supervisor

        supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)
    return home


_numbers = itertools.count(1)


@pytest.fixture
def dag_file(airflow_home: Path) -> Iterator[Callable[..., DagFile]]:
    """`dag_file(body)`: a file in the DAGs folder whose DAG has that body; removed after the test."""
    written = []

    def write(body: str, dag_arguments: str = "") -> DagFile:
        path = airflow_home / "dags" / f"dag_{os.getpid()}_{next(_numbers)}.py"
        body = textwrap.indent(textwrap.dedent(body).strip(), "    ")
        path.write_text(f'{HEADER}\nwith DAG("{path.stem}", schedule=None, {dag_arguments}) as dag:\n{body}\n')
        written.append(path)
        return DagFile(path)

    yield write
    for path in written:
        path.unlink()


@pytest.fixture(scope="session")
def shop_template(source_server: PostgresEndpoint) -> Iterator[str]:
    """The shop, to be copied."""
    name = f"subset_airflow_shop_{os.getpid()}"
    source_server.create_database(name)
    source_server.psql(name, SHOP)
    yield name
    source_server.drop_database(name)


@pytest.fixture
def shop(
    source_server: PostgresEndpoint,
    target_server: PostgresEndpoint,
    shop_template: str,
    fresh_database: CreateDatabase,
    monkeypatch: pytest.MonkeyPatch,
    airflow_home: Path,
) -> tuple[Database, Database]:
    """Source and empty target (no tables) of this test's own, as the connections `source` and `target`."""
    source = Database(source_server, fresh_database(source_server, template=shop_template, hint="shop"))
    target = Database(target_server, fresh_database(target_server, hint="copy"))
    monkeypatch.setenv("AIRFLOW_CONN_SOURCE", source.url)
    monkeypatch.setenv("AIRFLOW_CONN_TARGET", target.url)
    monkeypatch.setenv("PATH", f"{find_binaries()}{os.pathsep}{os.environ['PATH']}")  # pg_dump
    monkeypatch.setenv("AIRFLOW__SUBSET__CATALOG_CACHE", str(airflow_home / "catalogs" / source.name))
    return source, target


@pytest.fixture
def shop_catalog(shop: tuple[Database, Database], airflow_home: Path) -> Iterator[str]:
    """The name of the shop's catalog file, beside the DAG files."""
    from airflow_subset_provider.core.run import Endpoint, reflect

    path = airflow_home / "dags" / f"{shop[0].name}.catalog.json"
    path.write_text(reflect(Endpoint("postgresql", shop[0].connect, "source")).to_json())
    yield path.name
    path.unlink()
