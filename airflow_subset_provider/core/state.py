"""What a run writes down in the target before it changes anything: schema `airflow_subset`.

The lock says which run may write; the suspended list says how to put back what is out of force, whatever happened to
the run that suspended it; the table list marks the tables whose rows a subset run wrote, with what it did to each.
All of it is changed in the same transactions as the data it speaks of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import sqlalchemy as sa

from airflow_subset_provider.core.engines.base import Suspended, Target
from airflow_subset_provider.core.errors import Fault, LockedError
from airflow_subset_provider.core.schema import TableName

SCHEMA = "airflow_subset"

_meta = sa.MetaData(schema=SCHEMA)
LOCK = sa.Table(
    "run_lock",
    _meta,
    sa.Column("one", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("run", sa.String(500), nullable=False),
    sa.Column("taken", sa.String(40), nullable=False),
)
SUSPENDED = sa.Table(
    "suspended",
    _meta,
    sa.Column("table_schema", sa.String(64), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(20), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("validated", sa.SmallInteger, nullable=False),
)
TABLES = sa.Table(
    "tables",
    _meta,
    sa.Column("table_schema", sa.String(64), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("run", sa.String(500), nullable=False),
    sa.Column("stats", sa.Text, nullable=False),
)


@dataclass(frozen=True)
class Stats:
    """What a run did to one table.

    Attributes:
        extracted: rows that came by the table's own rule.
        referred: rows fetched because kept rows reference them.
        dropped: extracted rows left out again because of a reference under `drop`.
        nulled: rows in which a reference was set to NULL.
        bytes, seconds: what its streams took.
    """

    extracted: int = 0
    referred: int = 0
    dropped: int = 0
    nulled: int = 0
    bytes: int = 0
    seconds: float = 0.0
    more: dict[str, int] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Rows in the copy."""
        return self.extracted - self.dropped + self.referred


class State:
    """The state tables of one target. Every method belongs inside a transaction of the target."""

    def __init__(self, target: Target) -> None:
        """Look at the target's state tables; nothing is read or made yet."""
        self._target = target

    def create(self) -> None:
        """Make the state tables where they are missing, and hold them until the transaction ends."""
        self._target.lock_state()
        self._target.execute(sa.schema.CreateSchema(SCHEMA, if_not_exists=True))
        for table in _meta.sorted_tables:
            self._target.execute(sa.schema.CreateTable(table, if_not_exists=True))

    def exists(self) -> bool:
        """Whether any run was ever prepared here."""
        columns = (sa.column("table_schema", sa.String), sa.column("table_name", sa.String))
        found = sa.table("tables", *columns, schema="information_schema")
        names = sa.select(sa.func.count()).select_from(found)
        return bool(self._target.value(names.where(found.c.table_schema == SCHEMA, found.c.table_name == TABLES.name)))

    # -- the lock

    def holder(self) -> str | None:
        """The run that holds the lock."""
        rows = self._target.rows(sa.select(LOCK.c.run)) if self.exists() else []
        return rows[0][0] if rows else None

    def lock(self, run: str, alive: Callable[[str, datetime], bool]) -> None:
        """Take the lock, from a dead run too.

        Args:
            alive: tells of another run, and of when it took the lock, whether it still goes on.

        Raises:
            LockedError: another run that is alive holds it.
        """
        for holder, taken in self._target.rows(sa.select(LOCK.c.run, LOCK.c.taken)):
            if holder != run and alive(holder, datetime.fromisoformat(taken)):
                raise LockedError(
                    Fault(f"run {holder!r} is writing this target", self._target.label, "Wait for its end.")
                )
        self._target.execute(sa.delete(LOCK))
        self._target.execute(sa.insert(LOCK).values(one=1, run=run, taken=datetime.now(UTC).isoformat()))

    def hold(self, run: str) -> None:
        """Make sure that the run holds the lock, and keep it from being taken over until the transaction ends.

        Raises:
            LockedError: it does not: it ended, or another run took over.
        """
        rows = self._target.rows(sa.select(LOCK.c.run).with_for_update(read=True))
        if not rows or rows[0][0] != run:
            now = f"run {rows[0][0]!r} does" if rows else "nobody does"
            raise LockedError(
                Fault(
                    f"this run does not hold the target, {now}", self._target.label, "Clear the run from `prepare` on."
                )
            )

    def release(self, run: str) -> bool:
        """Give the lock up; False when the run did not hold it."""
        return self._target.execute(sa.delete(LOCK).where(LOCK.c.run == run)) > 0

    # -- what is out of force

    def note_suspended(self, items: Iterable[Suspended]) -> None:
        """Write down things put out of force, beside those an earlier run left."""
        for item in items:
            row = {
                "table_schema": item.table.schema,
                "table_name": item.table.name,
                "kind": item.kind,
                "name": item.name,
                "definition": item.definition,
                "validated": int(item.validated),
            }
            self.forget_suspended(item)
            self._target.execute(sa.insert(SUSPENDED).values(**row))

    def suspended(self) -> list[Suspended]:
        """All things out of force, in order of table and name."""
        c = SUSPENDED.c
        rows = self._target.rows(
            sa.select(c.table_schema, c.table_name, c.kind, c.name, c.definition, c.validated).order_by(
                c.kind, c.table_schema, c.table_name, c.name
            )
        )
        return [Suspended(TableName(s, t), kind, name, text, bool(valid)) for s, t, kind, name, text, valid in rows]

    def forget_suspended(self, item: Suspended) -> None:
        """It is back in force."""
        c = SUSPENDED.c
        self._target.execute(
            sa.delete(SUSPENDED).where(
                c.table_schema == item.table.schema,
                c.table_name == item.table.name,
                c.kind == item.kind,
                c.name == item.name,
            )
        )

    # -- the tables a run wrote

    def written(self) -> set[TableName]:
        """Tables whose rows a subset run wrote."""
        if not self.exists():
            return set()
        return {TableName(s, t) for s, t in self._target.rows(sa.select(TABLES.c.table_schema, TABLES.c.table_name))}

    def start_tables(self, run: str, tables: Iterable[TableName]) -> None:
        """Mark the tables as this run's, with nothing done yet."""
        for table in tables:
            self.note_stats(run, table, Stats())

    def stats(self, run: str) -> dict[TableName, Stats]:
        """What the run did to each table so far."""
        c = TABLES.c
        rows = self._target.rows(sa.select(c.table_schema, c.table_name, c.stats).where(c.run == run))
        return {TableName(s, t): Stats(**json.loads(text)) for s, t, text in rows}

    def note_stats(self, run: str, table: TableName, stats: Stats) -> None:
        """Replace what is noted of a table."""
        c = TABLES.c
        here = (c.table_schema == table.schema, c.table_name == table.name)
        self._target.execute(sa.delete(TABLES).where(*here))
        text = json.dumps(asdict(stats))
        self._target.execute(
            sa.insert(TABLES).values(table_schema=table.schema, table_name=table.name, run=run, stats=text)
        )
