"""The tasks of a SubsetOperator: each takes one step of the core's run, and speaks to Airflow about it.

Thin on purpose: what a step does is in `core.run`. Here are the things only Airflow has: filters are templates,
rendered once (by `prepare`) and pulled by all others, so that `{{ macros.datetime.now() }}` cannot give two tables
different filters (but for those that hold a secret: `secrets`); errors that no retry can mend fail the task at once;
numbers become XComs.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from airflow.sdk import BaseOperator
from msgspec.structs import replace

from airflow_subset_provider.compat import AirflowFailException, runs_alone
from airflow_subset_provider.core.errors import (
    DriftError,
    EarlyError,
    LockedError,
    RetryableError,
    SnapshotError,
    SubsetError,
)
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.operators import agreement, lock, readiness, secrets, texts
from airflow_subset_provider.operators.interruptible import interruptible
from airflow_subset_provider.operators.job import Job
from airflow_subset_provider.operators.lineage import Traced
from airflow_subset_provider.operators.links import ReportLink
from airflow_subset_provider.operators.readiness import PREPARE, Ready
from airflow_subset_provider.operators.refresh import refresh_catalog
from airflow_subset_provider.operators.siblings import ENDED, Siblings

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context

    from airflow_subset_provider.core.run import Run

Numbers = dict[str, dict[str, Any]]

FILTERS = "filters"
WAIT = 5.0  # seconds between two looks at the other tasks


@contextmanager
def _as_airflow_wants(*, hopeless: tuple[type[SubsetError], ...] = ()) -> Iterator[None]:
    """Let Airflow retry what a later try may not meet again, and nothing else.

    Args:
        hopeless: errors that a retry of this very task cannot mend, though the core calls them retryable.
    """
    try:
        yield
    except SubsetError as error:
        shown = secrets.masked_error(error)
        if error.retryable and not isinstance(error, hopeless):
            raise shown from None
        raise AirflowFailException(str(shown)) from None


class Step(BaseOperator):
    """A task of a SubsetOperator.

    Attributes:
        filters: the clauses, templates at parse time, rendered when the task runs.
    """

    template_fields: Collection[str] = (FILTERS,)
    template_fields_renderers: ClassVar[dict[str, str]] = {"sql": "sql", FILTERS: "json"}
    shallow_copy_attrs: Sequence[str] = ("job",)
    ui_color = "#e8f1fb"
    hopeless: ClassVar[tuple[type[SubsetError], ...]] = (LockedError,)  # `prepare` alone takes the lock

    def __init__(self, *, job: Job, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.filters: dict[str, str] = dict(job.plan.spec.filters)
        self._run: Run | None = None
        self._ready: Ready | None = None

    # -- rendering

    def render_template_fields(self, context: Context, jinja_env: jinja2.Environment | None = None) -> None:
        """Take the filters that `prepare` rendered; where it has not run (`airflow tasks render`), render them here."""
        with _as_airflow_wants(hopeless=self.hopeless):
            self._ready = self._heard(context)
            known = self._known()
            templates = {t: c for t, c in self.job.plan.spec.filters.items() if t not in known}
            self.filters = known | self._rendered(templates, context, jinja_env)
            self.show()

    def show(self) -> None:
        """Work out the fields that hang on the rendered filters."""

    def _known(self) -> dict[str, str]:
        """The clauses as `prepare` has rendered them."""
        return self._ready.clauses if self._ready else {}

    def _heard(self, context: Context) -> Ready | None:
        try:
            return self._asked(context["ti"])
        except Exception:
            # No run to ask: each of Airflow's ways to render outside one says so with another exception.
            self.log.debug("no XCom of `prepare`", exc_info=True)
            return None

    def _asked(self, ti: Any) -> Ready | None:
        return readiness.heard(self.job, ti)

    def _rendered(
        self, templates: dict[str, str], context: Context, jinja_env: jinja2.Environment | None
    ) -> dict[str, str]:
        environment = jinja_env or self.get_template_env()
        found = self.render_template(templates, context, environment)
        return {table: str(clause) for table, clause in found.items()}

    def place_of_report(self, context: Context, jinja_env: jinja2.Environment | None = None) -> str:
        """Where the report goes; "" for nowhere."""
        if not self.job.report:  # with native rendering, nothing would become None
            return ""
        return str(self.render_template(self.job.report, context, jinja_env or self.get_template_env()))

    def _prepared(self, context: Context) -> Ready | None:
        """What `prepare` has told all others; mostly heard already, to render: each time is a request to Airflow."""
        return self._ready or readiness.heard(self.job, context["ti"])

    def _began(self, context: Context) -> float:
        """When the `prepare` that this task belongs to began: tells one run of the group from the next."""
        ready = self._prepared(context)
        return ready.started if ready else 0.0

    # -- running

    def execute(self, context: Context) -> Any:
        """Take the step."""
        ti = context["ti"]
        key = lock.run_key(ti.dag_id, ti.run_id, self.job.group_id)
        exported = self._exported(context)
        with _as_airflow_wants(hopeless=self.hopeless):
            alive, taken = partial(lock.is_alive, ti), self._taken()
            self._run = self.job.run(key, self.filters, alive, log_of(self), exported, taken)
            try:
                return self._attempt(self._run, context)
            except SnapshotError as error:
                if not self._withdrawn(context):
                    advice = agreement.advice(self.job)
                    raise AirflowFailException(f"{secrets.masked_error(error)} {advice}") from None
            self._run = self._run.reading(None)
            return self._attempt(self._run, context)

    def _attempt(self, run: Run, context: Context) -> Any:
        try:
            return self.step(run, context)
        except LockedError as error:
            if not self._prepared_again(context):
                raise
            raise RetryableError(error.faults) from None
        except EarlyError as error:
            if not self._siblings(context).any_to_come(self.get_flat_relative_ids(upstream=True)):
                raise
            raise RetryableError(replace(fault, do=agreement.LATER) for fault in error.faults) from None

    def _exported(self, context: Context) -> str | None:
        """The name of the source's state that this task reads; None: its own."""
        return None

    def _withdrawn(self, context: Context) -> bool:
        """Whether nobody holds that state any more, and none is to be read."""
        return False

    def _taken(self) -> str | None:
        """The preparation that this task belongs to; None: none."""
        return None

    def _prepared_again(self, context: Context) -> bool:
        """Whether `prepare` has run once more since this task heard of it, or is about to."""
        return False

    def step(self, run: Run, context: Context) -> Any:
        """What this task does."""
        raise NotImplementedError

    def on_kill(self) -> None:
        """Stop what both servers are doing for this task."""
        if self._run:
            self._run.cancel()

    def _siblings(self, context: Context) -> Siblings:
        return Siblings(self.job, context["ti"])

    def load_again(self, run: Run, context: Context) -> None:
        """Load what `prepare` has emptied and no task of its own will load."""
        for component in self._siblings(context).loaded():
            self.log.info("%s: its task is not run again, so it is loaded here", component.title)
            interruptible(partial(run.extract, component, again=True), run.cancel)


