"""One table of a run, loaded in parts by several workers: first `cut`, by one of them, then each part, in any order.

What a part is, and why none is loaded twice or left out, is in chunks.py. Here is what the steps do to the target.
"""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from airflow_subset_provider.core import chunks, engines, indexes, select
from airflow_subset_provider.core.chunks import Chunk
from airflow_subset_provider.core.ends import Ends
from airflow_subset_provider.core.engines.base import Flavour, Target
from airflow_subset_provider.core.errors import EarlyError, Fault
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.progress import Progress
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.state import State, holding
from airflow_subset_provider.core.stats import Stats
from airflow_subset_provider.core.tally import Tally, told


class Parts(Struct, frozen=True):
    """The parts of one table, in one run.

    Attributes:
        rows: about how many each of them is to have.
        most: parts, whatever `rows` is.
    """

    plan: Plan
    table: TableName
    rows: int
    ends: Ends
    tally: Tally
    most: int = chunks.MOST

    def cut(self) -> list[Chunk]:
        """Make the table ready to be loaded in parts: empty, the parts written down; these.

        Once since the run was prepared: whichever attempt comes later, and however late, parts of the first one's may
        be there. So may rows that came in another way, in no part.

        Raises:
            SubsetError: nothing has changed.
        """
        with self.ends.both() as (source, target):
            with source.snapshot():
                most = self.most if target.undoes(self.table) else 1
                found = chunks.cut(self.plan, self.table, self.rows, source, most)
            with holding(target, self.tally.run, self.tally.taken) as state:
                state.progress.claim([self.table])
                if state.progress.claims(self.table) == [1]:
                    state.progress.note_chunks(self.table, found)
                    target.execute(sa.delete(target.tables[self.table]))
                    state.progress.note_stats(self.tally.run, self.table, Stats())
                noted = state.progress.chunks(self.table)
        self._tell("%d parts", len(noted))
        return noted

    def sql(self, chunk: Chunk) -> str:
        """The statement of one part, as it goes to the source."""
        flavour = engines.get(self.plan.schema.dialect).flavour  # a `mysql` connection may lead to a MariaDB
        return flavour.compile(self._select(chunk, flavour))

    def load(self, number: int) -> dict[TableName, Stats]:
        """Load one part, in one transaction; nothing happens if it is there already.

        Raises:
            SubsetError: nothing of the part is in the target then.
        """
        with self.ends.both() as (source, target):
            with target.transaction(), source.snapshot():
                state = State(target)
                state.hold(self.tally.run, self.tally.taken)
                taken = state.progress.take_chunk(self.table, number)
                if taken is None:
                    return self._of_another_cut(state.progress, target, number)
                chunk, done = taken
                if done is None:
                    self._tell("part %d", number)
                    if not target.undoes(self.table):  # then it is the only part, and an earlier try may have left rows
                        target.execute(sa.delete(target.tables[self.table]))
                    shape, progress = self.plan.schema[self.table], self.tally.progress(self.table)
                    moved = target.load(source, self._select(chunk, source), shape, progress)
                    self.tally.log.info("%s, part %d: %s", self.table, number, told(moved))
                    done = Stats(extracted=moved.rows, bytes=moved.bytes, seconds=round(moved.seconds, 3))
                    state.progress.note_chunk(self.table, number, done)
            self._round_off(target)
        return {self.table: done}

    def _select(self, chunk: Chunk, flavour: Flavour) -> select.Selection:
        shape = self.plan.schema[self.table]
        return select.extract(self.plan, self.table, flavour, lambda rows: chunks.within(shape, chunk, rows, flavour))

    def _tell(self, what: str, number: int) -> None:
        planned = self.plan.tables[self.table]
        self.tally.log.info(f"%s, {what}: %s (%s)", self.table, number, planned.rule.value, planned.reason)

    def _of_another_cut(self, progress: Progress, target: Target, number: int) -> dict[TableName, Stats]:
        """The table was loaded whole, or prepared and cut anew, since this part was told to load itself."""
        if progress.unclaimed([self.table]) and not progress.chunks(self.table):
            raise EarlyError(
                Fault(f"{self.table} has not been cut into parts in this run", target.label, "Run that step again.")
            )
        self.tally.log.info("%s: no part %d any more: its rows are in others", self.table, number)
        return {self.table: Stats()}

    def _round_off(self, target: Target) -> None:
        """By whichever part comes last, after its commit: ANALYZE lets no other one run beside it."""
        with holding(target, self.tally.run, self.tally.taken) as state:
            complete = target.located(self.table) not in state.progress.incomplete()
        if complete:
            indexes.build(target, self.tally, [self.table])
            target.analyze([self.table])
