"""After the worst crash: put back in a target what a run left out of force, and give its lock up."""

from __future__ import annotations

from msgspec import Struct

from airflow_subset_provider.core import engines
from airflow_subset_provider.core.engines.base import INDEX, Endpoint, Suspended, Target
from airflow_subset_provider.core.errors import SubsetError
from airflow_subset_provider.core.state import State


class Repaired(Struct, frozen=True):
    """One thing that was out of force.

    Attributes:
        how: "validated", "unvalidated" (rows break it, or it was so before), "built" (an index), "still off" (the
            server can have it validated only; rows do not fit in an index), or "to do" where nothing was to be changed.
    """

    item: Suspended
    how: str


class Repair(Struct, frozen=True):
    """What was found.

    Attributes:
        holder: the run that held the lock.
    """

    holder: str | None
    items: tuple[Repaired, ...]


def repair(endpoint: Endpoint, *, look_only: bool = False) -> Repair:
    """Put everything back, as validated as it was where the rows allow it; harmless where there is nothing to do.

    A run that is still alive finds its lock gone at its next step, and fails without harm.

    Args:
        look_only: change nothing.
    """
    with engines.get(endpoint.engine).target(endpoint, "airflow_subset repair") as target, target.transaction():
        state = State(target)
        if not state.exists():
            return Repair(None, ())
        holder, items = state.holder(), state.suspended()
        if look_only:
            return Repair(holder, tuple(Repaired(i, "to do") for i in items))
        target.lock_state()
        holder, items = state.holder(), state.suspended()
        done = tuple(Repaired(i, _put_back(state, target, i)) for i in items)
        if holder is not None:
            state.release(holder)
        return Repair(holder, done)


def _put_back(state: State, target: Target, item: Suspended) -> str:
    if item.kind == INDEX:
        return _built(state, target, item)
    if item.validated and target.restore(item, validate=True):
        state.forget_suspended(item)
        return "validated"
    if target.restore(item, validate=False):
        state.forget_suspended(item)
        return "unvalidated"
    return "still off"


def _built(state: State, target: Target, item: Suspended) -> str:
    try:
        target.build([item])
    except SubsetError as error:
        if error.retryable:
            raise
        return "still off"
    state.forget_suspended(item)
    return "built"
