"""The group's first task, its setup: everything is checked before the target is changed, and one lock is taken."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_subset_provider.compat import AirflowFailException, runs_alone
from airflow_subset_provider.core.errors import DriftError
from airflow_subset_provider.operators import secrets
from airflow_subset_provider.operators.interruptible import interruptible
from airflow_subset_provider.operators.job import Job
from airflow_subset_provider.operators.readiness import PREPARE, Ready
from airflow_subset_provider.operators.refresh import refresh_catalog
from airflow_subset_provider.operators.siblings import EVERY
from airflow_subset_provider.operators.steps import FILTERS, Step, log_of

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context

    from airflow_subset_provider.core.run import Run


class PrepareOperator(Step):
    """Setup: checks everything, takes the lock, empties the target, suspends its constraints.

    Clearing one table's task makes Airflow clear its setup too, so this may run again while most of the group's tasks
    will not. Then it loads the tables of those tasks itself.
    """

    template_fields = ("report", FILTERS)
    hopeless = ()

    def __init__(self, *, job: Job, **kwargs: Any) -> None:
        super().__init__(job=job, **kwargs)
        self.report = job.report

    def render_template_fields(self, context: Context, jinja_env: jinja2.Environment | None = None) -> None:
        """The filters, and where the report goes; `finish` takes both from here."""
        super().render_template_fields(context, jinja_env)
        self.report = self.place_of_report(context, jinja_env)

    def _heard(self, context: Context) -> None:
        """Of an earlier try perhaps: `prepare` renders afresh."""

    def step(self, run: Run, context: Context) -> dict[str, Any]:
        """Prepare; say what with."""
        from airflow_subset_provider.operators import reporting  # not at the parse, as all that one task alone needs

        self._refuse_to_be_alone(context)
        started = time.time()
        reporting.check(self.report)
        self._let_others_end(context)
        self._refuse_to_be_late(context)
        self._siblings(context).loaded()  # refused before anything is emptied
        try:
            found = interruptible(run.prepare, run.cancel)
        except DriftError:
            refresh_catalog(self.job, log_of(self))
            raise
        if not self.job.consistent:  # else `wait` does it, from the snapshot that is still to be taken
            self.load_again(run.after(found), context)
        # Not before: a task that had its slot already when this one was cleared would not find its parents' rows.
        schema, told = run.plan.schema, secrets.told(self.filters)
        Ready(
            fingerprint=schema.fingerprint,
            request=self.job.request,
            taken=found.taken,
            started=started,
            drift=found.drifted,
            warnings=[secrets.masked(warning) for warning in found.warnings],
            report=secrets.told_text(self.report),
            filters=told,
            marks=secrets.marks(told, self.job.plan.spec.filters),
        ).push(context["ti"])
        return {
            "tables": len(schema.tables),
            "fingerprint": schema.fingerprint,
            "filters": secrets.masked_filters(self.filters),
            "seconds": round(time.time() - started, 3),
        }

    def _let_others_end(self, context: Context) -> None:
        """Of an earlier try's tasks: one that is at its end would seem to run again, and its rows would be missing."""
        while busy := self._siblings(context).filling():
            self.log.info("Waiting for %s: what it has done counts, or is done again", ", ".join(busy))
            time.sleep(EVERY)

    def _refuse_to_be_late(self, context: Context) -> None:
        """Taken for dead, this attempt may go on when another has ended: what that made ready may be full by now."""
        if self._siblings(context).ended(PREPARE):
            raise AirflowFailException("Another attempt at this task has ended. Nothing was changed.")

    def _refuse_to_be_alone(self, context: Context) -> None:
        """`airflow tasks test` would leave the target empty, and locked by a DAG run that is deleted at once."""
        if runs_alone(context):
            raise AirflowFailException(
                "`airflow tasks test` runs this task and no other, and this one empties the target. Nothing was "
                f"changed. Try the whole DAG: airflow dags test {context['ti'].dag_id}"
            )
