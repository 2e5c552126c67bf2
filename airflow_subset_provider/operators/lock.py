"""Whose lock is it: the name of a run in the target's lock, and whether the run of such a name still goes on.

The lock is a row in the target; who may take it over is for Airflow to say, which knows its DAG runs. A run goes on
while its DAG run is queued or running and its `finish` has not succeeded (after that the copy is proven and nothing
writes it any more, so a second group of the same DAG may follow at once, before the first one's `release` ran).

A run that this Airflow knows nothing of (of the command line, of another deployment, or deleted) counts as alive until
its lock is older than `[subset] lock_hours`: taking over from a live run would not corrupt the target, because every
step makes sure of the lock first, but it would fail that run.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_subset_provider.compat import conf

LONGEST = 500  # the column's width
DEFAULT_HOURS = 24.0
FINISH = "finish"

log = logging.getLogger(__name__)


def run_key(dag_id: str, run_id: str, group_id: str) -> str:
    """The run's name: readable, unique, and the same for every task of the group in this DAG run."""
    key = f"{dag_id}/{run_id}/{group_id}"
    if len(key) <= LONGEST:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return f"{key[: LONGEST - 17]}-{digest}"


def is_alive(ti: Any, key: str, taken: datetime) -> bool:
    """Whether the run of another key still goes on.

    Args:
        ti: the running task instance, to ask Airflow through.
        taken: when that run took the lock.
    """
    dag_id, _, rest = key.partition("/")
    run_id, _, group_id = rest.rpartition("/")
    state = _dag_run_state(ti, dag_id, run_id) if run_id else None
    if state is None:
        hours = conf.getfloat("subset", "lock_hours", fallback=DEFAULT_HOURS)
        return datetime.now(UTC) - taken < timedelta(hours=hours)
    if state in ("success", "failed"):
        return False
    return task_states(ti, dag_id, run_id, group_id).get(f"{group_id}.{FINISH}") != "success"


def _dag_run_state(ti: Any, dag_id: str, run_id: str) -> str | None:
    try:
        return str(getattr(state := ti.get_dagrun_state(dag_id, run_id), "value", state))
    except Exception as error:
        # Airflow's versions say "no such DAG run" in different ways; any doubt leaves the lock where it is.
        log.info("Airflow does not know the DAG run %s of %s (%s)", run_id, dag_id, type(error).__name__)
        return None


def task_states(ti: Any, dag_id: str, run_id: str, group_id: str) -> dict[str, str | None]:
    """The state of every task of a group in a DAG run; a task that has none yet is missing or None."""
    found = ti.get_task_states(dag_id=dag_id, task_group_id=group_id, run_ids=[run_id]).get(run_id, {})
    return {task: None if state is None else str(getattr(state, "value", state)) for task, state in found.items()}
