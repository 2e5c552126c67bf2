"""Secondary indexes that a run drops before it loads a large table, and builds once the rows are there.

Kept up row by row, an index over random values costs more than the rows themselves: a million rows with three of them
load 2.3 to 3.2 times as fast without, the building included (docs/architecture.md). They are noted before they are
dropped, like everything that is out of force, and are built by the step that loads their table, so that tables loaded
side by side have their indexes built side by side. What such a step did not come to is left to `finish` or `release`.

Primary keys and unique indexes stay, for duplicates must be refused; so do the indexes that the run itself looks up
rows by before they would be built again, and all that a server could not make again exactly as it was.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from itertools import groupby

from airflow_subset_provider.core import estimate
from airflow_subset_provider.core.engines.base import INDEX, Source, Suspended, Target
from airflow_subset_provider.core.errors import SubsetError
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.spec import Policy
from airflow_subset_provider.core.state import State, holding
from airflow_subset_provider.core.tally import Tally

LARGE = 100_000  # rows that a table's extract will bring: there it saves half a second to a second, below it little


def large(plan: Plan, source: Source, tally: Tally) -> list[TableName]:
    """The tables whose own rows are many, as far as the source's planner can tell; rows fetched by key do not count.

    Where it cannot, none is: that costs time, and nothing else.
    """
    if all(t.rows < LARGE for t in plan.schema.tables):
        return []
    try:
        return [table for table, rows in estimate.extracted(plan, source).items() if rows >= LARGE]
    except SubsetError as error:
        if error.retryable:
            raise
        tally.log.warning(
            "indexes are kept up during the load, as nobody can tell how many rows there will be: %s", error
        )
        return []


def postponed(plan: Plan, tables: Sequence[TableName], target: Target, tally: Tally) -> list[Suspended]:
    """The indexes of these tables that the run can do without while it loads them."""
    found = target.postponable({table: _looked_up(plan, table) for table in tables}) if tables else []
    for table, items in groupby(found, lambda i: i.table):
        tally.log.info("%s: %s built after the load", table, _names(list(items)))
    return found


def _looked_up(plan: Plan, table: TableName) -> frozenset[tuple[str, ...]]:
    """The keys by which a run finds rows of the table while it loads: what is referenced, and what a drop goes down."""
    cycle = plan.graph.component_of[table].tables
    referenced = {r.key.parent_columns for r in plan.relations_to.get(table, ())}
    below = plan.relations_of.get(table, ())
    left_out = {r.key.columns for r in below if r.key.parent in cycle or r.policy is Policy.DROP}
    return frozenset(referenced | left_out)


def build(target: Target, tally: Tally, tables: Collection[TableName] | None = None) -> None:
    """Build what is noted of these tables, or of all, one table after the other; any attempts may be at it together.

    Raises:
        SubsetError: the rows do not fit in an index, or there is no room for it; the note stays.
    """
    for items in _noted(target, tables):
        _build(target, tally, items)


def put_back(target: Target, tally: Tally) -> None:
    """Build what is noted of all tables, as far as the rows allow; the rest stays noted, for a run with other rows.

    Raises:
        RetryableError: a later try may succeed.
    """
    for items in _noted(target, None):
        try:
            _build(target, tally, items)
        except SubsetError as error:
            if error.retryable:
                raise
            tally.log.warning("%s: %s cannot be built: see airflow_subset. %s", items[0].table, _names(items), error)


def _noted(target: Target, tables: Collection[TableName] | None) -> list[list[Suspended]]:
    """Table by table."""
    places = None if tables is None else {target.located(t) for t in tables}
    noted = [i for i in State(target).suspended() if i.kind == INDEX and (places is None or i.table in places)]
    return [list(items) for _, items in groupby(noted, lambda i: i.table)]


def _build(target: Target, tally: Tally, items: Sequence[Suspended]) -> None:
    """One table's; forgotten in a transaction of their own, and only where the target was held all the time.

    Where making an index commits, another attempt at `prepare` may note and drop it again before it is forgotten here.
    """
    started = time.monotonic()
    with target.transaction():
        taken = State(target).hold(tally.run, tally.taken)
        target.build(items)
    with holding(target, tally.run, taken) as state:
        for item in items:
            state.forget_suspended(item)
    tally.log.info("%s: %s built in %.2f s", items[0].table, _names(items), time.monotonic() - started)


def _names(items: Sequence[Suspended]) -> str:
    return f"index{'es' * (len(items) > 1)} {', '.join(i.name for i in items)}"
