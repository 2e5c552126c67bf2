"""A source and a target of one test's own, so that a scenario is its schema, its rows, its request and what is left.

After every run the kit itself looks at what no scenario should have to say again: constraints and triggers are in
force as they were, no lock is held, nothing is noted as suspended. After every refusal: the target is as it was.
"""

from __future__ import annotations

import copy
import itertools
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.errors import SubsetError
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.report import Report
from airflow_subset_provider.core.run import Endpoint, Run, reflect, subset
from airflow_subset_provider.core.schema import Schema
from airflow_subset_provider.core.spec import Spec
from sandbox.postgresql import PostgresEndpoint

Row = tuple[Any, ...]
MakeLab = Callable[..., "Lab"]

TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'airflow_subset') ORDER BY 1, 2
"""
CONSTRAINTS = """
SELECT format('%I.%I', n.nspname, c.relname), k.conname, replace(pg_get_constraintdef(k.oid), ' NOT VALID', ''),
       k.convalidated
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'airflow_subset') ORDER BY 1, 2
"""
TRIGGERS = """
SELECT tgrelid::regclass::text, tgname::text, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2
"""
SEQUENCES = "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"
SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast)' ORDER BY 1"


class Database:
    """One end, as a test looks at it; what it sees is committed."""

    def __init__(self, params: dict[str, Any], label: str) -> None:
        self.params = params
        self.label = label
        self.connection = psycopg.connect(**params, autocommit=True)

    def execute(self, script: str) -> None:
        """Run a script in one transaction."""
        if script:
            self.connection.execute(script)

    def query(self, text: str) -> list[Row]:
        return self.connection.execute(text).fetchall()

    def value(self, text: str) -> Any:
        return self.query(text)[0][0]

    @contextmanager
    def holding(self, *tables: str) -> Iterator[None]:
        """These tables may be read and not written, until `release` or the end."""
        self.connection.execute("BEGIN")
        self.connection.execute(f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE")  # type: ignore[arg-type]
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """End the transaction, if there is one."""
        self.connection.rollback()

    def endpoint(self, **changes: Any) -> Endpoint:
        """The engine's way in, under another user or address if asked for."""
        params = self.params | changes
        return Endpoint("postgresql", lambda: psycopg.connect(**params), self.label)

    def rows(self, table: str) -> list[Row]:
        """A table's own rows in order of their columns, NULLs last; without what inherits from it."""
        name = sql.Identifier(*(table.split(".", 1) if table in self._spelled() else ("public", table)))
        plain = self.connection.execute(
            sql.SQL("SELECT relkind = 'r' FROM pg_class WHERE oid = {}::regclass").format(
                sql.Literal(name.as_string(self.connection))
            )
        ).fetchone()[0]
        query = sql.SQL("SELECT * FROM {} {}").format(sql.SQL("ONLY" if plain else ""), name)
        return sorted(self.connection.execute(query).fetchall(), key=_in_order)

    def _spelled(self) -> set[str]:
        return {f"{s}.{t}" for s, t in self.query(TABLES)}

    def tables(self) -> list[str]:
        """All tables; those of `public` by their bare names."""
        return [t if s == "public" else f"{s}.{t}" for s, t in self.query(TABLES)]

    def ids(self, *tables: str) -> dict[str, list[Any]]:
        """The first column of these tables, or of all."""
        return {t: [row[0] for row in self.rows(t)] for t in tables or self.tables()}

    def constraints(self) -> list[Row]:
        return self.query(CONSTRAINTS)

    def unvalidated(self) -> list[str]:
        """The names of the constraints that are NOT VALID."""
        return [name for _, name, _, valid in self.constraints() if not valid]

    def everything(self) -> dict[str, Any]:
        """All that a refused run must leave alone."""
        return {
            "rows": {t: self.rows(t) for t in self.tables()},
            "constraints": self.constraints(),
            "triggers": self.query(TRIGGERS),
            "sequences": self.query(SEQUENCES),
            "schemas": self.query(SCHEMAS),
        }


