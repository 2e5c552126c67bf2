"""What all tasks of a SubsetOperator share: each takes one step of the core's run, and speaks to Airflow about it.

Thin on purpose: what a step does is in `core.run`. Here are the things only Airflow has: filters are templates,
rendered once (by `prepare`) and pulled by all others, so that `{{ macros.datetime.now() }}` cannot give two tables
different filters (but for those that hold a secret: `secrets`); errors that no retry can mend fail the task at once.
The tasks themselves are in `prepare`, `snapshot`, `tables`, `parts` and `finish`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, cast

from airflow.sdk import BaseOperator
from msgspec.structs import replace

from airflow_subset_provider.compat import AirflowFailException
from airflow_subset_provider.core.errors import EarlyError, LockedError, RetryableError, SnapshotError, SubsetError
from airflow_subset_provider.operators import agreement, lock, readiness, secrets
from airflow_subset_provider.operators.interruptible import interruptible
from airflow_subset_provider.operators.job import Job
from airflow_subset_provider.operators.readiness import PREPARE, Ready
from airflow_subset_provider.operators.siblings import ENDED, Siblings

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context

    from airflow_subset_provider.core.run import Run

FILTERS = "filters"


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
            return readiness.heard(self.job, context["ti"])
        except Exception:
            # No run to ask: each of Airflow's ways to render outside one says so with another exception.
            self.log.debug("no XCom of `prepare`", exc_info=True)
            return None

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
                    self._refuse_to_read(error, context)
            self._run = self._run.reading(None)
            return self._attempt(self._run, context)

    def _refuse_to_read(self, error: SnapshotError, context: Context) -> NoReturn:
        if self._prepared_again(context):  # with it, Airflow has cleared what held the snapshot
            prepare = self.job.task_id(PREPARE)
            what = f"`{prepare}` runs again, and the snapshot of before is gone"
            raise RetryableError(f"{what}. {agreement.LATER}") from None
        raise AirflowFailException(f"{secrets.masked_error(error)} {agreement.advice(self.job)}") from None

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
            state = self._siblings(context).state(PREPARE)
            if state in ENDED and state != "success":
                raise AirflowFailException(f"`{prepare}` has not made the target ready: {state}. Its log says why.")
            raise RetryableError(f"`{prepare}` has not said yet that the target is ready. {agreement.LATER}")
        if how := self._ready.edited(self.job):
            if self._prepared_again(context):
                raise RetryableError(f"`{prepare}` runs again, as the DAG's {how}. {agreement.LATER}")
            raise AirflowFailException(f"the DAG's {how}. Clear the run from `{prepare}` on.")
        return super().execute(context)

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

    def _exported(self, context: Context) -> str | None:
        """As `wait` agreed; that `hold` withdrew shows when the state cannot be read."""
        if not self.job.consistent:
            return None
        word = self._agreed(context)
        if word.exported is None:
            self._tell(word)
        return word.exported

    def _agreed(self, context: Context) -> agreement.Word:
        def ended() -> bool:
            return self._siblings(context).ended(agreement.WAIT) and not self._prepared_again(context)

        return agreement.agreed(self.job, context["ti"], self._began(context), ended)

    def _withdrawn(self, context: Context) -> bool:
        word = agreement.withdrawn(self.job, context["ti"], self._began(context)) if self.job.consistent else None
        if word:
            self._tell(word)
        return word is not None

    def _tell(self, word: agreement.Word) -> None:
        self.log.info("This task reads its own state of the source: %s", word.why)
