"""How many rows each table's extract will bring, guessed from the planner's statistics.

The planner is asked about single tables only: how many rows answer a filter, how many references are not NULL. From
there shares flow down the foreign keys as the filters do. Asking the planner about each whole extract was slower and
further off, as it knows nothing of a CTE's values: on three real schemas with 3 to 103 relevant tables, the mean factor
between estimate and count is 1.02 to 1.5 this way and 1.3 to 3.5 that way; for GitLab's 596 it took 31 s, this 0.7 s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import sqlalchemy as sa

from airflow_subset_provider.core import select, sql
from airflow_subset_provider.core.engines.base import Source
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.relations import Relation
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.spec import Rule

UNKNOWN = -1
ROUNDS = 20  # down a cycle: how deep its rows hang on each other is not in the statistics


def extracted(plan: Plan, source: Source | None) -> dict[TableName, int]:
    """Rows of every table by its own rule; -1 where nothing is known.

    Args:
        source: asked about filters and NULLs; None for what the catalog knows.
    """
    return _Estimate(plan, source).all()


@dataclass
class _Estimate:
    plan: Plan
    source: Source | None
    shares: dict[TableName, float] = field(default_factory=dict)  # of the table's rows; absent where unknown
    references: dict[Relation, float] = field(default_factory=dict)

    def all(self) -> dict[TableName, int]:
        for component in self.plan.graph.components:
            self._component(component)
        return {t: self._rows(t) for t in self.plan.tables}

    def _rows(self, table: TableName) -> int:
        rows = self.plan.schema[table].rows
        match self.plan.rule(table):
            case Rule.WHOLE:
                return rows
            case Rule.RELEVANT:
                return round(rows * self.shares[table]) if rows >= 0 and table in self.shares else UNKNOWN
        return 0

    def _component(self, component: Component) -> None:
        relevant = [t for t in component.tables if self.plan.rule(t) is Rule.RELEVANT]
        above = sorted(self.plan.filters_above(component))
        own = {t: self._own(t) for t in relevant}
        seeds = {t: self._seeds(t, above) for t in relevant}
        known = [t for t in relevant if own[t] is not None and seeds[t] is not None]
        for table in known:
            self.shares[table] = (own[table] or 0.0) * (seeds[table] or 0.0)
        inside = self.plan.inside(component)
        for _ in range(ROUNDS if inside else 0):
            self.shares.update({t: (own[t] or 0.0) * self._either(t, seeds[t] or 0.0, inside) for t in known})

    def _either(self, table: TableName, seeds: float, inside: tuple[Relation, ...]) -> float:
        """The share that is a seed or hangs on a relevant row of the cycle: different keys mostly find other rows."""
        ways = [self._through(r) or 0.0 for r in inside if r.key.child == table]
        return 1 - prod(1 - share for share in (seeds, *ways))

    def _seeds(self, table: TableName, above: list[TableName]) -> float | None:
        """The share of rows that every filter above reaches; without one, all rows of a filtered table."""
        if not above:
            return 1.0 if self.plan.tables[table].filtered else 0.0
        reached = []
        for ways in {self.plan.ways(table, filtered) for filtered in above}:
            shares = [self._through(r) for r in ways]
            if None in shares:
                return None
            reached.append(_any([s for s in shares if s is not None]))
        return prod(reached)

    def _through(self, relation: Relation) -> float | None:
        """The share of the child's rows that reference a relevant row by this key."""
        parent = self.shares.get(relation.key.parent)
        if parent is None:
            return None
        if relation not in self.references:
            self.references[relation] = self._referencing(relation)
        return parent * self.references[relation]

    def _referencing(self, relation: Relation) -> float:
        """The share of the child's rows whose key is not NULL."""
        table = self.plan.schema[relation.key.child]
        nullable = [c for c in relation.key.columns if (column := table.column(c)) and column.nullable]
        if self.source is None or not nullable or table.rows <= 0:
            return 1.0
        rows = sql.Tables(self.plan.schema)[table.name]
        return self._share(table.name, sa.select(sql.ONE).where(*(rows.c[c].is_not(None) for c in nullable)))

    def _own(self, table: TableName) -> float | None:
        """The share of the table's rows that answers its own filter and sample; None where nobody can tell."""
        planned, rows = self.plan.tables[table], self.plan.schema[table].rows
        if not planned.filtered:
            return 1.0
        sample = planned.sample
        if planned.filter is None and sample is not None:
            return (sample.percent or 0.0) / 100 if sample.count is None else min(1.0, sample.count / max(rows, 1))
        if self.source is None:
            return None
        extract = select.Extract(self.plan, self.source)
        return self._share(table, sa.select(sql.ONE).select_from(extract.tables[table]).where(*extract.own(table)))

    def _share(self, table: TableName, statement: sa.Select[tuple[object]]) -> float:
        rows = self.plan.schema[table].rows
        found = UNKNOWN if self.source is None else self.source.estimate(statement)
        return min(1.0, found / rows) if found >= 0 and rows > 0 else 1.0


def _any(shares: list[float]) -> float:
    """The share of rows that at least one of them holds: keys of one row mostly lead to the same place."""
    return max(shares, default=0.0)
