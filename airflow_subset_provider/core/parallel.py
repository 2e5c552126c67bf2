"""A run's steps in one process, several at a time: components in the order of the graph, each on its own connections.

What may run beside what is the graph's to say, here as in the task group: an extract follows those of its parents, a
closure those of its children. A step that fails stops the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from queue import SimpleQueue
from typing import Protocol

from airflow_subset_provider.core import snapshot
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.report import Report
from airflow_subset_provider.core.run import Run
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.state import Stats


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
    drifted = run.prepare()
    try:
        with snapshot.shared(run.source, run.purpose, consistent, run.log) as exported:
            one = run.reading(exported)
            _copy(one, listener, jobs)
            listener.phase("finish")
            return one.finish(started, drifted)
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
    idle: SimpleQueue[Run] = SimpleQueue()
    for member in crew:
        idle.put(member)

    def step(component: Component) -> None:
        member = idle.get()
        try:
            listener.started(component)
            listener.done(component, work(member, component))
        finally:
            idle.put(member)

    under_way: dict[Future[None], str] = {}
    done: set[str] = set()
    with ThreadPoolExecutor(len(crew)) as pool:
        try:
            while left or under_way:
                for ready in [c for c in left if before[c] <= done][: len(crew) - len(under_way)]:
                    under_way[pool.submit(step, left.pop(ready))] = ready
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    done.add(under_way.pop(future))
                    future.result()
        except BaseException:
            for member in crew:
                member.cancel()
            raise
