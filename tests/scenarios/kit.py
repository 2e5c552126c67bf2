"""A source and a target of one test's own, so that a scenario is its schema, its rows, its request and what is left.

After every run the kit itself looks at what no scenario should have to say again: constraints and triggers are in
force as they were, no lock is held, nothing is noted as suspended, and as many rows were kept as `plan --exact` had
counted. After every refusal: the target is as it was.
"""

from __future__ import annotations

import copy
import itertools
import os
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from airflow_subset_provider.core import engines, exact
from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.errors import SubsetError
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.report import Report
from airflow_subset_provider.core.run import Run, reflect, subset
from airflow_subset_provider.core.schema import Schema
from airflow_subset_provider.core.spec import Spec
from sandbox.mysql_family import MySqlFamilyEndpoint
from sandbox.postgresql import PostgresEndpoint
from tests.scenarios.ends import Database, MySqlDatabase, PostgresDatabase, Row

MakeLab = Callable[..., "Lab"]


class Lab:
    """Both ends of one scenario."""

    def __init__(self, source: Database, target: Database, engine: str) -> None:
        self.source, self.target, self.engine = source, target, engine

    def fill(self, schema: str, rows: str = "", target: str | None = None) -> None:
        """The schema on both ends, or `target` on that; the rows in the source."""
        self.source.execute(schema + rows)
        self.target.execute(schema if target is None else target)

    def q(self, name: str) -> str:
        """An identifier as a clause on this engine has it."""
        return self.source.quote(name)

    def schema(self, *schemas: str) -> Schema:
        return reflect(self.source.endpoint(), schemas)

    def plan(self, **request: Any) -> Plan:
        spec = Spec.of(**request)
        return planning.build(spec, self.schema(*spec.schemas))

    def prepared(self, key: str = "run", **request: Any) -> Run:
        """A run that a test takes step by step."""
        options = {k: request.pop(k) for k in ("alive", "replace_existing") if k in request}
        return Run(self.plan(**request), self.source.endpoint(), self.target.endpoint(), key=key, fresh=True, **options)

    def run(self, **request: Any) -> Report:
        """All steps in a row, and what holds after every run."""
        options, spec = _split(request)
        source, target = options.pop("source", self.source.endpoint()), options.pop("target", self.target.endpoint())
        triggers = self.target.triggers()
        counted = None if "source" in request or "schema" in request else self._counted(spec)
        report = subset(spec, source, target, **options)
        self.assert_in_force(validated=spec.referential_integrity)
        assert self.target.triggers() == triggers or options.get("create_schema")
        assert report.dangling == 0 or not spec.referential_integrity
        assert Report.from_dict(report.as_dict()) == report
        kept = {t.table: (t.kept, t.nulled) for t in report.tables}
        assert counted is None or counted == {t: kept[t] for t in counted}
        return report

    def _counted(self, spec: Spec) -> dict[str, tuple[int, int]]:
        """The rows that `plan --exact` says would be kept, and changed."""
        plan = planning.build(spec, self.schema(*spec.schemas))
        with engines.get(self.source.endpoint().engine).source(self.source.endpoint(), "test") as source:
            return {str(t): (done.kept, done.nulled) for t, done in exact.count(plan, source).items()}

    def run_unlike(self, constraints: list[Row], **request: Any) -> Report:
        """The same where the target has constraints of its own."""
        options, spec = _split(request)
        report = subset(spec, self.source.endpoint(), self.target.endpoint(), **options)
        self.assert_in_force(wanted=constraints)
        assert report.dangling == 0
        return report

    def assert_in_force(self, validated: bool = True, wanted: list[Row] | None = None) -> None:
        """The target's constraints are the source's again (or those wanted), and nobody holds the target."""
        found = self.target.constraints()
        wanted = self.source.constraints() if wanted is None else wanted
        assert [c[:3] for c in found] == [c[:3] for c in wanted]
        if validated and self.source.proves_keys:
            assert found == wanted
        elif validated:  # a subset may leave out what dangles in the source
            assert [f for f, w in zip(found, wanted, strict=True) if w[3] and not f[3]] == []
        assert self.target.suspended() == []
        assert self.target.holders() == []

    def refusal(self, **request: Any) -> SubsetError:
        """The error of a run that must not happen; the target is as it was."""
        options, spec = _split(request)
        source, target = options.pop("source", self.source.endpoint()), options.pop("target", self.target.endpoint())
        before = self.target.everything()
        with pytest.raises(SubsetError) as caught:
            subset(spec, source, target, **options)
        assert self.target.everything() == before
        error = caught.value
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        return error


def _split(request: dict[str, Any]) -> tuple[dict[str, Any], Spec]:
    request = copy.copy(request)
    own = ("source", "target", "schema", "replace_existing", "create_schema", "on_drift", "key")
    return {k: request.pop(k) for k in own if k in request}, Spec.of(**request)


