"""What a run writes down in the target before it changes anything: schema `airflow_subset`.

The lock says which run may write; the suspended list says how to put back what is out of force, whatever happened to
the run that suspended it; the table list marks the tables whose rows a subset run wrote, with what it did to each.
All of it is changed in the same transactions as the data it speaks of.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from msgspec import Struct, field
from msgspec.structs import asdict
from sqlalchemy.dialects import mysql

from airflow_subset_provider.core.chunks import Chunk
from airflow_subset_provider.core.engines.base import Suspended, Target
from airflow_subset_provider.core.errors import Fault, LockedError
from airflow_subset_provider.core.schema import TableName

BATCH = 50  # tables or constraints changed in one transaction
AGAIN = "Take this step again."
OR_REPAIR = "Wait for its end. If it is dead, mark its DAG run as failed, or run `airflow-subset repair` here."
T = TypeVar("T")

MODEL = sa.MetaData()
LOCK = sa.Table(
    "run_lock",
    MODEL,
    sa.Column("one", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("run", sa.String(500), nullable=False),
    sa.Column("taken", sa.String(40), nullable=False),
)
SUSPENDED = sa.Table(
    "suspended",
    MODEL,
    sa.Column("table_schema", sa.String(64), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(20), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("definition", sa.Text().with_variant(mysql.LONGTEXT(), "mysql"), nullable=False),
    sa.Column("validated", sa.SmallInteger, nullable=False),
)
TABLES = sa.Table(
    "tables",
    MODEL,
    sa.Column("table_schema", sa.String(64), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("run", sa.String(500), nullable=False),
    sa.Column("stats", sa.Text, nullable=False),
)
CLAIMS = sa.Table(
    "claims",
    MODEL,
    sa.Column("table_schema", sa.String(64), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("claims", sa.Integer, nullable=False),
)
CHUNKS = sa.Table(
    "chunks",
    MODEL,
    sa.Column("table_schema", sa.String(64), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("low", sa.Text),
    sa.Column("high", sa.Text),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("stats", sa.Text),
)
CLOSED = sa.Table(
    "closed",
    MODEL,
    sa.Column("table_schema", sa.String(64), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
)
PREPARED = sa.Table(
    "prepared",
    MODEL,
    sa.Column("one", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("taken", sa.String(40), nullable=False),
    sa.Column("began", sa.String(40), nullable=False),
)
# Names are compared as they are spelled, and the state is undone with the rows it speaks of.
ON_MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


@cache
def _placed(schema: str, prefix: str) -> dict[str, sa.Table]:
    """The state tables under the names they have in one target."""
    here = sa.MetaData(schema=schema)
    return {
        table.name: sa.Table(f"{prefix}{table.name}", here, *[c._copy() for c in table.columns], **ON_MYSQL)
        for table in MODEL.sorted_tables
    }


class Stats(Struct, frozen=True):
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

    def __add__(self, other: Stats) -> Stats:
        """Both together."""
        return Stats(
            self.extracted + other.extracted,
            self.referred + other.referred,
            self.dropped + other.dropped,
            self.nulled + other.nulled,
            self.bytes + other.bytes,
            round(self.seconds + other.seconds, 3),
        )

    @property
    def kept(self) -> int:
        """Rows in the copy."""
        return self.extracted - self.dropped + self.referred


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
        tables = _placed(self._schema, prefix)
        self._all = [tables[t.name] for t in (LOCK, PREPARED, SUSPENDED, TABLES, CLAIMS, CHUNKS, CLOSED)]
        self._lock, self._prepared, self._suspended, self._tables, self._claims, self._chunks, self._closed = self._all

    def create(self) -> None:
        """Make the state tables where they are missing, and hold them until the transaction ends."""
        self._target.lock_state()
        self._target.execute(sa.schema.CreateSchema(self._schema, if_not_exists=True))
        for table in self._all:
            self._target.execute(sa.schema.CreateTable(table, if_not_exists=True))

    def exists(self) -> bool:
        """Whether any run was ever prepared here."""
        return self._is_there(self._tables)

    def _is_there(self, table: sa.Table) -> bool:
        columns = (sa.column("table_schema", sa.String), sa.column("table_name", sa.String))
        found = sa.table("tables", *columns, schema="information_schema")
        names = sa.select(sa.func.count()).select_from(found)
        here = found.c.table_schema == self._schema, found.c.table_name == table.name
        return bool(self._target.value(names.where(*here)))

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

    # -- the tables a run wrote

    def written(self) -> set[TableName]:
        """Tables whose rows a subset run wrote, by their names in the target."""
        if not self.exists():
            return set()
        return {
            TableName(s, t)
            for s, t in self._target.rows(sa.select(self._tables.c.table_schema, self._tables.c.table_name))
        }

    def start_tables(self, run: str, tables: Sequence[TableName]) -> None:
        """Mark the tables as this run's, with nothing done yet. A thousand tables are a few thousand statements."""
        cut = self._chunks.c
        chunked = {TableName(*r) for r in self._target.rows(sa.select(cut.table_schema, cut.table_name).distinct())}
        for table in tables:
            self.note_stats(run, table, Stats())
            if self._target.located(table) in chunked:
                self.note_chunks(table, ())
        for noted in (self._claims, self._closed):  # of this target's one run at a time
            self._target.execute(sa.delete(noted))
        for some in batches(tables):
            places = [self._target.located(table) for table in some]
            rows = [{"table_schema": p.schema, "table_name": p.name, "claims": 0} for p in places]
            self._target.execute(sa.insert(self._claims).values(rows))

    def claim(self, tables: Iterable[TableName]) -> bool:
        """Keep every other attempt at the tables' step out until the transaction ends.

        Returns:
            False when another attempt has taken the step while this one waited. Airflow may hold a worker for dead that
            is still at work, and try the task again beside it: whichever comes second must not load rows twice, nor
            delete what later steps have added by then.
        """
        return all([self._claim(table) for table in tables])  # noqa: C419 (of every table, whatever the first one says)

    def loaded(self, tables: Sequence[TableName]) -> bool:
        """Whether an earlier attempt has loaded all of them; to be asked once this one has claimed them.

        Loading them once more would take back what later steps have added, dropped or proven since. An attempt that was
        taken for dead may come at any time: Airflow tries the task again, goes on, and never undoes what follows.
        """
        claims = [n for table in tables for n in self.claims(table)]
        if not claims or min(claims) == 1:
            return False
        incomplete = self.incomplete()
        return not any(self._target.located(t) in incomplete for t in tables)

    def unclaimed(self, tables: Iterable[TableName]) -> list[TableName]:
        """Those of the tables that no step has claimed since the run was prepared, or of which a part is not there."""
        c = self._claims.c
        rows = self._target.rows(sa.select(c.table_schema, c.table_name).where(c.claims == sa.literal_column("0")))
        found = {TableName(s, t) for s, t in rows} | self.incomplete()
        return [t for t in tables if self._target.located(t) in found]

    def claims(self, table: TableName) -> list[int]:
        """How often the table's step was taken since the run was prepared; empty: it is no table of the run."""
        c = self._claims.c
        return [n for (n,) in self._target.rows(sa.select(c.claims).where(*self._at(self._claims, table)))]

    def _claim(self, table: TableName) -> bool:
        claims, before = self._claims.c.claims, self.claims(table)
        more = sa.update(self._claims).values(claims=claims + sa.literal_column("1"))
        self._target.execute(more.where(*self._at(self._claims, table)))
        return self.claims(table) == [n + 1 for n in before]

    # -- the tables that are closed: all rows that kept rows reference have been fetched

    def note_closed(self, tables: Iterable[TableName]) -> None:
        """Nothing is missing of them."""
        for table in tables:
            place = self._target.located(table)
            self._target.execute(sa.delete(self._closed).where(*self._at(self._closed, table)))
            self._target.execute(sa.insert(self._closed).values(table_schema=place.schema, table_name=place.name))

    def any_closed(self) -> bool:
        """Whether rows have been fetched since the run was prepared."""
        return bool(self._target.rows(sa.select(self._closed.c.table_name).limit(sa.literal_column("1"))))

    def unclosed(self, tables: Iterable[TableName]) -> list[TableName]:
        """Those of the tables that have not been closed since the run was prepared."""
        c = self._closed.c
        found = {TableName(s, t) for s, t in self._target.rows(sa.select(c.table_schema, c.table_name))}
        return [t for t in tables if self._target.located(t) not in found]

    def _at(self, state: sa.Table, table: TableName) -> tuple[sa.ColumnElement[bool], ...]:
        """The rows that speak of a table."""
        place = self._target.located(table)
        return state.c.table_schema == place.schema, state.c.table_name == place.name

    # -- the parts of a large table

    def note_chunks(self, table: TableName, chunks: Iterable[Chunk]) -> None:
        """Write down the table's parts, none of them loaded; those of before are gone."""
        place = self._target.located(table)
        self._target.execute(sa.delete(self._chunks).where(*self._at(self._chunks, table)))
        for chunk in chunks:
            row = {"number": chunk.number, "low": chunk.low, "high": chunk.high, "tries": 0}
            self._target.execute(
                sa.insert(self._chunks).values(table_schema=place.schema, table_name=place.name, **row)
            )

    def chunks(self, table: TableName) -> list[Chunk]:
        """The table's parts, by their numbers."""
        c, here = self._chunks.c, self._at(self._chunks, table)
        found = self._target.rows(sa.select(c.number, c.low, c.high).where(*here).order_by(c.number))
        return [Chunk(number, low, high) for number, low, high in found]

    def take_chunk(self, table: TableName, number: int) -> tuple[Chunk, Stats | None] | None:
        """Keep every other attempt at the part out until the transaction ends.

        Returns:
            The part, and what loading it did if it is there already; None: the table has no such part.
        """
        c, here = self._chunks.c, (*self._at(self._chunks, table), self._chunks.c.number == number)
        self._target.execute(sa.update(self._chunks).values(tries=c.tries + sa.literal_column("1")).where(*here))
        found = self._target.rows(sa.select(c.low, c.high, c.stats).where(*here))
        if not found:
            return None
        ((low, high, stats),) = found
        return Chunk(number, low, high), None if stats is None else Stats(**json.loads(stats))

    def note_chunk(self, table: TableName, number: int, stats: Stats) -> None:
        """The part is there."""
        here = (*self._at(self._chunks, table), self._chunks.c.number == number)
        self._target.execute(sa.update(self._chunks).values(stats=json.dumps(asdict(stats))).where(*here))

    def incomplete(self) -> set[TableName]:
        """Tables of which a part is not there, by their names in the target."""
        c = self._chunks.c
        rows = self._target.rows(sa.select(c.table_schema, c.table_name).where(c.stats.is_(None)).distinct())
        return {TableName(s, t) for s, t in rows}

    # -- what was done

    def stats(self, run: str | None = None) -> dict[TableName, Stats]:
        """What the run did to each table so far, parts included; without one, what the last run of each table did."""
        found = self.own_stats(run)
        c = self._chunks.c
        names = {self._target.located(t): t for t in found}
        done = sa.select(c.table_schema, c.table_name, c.stats).where(c.stats.is_not(None))
        for schema, name, text in self._target.rows(done):
            table = names.get(TableName(schema, name))
            if table is not None:
                found[table] += Stats(**json.loads(text))
        return found

    def own_stats(self, run: str | None = None) -> dict[TableName, Stats]:
        """The same without parts: what `note_stats` wrote."""
        c = self._tables.c
        noted = sa.select(c.table_schema, c.table_name, c.stats)
        rows = self._target.rows(noted if run is None else noted.where(c.run == run))
        names = {self._target.located(t.name): t.name for t in self._target.tables.schema.tables}
        found = {TableName(s, t): Stats(**json.loads(text)) for s, t, text in rows}
        return {names.get(here, here): stats for here, stats in found.items()}

    def note_stats(self, run: str, table: TableName, stats: Stats) -> None:
        """Replace what is noted of a table."""
        place = self._target.located(table)
        self._target.execute(sa.delete(self._tables).where(*self._at(self._tables, table)))
        text = json.dumps(asdict(stats))
        self._target.execute(
            sa.insert(self._tables).values(table_schema=place.schema, table_name=place.name, run=run, stats=text)
        )


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


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many at a time as one transaction may change."""
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
