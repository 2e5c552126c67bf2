"""One point in time in Airflow: `hold` keeps the source's state, `wait` lets the others begin when they can read it.

    prepare -> wait -> tables.* -> ... -> finish
            -> hold (runs beside all of them, and ends when they have ended)

`hold` takes a slot for the whole run. It is a teardown, because it must be no leaf of the group (what follows the
group would wait for it) and because Airflow then clears it with the tables; `wait` is a setup, for the same reason.
`hold` is never retried: a second snapshot would be another state. Where no slot is left beside it (an executor, a pool
or a DAG with a single one), or the source refuses, it withdraws and every task reads its own state, unless the user
demanded a common one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any
from zlib import crc32

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_subset_provider.compat import AirflowFailException, conf, runs_one_by_one
from airflow_subset_provider.core import snapshot
from airflow_subset_provider.core.errors import DriftError, SnapshotError, SubsetError
from airflow_subset_provider.operators.agreement import HOLD, WAIT, Word, advice, heard
from airflow_subset_provider.operators.interruptible import interruptible
from airflow_subset_provider.operators.job import Job
from airflow_subset_provider.operators.lock import run_key
from airflow_subset_provider.operators.refresh import refresh_catalog
from airflow_subset_provider.operators.siblings import ENDED, EVERY
from airflow_subset_provider.operators.steps import AfterPrepare, Step, log_of

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context

    from airflow_subset_provider.core.run import Run
    from airflow_subset_provider.core.snapshot import Holder

POKE = 5.0
WAIT_FOR = 7 * 86_400.0  # seconds: Airflow's own default
POKE_FOR = 4.0  # seconds of one poke: `hold` mostly starts in the same moment
PRIORITY = 1_000_000
PATIENCE = 300.0  # seconds: a pod or an autoscaled worker takes minutes to start
GRACE = 20.0
PAUSES = (1.0, 5.0, 15.0)  # between tries to open the session: Airflow itself must not retry this task


def tasks(job: Job, named: Callable[[str], dict[str, Any]]) -> tuple[HoldOperator, WaitOperator]:
    """The two tasks; whatever is asked of the group's tasks, these must be so.

    Args:
        named: the arguments of a task of that name.
    """
    first = {"priority_weight": PRIORITY, "weight_rule": "absolute", "pool_slots": 1}
    hold = HoldOperator(job=job, **named(HOLD), **first, retries=0, execution_timeout=None)
    wait = WaitOperator(job=job, **named(WAIT), **first, trigger_rule="all_success")
    return hold, wait


class HoldOperator(Step):
    """Holds one state of the source from after `prepare` to after `finish`."""

    template_fields = ()
    shallow_copy_attrs = (*Step.shallow_copy_attrs, "_over")  # it holds a lock, which nothing copies deeply
    ui_color = "#e8f1fb"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._over = Event()

    def render_template_fields(self, context: Context, jinja_env: jinja2.Environment | None = None) -> None:
        """Nothing: no filter is needed to hold a state."""

    def on_kill(self) -> None:
        """Let go: Airflow 3 does not interrupt a task that it stops, it only calls this."""
        self._over.set()

    def step(self, run: Run, context: Context) -> dict[str, Any]:
        """Hold, announce, and stay until nobody reads it any more."""
        of, ti = self._began(context), context["ti"]
        if reason := one_by_one(context):
            return self._without(context, of, reason)
        if heard(self.job, ti, WAIT, of):
            raise AirflowFailException(f"the snapshot that this run reads is gone. {advice(self.job)}")
        with ExitStack() as stack:
            try:
                holder = self._opened(run, stack)
            except SubsetError as error:
                return self._without(context, of, str(error))
            Word(of, holder.exported).push(ti)
            self.log.info("Holding the snapshot %s of %s", holder.exported, self.job.source_conn_id)
            reason = self._stay(holder, context, of)
        if self._over.is_set():
            raise AirflowFailException("stopped while other tasks may still need the snapshot")
        return {"snapshot": holder.exported, "ended": reason}

    def _without(self, context: Context, of: float, reason: str) -> dict[str, Any]:
        """Announce that there is no common state.

        Raises:
            AirflowFailException: the user demanded one (but from a DAG that is only tried out).
        """
        if self.job.demanded and not runs_one_by_one(context):
            raise AirflowFailException(f"cannot be one point in time, as `consistent=True` demands: {reason}")
        Word(of, None, reason).push(context["ti"])
        self.log.warning("Not one point in time, but %s: %s", snapshot.OWN_TIMES, reason)
        return {"snapshot": None, "why": reason}

    def _opened(self, run: Run, stack: ExitStack) -> Holder:
        """The session; tried several times when it might be reached a little later."""
        for pause in PAUSES:
            try:
                return stack.enter_context(snapshot.held(run.source, run.purpose))
            except SubsetError as error:
                if not error.retryable or self._over.wait(pause):
                    raise
                self.log.info("%s; trying again", error)
        return stack.enter_context(snapshot.held(run.source, run.purpose))

    def _stay(self, holder: Holder, context: Context, of: float) -> str:
        """Wait for the end of all others; why it ended.

        Raises:
            AirflowFailException: the session was lost, or a demanded state finds no slot for those who read it.
        """
        busy, ti = time.monotonic(), context["ti"]
        while not self._over.wait(EVERY):
            self._check(holder)
            states = self._others(context)
            if all(state in ENDED for state in states.values()):
                return "all tasks have ended"
            if self._unread(states, context, of):
                return "nobody reads it"
            if any(state in AT_WORK for state in states.values()):
                busy = time.monotonic()
            elif time.monotonic() - busy > (waited := patience(run_key(ti.dag_id, ti.run_id, self.job.group_id))):
                self._withdraw(context, of, waited)
                return "withdrawn: no slot for other tasks"
        return "stopped"

    def _check(self, holder: Holder) -> None:
        try:
            holder.check()
        except SubsetError as error:
            raise AirflowFailException(
                f"the session that held the snapshot was ended: {error} On a standby, set hot_standby_feedback = on or "
                f"raise max_standby_streaming_delay; elsewhere ask who ended it. {advice(self.job)}"
            ) from None

    def _others(self, context: Context) -> dict[str, str | None]:
        """The states of the tasks that the snapshot is for."""
        apart = (self.job.task_id(HOLD), self.job.task_id("release"), self.job.task_id("prepare"))
        return {task: state for task, state in self._siblings(context).states().items() if task not in apart}

    def _unread(self, states: Mapping[str, str | None], context: Context, of: float) -> bool:
        """Whether `wait` has failed, or agreed to another state, or to none."""
        state = states.get(self.job.task_id(WAIT))
        if state != "success":
            return state in ENDED
        agreed = heard(self.job, context["ti"], WAIT, of)
        return agreed is not None and agreed.exported is None

    def _withdraw(self, context: Context, of: float, waited: float) -> None:
        self._without(
            context,
            of,
            f"no other task of the group ran for {waited:.0f} s: the executor, the pool or the DAG "
            "(max_active_tasks) has no slot for them beside this one. It takes at least three",
        )
        if any(state in AT_WORK for state in self._others(context).values()):
            self._over.wait(GRACE)  # begun in between: spares it an attempt at a snapshot that is gone


# What a DAG's default_args ask of its sensors is not meant for this one: were it skipped instead of failed, so would be
# all that follows, and a DAG run that has emptied the target would be a success.
AS_A_SENSOR: dict[str, Any] = {
    "mode": "reschedule",
    "poke_interval": POKE,
    "timeout": WAIT_FOR,
    "exponential_backoff": False,
    "max_wait": None,
    "soft_fail": False,
    "never_fail": False,
    "silent_fail": False,
}


class WaitOperator(AfterPrepare, BaseSensorOperator):
    """Waits until the source's state can be read by others, and proves it; holds no slot while it waits."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs | AS_A_SENSOR)

    def execute(self, context: Context) -> Any:
        """As a sensor; what is done in the end, as a step."""
        return BaseSensorOperator.execute(self, context)

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look for the announcement for a few seconds; once it is there, agree to it."""
        of, until = self._began(context), time.monotonic() + POKE_FOR
        while (word := self._announced(context, of)) is None:
            if time.monotonic() > until:
                return False
            time.sleep(POKE_FOR / 8)
        self._word = word
        return PokeReturnValue(True, AfterPrepare.execute(self, context))

    def step(self, run: Run, context: Context) -> dict[str, Any]:
        """Prove that the announced state can be read; load from it what will not be loaded again by its own task."""
        word, reading = self._proven(self._word, run)
        self.load_again(reading, context)
        word.push(context["ti"])  # not before: a task that has its slot already would not find its parents' rows
        if word.exported is None:
            self.log.warning("Not one point in time, but %s: %s", snapshot.OWN_TIMES, word.why)
        return {"guarantee": snapshot.guarantee(word.exported is not None), "snapshot": word.exported, "why": word.why}

    def _announced(self, context: Context, of: float) -> Word | None:
        """What `hold` says; where it ended without a word: that there is no common state, unless one is demanded."""
        if runs_one_by_one(context):
            return Word(of, None, one_by_one(context))
        state = self._siblings(context).state(HOLD)
        word = heard(self.job, context["ti"], HOLD, of)
        if word and (word.exported is None or state == "running"):
            return word
        if state not in ENDED:
            return None
        reason = f"`{self.job.task_id(HOLD)}` ended ({state}) before anybody read its snapshot; its log says why"
        if self.job.demanded:
            raise AirflowFailException(f"{reason}. {advice(self.job)}")
        return Word(of, None, reason)

    def _proven(self, word: Word, run: Run) -> tuple[Word, Run]:
        """The word, if another session can read that state, and the run that does.

        Raises:
            SnapshotError: none can, and one is demanded.
            DriftError: its schema is not the plan's.
        """
        try:
            return word, interruptible(partial(run.reading, word.exported), run.cancel)
        except SnapshotError as error:
            if self.job.demanded:
                raise
            return Word(word.of, None, f"{error} Behind a load balancer, each session may reach another server."), run
        except DriftError:
            refresh_catalog(self.job, log_of(self))
            raise


# Somebody has a slot, or has not asked for one yet: a retry waits for its time.
AT_WORK = ("running", "restarting", "up_for_retry", "deferred")


def one_by_one(context: Context) -> str:
    """Why tasks cannot run beside each other here; empty where nothing is known against it."""
    if runs_one_by_one(context):
        return "dag.test() runs one task at a time"
    if context["dag"].max_active_tasks == 1:
        return "the DAG's max_active_tasks is 1"
    if conf.getint("core", "parallelism", fallback=32) == 1:
        return "[core] parallelism is 1"
    return ""


def patience(run: str) -> float:
    """How long this run's `hold` stays when no other task gets a slot, in seconds.

    Where several have taken all slots, the first to withdraw makes room for the tables of the others, which then are
    one point in time after all. So each has a patience of its own, up to half as long again as what is set.
    """
    least = float(conf.getfloat("subset", "snapshot_patience", fallback=PATIENCE))
    return least * (1 + crc32(run.encode()) / 2**33)