def log_of(task: BaseOperator) -> logging.Logger:
    """The task's log, which takes the same calls whatever it is made of in this version of Airflow."""
    return cast("logging.Logger", task.log)


class AfterPrepare(Step):
    """A task that goes by what `prepare` has said, and by nothing that it said in another try."""

    def execute(self, context: Context) -> Any:
        """Make sure that the target was made ready for the very plan this worker has.

        Raises:
            RetryableError: `prepare` is to run again, or is at it: this task had its slot when that was cleared.
            AirflowFailException: `prepare` has failed, or the DAG has changed since.
        """
        prepare = self.job.task_id(PREPARE)
        if not self._ready:
            self._refuse_unprepared(context)
            raise RetryableError(f"`{prepare}` has not said yet that the target is ready. {agreement.LATER}")
        if how := self._ready.edited(self.job):
            if self._prepared_again(context):
                raise RetryableError(f"`{prepare}` runs again, as the DAG's {how}. {agreement.LATER}")
            raise AirflowFailException(f"the DAG's {how}. Clear the run from `{prepare}` on.")
        return super().execute(context)

    def _refuse_unprepared(self, context: Context) -> None:
        state = self._siblings(context).state(PREPARE)
        if state in ENDED and state != "success":
            prepare = self.job.task_id(PREPARE)
            raise AirflowFailException(f"`{prepare}` has not made the target ready: {state}. Its log says why.")

    def _known(self) -> dict[str, str]:
        """Nothing where `prepare` speaks of another plan, with other filters perhaps."""
        return {} if self._ready and self._ready.edited(self.job) else super()._known()

    @property
    def ready(self) -> Ready:
        """What `prepare` has said; `execute` lets no step begin without it."""
        return cast("Ready", self._ready)

    def _taken(self) -> str | None:
        return self.ready.taken

    def _prepared_again(self, context: Context) -> bool:
        return not self._siblings(context).ended(PREPARE) or readiness.heard(self.job, context["ti"]) != self._ready


