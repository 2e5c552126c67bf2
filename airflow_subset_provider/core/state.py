"""What a run writes down in the target before it changes anything: schema `airflow_subset`.

The lock says which run may write; the suspended list says how to put back what is out of force, whatever happened to
the run that suspended it; `progress` is how far the run has come with each table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import sqlalchemy as sa

from airflow_subset_provider.core.engines.base import Suspended, Target
from airflow_subset_provider.core.errors import Fault, LockedError
from airflow_subset_provider.core.progress import Progress
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.state_tables import LOCK, PREPARED, SUSPENDED, TABLES, placed

AGAIN = "Take this step again."
OR_REPAIR = "Wait for its end. If it is dead, mark its DAG run as failed, or run `airflow-subset repair` here."


class Beginning(NamedTuple):
    """An attempt at preparing a target, as it begins.

    Attributes:
        at: when.
        last_taken: when the target's lock was last taken by then, by whichever run; None: never.
    """

    at: str
    last_taken: str | None


class State:
    """The state tables of one target. Every method belongs inside a transaction of the target."""

    def __init__(self, target: Target) -> None:
        """Look at the target's state tables; nothing is read or made yet."""
        self._target = target
        self._schema, prefix = target.state_home
        self._all = placed(self._schema, prefix)
        self._lock, self._prepared, self._suspended = [self._all[t.name] for t in (LOCK, PREPARED, SUSPENDED)]
        self.progress = Progress(target)

    def create(self) -> None:
        """Make the state tables where they are missing, and hold them until the transaction ends."""
        self._target.lock_state()
        self._target.execute(sa.schema.CreateSchema(self._schema, if_not_exists=True))
        for table in self._all.values():
            self._target.execute(sa.schema.CreateTable(table, if_not_exists=True))

    def exists(self) -> bool:
        """Whether any run was ever prepared here."""
        return self._is_there(self._all[TABLES.name])

    def _is_there(self, table: sa.Table) -> bool:
        columns = (sa.column("table_schema", sa.String), sa.column("table_name", sa.String))
        found = sa.table("tables", *columns, schema="information_schema")
        names = sa.select(sa.func.count()).select_from(found)
        here = found.c.table_schema == self._schema, found.c.table_name == table.name
        return bool(self._target.value(names.where(*here)))

    def written(self) -> set[TableName]:
        """Tables whose rows a subset run wrote, by their names in the target."""
        return self.progress.tables() if self.exists() else set()

    # -- the lock

    def holder(self) -> str | None:
        """The run that holds the lock."""
        held = self._held()
        return held[0] if held else None

    def taken(self, run: str) -> str | None:
        """When the run took the lock; None: it does not hold it."""
        held = self._held()
        return held[1] if held and held[0] == run else None

    def _held(self) -> tuple[str, str] | None:
        """The run that holds the lock, and since when."""
        rows = self._target.rows(sa.select(self._lock.c.run, self._lock.c.taken)) if self.exists() else []
        return (rows[0][0], rows[0][1]) if rows else None

    def begin(self) -> Beginning:
        """Begin to prepare the target; nothing is changed yet."""
        rows = self._target.rows(sa.select(self._prepared.c.taken)) if self._is_there(self._prepared) else []
        return Beginning(datetime.now(UTC).isoformat(), rows[0][0] if rows else None)

    def lock(self, run: str, alive: Callable[[str, datetime], bool], beginning: Beginning) -> str:
        """Take the lock, from a dead run too.

        Of two attempts the one that began later takes it over from the other, and not the other way round: one that was
        taken for dead may come when the next has prepared the target, and its run filled it and given it up. It would
        empty what nobody will fill again.

        Args:
            alive: tells of another run, and of when it took the lock, whether it still goes on.
            beginning: of this attempt.

        Returns:
            When it was taken, which tells this attempt at preparing the run from every other.

        Raises:
            LockedError: another run that is alive holds it, or an attempt took it that began after this one.
        """
        for holder, taken in self._target.rows(sa.select(self._lock.c.run, self._lock.c.taken)):
            if holder != run and alive(holder, datetime.fromisoformat(taken)):
                raise LockedError(Fault(f"run {holder!r} is writing this target", self._target.label, OR_REPAIR))
        # Clocks may be wrong: they count only between attempts that have met.
        for taken, began in self._target.rows(sa.select(self._prepared.c.taken, self._prepared.c.began)):
            if taken != beginning.last_taken and began > beginning.at:
                what = "another attempt has begun after this one, and prepared it"
                raise LockedError(Fault(what, self._target.label, AGAIN))
        now = datetime.now(UTC).isoformat()
        for table, row in ((self._lock, {"run": run}), (self._prepared, {"began": beginning.at})):
            self._target.execute(sa.delete(table))
            self._target.execute(sa.insert(table).values(one=1, taken=now, **row))
        return now

    def hold(self, run: str, taken: str | None = None, *, alone: bool = False) -> str:
        """Make sure that the run holds the lock, and keep it from being taken over until the transaction ends.

        Args:
            taken: since then, or it was taken again by another attempt of the same run.
            alone: keep out every other transaction of this run, too.

        Returns:
            When it was taken.

        Raises:
            LockedError: it does not: it ended, or another run took over.
        """
        rows = self._target.rows(sa.select(self._lock.c.run, self._lock.c.taken).with_for_update(read=not alone))
        if rows and rows[0][0] == run and taken not in (None, rows[0][1]):
            again = "the target was prepared once more since this step began"
            raise LockedError(Fault(again, self._target.label, AGAIN))
        if not rows or rows[0][0] != run:
            now = f"this run does not hold the target, {f'run {rows[0][0]!r}' if rows else 'nobody'} does"
            raise LockedError(Fault(now, self._target.label, "Clear the run from `prepare` on."))
        return str(rows[0][1])

    def release(self, run: str) -> bool:
        """Give the lock up; False when the run did not hold it."""
        return self._target.execute(sa.delete(self._lock).where(self._lock.c.run == run)) > 0

    # -- what is out of force

    def note_suspended(self, items: Iterable[Suspended]) -> None:
        """Write down things put out of force, beside those an earlier run left."""
        left = {(i.table, i.kind, i.name): i for i in self.suspended()}
        for found in items:
            noted = left.get((found.table, found.kind, found.name))
            item = self._target.merged(noted, found) if noted else found
            row = {
                "table_schema": item.table.schema,
                "table_name": item.table.name,
                "kind": item.kind,
                "name": item.name,
                "definition": item.definition,
                "validated": int(item.validated),
            }
            self.forget_suspended(item)
            self._target.execute(sa.insert(self._suspended).values(**row))

    def suspended(self) -> list[Suspended]:
        """All things out of force, in order of table and name."""
        c = self._suspended.c
        rows = self._target.rows(
            sa.select(c.table_schema, c.table_name, c.kind, c.name, c.definition, c.validated).order_by(
                c.kind, c.table_schema, c.table_name, c.name
            )
        )
        return [Suspended(TableName(s, t), kind, name, text, bool(valid)) for s, t, kind, name, text, valid in rows]

    def is_suspended(self, item: Suspended) -> bool:
        """Whether it still is out of force."""
        return bool(self._target.rows(sa.select(self._suspended.c.validated).where(*self._of(item))))

    def _of(self, item: Suspended) -> tuple[sa.ColumnElement[bool], ...]:
        c = self._suspended.c
        here = c.table_schema == item.table.schema, c.table_name == item.table.name
        return (*here, c.kind == item.kind, c.name == item.name)

    def forget_suspended(self, item: Suspended) -> None:
        """It is back in force."""
        self._target.execute(sa.delete(self._suspended).where(*self._of(item)))


@contextmanager
def holding(target: Target, run: str, taken: str | None = None, *, alone: bool = False) -> Iterator[State]:
    """A transaction of the target in which this run, and no other, may write: see `State.hold`."""
    with target.transaction():
        state = State(target)
        state.hold(run, taken, alone=alone)
        yield state


@contextmanager
def altering(target: Target, run: str, taken: str | None = None) -> Iterator[State]:
    """The same for statements that commit by themselves (MySQL manual 15.3.3), and so give up what `hold` locks.

    An attempt that was taken for dead may be between two of them: until it ends, nobody prepares, releases or repairs
    the target, and then it finds the lock taken.
    """
    with target.transaction():
        target.lock_state()
        state = State(target)
        state.hold(run, taken, alone=True)
        yield state
