"""Whether it is a step's turn: what it builds on must be in the target before it changes anything.

A scheduler may begin a step while an earlier one is repeated, because that had ended when it looked; and a server may
forget commits when it crashes (MySQL: innodb_flush_log_at_trx_commit other than 1), those of steps that have succeeded
and will not be taken again. Rows that are not there would be taken for rows that the copy does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from airflow_subset_provider.core.errors import EarlyError, Fault, TargetError
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.integrity import read_by_drop
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.progress import Progress
from airflow_subset_provider.core.schema import TableName

AGAIN = "Run all steps again, from `prepare` on."
LOST = "or the target's server has lost the rows in a crash"


class Turn(Struct, frozen=True):
    """One step's look at what the steps before it have left.

    Attributes:
        target: its label, for the messages.
    """

    plan: Plan
    progress: Progress
    target: str

    def to_extract(self, component: Component) -> None:
        """What `drop` leaves out hangs on the parents' rows in the target, so these must be there.

        Raises:
            EarlyError: they are not.
        """
        loaded = {t for c in self.plan.extracts for t in c.tables} - set(component.tables)
        parents = sorted(read_by_drop(self.plan, component) & loaded)
        if not parents:
            return
        what = f"it is not loaded yet since the target was emptied, and {component.title} hangs on it"
        EarlyError.raise_for(Fault(what, str(table), AGAIN) for table in self.progress.unclaimed(parents))

    def to_extract_again(self, component: Component) -> None:
        """The same, of tables that may be loaded: nothing may have been built upon them.

        Raises:
            EarlyError: parents are missing.
            TargetError: rows have been fetched since, by what the rows of some component reference, or it is proven.
        """
        if self.progress.any_closed():
            what = f"{component.title} cannot be loaded again: later steps have built upon it since"
            raise TargetError(Fault(what, self.target, AGAIN))
        self.to_extract(component)

    def to_close(self, below: Iterable[Component] = ()) -> None:
        """All tables must be loaded, and the rows fetched that those of other components reference.

        Args:
            below: the components whose rows are fetched before.

        Raises:
            EarlyError: something of it is missing.
        """
        lost = self.progress.unclaimed(t for c in self.plan.extracts for t in c.tables)
        self._refuse(f"nothing was loaded in this run, {LOST}", lost)
        unclosed = self.progress.unclosed(t for c in below for t in c.tables)
        self._refuse(f"rows that are referenced have not been fetched in this run, {LOST}", unclosed)

    def to_finish(self) -> None:
        """The same of all components.

        Raises:
            EarlyError: something of it is missing.
        """
        self.to_close(self.plan.closures)

    def _refuse(self, what: str, tables: Iterable[TableName]) -> None:
        EarlyError.raise_for(Fault(what, f"{self.target}, {table}", AGAIN) for table in tables)
