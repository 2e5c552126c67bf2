"""A large table's own rows in several parts by ranges of a key, so that several workers share one table.

The ranges are worked out on the source by one step and written down in the target; each part is then loaded in a
transaction of its own, which also notes that the part is there. So a part that is repeated finds its mark and loads
nothing twice, without having to know which rows were its own. The ranges leave nothing out: the first one has no
beginning and the last one no end, and a key column of ranges is never NULL.

Parts are read at different moments, unless all steps read one exported state of the source: a row whose *key* changes
in between may be missed or be read twice (and then refused by the target's key). Other changes of a row do no harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Any

import sqlalchemy as sa

from airflow_subset_provider.core import select, sql
from airflow_subset_provider.core.engines.base import Flavour, Source
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.schema import Column, Table, TableName
from airflow_subset_provider.core.spec import Policy, Rule

MOST = 500  # parts of one table


@dataclass(frozen=True)
class Chunk:
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


def cut(plan: Plan, table: TableName, chunk_rows: int, source: Source) -> list[Chunk]:
    """The table's parts, so that each yields about `chunk_rows` rows if the wanted rows lie evenly in the key.

    Steps along the key's index, from bound to bound: no sort, and nothing that grows with the table.
    """
    wanted = source.estimate(select.extract(plan, table, source))
    everything = source.estimate(sql.Tables(plan.schema).select(table, [sql.ONE]))
    rows = everything if everything > 0 else plan.schema[table].rows
    parts = min(MOST, ceil((wanted if wanted >= 0 else rows) / chunk_rows))
    bounds = list(_bounds(plan, table, source, max(1, ceil(rows / parts)))) if parts > 1 else []
    edges = [None, *bounds, None]
    return [Chunk(n, low, high) for n, (low, high) in enumerate(pairwise(edges), 1)]


def _bounds(plan: Plan, table: TableName, source: Source, step: int) -> Iterator[str]:
    column = key_columns(plan.schema[table])[0]
    tables = sql.Tables(plan.schema)
    key = tables[table].c[column.name]
    after: list[sql.Condition] = []
    while True:
        ordered = tables.select(table, [source.as_text(key, column.type).label("bound")]).where(*after).order_by(key)
        # The row at the last bound is the first of its part, so from there on it is one step less.
        found = source.rows(ordered.offset(sa.literal_column(str(step - bool(after)))).limit(sa.literal_column("1")))
        if not found:
            return
        ((bound,),) = found
        yield bound
        after = [key > source.constant(bound, column)]


def within(table: Table, chunk: Chunk, rows: sa.FromClause, flavour: Flavour) -> list[sql.Condition]:
    """The row is in the part."""
    column = key_columns(table)[0]
    key: sa.ColumnElement[Any] = rows.c[column.name]
    conditions = []
    if chunk.low is not None:
        conditions.append(key >= flavour.constant(chunk.low, column))
    if chunk.high is not None:
        conditions.append(key < flavour.constant(chunk.high, column))
    return conditions