class WritingStep(AfterPrepare):
    """A task that writes what `prepare` has made ready."""

    _word: agreement.Word | None = None

    def _asked(self, ti: Any) -> Ready | None:
        """As `wait` passes it on. Were that of an earlier `prepare`, the core refuses what is `taken` no more."""
        self._word = agreement.said(self.job, ti, agreement.WAIT) if self.job.consistent else None
        return (self._word and self._word.ready) or super()._asked(ti)

    def _exported(self, context: Context) -> str | None:
        """As `wait` agreed; that `hold` withdrew shows when the state cannot be read."""
        if not self.job.consistent:
            return None
        word = self._agreed(context)
        if word.exported is None:
            self._tell(word)
        return word.exported

    def _agreed(self, context: Context) -> agreement.Word:
        of = self._began(context)
        return self._word if self._word and self._word.of == of else self._wait_for(of, context)

    def _wait_for(self, of: float, context: Context) -> agreement.Word:
        ended = partial(self._siblings(context).ended, agreement.WAIT)
        return agreement.agreed(self.job, context["ti"], of, ended)

    def _withdrawn(self, context: Context) -> bool:
        word = agreement.withdrawn(self.job, context["ti"], self._began(context)) if self.job.consistent else None
        if word:
            self._tell(word)
        return word is not None

    def _tell(self, word: agreement.Word) -> None:
        self.log.info("This task reads its own state of the source: %s", word.why)

    def _prepared_again(self, context: Context) -> bool:
        """Where what `wait` passed on is of an earlier `prepare`, this one may have failed, or `wait` says no more."""
        again = super()._prepared_again(context)
        if again and self.job.consistent:
            self._refuse_unprepared(context)
            if ready := readiness.heard(self.job, context["ti"]):
                self._wait_for(ready.started, context)
        return again


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
            time.sleep(WAIT)

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


class ExtractOperator(Traced, WritingStep):
    """Loads the rows that one component's tables keep by their own rules."""

    template_fields = ("sql", "rule", "reason", FILTERS)
    ui_color = "#d9ead3"

    def __init__(self, *, component: Component, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.component = component
        self.sql = ""
        self.rule = texts.rules(self.job.plan, component)
        self.reason = texts.reasons(self.job.plan, component)

    def show(self) -> None:
        """The statements, for *Rendered Template*."""
        self.sql = self.job.extract_sql(self.component, self.filters)

    def step(self, run: Run, context: Context) -> Numbers:
        """Extract and load; the numbers of each table."""
        self._fold_sql()
        self.moved = interruptible(partial(run.extract, self.component), run.cancel)
        return texts.numbers(run.plan, self.moved)

    def _fold_sql(self) -> None:
        self.log.info("::group::SQL of %s", " ".join(map(texts.unfolding, self.component.short_title.splitlines())))
        for line in secrets.masked(self.sql).splitlines():  # an executor's own output is not masked by Airflow
            self.log.info("%s", texts.unfolding(line))
        self.log.info("::endgroup::")


class ReferencesOperator(Traced, WritingStep):
    """Fetches the rows of one component that kept rows reference."""

    template_fields = ("foreign_keys", "rule", "reason", FILTERS)
    ui_color = "#fff2cc"

    def __init__(self, *, component: Component, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.component = component
        self.foreign_keys = texts.keys_into(self.job.plan, component)
        self.rule = texts.rules(self.job.plan, component)
        self.reason = texts.reasons(self.job.plan, component)

    def step(self, run: Run, context: Context) -> Numbers:
        """Fetch what is missing; the numbers of each table."""
        self.moved = interruptible(partial(run.refer, self.component), run.cancel)
        return texts.numbers(run.plan, self.moved)


class SettleOperator(Traced, WritingStep):
    """The same for all components at once, where a referred row may itself be impossible to keep."""

    ui_color = "#fff2cc"

    def step(self, run: Run, context: Context) -> Numbers:
        """Fetch what is missing, drop what cannot be kept; the numbers of each table."""
        self.moved = interruptible(run.settle, run.cancel)
        return texts.numbers(run.plan, self.moved)


class FinishOperator(WritingStep):
    """Puts constraints back in force, which proves the copy; the group's only leaf."""

    operator_extra_links = (ReportLink(),)
    reported = False

    def _agreed(self, context: Context) -> agreement.Word:
        """The report says which states were read, so nothing may have been withdrawn until now."""
        return agreement.withdrawn(self.job, context["ti"], self._began(context)) or super()._agreed(context)

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
                time.sleep(WAIT)
            interruptible(held.release, run.cancel)
        # Not before: a worker parses the DAG anew for every task, and a run must keep the structure it began with.
        ready = self._prepared(context)
        if ready and ready.drift:
            refresh_catalog(self.job, log_of(self))
