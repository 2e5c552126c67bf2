"""Waiting for a step so that Airflow can interrupt it.

Airflow stops a task by a signal (SIGTERM for `on_kill`, SIGALRM for `execution_timeout`), and Python runs a signal's
handler in the main thread, between two of its own instructions. A step sits in the drivers' C code instead, for as long
as a COPY or a LOAD DATA takes. So the step runs in a second thread and the main thread waits: signals interrupt that.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from threading import Thread
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 1.0  # seconds until a cancelled statement is cancelled again: the first time may have hit between two


def interruptible(step: Callable[[], T], cancel: Callable[[], None]) -> T:
    """Take the step; if this thread is interrupted, cancel the step, wait for its end, and go on with the interruption.

    Args:
        cancel: makes the step fail soon; may be called at any time and from any thread.
    """
    future: Future[T] = Future()
    Thread(target=copy_context().run, args=(_into, future, step), name="subset-step", daemon=True).start()
    try:
        wait([future])
    except BaseException:
        while not future.done():
            cancel()
            wait([future], timeout=PATIENCE)
        raise
    return future.result()


def _into(future: Future[T], step: Callable[[], T]) -> None:
    try:
        future.set_result(step())
    except BaseException as error:
        future.set_exception(error)
