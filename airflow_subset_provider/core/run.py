"""The steps of a run, without Airflow: what the operators call one by one, and what `subset` calls in a row.

prepare -> extract (one component at a time, parents first) -> refer (children first) -> finish; release after all of
it, whatever happened. Each step opens its own connections and leaves its result in the target, so that steps may run
in different processes and may be repeated.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from msgspec.structs import replace

from airflow_subset_provider.core import chunks, engines, graph, indexes, select, snapshot
from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.ends import Ends
from airflow_subset_provider.core.engines.base import INDEX, Endpoint, Moved, Source, Target, batches
from airflow_subset_provider.core.errors import EndpointError, Fault
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.integrity import Integrity
from airflow_subset_provider.core.parts import Parts
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.schema import Schema, TableName
from airflow_subset_provider.core.spec import OnDrift, Rule, Spec
from airflow_subset_provider.core.state import State, altering, holding
from airflow_subset_provider.core.stats import Stats
from airflow_subset_provider.core.tally import WORTH_ANALYZING, Tally, told
from airflow_subset_provider.core.turn import Turn

# A worker imports this module for each table's task, so what only the first and the last step need is imported there.
if TYPE_CHECKING:
    from airflow_subset_provider.core.preparation import Preparation
    from airflow_subset_provider.core.report import KeyReport, Prepared, Report

__all__ = ["Endpoint", "Run", "reflect", "subset"]

log = logging.getLogger(__name__)


def reflect(endpoint: Endpoint, schemas: Sequence[str] = ()) -> Schema:
    """The endpoint's schema.

    Args:
        schemas: the schemas in scope; none for the engine's default.

    Raises:
        EndpointError: it cannot be reached, or has no such schema.
    """
    with engines.get(endpoint.engine).source(endpoint, "airflow_subset reflect") as source:
        return graph.condensed(source.reflect(schemas or source.default_schemas))


def _nobody(_run: str, _taken: datetime) -> bool:
    return False


@dataclass
class Run:
    """One run of one plan.

    Attributes:
        key: names the run; a step repeated under the same key belongs to the same run.
        on_drift: what to do when the source's schema is no longer the plan's.
        alive: tells whether the run of another key, that holds the target's lock since that time, still goes on.
        log: where progress goes.
        fresh: the plan was just made from this source, so that drift need not be looked for.
        watch: is told of a table under way, several times a second; `log` only every few seconds.
        chunk_rows: tables of more rows (as the source estimates) are cut into parts of about so many; 0: none is.
        most_parts: of one table; larger parts, where they would be more.
        exported: the name of the source's state that every step reads (`snapshot`); None: each step its own.
        taken: the preparation that its steps belong to (`Prepared`); None: whichever holds the lock under that key.
    """

    plan: Plan
    source: Endpoint
    target: Endpoint
    key: str = "run"
    replace_existing: bool = False
    create_schema: bool = False
    on_drift: OnDrift = OnDrift.FAIL
    alive: Callable[[str, datetime], bool] = _nobody
    log: logging.Logger = log
    fresh: bool = False
    watch: Callable[[TableName, Moved], None] | None = None
    chunk_rows: int = 0
    most_parts: int = chunks.MOST
    exported: str | None = None
    taken: str | None = None
    ends: Ends = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Bind the two ends."""
        self.ends = Ends(self.source, self.target, self.plan.schema, self.purpose, self.exported)

    @property
    def purpose(self) -> str:
        """What both servers' lists of sessions show."""
        return f"airflow_subset {self.key}"

    @property
    def tally(self) -> Tally:
        """Its numbers."""
        return Tally(self.key, self.log, self.watch, self.taken)

    def _turn(self, state: State) -> Turn:
        return Turn(self.plan, state.progress, self.target.label)

    def cancel(self) -> None:
        """Stop what both servers are doing for this run's open step; safe from a signal handler or another thread."""
        self.ends.cancel()

    def reading(self, exported: str | None) -> Run:
        """This run, all its later steps reading the source's state of that name; None: each its own.

        `prepare` looked at the source before that state was held, so the schema is looked at once more.

        Raises:
            SnapshotError: nobody holds that state.
            DriftError: its schema is not the plan's.
        """
        from airflow_subset_provider.core import checks

        run = self._but(exported=exported)
        if exported is not None and not self.fresh:
            with run.ends.source() as source, source.snapshot():
                checks.check_drift(self.plan, source.reflect(self.plan.schema.schemas), self.on_drift)
        return run

    def after(self, prepared: Prepared) -> Run:
        """This run, its later steps refused once it is prepared another time: the target is emptied then."""
        return self._but(taken=prepared.taken)

    def _but(self, **changes: Any) -> Run:
        run = dataclasses.replace(self, **changes)
        run.ends.cancelled_with(self.ends)
        return run

    # -- prepare

    def prepare(self) -> Prepared:
        """Check everything; then lock the target, put out of force what must be, and empty it.

        Returns:
            What the person who reads the report must know.

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
            return self.preparation(source, target).run()

    def preparation(self, source: Source, target: Target) -> Preparation:
        """What `prepare` does, on open ends."""
        from airflow_subset_provider.core.preparation import Preparation

        return Preparation(
            self.plan,
            source,
            target,
            self.tally,
            replace_existing=self.replace_existing,
            create_schema=self.create_schema,
            on_drift=self.on_drift,
            alive=self.alive,
            fresh=self.fresh,
        )

    # -- extract

    def extract_sql(self, component: Component) -> dict[TableName, str]:
        """The statement of each of the component's tables that has one, as it goes to the source."""
        flavour = engines.get(self.plan.schema.dialect).flavour  # a `mysql` connection may lead to a MariaDB
        return {
            t: flavour.compile(select.extract(self.plan, t, flavour)) for t in component.tables if self._extracts(t)
        }

    def _extracts(self, table: TableName) -> bool:
        return self.plan.rule(table) in (Rule.RELEVANT, Rule.WHOLE)

    def extract(self, component: Component, *, again: bool = False) -> dict[TableName, Stats]:
        """Load the component's own rows, in one transaction of the target and from one state of the source.

        Args:
            again: though they have been loaded since the target was prepared: from another state, perhaps.

        Raises:
            TargetError: `again`, but later steps have built upon them.
            SubsetError: nothing of it is in the target then, unless all of it is and only an index could not be built.
        """
        with self.ends.both() as (source, target):
            stats = self._extract_all(component, source, target, again)
            indexes.build(target, self.tally, component.tables)
        return stats

    def _extract_all(self, component: Component, source: Source, target: Target, again: bool) -> dict[TableName, Stats]:
        stats = {}
        with target.transaction(), source.snapshot():
            state = State(target)
            state.hold(self.key, self.taken)
            self._tell_cycle(component)
            if not state.progress.claim(component.tables) or (not again and state.progress.loaded(component.tables)):
                return self._done_by_another(state, component.tables)
            turn = self._turn(state)
            (turn.to_extract_again if again else turn.to_extract)(component)
            for table in component.tables:
                state.progress.note_chunks(table, ())  # first: it waits for parts under way
                target.execute(sa.delete(target.tables[table]))
                if self._extracts(table):
                    stats[table] = self._extract(table, source, target)
            target.analyze([t for t, done in stats.items() if done.extracted >= WORTH_ANALYZING])
            for table, dropped in Integrity(self.plan, source, target).drop(component).items():
                if table in stats:
                    stats[table] = replace(stats[table], dropped=dropped)
                if dropped:
                    self.log.info("%s: %s rows left out: a reference of theirs is not kept", table, f"{dropped:,}")
            for table, done in stats.items():
                state.progress.note_stats(self.key, table, done)
        return stats

    def parts(self, component: Component) -> Parts:
        """The component's only table, to be loaded in parts: instead of `extract`, where `chunks.splits` says so."""
        (table,) = component.tables
        return Parts(self.plan, table, self.chunk_rows, self.ends, self.tally, self.most_parts)

    def _done_by_another(self, state: State, tables: Sequence[TableName]) -> dict[TableName, Stats]:
        self.log.info("another attempt at this step has ended: nothing is left to do")
        return {t: done for t, done in state.progress.stats(self.key).items() if t in tables}

    def _tell_cycle(self, component: Component) -> None:
        """Say which foreign keys make the component a cycle, and which of them can be NULL."""
        for key in component.inside:
            columns = [self.plan.schema[key.child].column(c) for c in key.columns]
            can = "nullable" if any(c is not None and c.nullable for c in columns) else "NOT NULL"
            self.log.info("in a cycle: %s (%s)", key.label, can)

    def _extract(self, table: TableName, source: Source, target: Target) -> Stats:
        shape = self.plan.schema[table]
        planned = self.plan.tables[table]
        self.log.info("%s: %s (%s)", table, planned.rule.value, planned.reason)
        statement = select.extract(self.plan, table, source)
        moved = target.load(source, statement, shape, self.tally.progress(table))
        self.log.info("%s: %s", table, told(moved))
        return Stats(extracted=moved.rows, bytes=moved.bytes, seconds=round(moved.seconds, 3))

    # -- references

    def refer(self, component: Component) -> dict[TableName, Stats]:
        """Fetch the rows of the component that kept rows reference; the components below it must be closed before.

        Raises:
            EarlyError: they are not.
        """
        with self.ends.both() as (source, target), target.transaction(), source.snapshot():
            state = State(target)
            state.hold(self.key, self.taken)
            self._turn(state).to_close(self.plan.closed_before(component))
            state.progress.claim(component.tables)
            if not state.progress.unclosed(component.tables):
                return self._done_by_another(state, component.tables)
            fetched = Integrity(self.plan, source, target).close(component)
            state.progress.note_closed(component.tables)
            return self.tally.add(state.progress, target, fetched, {})

    def settle(self) -> dict[TableName, Stats]:
        """The same for all components at once, where a referred row may itself be impossible to keep (plan.may_ban)."""
        from airflow_subset_provider.core.bans import Settlement

        with self.ends.both() as (source, target), target.transaction(), source.snapshot():
            state = State(target)
            state.hold(self.key, self.taken)
            self._turn(state).to_close()
            state.progress.claim(self.plan.copied)
            closures = [t for c in self.plan.closures for t in c.tables]
            if not state.progress.unclosed(closures):
                return self._done_by_another(state, self.plan.copied)
            settlement = Settlement(Integrity(self.plan, source, target))
            settlement.run()
            state.progress.note_closed(closures)
            return self.tally.add(state.progress, target, settlement.fetched, settlement.dropped)

    # -- finish

    def finish(self, started: float | None = None, warnings: Sequence[str] = ()) -> Report:
        """Null what must be, put constraints back in force (which proves them), set sequences, report.

        Args:
            started: when the run began, `time.time()`.
            warnings: what `prepare` found, for the report.

        Raises:
            EarlyError: a step before this one was not taken in this run, or the target's server has lost its rows.
            IntegrityError: references that hold in the source do not in the copy; the copy stays locked out of use
                until `release` puts its constraints back unvalidated.
        """
        from airflow_subset_provider.core.proof import Proof

        started = time.time() if started is None else started
        with self.ends.both() as (source, target):
            with holding(target, self.key, self.taken, alone=True) as state:  # after all that is under way
                self._turn(state).to_finish()
                if not state.progress.any_closed():  # one is enough for `Turn.to_extract_again`
                    state.progress.note_closed(self.plan.copied[:1])
            proof = Proof(self.plan, source, target, self.tally)
            keys = proof.keys()
            proof.rearm()
            with holding(target, self.key, self.taken) as state:
                stats = state.progress.stats(self.key)
            sequences = target.reset_sequences(self.plan.copied)
            tables = [t.name for t in self.plan.schema.tables]
            target.forget(tables)
            target.analyze(tables)
        report = self._report(stats, keys, sequences, time.time() - started, warnings)
        self.log.info("%d rows kept, %d dangling references", report.kept, report.dangling)
        return report

    def _report(
        self,
        stats: dict[TableName, Stats],
        keys: tuple[KeyReport, ...],
        sequences: int,
        seconds: float,
        warnings: Sequence[str],
    ) -> Report:
        from airflow_subset_provider.core.report import Report, fruitless, guarantee, of_tables

        return Report(
            run=self.key,
            source=self.source.label,
            target=self.target.label,
            fingerprint=self.plan.schema.fingerprint,
            tables=of_tables(self.plan, stats),
            keys=keys,
            warnings=(*warnings, *self.plan.warnings, *fruitless(self.plan, stats)),
            sequences=sequences,
            seconds=round(seconds, 3),
            guarantee=guarantee(self.exported is not None, self.plan.spec.referential_integrity),
        )

    # -- release

    def held(self) -> Run | None:
        """This run bound to the preparation that holds the target now, as `after` does; None: none of its does."""
        with self.ends.target() as target:
            taken = State(target).taken(self.key)
        return None if taken is None else self._but(taken=taken)

    def release(self) -> None:
        """Put back unvalidated what an unfinished run left suspended, and give up the lock; harmless when repeated.

        Raises:
            LockedError: the run has been prepared once more since this began, or than it is bound to.
        """
        from airflow_subset_provider.core.proof import put_back

        with self.ends.target() as target:
            taken = State(target).taken(self.key)
            if taken is None:
                return
            taken = self.taken or taken
            for items in batches([i for i in State(target).suspended() if i.kind != INDEX]):
                with altering(target, self.key, taken) as state:
                    for item in items:
                        put_back(state, target, item, self.log)
            indexes.put_back(target, replace(self.tally, taken=taken))
            with altering(target, self.key, taken) as state:
                state.release(self.key)


def subset(
    spec: Spec,
    source: Endpoint,
    target: Endpoint,
    *,
    schema: Schema | None = None,
    replace_existing: bool = False,
    create_schema: bool = False,
    on_drift: OnDrift = OnDrift.FAIL,
    key: str = "run",
    consistent: bool | None = None,
) -> Report:
    """Run all steps in a row.

    Args:
        schema: the source's schema, as reflected before; None to reflect now.
        consistent: whether the copy is the source at one point in time; None: where the source can show it.

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
        on_drift=on_drift,
        fresh=schema is None,
    )
    snapshot.wanted(source.engine, consistent)
    prepared = run.prepare()
    run = run.after(prepared)
    try:
        with snapshot.shared(source, run.purpose, consistent, run.log) as exported:
            one = run.reading(exported)
            with one.ends.kept():
                for component in one.plan.extracts:
                    one.extract(component)
                if one.plan.may_ban:
                    one.settle()
                else:
                    for component in one.plan.closures:
                        one.refer(component)
            return one.finish(started, prepared.warnings)
    finally:
        run.release()
