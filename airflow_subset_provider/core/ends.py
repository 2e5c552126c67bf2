"""The two connections of a run: opened for a step, or kept open over all steps of one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from airflow_subset_provider.core import engines
from airflow_subset_provider.core.engines.base import Endpoint, Session, Source, Target
from airflow_subset_provider.core.schema import Schema


class Ends:
    """Source and target of one run.

    Args:
        schema: what the target's tables are known by.
        purpose: shown in both servers' lists of sessions.
        exported: the state of the source that every session reads; None: each its own.
    """

    def __init__(
        self, source: Endpoint, target: Endpoint, schema: Schema, purpose: str, exported: str | None = None
    ) -> None:
        """Nothing is opened yet."""
        self._exported = exported
        self._source_end, self._target_end = source, target
        self._schema, self._purpose = schema, purpose
        self._open: list[Session] = []
        self._kept: tuple[Source, Target] | None = None

    @contextmanager
    def source(self) -> Iterator[Source]:
        """The read-only end."""
        if self._kept:
            yield self._kept[0]
            return
        with (
            engines.get(self._source_end.engine).source(self._source_end, self._purpose) as source,
            self._noted(source),
        ):
            if self._exported is not None:
                source.read_from(self._exported)
            yield source

    @contextmanager
    def target(self) -> Iterator[Target]:
        """The writing end."""
        if self._kept:
            yield self._kept[1]
            return
        with (
            engines.get(self._target_end.engine).target(self._target_end, self._purpose) as target,
            self._noted(target),
        ):
            target.use(self._schema)
            yield target

    @contextmanager
    def both(self) -> Iterator[tuple[Source, Target]]:
        """Both ends."""
        with self.source() as source, self.target() as target:
            yield source, target

    def cancelled_with(self, other: Ends) -> None:
        """Let `cancel` of either reach the sessions of both."""
        self._open = other._open

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep both ends open for the steps run inside: connecting costs more than a small table's copy."""
        with self.both() as both:
            self._kept = both
            try:
                yield
            finally:
                self._kept = None

    def cancel(self) -> None:
        """Stop what both servers are doing for this run's open step; safe from a signal handler or another thread."""
        for session in list(self._open):
            with suppress(Exception):
                session.cancel()

    @contextmanager
    def _noted(self, session: Session) -> Iterator[None]:
        with ExitStack() as undo:
            self._open.append(session)
            undo.callback(self._open.remove, session)
            yield
