"""The end of a run, which proves it: what must be NULL is nulled, what was suspended comes back in force.

A server that adds a foreign key checks it against all rows; what no server checks is counted here. Rows that dangle
although their key holds in the source are seams of a source that changed under the run: they are healed, and all of it
is tried again.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext

from msgspec import Struct
from msgspec.structs import replace

from airflow_subset_provider.core import indexes
from airflow_subset_provider.core.engines.base import INDEX, Source, Suspended, Target, batches
from airflow_subset_provider.core.errors import Fault, IntegrityError
from airflow_subset_provider.core.heal import Healing
from airflow_subset_provider.core.integrity import Integrity, is_loose
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.report import KeyReport
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.spec import Rule
from airflow_subset_provider.core.state import State, altering, holding
from airflow_subset_provider.core.stats import Stats
from airflow_subset_provider.core.tally import Tally

HEALINGS = 3  # passes of heal.py; one is enough unless rows change while constraints are put back


class Proof(Struct, frozen=True):
    """The proof of one run, on its two open ends."""

    plan: Plan
    source: Source
    target: Target
    tally: Tally

    def keys(self) -> tuple[KeyReport, ...]:
        """Null, restore, count; where the source changed under the run, heal and try again."""
        for tries_left in reversed(range(HEALINGS + 1)):
            self._null()
            restored = self._restore()
            proven = {(i.table, i.name) for i, validated in restored.items() if validated}
            keys = self._counted(proven, tries_left < HEALINGS)
            broken = _broken(self.plan, keys)
            if not broken:
                return keys
            self._suspend_again()
            if not tries_left:
                raise IntegrityError(broken)
            self.tally.log.warning("The source changed during the run. %s", IntegrityError(broken))
            self._heal()
        raise AssertionError("unreachable")

    def _holding(self) -> AbstractContextManager[State]:
        """One transaction after the other: a worker that was taken for dead may be at work on the same run."""
        return holding(self.target, self.tally.run, self.tally.taken, alone=True)

    def _altering(self) -> AbstractContextManager[State]:
        return altering(self.target, self.tally.run, self.tally.taken)

    def _suspend_again(self) -> None:
        """All keys that are in force, those too that an attempt before this one put back before it died."""
        found = self.target.suspendable([t.name for t in self.plan.schema.tables])
        for some in batches([item for item in found if item.kind == "foreign key"]):
            with self._altering() as state:
                state.note_suspended(some)
                self.target.suspend(some)

    def _heal(self) -> None:
        with self._holding() as state, self.source.snapshot():
            healing = Healing(Integrity(self.plan, self.source, self.target))
            healing.run()
            self.tally.add(state.progress, self.target, healing.fetched, healing.gone)

    def _null(self) -> None:
        integrity = Integrity(self.plan, self.source, self.target)
        for table in filter(integrity.nullable, self.plan.copied):
            # A loose key's values are looked up in the source: in the state that the rows are from.
            loose = any(is_loose(r.key) for r in integrity.nullable(table))
            with self._holding() as state, self.source.snapshot() if loose else nullcontext():
                nulled = integrity.null(table)
                if nulled:
                    before = state.progress.own_stats(self.tally.run).get(table, Stats())
                    state.progress.note_stats(self.tally.run, table, replace(before, nulled=before.nulled + nulled))
                    self.tally.log.info("%s: references set to NULL in %d rows", table, nulled)

    def _restore(self) -> dict[Suspended, bool]:
        """Put foreign keys back in force; whether the server has validated each one."""
        restored = {}
        loose = {(r.key.child, n) for r in self.plan.relations if is_loose(r.key) for n in (r.key.name, *r.key.also)}
        integrity = self.plan.spec.referential_integrity
        for item in (i for i in State(self.target).suspended() if i.kind == "foreign key"):
            with self._holding() as state:
                if not state.is_suspended(item):
                    continue
                wanted = integrity and (item.validated or (item.table, item.name) not in loose)
                holds = self.target.restore(item, validate=wanted)
                if holds:
                    state.forget_suspended(item)
                    restored[item] = wanted
                elif put_back(state, self.target, item, self.tally.log):
                    restored[item] = False
        return restored

    def rearm(self) -> None:
        """Put back the rest, once no row will be written any more."""
        for items in batches([i for i in State(self.target).suspended() if i.kind not in ("foreign key", INDEX)]):
            with self._altering() as state:
                for item in items:
                    self.target.restore(item, validate=False)
                    state.forget_suspended(item)
        indexes.build(self.target, self.tally)

    def _counted(self, proven: set[tuple[TableName, str]], healed: bool) -> tuple[KeyReport, ...]:
        """Each judged relation's dangling references: none where the server validated the key, else counted.

        Args:
            healed: what dangles now is no seam; where the server lets keys be broken, the source may be what dangles.
        """
        keys = []
        integrity = Integrity(self.plan, self.source, self.target)
        for relation in self.plan.judged:
            key = relation.key
            if self.plan.rule(key.child) is Rule.SKIP:
                continue
            valid = any((key.child, name) in proven for name in (key.name, *key.also))
            count = 0 if valid else integrity.count_dangling(relation)
            loose = is_loose(key)
            if count and healed and not loose and not self.source.keys_hold:
                with self.target.transaction():
                    loose = integrity.only_in_source(relation)
            keys.append(KeyReport(key.label, count, "validated" if valid else "counted", loose))
        return tuple(keys)


def put_back(state: State, target: Target, item: Suspended, log: logging.Logger) -> bool:
    """Put a thing back unvalidated; what a server can only have validated waits for a run that fulfils it."""
    back = target.restore(item, validate=False)
    if back:
        state.forget_suspended(item)
        log.warning("%s: %s %s put back unvalidated", item.table, item.kind, item.name)
    else:
        log.warning("%s: %s %s does not hold and stays off: see airflow_subset", item.table, item.kind, item.name)
    return back


def _broken(plan: Plan, keys: tuple[KeyReport, ...]) -> list[Fault]:
    if not plan.spec.referential_integrity:
        return []
    return [
        Fault(f"{k.dangling} rows reference rows that are not in the copy", k.key, "Run again.")
        for k in keys
        if k.dangling and not k.in_source
    ]
