"""Every error the core raises, under one root.

A run crosses processes (Airflow pickles exceptions), so an error carries plain data only: a tuple of
`Fault`, each saying what is wrong, where, and what to do. Two branches matter to a caller: errors that
a later try may not meet again (`RetryableError`), and errors that will come back until somebody changes
the request, the schema or a privilege (everything else).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from msgspec import Struct

# From the first quotation mark in a server's words, in whatever language, to the last: what is quoted may hold some.
_MARK = r"""["'`\u00ab\u00bb\u2018-\u201f\u300c\u300d]"""
QUOTED = f"(?s){_MARK}.*{_MARK}"  # compiled where it is needed: that is a millisecond of every DAG parse


class Fault(Struct, frozen=True):
    """One thing that is wrong: what, where (table, clause, foreign key, connection) and what to do.

    Attributes:
        clause: the user's SQL that the fault is in, where it is in one. Quoted when the fault is shown and not before:
            until then, whoever knows secrets in it can mask them.
        position: the character of the clause that the server stopped at, from 1; 0 where it does not say.
    """

    what: str
    where: str = ""
    do: str = ""
    clause: str = ""
    position: int = 0

    def __str__(self) -> str:
        """Render as `where: what in filter 'clause', character 7. do`."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        if self.clause:
            place = f", character {self.position}" if self.position else ""
            text = f"{text} in filter {self.clause!r}{place}"
        return f"{text.rstrip('.')}. {self.do}" if self.do else text


class SubsetError(Exception):
    """The root of every error of this package.

    Attributes:
        faults: all the faults found, in the order they were found; never empty.
    """

    retryable = False

    def __init__(self, faults: Iterable[Fault] | Fault | str) -> None:
        """Take one fault, several, or a bare sentence."""
        if isinstance(faults, str):
            faults = Fault(faults)
        self.faults: tuple[Fault, ...] = (faults,) if isinstance(faults, Fault) else tuple(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        """All faults, one a line when there are several."""
        if len(self.faults) == 1:
            return str(self.faults[0])
        return f"{len(self.faults)} faults:\n" + "\n".join(f"  {n}. {fault}" for n, fault in enumerate(self.faults, 1))

    @classmethod
    def raise_for(cls, faults: Iterable[Fault]) -> None:
        """Raise one error for all faults, or return when there are none."""
        found = tuple(faults)
        if found:
            raise cls(found)

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[Fault, ...]]]:
        """Pickle by the faults alone."""
        return type(self), (self.faults,)


class RequestError(SubsetError):
    """What the user asked cannot be done: unknown names, bad filters, contradictory settings."""


class EndpointError(SubsetError):
    """A server cannot be used as it is: same database on both ends, missing privilege or tool."""


class DriftError(SubsetError):
    """The live schema is not the one the plan was made from."""


class TargetError(SubsetError):
    """The target database cannot take the copy: missing tables or columns, rows of somebody else's."""


class EarlyError(TargetError):
    """A step finds in the target nothing of a step before it: that is still to come, or was lost in a crash."""


class IntegrityError(SubsetError):
    """The copy does not hold together; the message names the foreign keys and how many rows dangle."""


class SnapshotError(SubsetError):
    """The state of the source that a run reads can be read no more: the session that held it has ended."""


class RetryableError(SubsetError):
    """A lost connection, a deadlock, a lock timeout: the same step may succeed when tried again."""

    retryable = True


class LockedError(RetryableError):
    """Another run is writing this target right now."""