class Workbench(ABC):
    """Where a module's labs are made on one engine."""

    @abstractmethod
    def lab(self) -> Any:
        """A context with an empty lab."""

    @abstractmethod
    def shared(self, *scripts: str | None) -> Lab:
        """The lab of these scripts, made when it is first asked for: what runs leave in it the next one replaces."""

    @abstractmethod
    def close(self) -> None:
        """Remove what was made."""


class PostgresWorkbench(Workbench):
    """Databases are used again: making one costs more than most scenarios."""

    def __init__(self, source: PostgresEndpoint, target: PostgresEndpoint) -> None:
        self._pools = Pool(source, "source"), Pool(target, "target")
        self._shared: dict[tuple[str | None, ...], Lab] = {}
        self._undo = ExitStack()

    @contextmanager
    def lab(self) -> Iterator[Lab]:
        with self._pools[0].database() as source, self._pools[1].database() as target:
            yield Lab(source, target, "postgresql")

    def shared(self, *scripts: str | None) -> Lab:
        if scripts not in self._shared:
            self._shared[scripts] = self._undo.enter_context(self.lab())
            self._shared[scripts].fill(*scripts)
        return self._shared[scripts]

    def close(self) -> None:
        self._undo.close()
        for pool in self._pools:
            pool.close()


class Pool:
    """Empty databases of one Postgres server."""

    def __init__(self, server: PostgresEndpoint, label: str) -> None:
        self._server, self._label = server, label
        self._made: list[str] = []
        self._free: list[str] = []

    @contextmanager
    def database(self) -> Iterator[Database]:
        """A database with nothing but an empty schema `public`."""
        name = self._free.pop() if self._free else self._new()
        database = PostgresDatabase(self._server.params(name), self._label)
        try:
            yield database
            database.clear()
            self._free.append(name)
        finally:
            database.close()

    def _new(self) -> str:
        name = f"subset_{self._label}_{os.getpid()}_{next(_numbers)}"
        self._made.append(name)
        self._server.create_database(name)
        return name

    def close(self) -> None:
        for name in self._made:
            self._server.drop_database(name)


class MySqlWorkbench(Workbench):
    """The databases bear the schemas' names, so there is one lab at a time: a shared one makes way for any other."""

    def __init__(self, source: MySqlFamilyEndpoint, target: MySqlFamilyEndpoint, engine: str) -> None:
        self._servers, self._engine = (source, target), engine
        self._shared: tuple[str | None, ...] = ()
        self._undo = ExitStack()

    @contextmanager
    def lab(self) -> Iterator[Lab]:
        self.close()
        yield self._new()
        self.close()

    def shared(self, *scripts: str | None) -> Lab:
        if self._shared != scripts:
            self.close()
            self._lab = self._new()
            self._lab.fill(*scripts)
            self._shared = scripts
        return self._lab

    def _new(self) -> Lab:
        ends = []
        for server, label in zip(self._servers, ("source", "target"), strict=True):
            ends.append(MySqlDatabase(server, label))
            self._undo.callback(ends[-1].close)
        return Lab(*ends, self._engine)

    def close(self) -> None:
        self._shared = ()
        self._undo.close()


_numbers = itertools.count(1)
_workbenches = pytest.StashKey[dict[str, Workbench]]()
_SERVERS = {
    "postgresql": ("source_server", "target_server"),
    "mariadb": ("mariadb_server", "mariadb_target_server"),
    "mysql": ("mysql_server", "mysql_target_server"),
}


@pytest.fixture(name="workbench")
def workbench_fixture(request: pytest.FixtureRequest, engine: str) -> Workbench:
    """This module's, on the engine that the test is for."""
    module = request.node.getparent(pytest.Module)
    found = module.stash.setdefault(_workbenches, {})
    if engine not in found:
        servers = [request.getfixturevalue(name) for name in _SERVERS[engine]]
        found[engine] = PostgresWorkbench(*servers) if engine == "postgresql" else MySqlWorkbench(*servers, engine)
        module.addfinalizer(found[engine].close)
    return found[engine]


@pytest.fixture(name="lab")
def lab_fixture(workbench: Workbench) -> Iterator[MakeLab]:
    """`lab(schema, rows="", target=None)`: the schema on both ends (or `target` on that), the rows in the source."""
    with ExitStack() as undo:

        def make(schema: str, rows: str = "", target: str | None = None) -> Lab:
            lab = undo.enter_context(workbench.lab())
            lab.fill(schema, rows, target)
            return lab

        yield make


@pytest.fixture(name="shared_lab")
def shared_lab_fixture(workbench: Workbench) -> MakeLab:
    """The same, for all tests of a module: a run replaces what the one before it left."""

    def make(schema: str, rows: str = "", target: str | None = None) -> Lab:
        return workbench.shared(schema, rows, target)

    return make
