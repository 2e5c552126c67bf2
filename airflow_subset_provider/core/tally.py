"""What a run's streams move, told while they run and noted in the target when they have ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from airflow_subset_provider.core.engines.base import Moved, Target
from airflow_subset_provider.core.progress import Progress
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.stats import Stats

MB = 1_000_000
LOG_EVERY = 5.0  # seconds of a long copy
WORTH_ANALYZING = 1000  # rows; below that a wrong guess of the planner costs less than ANALYZE


class Tally(Struct, frozen=True):
    """The numbers of one run.

    Attributes:
        run: the run's key.
        taken: when the preparation that its steps belong to took the lock; None: whichever holds it.
        watch: is told of a table under way, several times a second; `log` only every few seconds.
    """

    run: str
    log: logging.Logger
    watch: Callable[[TableName, Moved], None] | None = None
    taken: str | None = None

    def progress(self, table: TableName) -> Callable[[Moved], None]:
        """What to tell of the table's stream."""
        told_at = 0.0

        def tell(moved: Moved) -> None:
            nonlocal told_at
            if self.watch:
                self.watch(table, moved)
            if moved.seconds - told_at >= LOG_EVERY:
                self.log.info("%s: %s so far, %.1f s", table, size(moved.bytes), moved.seconds)
                told_at = moved.seconds

        return tell

    def add(
        self, progress: Progress, target: Target, fetched: Mapping[TableName, Moved], dropped: Mapping[TableName, int]
    ) -> dict[TableName, Stats]:
        """Add what a step did to what is noted of each table it changed."""
        before, changed = progress.own_stats(self.run), [*{**fetched, **dropped}]
        for table in changed:
            moved, gone, was = fetched.get(table, Moved()), dropped.get(table, 0), before.get(table, Stats())
            now = replace(
                was,
                referred=was.referred + moved.rows,
                dropped=was.dropped + gone,
                bytes=was.bytes + moved.bytes,
                seconds=round(was.seconds + moved.seconds, 3),
            )
            progress.note_stats(self.run, table, now)
            if moved.rows or gone:
                self.log.info("%s: %s, %d left out", table, told(moved, "referred "), gone)
        target.analyze([t for t, m in fetched.items() if m.rows >= WORTH_ANALYZING])
        now_all = progress.stats(self.run)
        return {table: now_all[table] for table in changed}


def told(moved: Moved, kind: str = "") -> str:
    """A stream's numbers in words."""
    return f"{moved.rows:,} {kind}rows, {size(moved.bytes)}, {moved.seconds:.2f} s, {moved.rate:,.0f} rows/s"


def size(count: int) -> str:
    """Bytes in words."""
    return f"{count / MB:,.1f} MB" if count >= MB else f"{count / 1000:.1f} kB"
