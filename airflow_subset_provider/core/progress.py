"""How far a run has come with each table, as noted in the target: what it did, which attempt did it, what is missing.

Every attempt at a step goes by it, however late it comes: Airflow tries a task again whose worker it holds for dead,
and goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from msgspec.structs import asdict

from airflow_subset_provider.core.chunks import Chunk
from airflow_subset_provider.core.engines.base import Target, batches
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.state_tables import CHUNKS, CLAIMS, CLOSED, TABLES, placed
from airflow_subset_provider.core.stats import Stats


class Progress:
    """What is noted of the tables of one target. Every method belongs inside a transaction of the target."""

    def __init__(self, target: Target) -> None:
        """Look at the target's state tables; nothing is read yet."""
        self._target = target
        here = placed(*target.state_home)
        self._tables, self._claims, self._chunks, self._closed = [
            here[t.name] for t in (TABLES, CLAIMS, CHUNKS, CLOSED)
        ]

    def tables(self) -> set[TableName]:
        """Those whose rows a subset run wrote, by their names in the target."""
        c = self._tables.c
        return {TableName(s, t) for s, t in self._target.rows(sa.select(c.table_schema, c.table_name))}

    # -- the steps that were taken

    def start(self, run: str, tables: Sequence[TableName]) -> None:
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
