"""What drives the steps of a run: starts them in the order of the graph, two at a time, retries, gives up, releases.

As much of a scheduler as the core can tell from outside. Blows fall while it drives: see `Blow`.
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from airflow_subset_provider.core import chunks
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.plan import Plan
from tests.chaos import worker
from tests.chaos.worker import CHUNK_ROWS, HOPELESS, MOST_PARTS, Work

SLOTS = 2
TICK = 0.003
PATIENCE = 240.0

_context = multiprocessing.get_context("forkserver")
_engines = [f"airflow_subset_provider.core.engines.{name}.engine" for name in ("postgresql", "mysql")]
_context.set_forkserver_preload([worker.__name__, "networkx", "psycopg", *_engines])


@dataclass
class Blow:
    """Something that happens to a run.

    Attributes:
        step: while this step is at work; any that is, when this one is not.
        after: seconds since the step began.
        strike: what happens; is given the process at work.
        fallen: whether it has happened.
    """

    step: str
    after: float
    strike: Callable[[BaseProcess], None]
    fallen: bool = False


@dataclass(frozen=True)
class Night:
    """The steps of one plan between two databases.

    Attributes:
        told: what the steps had to complain of.
    """

    engine: str
    source: dict[str, Any]
    target: dict[str, Any]
    plan: Plan
    folder: Path
    told: list[str] = field(default_factory=list)
    lasted: dict[str, float] = field(default_factory=dict)
    _numbers: Any = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        (self.folder / "plan.json").write_text(self.plan.to_json())

    # -- the graph

    @property
    def tables(self) -> dict[str, list[str]]:
        """Of each component with rows to extract the steps that load it: one, or those of a large table's parts.

        How many parts there are shows when it is cut; a step of a part that is not there does nothing.
        """
        return {c.id: self._loading(c) for c in self.plan.extracts}

    def _loading(self, component: Component) -> list[str]:
        if not chunks.splits(self.plan, component, CHUNK_ROWS):
            return [f"extract {component.id}"]
        return [f"cut {component.id}", *(f"part-{n} {component.id}" for n in range(1, MOST_PARTS + 1))]

    @property
    def extracts(self) -> list[str]:
        return [step for steps in self.tables.values() for step in steps]

    @property
    def references(self) -> list[str]:
        return ["settle"] if self.plan.may_ban else [f"refer {c.id}" for c in self.plan.closures]

    @property
    def steps(self) -> list[str]:
        return ["prepare", *self.extracts, *self.references, "finish"]

    def before(self, step: str) -> set[str]:
        """The steps that come directly before one."""
        name, _, component = step.partition(" ")
        if name.startswith("part-"):
            return {f"cut {component}"}
        if name in ("extract", "cut"):
            parents = [self.tables.get(a, []) for a, b in self.plan.graph.edges if b == component]
            return {"prepare"}.union(*parents)
        if name == "refer":
            children = {f"refer {b}" for a, b in self.plan.graph.edges if a == component}
            return set(self.extracts) | children & set(self.references)
        everything: dict[str, Iterable[str]] = {"settle": self.extracts, "finish": [*self.extracts, *self.references]}
        return set(everything.get(name, ()))

    def downstream(self, step: str) -> list[str]:
        """The step and all that come after it."""
        found = {step}
        for later in self.steps:
            if found & self.before(later):
                found.add(later)
        return [s for s in self.steps if s in found]

    # -- driving

    def run(
        self,
        key: str,
        steps: Iterable[str] | None = None,
        blows: Iterable[Blow] = (),
        *,
        retries: int = 3,
        alive: bool = False,
        release: bool = True,
    ) -> bool:
        """Take the steps (all by default), then release; whether all went well.

        Args:
            release: without it nobody cleans up, as when the machine is gone.
        """
        wanted = list(self.steps if steps is None else steps)
        pending = list(blows)
        done = self._drive(key, wanted, pending, retries, alive)
        prepared = "prepare" not in wanted or "prepare" in done
        if release and prepared:
            done |= self._drive(key, ["release"], pending, retries, alive)
            wanted.append("release")
        return done >= set(wanted)

    def _drive(self, key: str, wanted: list[str], blows: list[Blow], retries: int, alive: bool) -> set[str]:
        """The steps that succeeded."""
        tries = dict.fromkeys(wanted, retries + 1)
        done: set[str] = set()
        at_work: dict[str, tuple[BaseProcess, float, Path]] = {}
        failed = False
        until = time.monotonic() + PATIENCE
        while True:
            ready = [s for s in tries if s not in done and s not in at_work and not self.before(s) & set(wanted) - done]
            for step in ready[: SLOTS - len(at_work)] if not failed else ():
                tries[step] -= 1
                at_work[step] = self.start(key, step, alive)
            if not at_work:
                return done
            _fall(blows, at_work)
            for step, (process, began, words) in list(at_work.items()):
                if process.exitcode is None:
                    continue
                process.join()
                del at_work[step]
                if process.exitcode == 0:
                    self.lasted[step] = time.monotonic() - began
                    done.add(step)
                else:
                    self.told.append(f"{step} of {key}: {_said(process, words)}")
                    failed = failed or not tries[step] or process.exitcode == HOPELESS
            assert time.monotonic() < until, f"{list(at_work)} still at work: {self.told}"
            time.sleep(TICK)

    def start(self, key: str, step: str, alive: bool = False) -> tuple[BaseProcess, float, Path]:
        """A process that takes the step; when it began, and where it will say what is wrong."""
        words = self.folder / f"words-{next(self._numbers)}"
        work = Work(self.engine, self.source, self.target, self.folder / "plan.json", key, step, alive, words)
        process = _context.Process(target=worker.take, args=(work,), daemon=True)
        process.start()
        return process, time.monotonic(), words


def _fall(blows: list[Blow], at_work: dict[str, tuple[BaseProcess, float, Path]]) -> None:
    for blow in blows:
        process, began, _ = at_work.get(blow.step, (None, 0.0, None))
        if process is not None and not blow.fallen and time.monotonic() - began >= blow.after:
            blow.fallen = True
            blow.strike(process)


def _said(process: BaseProcess, words: Path) -> str:
    return words.read_text() if words.exists() else f"exit code {process.exitcode}"


def kill(process: BaseProcess) -> None:
    """SIGKILL: no handler runs, no transaction ends, no socket is closed but by the kernel."""
    process.kill()
