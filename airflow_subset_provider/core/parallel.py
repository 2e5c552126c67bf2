"""A run's steps in one process, several at a time: components in the order of the graph, each on its own connections.

What may run beside what is the graph's to say, here as in the task group: an extract follows those of its parents, a
closure those of its children. A large table may be cut into parts (chunks.py), which go side by side. A step that
fails stops the others.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from threading import Lock
from typing import Protocol

from msgspec import Struct

from airflow_subset_provider.core import chunks, snapshot
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.report import Report
from airflow_subset_provider.core.run import Run
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.stats import Stats


class Listener(Protocol):
    """Who wants to know how a run goes on; called from several threads."""

    def phase(self, name: str) -> None:
        """A phase begins: prepare, extract, references, finish."""

    def started(self, component: Component) -> None:
        """A component's step begins."""

    def done(self, component: Component, stats: dict[TableName, Stats]) -> None:
        """It has ended; what it did to each table so far in this run."""


Work = Callable[[Run, Component], dict[TableName, Stats]]


def subset(run: Run, listener: Listener, jobs: int = 1, consistent: bool | None = None) -> Report:
    """All steps of the run, at most `jobs` components at a time.

    Args:
        consistent: whether the copy is the source at one point in time; None: where the source can show it.

    Raises:
        SubsetError: see the steps; whatever happened, `release` has put back what was suspended.
    """
    started = time.time()
    snapshot.wanted(run.source.engine, consistent)
    listener.phase("prepare")
    prepared = run.prepare()
    run = run.after(prepared)
    try:
        with snapshot.shared(run.source, run.purpose, consistent, run.log) as exported:
            one = run.reading(exported)
            _copy(one, listener, jobs)
            listener.phase("finish")
            return one.finish(started, prepared.warnings)
    finally:
        run.release()


def _copy(run: Run, listener: Listener, jobs: int) -> None:
    with _crew(run, jobs) as crew:
        listener.phase("extract")
        _each(crew, run.plan.extracts, run.plan.graph.edges, Run.extract, listener)
        listener.phase("references")
        if run.plan.may_ban:
            run.settle()
        else:
            upwards = ((child, parent) for parent, child in run.plan.graph.edges)
            _each(crew, run.plan.closures, upwards, Run.refer, listener)


@contextmanager
def _crew(run: Run, jobs: int) -> Iterator[list[Run]]:
    """The run once for each job, with connections that stay open."""
    crew = [replace(run) for _ in range(jobs)]
    with ExitStack() as ends:
        for member in crew:
            ends.enter_context(member.ends.kept())
        yield crew


def _each(
    crew: list[Run], components: Iterable[Component], edges: Iterable[tuple[str, str]], work: Work, listener: Listener
) -> None:
    """Do the work on every component, after all that come before it."""
    left = {c.id: c for c in components}
    before: dict[str, set[str]] = {c: set() for c in left}
    for first, then in edges:
        if first in left and then in left:
            before[then].add(first)
    line = _Line(crew, work, listener)
    under_way: dict[Future[bool], str] = {}
    done: set[str] = set()
    with ThreadPoolExecutor(len(crew)) as pool:
        try:
            while left or under_way or line:
                for ready in [c for c in left if before[c] <= done]:
                    line.add(left.pop(ready))
                for _ in range(len(crew) - len(under_way)):
                    if (piece := line.next()) is not None:
                        under_way[pool.submit(line.do, piece)] = piece.component.id
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    component = under_way.pop(future)
                    if future.result():
                        done.add(component)
        except BaseException:
            for member in crew:
                member.cancel()
            raise


class _Piece(Struct, frozen=True):
    """What one member of the crew does at a time: a component's step, its cutting into parts, or one of the parts."""

    component: Component
    work: Work
    cuts: bool = False


class _Line:
    """The pieces that wait, and the members that are idle. Parts go first: others wait for the whole table."""

    def __init__(self, crew: list[Run], work: Work, listener: Listener) -> None:
        """Nothing waits yet."""
        self._work, self._listener = work, listener
        self._waiting: deque[_Piece] = deque()
        self._lead, self._idle = crew[0], SimpleQueue[Run]()
        for member in crew:
            self._idle.put(member)
        self._open: dict[str, int] = {}
        self._done: dict[str, dict[TableName, Stats]] = {}
        self._lock = Lock()

    def add(self, component: Component) -> None:
        """It may begin."""
        cuts = self._work is Run.extract and chunks.splits(self._lead.plan, component, self._lead.chunk_rows)
        self._waiting.append(_Piece(component, self._work, cuts))

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def next(self) -> _Piece | None:
        """What to do next, if anything waits."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def do(self, piece: _Piece) -> bool:
        """Do it; whether that was the last of its component."""
        member = self._idle.get()
        try:
            component = piece.component
            if piece.cuts:
                self._listener.started(component)
                return self._cut(component, member.parts(component).cut())
            if component.id in self._open:
                return self._count(component, piece.work(member, component))
            self._listener.started(component)
            self._listener.done(component, piece.work(member, component))
            return True
        finally:
            self._idle.put(member)

    def _cut(self, component: Component, cut: Iterable[chunks.Chunk]) -> bool:
        parts = [_Piece(component, partial(_load_part, number=c.number)) for c in cut]
        with self._lock:
            self._open[component.id], self._done[component.id] = len(parts), {}
            self._waiting.extendleft(reversed(parts))
        return False

    def _count(self, component: Component, stats: dict[TableName, Stats]) -> bool:
        with self._lock:
            done = self._done[component.id]
            for table, more in stats.items():
                done[table] = done.get(table, Stats()) + more
            self._open[component.id] -= 1
            last = not self._open[component.id]
        if last:
            self._listener.done(component, done)
        return last


def _load_part(run: Run, component: Component, number: int) -> dict[TableName, Stats]:
    return run.parts(component).load(number)
