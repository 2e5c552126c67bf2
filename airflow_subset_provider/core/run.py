"""The steps of a run, without Airflow: what the operators call one by one, and what `subset` calls in a row.

prepare -> extract (one component at a time, parents first) -> refer (children first) -> finish; release after all of
it, whatever happened. Each step opens its own connections and leaves its result in the target, so that steps may run
in different processes and may be repeated.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

import sqlalchemy as sa

from airflow_subset_provider.core import checks, engines, select
from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.bans import Settlement
from airflow_subset_provider.core.ends import Ends
from airflow_subset_provider.core.engines.base import Endpoint, Moved, Source, Suspended, Target
from airflow_subset_provider.core.errors import (
    EndpointError,
    Fault,
    IntegrityError,
    RequestError,
    SubsetError,
    TargetError,
)
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.heal import Healing
from airflow_subset_provider.core.integrity import Integrity, is_loose
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.report import KeyReport, Report, TableReport
from airflow_subset_provider.core.schema import Schema, TableName
from airflow_subset_provider.core.spec import Rule, Spec
from airflow_subset_provider.core.state import State, Stats

__all__ = ["Endpoint", "Run", "reflect", "subset"]

log = logging.getLogger(__name__)
MB = 1_000_000
BATCH = 50  # tables or constraints changed in one transaction
T = TypeVar("T")
HEALINGS = 3  # passes of heal.py; one is enough unless rows change while constraints are put back
LOG_EVERY = 5.0  # seconds of a long copy
WORTH_ANALYZING = 1000  # rows; below that a wrong guess of the planner costs less than ANALYZE


def reflect(endpoint: Endpoint, schemas: Sequence[str] = ()) -> Schema:
    """The endpoint's schema.

    Args:
        schemas: the schemas in scope; none for the engine's default.

    Raises:
        EndpointError: it cannot be reached, or has no such schema.
    """
    with engines.get(endpoint.engine).source(endpoint, "airflow_subset reflect") as source:
        return source.reflect(schemas or source.default_schemas)


def _nobody(_run: str, _taken: datetime) -> bool:
    return False


@dataclass
class Run:
    """One run of one plan.

    Attributes:
        key: names the run; a step repeated under the same key belongs to the same run.
        alive: tells whether the run of another key, that holds the target's lock since that time, still goes on.
        log: where progress goes.
        fresh: the plan was just made from this source, so that drift need not be looked for.
        watch: is told of a table under way, several times a second; `log` only every few seconds.
    """

    plan: Plan
    source: Endpoint
    target: Endpoint
    key: str = "run"
    replace_existing: bool = False
    create_schema: bool = False
    alive: Callable[[str, datetime], bool] = _nobody
    log: logging.Logger = log
    fresh: bool = False
    watch: Callable[[TableName, Moved], None] | None = None
    ends: Ends = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Bind the two ends."""
        self.ends = Ends(self.source, self.target, self.plan.schema, f"airflow_subset {self.key}")

    def cancel(self) -> None:
        """Stop what both servers are doing for this run's open step; safe from a signal handler or another thread."""
        self.ends.cancel()

    # -- prepare

    def prepare(self) -> None:
        """Check everything; take the lock and note what will be out of force; then suspend it and empty the tables.

        Lock and notes are one transaction. What follows is done in batches, because a server has room for only so many
        locks in one transaction (Postgres: 64 for each connection it allows, and a table takes one for each index):
        whatever interrupts it, `release` and the next run find in the notes what to put back.

        Raises:
            SubsetError: with every fault found; nothing in the target is changed then.
        """
        if engines.get(self.source.engine).family != engines.get(self.target.engine).family:
            raise EndpointError(
                Fault(
                    f"cannot copy from {self.source.engine} to {self.target.engine}",
                    f"{self.source.label} → {self.target.label}",
                    "Use two databases of one kind.",
                )
            )
        with self.ends.both() as (source, target):
            if target.same_database(source):
                raise EndpointError(
                    Fault(
                        "source and target are the same database",
                        f"{self.source.label} → {self.target.label}",
                        "Point the target elsewhere: it would be emptied.",
                    )
                )
            if not self.fresh:
                checks.check_drift(self.plan, source.reflect(self.plan.schema.schemas))
            faults: dict[type[SubsetError], list[Fault]] = {RequestError: checks.check_source(self.plan, source)}
            suspended = self._claim(source, target, faults)
            self._clear(target, suspended)
        for warning in self.plan.warnings:
            self.log.warning("%s", warning)

    def _claim(self, source: Source, target: Target, faults: dict[type[SubsetError], list[Fault]]) -> list[Suspended]:
        """Make the schema if need be, check the target, take the lock; what there is to suspend."""
        found = _reflected(target, self.plan.schema.schemas)
        making = self.create_schema and not any(faults.values()) and _none_of(self.plan, found)
        if not making:
            self._check_target(source, target, found, faults)
        with target.transaction():
            if making:
                self._check_target(source, target, self._new_schema(source, target), faults)
            state, tables = State(target), [t.name for t in self.plan.schema.tables]
            state.create()
            state.lock(self.key, self.alive)
            suspended = target.suspendable(tables)
            state.note_suspended(suspended)
            state.start_tables(self.key, tables)
        return suspended

    def _check_target(
        self, source: Source, target: Target, found: Schema, faults: dict[type[SubsetError], list[Fault]]
    ) -> None:
        faults[TargetError] = checks.check_target(self.plan, source, target, found, self.replace_existing)
        checks.raise_all(faults)

    def _new_schema(self, source: Source, target: Target) -> Schema:
        schemas = self.plan.schema.schemas
        self.log.info("the target has none of the tables: making the schema %s", ", ".join(schemas))
        target.create_schema(source.schema_dump(schemas), source, schemas)
        return _reflected(target, schemas)

    def _clear(self, target: Target, suspended: Sequence[Suspended]) -> None:
        """All foreign keys out of force first: a table that is referenced cannot be truncated."""
        tables = [t.name for t in self.plan.schema.tables]
        for items in _batches(suspended):
            with self._holding(target):
                target.suspend(items)
        for names in _batches(tables):
            with self._holding(target):
                target.empty(names)
        self.log.info(
            "%d tables emptied, %d foreign keys and %d triggers suspended",
            len(tables),
            sum(s.kind == "foreign key" for s in suspended),
            sum(s.kind == "triggers" for s in suspended),
        )

    @contextmanager
    def _holding(self, target: Target) -> Iterator[State]:
        """A transaction of the target in which this run, and no other, may write."""
        with target.transaction():
            state = State(target)
            state.hold(self.key)
            yield state

    # -- extract

    def extract_sql(self, component: Component) -> dict[TableName, str]:
        """The statement of each of the component's tables that has one, as it goes to the source."""
        flavour = engines.get(self.plan.schema.dialect).flavour  # a `mysql` connection may lead to a MariaDB
        return {
            t: flavour.compile(select.extract(self.plan, t, flavour)) for t in component.tables if self._extracts(t)
        }

    def _extracts(self, table: TableName) -> bool:
        return self.plan.rule(table) in (Rule.RELEVANT, Rule.WHOLE)

    def extract(self, component: Component) -> dict[TableName, Stats]:
        """Load the component's own rows, in one transaction of the target and from one state of the source.

        Raises:
            SubsetError: nothing of it is in the target then.
        """
        stats = {}
        with self.ends.both() as (source, target), target.transaction(), source.snapshot():
            state = State(target)
            state.hold(self.key)
            self._tell_cycle(component)
            for table in component.tables:
                target.execute(sa.delete(target.tables[table]))
                if self._extracts(table):
                    stats[table] = self._extract(table, source, target)
            target.analyze([t for t, done in stats.items() if done.extracted >= WORTH_ANALYZING])
            for table, dropped in Integrity(self.plan, source, target).drop(component).items():
                if table in stats:
                    stats[table] = replace(stats[table], dropped=dropped)
            for table, done in stats.items():
                state.note_stats(self.key, table, done)
        return stats

    def _tell_cycle(self, component: Component) -> None:
        """Say which foreign keys make the component a cycle, and which of them can be NULL."""
        for key in component.inside:
            columns = [self.plan.schema[key.child].column(c) for c in key.columns]
            can = "nullable" if any(c is not None and c.nullable for c in columns) else "NOT NULL"
            self.log.info("in a cycle: %s (%s)", key.label, can)

    def _extract(self, table: TableName, source: Source, target: Target) -> Stats:
        planned, shape = self.plan.tables[table], self.plan.schema[table]
        self.log.info("%s: %s (%s)", table, planned.rule.value, planned.reason)
        statement = select.extract(self.plan, table, source)
        moved = target.load(source, statement, shape, self._tell(table))
        self.log.info("%s: %s", table, _told(moved))
        return Stats(extracted=moved.rows, bytes=moved.bytes, seconds=round(moved.seconds, 3))

    def _tell(self, table: TableName) -> Callable[[Moved], None]:
        told = 0.0

        def tell(moved: Moved) -> None:
            nonlocal told
            if self.watch:
                self.watch(table, moved)
            if moved.seconds - told >= LOG_EVERY:
                self.log.info("%s: %.1f MB so far, %.1f s", table, moved.bytes / MB, moved.seconds)
                told = moved.seconds

        return tell

    # -- references

    def refer(self, component: Component) -> dict[TableName, Stats]:
        """Fetch the rows of the component that kept rows reference; the components below it must be closed before."""
        with self.ends.both() as (source, target), target.transaction(), source.snapshot():
            state = State(target)
            state.hold(self.key)
            fetched = Integrity(self.plan, source, target).close(component)
            return self._noted(state, target, fetched, {})

    def settle(self) -> dict[TableName, Stats]:
        """The same for all components at once, where a referred row may itself be impossible to keep (plan.may_ban)."""
        with self.ends.both() as (source, target), target.transaction(), source.snapshot():
            state = State(target)
            state.hold(self.key)
            settlement = Settlement(Integrity(self.plan, source, target))
            settlement.run()
            return self._noted(state, target, settlement.fetched, settlement.dropped)

    def _noted(
        self, state: State, target: Target, fetched: dict[TableName, Moved], dropped: dict[TableName, int]
    ) -> dict[TableName, Stats]:
        """Add what a step did to what is noted of each table it changed."""
        before, now = state.stats(self.key), {}
        for table in {**fetched, **dropped}:
            moved, gone, was = fetched.get(table, Moved()), dropped.get(table, 0), before.get(table, Stats())
            now[table] = replace(
                was,
                referred=was.referred + moved.rows,
                dropped=was.dropped + gone,
                bytes=was.bytes + moved.bytes,
                seconds=round(was.seconds + moved.seconds, 3),
            )
            state.note_stats(self.key, table, now[table])
            if moved.rows or gone:
                self.log.info("%s: %s, %d left out", table, _told(moved, "referred "), gone)
        target.analyze([t for t, m in fetched.items() if m.rows >= WORTH_ANALYZING])
        return now

    # -- finish

    def finish(self, started: float | None = None) -> Report:
        """Null what must be, put constraints back in force (which proves them), set sequences, report.

        Args:
            started: when the run began, `time.time()`.

        Raises:
            IntegrityError: references that hold in the source do not in the copy; the copy stays locked out of use
                until `release` puts its constraints back unvalidated.
        """
        started = time.time() if started is None else started
        with self.ends.both() as (source, target):
            keys = self._prove(source, target)
            self._rearm(target)
            with self._holding(target) as state:
                stats = state.stats(self.key)
            sequences = target.reset_sequences(self.plan.copied)
            target.analyze([t.name for t in self.plan.schema.tables])
        report = self._report(stats, keys, sequences, time.time() - started)
        self.log.info("%d rows kept, %d dangling references", report.kept, report.dangling)
        return report

    def _prove(self, source: Source, target: Target) -> tuple[KeyReport, ...]:
        """Null, restore, count; where the source changed under the run, heal and try again."""
        for tries_left in reversed(range(HEALINGS + 1)):
            self._null(source, target)
            restored = self._restore(target)
            proven = {(i.table, i.name) for i, validated in restored.items() if validated}
            keys = self._keys(source, target, proven, tries_left < HEALINGS)
            broken = _broken(self.plan, keys)
            if not broken:
                return keys
            self._suspend_again(target, list(restored))
            if not tries_left:
                raise IntegrityError(broken)
            self.log.warning("The source changed during the run. %s", IntegrityError(broken))
            self._heal(source, target)
        raise AssertionError("unreachable")

    def _suspend_again(self, target: Target, items: Sequence[Suspended]) -> None:
        for some in _batches(items):
            with self._holding(target) as state:
                state.note_suspended(some)
                target.suspend(some)

    def _heal(self, source: Source, target: Target) -> None:
        with self._holding(target) as state, source.snapshot():
            healing = Healing(Integrity(self.plan, source, target))
            healing.run()
            self._noted(state, target, healing.fetched, healing.gone)

    def _null(self, source: Source, target: Target) -> None:
        integrity = Integrity(self.plan, source, target)
        for table in filter(integrity.nullable, self.plan.copied):
            with self._holding(target) as state:
                nulled = integrity.null(table)
                if nulled:
                    before = state.stats(self.key).get(table, Stats())
                    state.note_stats(self.key, table, replace(before, nulled=before.nulled + nulled))
                    self.log.info("%s: references set to NULL in %d rows", table, nulled)

    def _restore(self, target: Target) -> dict[Suspended, bool]:
        """Put foreign keys back in force; whether the server has validated each one."""
        restored = {}
        loose = {(r.key.child, n) for r in self.plan.relations if is_loose(r.key) for n in (r.key.name, *r.key.also)}
        integrity = self.plan.spec.referential_integrity
        for item in (i for i in State(target).suspended() if i.kind == "foreign key"):
            with self._holding(target) as state:
                wanted = integrity and (item.validated or (item.table, item.name) not in loose)
                holds = target.restore(item, validate=wanted)
                if holds:
                    state.forget_suspended(item)
                    restored[item] = wanted
                elif self._put_back(state, target, item):
                    restored[item] = False
        return restored

    def _put_back(self, state: State, target: Target, item: Suspended) -> bool:
        """Put a thing back unvalidated; what a server can only have validated waits for a run that fulfils it."""
        back = target.restore(item, validate=False)
        if back:
            state.forget_suspended(item)
            self.log.warning("%s: %s %s put back unvalidated", item.table, item.kind, item.name)
        else:
            self.log.warning(
                "%s: %s %s does not hold and stays off: see airflow_subset", item.table, item.kind, item.name
            )
        return back

    def _rearm(self, target: Target) -> None:
        """Put back the rest, once no row will be written any more."""
        for items in _batches([i for i in State(target).suspended() if i.kind != "foreign key"]):
            with self._holding(target) as state:
                for item in items:
                    target.restore(item, validate=False)
                    state.forget_suspended(item)

    def _keys(
        self, source: Source, target: Target, proven: set[tuple[TableName, str]], healed: bool
    ) -> tuple[KeyReport, ...]:
        """Every relation's dangling references: none where the server validated the key, else counted.

        Args:
            healed: what dangles now is no seam; where the server lets keys be broken, the source may be what dangles.
        """
        keys = []
        plan = self.plan
        if not plan.spec.referential_integrity:
            plan = planning.build(
                plan.spec.model_copy(update={"referential_integrity": True, "references": "include"}), plan.schema
            )
        integrity = Integrity(plan, source, target)
        for relation in plan.relations:
            key = relation.key
            if plan.rule(key.child) is Rule.SKIP:
                continue
            valid = any((key.child, name) in proven for name in (key.name, *key.also))
            count = 0 if valid else integrity.count_dangling(relation)
            loose = is_loose(key)
            if count and healed and not loose and not source.keys_hold:
                with target.transaction():
                    loose = integrity.only_in_source(relation)
            keys.append(KeyReport(key.label, count, "validated" if valid else "counted", loose))
        return tuple(keys)

    def _report(
        self, stats: dict[TableName, Stats], keys: tuple[KeyReport, ...], sequences: int, seconds: float
    ) -> Report:
        tables = []
        for name, planned in self.plan.tables.items():
            done = stats.get(name, Stats())
            tables.append(
                TableReport(
                    table=str(name),
                    rule=planned.rule.value,
                    reason=planned.reason,
                    source_rows=self.plan.schema[name].rows,
                    kept=done.kept,
                    extracted=done.extracted,
                    referred=done.referred,
                    dropped=done.dropped,
                    nulled=done.nulled,
                    bytes=done.bytes,
                    seconds=done.seconds,
                )
            )
        return Report(
            run=self.key,
            source=self.source.label,
            target=self.target.label,
            fingerprint=self.plan.schema.fingerprint,
            tables=tuple(tables),
            keys=keys,
            warnings=self.plan.warnings,
            sequences=sequences,
            seconds=round(seconds, 3),
        )

    # -- release

    def release(self) -> None:
        """Put back unvalidated what an unfinished run left suspended, and give up the lock; harmless when repeated."""
        with self.ends.target() as target:
            if not State(target).exists() or State(target).holder() != self.key:
                return
            for items in _batches(State(target).suspended()):
                with self._holding(target) as state:
                    for item in items:
                        self._put_back(state, target, item)
            with self._holding(target) as state:
                state.release(self.key)


