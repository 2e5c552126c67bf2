"""What the other tasks of a task's group are doing in this DAG run: a task may have its turn too early, or alone.

Airflow schedules by what it knew a moment ago. A task that has its slot while others are cleared, a `prepare` that is
cleared for the sake of one table, a teardown that starts beside tasks at work: each has to ask.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from airflow_subset_provider.core.errors import Fault, RequestError
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.operators import lock
from airflow_subset_provider.operators.job import Job

ENDED = ("success", "failed", "upstream_failed", "skipped", "removed")
DONE = ("success", "skipped")
EVERY = 3.0  # seconds between two looks at them, by one that waits for them
_INSTANCE = re.compile(r"_\d+$")


class Siblings:
    """The tasks of one group, seen by one of them. Every question is a request to Airflow."""

    def __init__(self, job: Job, ti: Any) -> None:
        """Nothing is asked yet."""
        self._job = job
        self._ti = ti

    def states(self) -> dict[str, str | None]:
        """Of all tasks of the group, by their full ids; a task that has none yet is missing or None."""
        return lock.task_states(self._ti, self._ti.dag_id, self._ti.run_id, self._job.group_id)

    def state(self, name: str) -> str | None:
        """Of the task of that short name."""
        return self.states().get(self._job.task_id(name))

    def ended(self, name: str) -> bool:
        """Whether the task of that short name will do no more."""
        return self.state(name) in ENDED

    def running(self) -> list[str]:
        """The full ids of the others that are at work just now."""
        return [task for task, state in self._others().items() if state == "running"]

    def filling(self) -> list[str]:
        """Those of them whose rows count, or that say that all have come."""
        counting = tuple(self._job.task_id(name) for name in ("tables.", "references.", lock.FINISH))
        return [task for task in self.running() if task.startswith(counting)]

    def any_to_come(self, before: Collection[str]) -> bool:
        """Whether one of these tasks has not run yet, or runs once more.

        Args:
            before: full ids, as the DAG has them: a mapped task's instances count as the task.
        """
        return any(
            state not in ENDED for task, state in self.states().items() if {task, _INSTANCE.sub("", task)} & {*before}
        )

    def loaded(self) -> list[Component]:
        """The components whose tasks have run and will not run again in this DAG run.

        Raises:
            RequestError: nor will the steps that must follow the loading; or what they hang on is loaded after them.
        """
        done = {task for task, state in self.states().items() if state in DONE}
        found = [c for c in self._job.plan.extracts if self._job.extract_id(c) in done]
        finish = self._job.task_id(lock.FINISH)
        after = sorted(t for t in done if t.startswith(self._job.task_id("references.")) or t == finish)
        self._refuse("these tasks will not run again", after)
        first = sorted(self._job.extract_id(c) for c in found if self._hangs_on_others(c, found))
        self._refuse("the rows of these tasks hang on others, which would be loaded after them", first)
        return found

    def _hangs_on_others(self, component: Component, loaded: Sequence[Component]) -> bool:
        """Whether what `drop` leaves out of it hangs on tables that are not loaded with these."""
        from airflow_subset_provider.core.integrity import read_by_drop  # not needed by a parse

        plan = self._job.plan
        missing = {t for c in plan.extracts if c not in loaded for t in c.tables} - {*component.tables}
        return bool(missing & read_by_drop(plan, component))

    def _refuse(self, what: str, tasks: Sequence[str]) -> None:
        if tasks:
            raise RequestError(
                Fault(
                    f"only a part of the group was cleared, and {what}: {', '.join(tasks)}",
                    f"task group {self._job.group_id!r}",
                    "Clear the tables' tasks with their downstream tasks, or the whole group.",
                )
            )

    def _others(self) -> dict[str, str | None]:
        ti = self._ti
        own = ti.task_id if ti.map_index in (None, -1) else f"{ti.task_id}_{ti.map_index}"
        return {task: state for task, state in self.states().items() if task != own}
