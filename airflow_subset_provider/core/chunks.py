"""A large table's own rows in several parts by ranges of a key, so that several workers share one table.

The ranges are worked out on the source by one step and written down in the target; each part is then loaded in a
transaction of its own, which also notes that the part is there. So a part that is repeated finds its mark and loads
nothing twice, without having to know which rows were its own. The ranges leave nothing out: the first one has no
beginning and the last one no end, and a key column of ranges is never NULL.

Parts are read at different moments, unless all steps read one exported state of the source: a row whose *key* changes
in between may be missed or be read twice (and then refused by the target's key). Other changes of a row do no harm.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil

import sqlalchemy as sa
from msgspec import Struct

from airflow_subset_provider.core import select, sql
from airflow_subset_provider.core.engines.base import Flavour, Source
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.schema import Column, Table, TableName
from airflow_subset_provider.core.spec import Policy, Rule

MOST = 500  # parts of one table
SAMPLED = 200  # keys looked at for each part: its rows are about 7 % more or less than they should be
MILLION = 1_000_000


class Chunk(Struct, frozen=True):
    """One part of a table.

    Attributes:
        number: from 1.
        low: the first value of the key column in it, as the source's `as_text` gives it; None: no lower bound.
        high: the first value that is no longer in it; None: no upper bound.
    """

    number: int
    low: str | None = None
    high: str | None = None


def splits(plan: Plan, component: Component, chunk_rows: int) -> bool:
    """Whether the component is loaded in parts.

    Not cycles (one recursive query reads all of it), nor what hangs on all rows of the table together: a sample by
    number, and references under `drop`.
    """
    if not chunk_rows or component.cyclic:
        return False
    (table,) = component.tables
    planned, sample = plan.tables[table], plan.tables[table].sample
    return (
        planned.rule in (Rule.RELEVANT, Rule.WHOLE)
        and plan.schema[table].rows > chunk_rows
        and (sample is None or sample.count is None)
        and not any(r.policy is Policy.DROP for r in plan.relations_of.get(table, ()))
        and bool(key_columns(plan.schema[table]))
    )


def key_columns(table: Table) -> tuple[Column, ...]:
    """The columns of the key whose first one's ranges make the parts: a key of one column, if there is one."""
    nullable = {c.name for c in table.columns if c.nullable}
    single = [k.columns for k in table.keys if len(k.columns) == 1 and not nullable & set(k.columns)]
    names = table.primary_key if len(table.primary_key) == 1 else next(iter(single), table.identity)
    return tuple(c for name in names for c in table.columns if c.name == name)


def cut(plan: Plan, table: TableName, chunk_rows: int, source: Source, most: int = MOST) -> list[Chunk]:
    """The table's parts, so that each yields about `chunk_rows` of the wanted rows; more where they would be too many.

    From a sample of the wanted rows' keys, in order: the planner's estimate, and even steps along the whole table's
    key, are wrong by orders of magnitude where a filter is misjudged or hangs together with the key.

    Args:
        most: parts, at least one.
    """
    keys = _sampled(plan, table, max(chunk_rows, plan.schema[table].rows // most), source)
    parts = max(1, min(most, ceil(keys.rows / chunk_rows)))
    bounds = dict.fromkeys(keys.at(n, parts) for n in range(1, parts))
    bounds.pop(keys.at(0, parts), None)  # many rows have the least value, and no part is before them
    edges = [None, *bounds, None]
    return [Chunk(n, low, high) for n, (low, high) in enumerate(pairwise(edges), 1)]


class _Keys:
    """Values in order, of which there may be any number: where there are too many, every second one is left out."""

    def __init__(self, share: float) -> None:
        """Of a sample that is this share of everything."""
        self._share, self._every, self._seen = share, 1, 0
        self._kept: list[str] = []

    def add(self, value: str) -> None:
        """The next one."""
        if self._seen % self._every == 0:
            self._kept.append(value)
        self._seen += 1
        if len(self._kept) > 2 * MOST * SAMPLED:
            del self._kept[1::2]
            self._every *= 2

    @property
    def rows(self) -> float:
        """How many there are in everything."""
        return self._seen / self._share

    def at(self, number: int, parts: int) -> str | None:
        """The first one after so many of so many equal parts of all; None if there is none at all."""
        return self._kept[self._seen * number // parts // self._every] if self._kept else None


def _sampled(plan: Plan, table: TableName, step: int, source: Source) -> _Keys:
    """The range column of about SAMPLED wanted rows in every `step` rows."""
    columns = key_columns(plan.schema[table])
    names = [c.name for c in columns]
    millionths = max(1, min(MILLION, ceil(MILLION * SAMPLED / step)))
    rows = select.some_columns(plan, table, names, source)
    few = rows if millionths == MILLION else source.thinned(rows, names, millionths / MILLION * 100)
    found = few.subquery("subset_sampled")
    key, column = source.rank(found.c[names[0]], columns[0])
    keys = _Keys(millionths / MILLION)
    for page in source.pages(sa.select(source.as_text(key, column.type).label("bound")).order_by(key)):
        for (value,) in page:
            keys.add(value)
    return keys


def within(table: Table, chunk: Chunk, rows: sa.FromClause, flavour: Flavour) -> list[sql.Condition]:
    """The row is in the part."""
    first = key_columns(table)[0]
    key, column = flavour.rank(rows.c[first.name], first)
    conditions = []
    if chunk.low is not None:
        conditions.append(key >= flavour.constant(chunk.low, column))
    if chunk.high is not None:
        conditions.append(key < flavour.constant(chunk.high, column))
    return conditions
