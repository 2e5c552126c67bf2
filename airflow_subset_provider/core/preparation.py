"""The beginning of a run: everything is checked, then the target is claimed, and only then changed.

Lock and notes are one transaction. What follows is done in batches, because a server has room for only so many locks in
one transaction (Postgres: 64 for each connection it allows, and a table takes one for each index): whatever interrupts
it, `release` and the next run find in the notes what to put back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from airflow_subset_provider.core import checks, indexes, strictness
from airflow_subset_provider.core.engines.base import INDEX, Session, Source, Suspended, Target, batches
from airflow_subset_provider.core.errors import DriftError, EndpointError, Fault, RequestError, SubsetError, TargetError
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.report import Prepared
from airflow_subset_provider.core.schema import Schema
from airflow_subset_provider.core.spec import OnDrift
from airflow_subset_provider.core.state import Beginning, State, altering
from airflow_subset_provider.core.tally import Tally

Faults = dict[type[SubsetError], list[Fault]]


class Claim(NamedTuple):
    """A target that this run may change.

    Attributes:
        taken: since when it holds the lock.
        suspended: what there is to suspend.
        found: the target's schema.
        left_out: what of it could not be made.
    """

    taken: str
    suspended: list[Suspended]
    found: Schema
    left_out: list[str]


class Preparation(Struct, frozen=True):
    """The preparation of one run, on its two open ends.

    Attributes:
        alive: tells whether the run of another key, that holds the target's lock since that time, still goes on.
        fresh: the plan was just made from this source, so that drift need not be looked for.
    """

    plan: Plan
    source: Source
    target: Target
    tally: Tally
    replace_existing: bool
    create_schema: bool
    on_drift: OnDrift
    alive: Callable[[str, datetime], bool]
    fresh: bool

    def run(self) -> Prepared:
        """Check everything; take the lock and note what will be out of force; then suspend it and empty the tables.

        Returns:
            What the person who reads the report must know.

        Raises:
            SubsetError: with every fault found; nothing in the target is changed then.
        """
        self._two_databases()
        beginning = State(self.target).begin()
        DriftError.raise_for(checks.another_database(self.plan.spec, self.plan.schema, self.source))
        live = self.plan.schema if self.fresh else self.source.reflect(self.plan.schema.schemas)
        drifted = checks.check_drift(self.plan, live, self.on_drift)
        claim = self.claim(live, {RequestError: checks.check_source(self.plan, self.source)}, beginning)
        remarks = (
            *checks.filter_remarks(self.plan, self.source),
            *strictness.remarks(self.plan, claim.found, self.target),
            *claim.left_out,
        )
        tables = len(self.plan.schema.tables)
        self.tally.log.info("%s → %s: %d tables", _named(self.source, live), _named(self.target, claim.found), tables)
        self.clear(claim)
        prepared = Prepared(drifted, remarks, claim.taken)
        for warning in (*prepared.warnings, *self.plan.warnings):
            self.tally.log.warning("%s", warning)
        return prepared

    def _two_databases(self) -> None:
        if self.target.same_database(self.source):
            raise EndpointError(
                Fault(
                    "source and target are the same database",
                    f"{self.source.label} → {self.target.label}",
                    "Point the target elsewhere: it would be emptied.",
                )
            )

    # -- the lock

    def claim(self, live: Schema, faults: Faults, beginning: Beginning) -> Claim:
        """Make the schema if need be, check the target, take the lock.

        Args:
            live: the source's schema as it is now.
            faults: found so far.
            beginning: when this attempt began.
        """
        left_out: list[str] = []
        found = self._reflected()
        making = self.create_schema and not any(faults.values()) and self._none_of(found)
        if making:
            checks.raise_all({TargetError: checks.check_to_be_made(self.plan, self.target, live)})
        else:
            self._check_target(found, live, faults)
        large = indexes.large(self.plan, self.source, self.tally)
        with self.target.transaction():
            if making:
                found, left_out = self._new_schema()
                self._check_target(found, live, faults)
            state, tables = State(self.target), [t.name for t in self.plan.schema.tables]
            state.create()
            taken = state.lock(self.tally.run, self.alive, beginning)
            postponed = indexes.postponed(self.plan, large, self.target, self.tally)
            suspended = [*self.target.suspendable(tables), *postponed]
            state.note_suspended(suspended)
            state.progress.start(self.tally.run, tables)
        return Claim(taken, suspended, found, left_out)

    def _none_of(self, found: Schema) -> bool:
        return len(checks.missing_tables(self.plan, found)) == len(self.plan.schema.tables)

    def _check_target(self, found: Schema, live: Schema, faults: Faults) -> None:
        wrong = checks.check_target(self.plan, self.source, self.target, found, self.replace_existing, live)
        checks.raise_all({**faults, TargetError: wrong})

    def _new_schema(self) -> tuple[Schema, list[str]]:
        """Make it: what is there then, and what was not made."""
        schemas = self.plan.schema.schemas
        self.tally.log.info("the target has none of the tables: making the schema %s", ", ".join(schemas))
        left_out = self.target.create_schema(self.source.schema_dump(schemas), self.source, schemas)
        return self._reflected(), left_out

    def _reflected(self) -> Schema:
        """The target's tables; none where it does not even have the schemas."""
        schemas = self.plan.schema.schemas
        try:
            return self.target.reflect(schemas)
        except EndpointError:
            return Schema("", tuple(schemas), ())

    # -- the change

    def clear(self, claim: Claim) -> None:
        """All foreign keys out of force first: a table that is referenced cannot be truncated."""
        tables = [t.name for t in self.plan.schema.tables]
        for items in batches(claim.suspended):
            with altering(self.target, self.tally.run, claim.taken):
                self.target.suspend(items)
        for names in batches(tables):
            with altering(self.target, self.tally.run, claim.taken):
                self.target.empty(names)
        self.tally.log.info("The target is empty. Out of force until the end: %s", _counted(claim.suspended))


def _named(end: Session, schema: Schema) -> str:
    return f"{end.label} ({schema.server})" if schema.server else end.label


def _counted(suspended: Sequence[Suspended]) -> str:
    """How many of each; a table's triggers may be noted as one thing."""
    keys = sum(item.kind == "foreign key" for item in suspended)
    armed = len({item.table for item in suspended if item.kind == "triggers"})
    built = sum(item.kind == INDEX for item in suspended)
    counts = {"foreign keys": keys, "tables with triggers": armed, "indexes": built}
    return ", ".join(f"{what}: {n}" for what, n in counts.items() if n) or "nothing"