def subset(
    spec: Spec,
    source: Endpoint,
    target: Endpoint,
    *,
    schema: Schema | None = None,
    replace_existing: bool = False,
    create_schema: bool = False,
    key: str = "run",
) -> Report:
    """Run all steps in a row.

    Args:
        schema: the source's schema, as reflected before; None to reflect now.

    Raises:
        SubsetError: see the steps.
    """
    started = time.time()
    found = schema or reflect(source, spec.schemas)
    run = Run(
        planning.build(spec, found),
        source,
        target,
        key=key,
        replace_existing=replace_existing,
        create_schema=create_schema,
        fresh=schema is None,
    )
    run.prepare()
    try:
        with run.ends.kept():
            for component in run.plan.extracts:
                run.extract(component)
            if run.plan.may_ban:
                run.settle()
            else:
                for component in run.plan.closures:
                    run.refer(component)
        return run.finish(started)
    finally:
        run.release()


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def _none_of(plan: Plan, found: Schema) -> bool:
    return len(checks.missing_tables(plan, found)) == len(plan.schema.tables)


def _reflected(target: Target, schemas: Sequence[str]) -> Schema:
    """The target's tables; none where it does not even have the schemas."""
    try:
        return target.reflect(schemas)
    except EndpointError:
        return Schema("", tuple(schemas), ())


def _told(moved: Moved, kind: str = "") -> str:
    return f"{moved.rows:,} {kind}rows, {moved.bytes / MB:.1f} MB, {moved.seconds:.2f} s, {moved.rate:,.0f} rows/s"


def _broken(plan: Plan, keys: tuple[KeyReport, ...]) -> list[Fault]:
    if not plan.spec.referential_integrity:
        return []
    return [
        Fault(f"{k.dangling} rows reference rows that are not in the copy", k.key, "Run again.")
        for k in keys
        if k.dangling and not k.in_source
    ]
