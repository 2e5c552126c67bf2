"""What `prepare` says once the target is ready: all other tasks of the group go by it, and by nothing else it said.

It is an XCom, so it tells of every setting what a worker cannot find out by parsing the DAG file: the clauses as they
were rendered, the hold on the target, and of what the DAG was when the run began, to notice that it was edited since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, convert, to_builtins

from airflow_subset_provider.operators import secrets
from airflow_subset_provider.operators.job import Job

KEY = "prepared"
PREPARE = "prepare"


class Ready(Struct, frozen=True):
    """That the target is ready, and what for.

    Attributes:
        fingerprint: of the schema that the plan was made from.
        request: `Job.request`.
        taken: the preparation, as the target's lock has it (`core.report.Prepared`).
        started: when it began, `time.time()`: tells one run of the group from the next.
        drift: how the source's schema is no longer the plan's, where `on_drift` let that pass.
        warnings: what the report is to say, masked.
        report: where that goes; None: a secret is in it.
        filters: the clauses, rendered; None for one that holds a secret.
        marks: `secrets.marks` of those that are not told.
    """

    fingerprint: str
    request: str
    taken: str
    started: float
    drift: Sequence[str]
    warnings: Sequence[str]
    report: str | None
    filters: Mapping[str, str | None]
    marks: Mapping[str, str]

    def push(self, ti: Any) -> None:
        """Say it as the task that runs."""
        ti.xcom_push(KEY, to_builtins(self))

    @property
    def clauses(self) -> dict[str, str]:
        """The filters that it tells."""
        return {table: clause for table, clause in self.filters.items() if clause is not None}

    def edited(self, job: Job) -> str:
        """In what the DAG is another one than it was then; empty: in nothing that rows hang on."""
        now = job.plan.schema.fingerprint
        if self.fingerprint != now:
            return f"structure changed during the run: `prepare` had the schema {self.fingerprint}, this task has {now}"
        if self.request == job.request and self.marks == secrets.marks(self.filters, job.plan.spec.filters):
            return ""
        return "SubsetOperator asks for other rows than when the run began"


def heard(job: Job, ti: Any) -> Ready | None:
    """What `prepare` has said in this DAG run; None: nothing, or nothing since it began again."""
    found: Mapping[str, Any] | None = ti.xcom_pull(task_ids=job.task_id(PREPARE), key=KEY)
    return convert(found, Ready) if found else None
