"""How a run goes on: bars in a terminal, lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock, get_ident
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from airflow_subset_provider.core.engines.base import Moved
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.stats import Stats
from airflow_subset_provider.core.tally import size

PHASES = {
    "prepare": "checking both ends, emptying the target",
    "extract": "copying the tables' own rows",
    "references": "fetching rows that kept rows reference",
    "finish": "putting constraints back, proving them",
}


class Lines:
    """One line for each phase and each table."""

    def __init__(self, console: Console) -> None:
        """Print to `console`."""
        self._console = console
        self._lock = Lock()
        self._phase = ""

    def phase(self, name: str) -> None:
        """Say which."""
        self._phase = name
        self._say(f"{name}: {PHASES[name]}")

    def started(self, component: Component) -> None:
        """Nothing yet."""

    def done(self, component: Component, stats: dict[TableName, Stats]) -> None:
        """What it did."""
        for table, did in stats.items():
            moved = f"{size(did.bytes)}, {did.seconds:.2f} s"
            if self._phase == "extract":
                dropped = f" - {did.dropped:,} dropped" if did.dropped else ""
                self._say(f"  {table}: {did.extracted:,} rows{dropped}, {moved}")
            elif did.referred:
                self._say(f"  {table}: {did.referred:,} rows referred, {moved} with its own")

    def watch(self, table: TableName, moved: Moved) -> None:
        """Only the end is worth a line."""

    def _say(self, text: str) -> None:
        with self._lock:
            self._console.print(Text(text), soft_wrap=True)


class Bars:
    """One bar for the phase, one for every table under way; the ends come from the estimates."""

    def __init__(self, progress: Progress, expected: Mapping[TableName, int], components: Mapping[str, int]) -> None:
        """Draw in `progress`.

        Args:
            components: how many each phase has.
        """
        self._progress, self._expected, self._components = progress, expected, components
        self._phase: TaskID | None = None
        self._tables: dict[TableName, TaskID] = {}
        self._streams: dict[tuple[TableName, int], list[int]] = {}
        self._lock = Lock()

    def phase(self, name: str) -> None:
        """A bar of its own, done when the next one begins."""
        self.end()
        total = self._components.get(name)
        self._phase = self._progress.add_task(f"{name}: {PHASES[name]}", total=total, rows=None, began=0.0)

    def started(self, component: Component) -> None:
        """A bar for each of its tables."""
        with self._lock:
            for table in component.tables:
                total = self._expected.get(table) or None
                self._tables[table] = self._progress.add_task(f"  {table}", total=total, rows=0, began=time.monotonic())

    def watch(self, table: TableName, moved: Moved) -> None:
        """Move its bar."""
        with self._lock:
            task = self._tables.get(table)
            if task is not None:
                rows = self._all_rows(table, moved.rows)
                self._progress.update(task, completed=rows, rows=rows)

    def _all_rows(self, table: TableName, rows: int) -> int:
        """Of all streams into the table: parts of it come side by side, and one after the other in a thread."""
        ended, last = self._streams.get((table, get_ident()), [0, 0])
        self._streams[table, get_ident()] = [ended + last if rows < last else ended, rows]
        return sum(sum(stream) for (t, _), stream in self._streams.items() if t == table)

    def done(self, component: Component, stats: dict[TableName, Stats]) -> None:
        """Take its bars away."""
        with self._lock:
            for table in component.tables:
                self._progress.remove_task(self._tables.pop(table))
            if self._phase is not None:
                self._progress.advance(self._phase)

    def end(self) -> None:
        """The phase is over."""
        if self._phase is not None:
            total = self._progress.tasks[self._progress.task_ids.index(self._phase)].total or 1
            self._progress.update(self._phase, total=total, completed=total)


class _Rows(ProgressColumn):
    """`1,124 rows, 56,200/s`, or `3/15` for a phase."""

    def render(self, task: Task) -> Text:
        rows: Any = task.fields.get("rows")
        if rows is None:
            return Text(f"{task.completed:.0f}/{task.total:.0f}" if task.total else "", "dim")
        seconds = time.monotonic() - task.fields["began"]
        return Text(f"{rows:,} rows, {rows / seconds:,.0f}/s" if seconds > 0 and rows else "", "dim")


@contextmanager
def shown(
    console: Console, expected: Mapping[TableName, int], components: Mapping[str, int], quiet: bool = False
) -> Iterator[Lines | Bars]:
    """Bars in a terminal, lines elsewhere."""
    if quiet or not console.is_terminal:
        yield Lines(Console(quiet=True) if quiet else console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(24), _Rows(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console) as progress:
        bars = Bars(progress, expected, components)
        yield bars
        bars.end()
