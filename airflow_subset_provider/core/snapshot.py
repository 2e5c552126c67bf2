"""One point in time: a session that holds one state of the source for as long as a run reads it.

Where the engine can show one state to several sessions, every step of a run may read the same one, so that the copy
is what the source was at one moment. Where it cannot, or nobody wants it, each component is read at its own time and
the seams are healed. Here is who holds that state, and the words for both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

from msgspec import Struct

from airflow_subset_provider.core import engines
from airflow_subset_provider.core.errors import Fault, RequestError, SubsetError

if TYPE_CHECKING:
    from airflow_subset_provider.core.engines.base import Endpoint, Source

ONE_POINT = "one point in time"
OWN_TIMES = "each table at its own time, seams healed"
HEARTBEAT = 20.0  # seconds: below what poolers and firewalls allow a silent connection


def guarantee(one: bool) -> str:
    """What a run can say of its copy, in a few words."""
    return ONE_POINT if one else OWN_TIMES


def wanted(engine: str, consistent: bool | None) -> bool:
    """Whether a run from such a source is to be one point in time.

    Args:
        consistent: what the user says; None: where the engine can.

    Raises:
        RequestError: the user says so of an engine that cannot, or says neither.
    """
    if consistent not in (None, True, False):
        raise RequestError(Fault(f"{consistent!r} is neither True, False nor None", "consistent"))
    able = engines.shares_snapshots(engine)
    if consistent and not able:
        raise RequestError(
            Fault(
                f"a {engine} server cannot show one state to several sessions",
                "consistent",
                "Leave it out: each table is read at its own time then, and the references are healed.",
            )
        )
    return able if consistent is None else consistent


@contextmanager
def shared(end: Endpoint, purpose: str, consistent: bool | None, log: logging.Logger) -> Iterator[str | None]:
    """Hold the source's state for a run in one process: the name by which all its sessions read it, or None.

    Args:
        consistent: see `wanted`; with None, a server that will not hold or hand out its state is no error.
    """
    if not wanted(end.engine, consistent):
        yield None
        return
    with ExitStack() as stack:
        try:
            holder = stack.enter_context(held(end, purpose))
            prove(end, purpose, holder.exported)
        except SubsetError as error:
            if consistent:
                raise
            log.warning("Not one point in time, but %s: %s", OWN_TIMES, error)
            stack.close()
            yield None
            return
        stack.enter_context(kept_alive(holder, log))
        yield holder.exported


def prove(end: Endpoint, purpose: str, exported: str) -> None:
    """Make sure that another session can read that state.

    Raises:
        SubsetError: it cannot; behind a load balancer, it may have reached another server.
    """
    with engines.get(end.engine).source(end, purpose) as source:
        source.read_from(exported)
        with source.snapshot():
            pass


class Holder(Struct, frozen=True):
    """A session that holds one state of the source.

    Attributes:
        exported: the name by which others read it.
    """

    exported: str
    source: Source

    def check(self) -> None:
        """Make sure that it still holds it; also keeps the connection from looking idle.

        Raises:
            SubsetError: it does not.
        """
        self.source.value("SELECT 1")


@contextmanager
def held(end: Endpoint, purpose: str) -> Iterator[Holder]:
    """Hold the state that the source has now, until the context ends.

    Raises:
        SubsetError: the source cannot be reached, or will not hold one.
    """
    with engines.get(end.engine).source(end, purpose) as source, source.export_snapshot() as exported:
        yield Holder(exported, source)


@contextmanager
def kept_alive(holder: Holder, log: logging.Logger, every: float = HEARTBEAT) -> Iterator[None]:
    """Check the holder from time to time; when it is lost, say so: the steps that come later will fail by it."""
    over = Event()

    def beat() -> None:
        while not over.wait(every):
            try:
                holder.check()
            except SubsetError as error:
                log.warning("The session that held the source's state was lost: %s", error)
                return

    thread = Thread(target=beat, name="subset-snapshot", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=5)
