"""Which state of the source the tasks of one run read: what `hold` announces, `wait` agrees to, and all others go by.

Both are XComs, and XComs outlive what they speak of: a cleared run still shows those of the time before. So each says
of which run of `prepare` it is. A task reads what `wait` agreed to, unless `hold` has withdrawn it since.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, convert, to_builtins

from airflow_subset_provider.compat import AirflowFailException
from airflow_subset_provider.core.errors import RetryableError
from airflow_subset_provider.operators.job import Job
from airflow_subset_provider.operators.readiness import PREPARE

HOLD, WAIT = "hold", "wait"
LATER = "This task comes too early: it is tried again where it has `retries`; else clear it once that is done."
KEY = "snapshot"


class Word(Struct, frozen=True):
    """What `hold` announced, or `wait` agreed to.

    Attributes:
        of: when the `prepare` that it belongs to began.
        exported: the name of the source's state; None: each task reads its own.
        why: why there is none.
    """

    of: float
    exported: str | None = None
    why: str = ""

    def push(self, ti: Any) -> None:
        """Say it as the task that runs."""
        ti.xcom_push(KEY, to_builtins(self))


def heard(job: Job, ti: Any, task: str, of: float) -> Word | None:
    """What `hold` or `wait` has said in this run of the group; nothing that it said in an earlier one."""
    found: Mapping[str, Any] | None = ti.xcom_pull(task_ids=job.task_id(task), key=KEY)
    word = convert(found, Word) if found else None
    return word if word and word.of == of else None


def withdrawn(job: Job, ti: Any, of: float) -> Word | None:
    """What `hold` has said, if it holds nothing for this run of the group, or nothing any more."""
    word = heard(job, ti, HOLD, of)
    return word if word and word.exported is None else None


def agreed(job: Job, ti: Any, of: float, ended: Callable[[], bool]) -> Word:
    """What the tasks of this run of the group read, unless `hold` has withdrawn since.

    Args:
        ended: whether `wait` will say no more of that `prepare`, and no later one has run.

    Raises:
        RetryableError: nothing is agreed to yet: this task had its slot already when `prepare` was cleared.
        AirflowFailException: nothing was agreed to for this run of `prepare`.
    """
    word = heard(job, ti, WAIT, of)
    if word is None and not ended():
        raise RetryableError(f"`{job.task_id(WAIT)}` has not said yet which state of the source is read. {LATER}")
    word = word or heard(job, ti, WAIT, of)  # it may have ended in between
    if word is None:
        raise AirflowFailException(
            f"`{job.task_id(WAIT)}` has not run since `{job.task_id(PREPARE)}` did, so there is no snapshot to read. "
            f"{advice(job)}"
        )
    return word


def advice(job: Job) -> str:
    """What to do when a snapshot is gone."""
    return f"Clear the whole task group {job.group_id!r}: it takes a new snapshot and loads every table from it."
