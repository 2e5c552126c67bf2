"""One step of a run in a process of its own, as an Airflow worker takes it: it may be killed at any moment."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from airflow_subset_provider.core import indexes
from airflow_subset_provider.core.errors import LockedError, SubsetError
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.run import Endpoint, Run

RETRY, HOPELESS = 3, 4  # exit codes
CHUNK_ROWS, MOST_PARTS = 600, 4


@dataclass(frozen=True)
class Work:
    """A step to take.

    Attributes:
        step: "prepare", "extract COMPONENT", "cut COMPONENT", "part-NUMBER COMPONENT", "refer COMPONENT", "settle",
            "finish" or "release".
        alive: what this run's Airflow says of any other run that holds the target.
        words: the file for what went wrong.
    """

    engine: str
    source: dict[str, Any]
    target: dict[str, Any]
    plan: Path
    key: str
    step: str
    alive: bool
    words: Path


def connector(engine: str, params: dict[str, Any]) -> Callable[[], Any]:
    """How an endpoint of that engine connects."""
    if engine == "postgresql":
        import psycopg

        return lambda: psycopg.connect(**params)
    import MySQLdb

    return lambda: MySQLdb.connect(**params, charset="utf8mb4", local_infile=True)


def take(work: Work) -> None:
    """Take the step, with indexes built after loads of any size; the exit code says how it went."""
    indexes.LARGE = 1
    try:
        _step(_run(work), work.step)()
    except SubsetError as error:
        work.words.write_text(str(error))
        locked_out = isinstance(error, LockedError) and work.step != "prepare"
        os._exit(RETRY if error.retryable and not locked_out else HOPELESS)


def _run(work: Work) -> Run:
    plan = Plan.from_json(work.plan.read_text())
    source = Endpoint(work.engine, connector(work.engine, work.source), "source")
    target = Endpoint(work.engine, connector(work.engine, work.target), "target")
    sizes = {"chunk_rows": CHUNK_ROWS, "most_parts": MOST_PARTS}
    return Run(plan, source, target, key=work.key, alive=lambda run, since: work.alive, **sizes)


def _step(run: Run, step: str) -> Callable[[], Any]:
    name, _, component = step.partition(" ")
    if not component:
        step_of: Callable[[], Any] = getattr(run, name)
        return step_of
    (wanted,) = (c for c in run.plan.graph.components if c.id == component)
    if name == "cut":
        return run.parts(wanted).cut
    if name.startswith("part-"):
        return partial(run.parts(wanted).load, int(name.removeprefix("part-")))
    return partial(getattr(run, name), wanted)