class Lab:
    """Both ends of one scenario."""

    def __init__(self, source: Database, target: Database) -> None:
        self.source, self.target = source, target

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
        triggers = self.target.query(TRIGGERS)
        report = subset(spec, source, target, **options)
        self.assert_in_force(validated=spec.referential_integrity)
        assert self.target.query(TRIGGERS) == triggers or options.get("create_schema")
        assert report.dangling == 0 or not spec.referential_integrity
        assert Report.from_dict(report.as_dict()) == report
        return report

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
        if validated:
            assert found == wanted
        assert self.target.query("SELECT * FROM airflow_subset.suspended") == []
        assert self.target.query("SELECT * FROM airflow_subset.run_lock") == []

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


def _in_order(row: Row) -> list[tuple[bool, Any]]:
    return [(v is None, v if isinstance(v, (int, str, float)) else str(v)) for v in row]


class Pool:
    """Empty databases of one server, used again within a module: making one costs more than most scenarios."""

    def __init__(self, server: PostgresEndpoint, label: str) -> None:
        self._server, self._label = server, label
        self._made: list[str] = []
        self._free: list[str] = []

    @contextmanager
    def database(self) -> Iterator[Database]:
        """A database with nothing but an empty schema `public`."""
        name = self._free.pop() if self._free else self._new()
        database = Database(self._server.params(name), self._label)
        try:
            yield database
            database.connection.execute(EMPTY)
            self._free.append(name)
        finally:
            database.connection.close()

    def _new(self) -> str:
        name = f"subset_{self._label}_{os.getpid()}_{next(_numbers)}"
        self._made.append(name)
        self._server.create_database(name)
        return name

    def close(self) -> None:
        for name in self._made:
            self._server.drop_database(name)


EMPTY = """
RESET ALL; SET client_min_messages = warning;
DO $$ DECLARE s text; BEGIN
    FOR s IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', s);
    END LOOP;
END $$;
CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC;
"""
_numbers = itertools.count(1)
_pools = pytest.StashKey[tuple[Pool, Pool]]()


@pytest.fixture(name="lab")
def lab_fixture(
    request: pytest.FixtureRequest, source_server: PostgresEndpoint, target_server: PostgresEndpoint
) -> Iterator[MakeLab]:
    """`lab(schema, rows="", target=None)`: the schema on both ends (or `target` on that), the rows in the source."""
    with _labs(request, source_server, target_server) as make:
        yield make


@pytest.fixture(scope="module", name="shared_lab")
def shared_lab_fixture(
    request: pytest.FixtureRequest, source_server: PostgresEndpoint, target_server: PostgresEndpoint
) -> Iterator[MakeLab]:
    """The same for all tests of a module: a run replaces what the one before it left."""
    with _labs(request, source_server, target_server) as make:
        yield make


@contextmanager
def _labs(
    request: pytest.FixtureRequest, source_server: PostgresEndpoint, target_server: PostgresEndpoint
) -> Iterator[MakeLab]:
    sources, targets = _module_pools(request, source_server, target_server)
    with ExitStack() as undo:

        def make(schema: str, rows: str = "", target: str | None = None) -> Lab:
            lab = Lab(undo.enter_context(sources.database()), undo.enter_context(targets.database()))
            lab.source.execute(schema + rows)
            lab.target.execute(schema if target is None else target)
            return lab

        yield make


def _module_pools(
    request: pytest.FixtureRequest, source_server: PostgresEndpoint, target_server: PostgresEndpoint
) -> tuple[Pool, Pool]:
    module = request.node.getparent(pytest.Module)
    if _pools not in module.stash:
        module.stash[_pools] = (Pool(source_server, "source"), Pool(target_server, "target"))
        for pool in module.stash[_pools]:
            module.addfinalizer(pool.close)
    return module.stash[_pools]
