"""The last tasks: `finish` proves the copy and reports on it, `release` cleans up whatever has happened."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_subset_provider.operators import agreement, secrets, texts
from airflow_subset_provider.operators.interruptible import interruptible
from airflow_subset_provider.operators.links import ReportLink
from airflow_subset_provider.operators.refresh import refresh_catalog
from airflow_subset_provider.operators.siblings import EVERY
from airflow_subset_provider.operators.steps import Step, WritingStep, log_of

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context

    from airflow_subset_provider.core.run import Run


class FinishOperator(WritingStep):
    """Puts constraints back in force, which proves the copy; the group's only leaf."""

    operator_extra_links = (ReportLink(),)
    reported = False

    def _agreed(self, context: Context) -> agreement.Word:
        """The report says which states were read, so nothing may have been withdrawn until now."""
        word = super()._agreed(context)
        if word.exported is None or self.job.demanded:
            return word
        held = agreement.heard(self.job, context["ti"], agreement.HOLD, word.of)
        if held is None:  # Airflow forgets what a task has said when it starts once more
            why = f"`{self.job.task_id(agreement.HOLD)}` was run again, so nobody knows whether it had withdrawn"
            return agreement.Word(word.of, None, why)
        return word if held.exported else held

    def step(self, run: Run, context: Context) -> dict[str, Any]:
        """Finish; the report."""
        from airflow_subset_provider.operators import announce, reporting

        ready = self.ready
        finish = partial(run.finish, ready.started, ready.warnings)
        report = secrets.masked_report(interruptible(finish, run.cancel))
        for line in texts.report_lines(report):
            self.log.info("%s", texts.unfolding(line))
        for warning in report.warnings:
            self.log.warning("%s", texts.unfolding(warning))
        shown = secrets.masked_plan(run.plan)
        reporting.leave(report, shown, partial(self._place, context), context["ti"], log_of(self))
        self.reported = True
        announce.announce(context["outlet_events"], self.job, report, log_of(self))
        shape: dict[str, Any] = json.loads(report.to_json())  # lists where the dataclass has tuples
        return shape

    def _place(self, context: Context) -> str:
        """As `prepare` says; where that holds a secret, rendered here, by the template that the DAG file has now."""
        told = self.ready.report
        return self.place_of_report(context) if told is None else told


class ReleaseOperator(Step):
    """Teardown: whatever happened, puts back what is still suspended and gives up the lock."""

    template_fields = ()
    hopeless = ()  # prepared again in between, the target is released by a later try

    def render_template_fields(self, context: Context, jinja_env: jinja2.Environment | None = None) -> None:
        """Nothing: no filter is needed to put things back."""

    def step(self, run: Run, context: Context) -> None:
        """Release, once no task of the group is writing any more.

        When one task fails, its siblings may still be at work (Airflow starts a teardown as soon as the tasks directly
        before it cannot run). Those are waited for; those not yet started find the lock gone and fail at once.
        """
        # Now, not after the wait: what is prepared meanwhile is for the tasks of then, and their `release`.
        if (held := interruptible(run.held, run.cancel)) is not None:
            hold = self.job.task_id(agreement.HOLD)
            while busy := [task for task in self._siblings(context).running() if task != hold]:
                self.log.info("Waiting for %s", ", ".join(busy))
                time.sleep(EVERY)
            interruptible(held.release, run.cancel)
        # Not before: a worker parses the DAG anew for every task, and a run must keep the structure it began with.
        ready = self._prepared(context)
        if ready and ready.drift:
            refresh_catalog(self.job, log_of(self))
