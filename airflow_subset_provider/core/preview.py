"""From plan to what a person wants to know before a row moves: which tables, why, how many rows, in what order.

Numbers are of three kinds and say which: counted exactly (by `exact`, from the keys alone), estimated by the source's
planner, or bounded from above (each kept row references at most one row by each foreign key). Without a source, only
the catalog's estimates are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, to_builtins

from airflow_subset_provider.core import checks, estimate, exact, snapshot
from airflow_subset_provider.core.engines.base import Source
from airflow_subset_provider.core.errors import RequestError
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.plan import Plan, Sample
from airflow_subset_provider.core.relations import Relation
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.spec import Policy, Rule
from airflow_subset_provider.core.stats import Stats

PREVIEW_VERSION = 1
UNKNOWN = -1


class Rows(Struct, frozen=True):
    """How many rows of a table are kept.

    Attributes:
        own: by its own rule; -1 where nothing is known.
        referred: at most so many more because kept rows reference them; -1 where there is no bound.
        exact: counted; `referred` is no bound then but a number.
    """

    own: int
    referred: int = 0
    exact: bool = False

    @property
    def most(self) -> int:
        """Both together; -1 where one is not known."""
        return UNKNOWN if UNKNOWN in (self.own, self.referred) else self.own + self.referred

    def __str__(self) -> str:
        """`1,124` counted, `~1,124` estimated, `≤1,124` bounded, `?` unknown."""
        if self.exact:
            return f"{self.most:,}"
        if UNKNOWN in (self.own, self.referred):
            return "?" if self.own in (UNKNOWN, 0) else f"~{self.own:,} + ?"
        if not self.own:
            return f"≤{self.referred:,}" if self.referred else "0"
        return f"~{self.own:,} + ≤{self.referred:,}" if self.referred else f"~{self.own:,}"


class TablePreview(Struct, frozen=True):
    """One table.

    Attributes:
        order: its component's place, from 1, parents first.
        cycle: its component's id where it is in a cycle, else "".
        source_rows: the source server's estimate; -1 where it has none.
    """

    order: int
    table: str
    rule: Rule
    reason: str
    filter: str
    cycle: str
    source_rows: int
    rows: Rows


class CyclePreview(Struct, frozen=True):
    """One cycle: its tables and, per foreign key inside it, the columns that can be NULL."""

    id: str
    tables: tuple[str, ...]
    keys: tuple[tuple[str, tuple[str, ...]], ...]


class Preview(Struct, frozen=True):
    """A plan with numbers.

    Attributes:
        exact: all numbers of kept rows are counted.
        guarantee: of what state of the source a run's copy is.
    """

    fingerprint: str
    tables: tuple[TablePreview, ...]
    cycles: tuple[CyclePreview, ...]
    warnings: tuple[str, ...]
    exact: bool
    guarantee: str

    @property
    def copied(self) -> tuple[TablePreview, ...]:
        """The tables that can hold rows after the run."""
        return tuple(t for t in self.tables if t.rule is not Rule.SKIP)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, versioned."""
        return {"preview_version": PREVIEW_VERSION, **to_builtins(self)}


def preview(
    plan: Plan, source: Source | None = None, *, exactly: bool = False, consistent: bool | None = None
) -> Preview:
    """Look at a plan.

    Args:
        source: asked for estimates; None for what the catalog knows.
        exactly: count the rows on the source, by reading the keys of all that would be copied.
        consistent: whether a run's copy is to be the source at one point in time (`snapshot.wanted`).

    Raises:
        RequestError: with all that the source's server says against the filters.
    """
    if source:
        RequestError.raise_for(checks.check_filters(plan, source))
    rows = counted(plan, source) if exactly and source else estimated(plan, source)
    tables = (
        _table(plan, n, component, table, rows[table])
        for n, component in enumerate(plan.graph.components, 1)
        for table in component.tables
    )
    return Preview(
        plan.schema.fingerprint,
        tuple(tables),
        cycles(plan),
        (*plan.warnings, *(checks.filter_remarks(plan, source) if source else ())),
        exactly and source is not None,
        snapshot.guarantee(snapshot.wanted(plan.schema.dialect, consistent)),
    )


def _table(plan: Plan, order: int, component: Component, table: TableName, rows: Rows) -> TablePreview:
    planned = plan.tables[table]
    return TablePreview(
        order=order,
        table=str(table),
        rule=planned.rule,
        reason=_reason(plan, table),
        filter=" AND ".join(filter(None, (planned.filter, _sampled(planned.sample)))),
        cycle=component.id if component.cyclic else "",
        source_rows=plan.schema[table].rows,
        rows=rows,
    )


def _sampled(sample: Sample | None) -> str:
    if sample is None:
        return ""
    return f"sample of {sample.count:,} rows" if sample.percent is None else f"sample of {sample.percent:g} %"


def _reason(plan: Plan, table: TableName) -> str:
    """The plan's, and for a table that is only referenced the keys that may ask for its rows."""
    reason = plan.tables[table].reason
    if plan.rule(table) is not Rule.REFERENCED:
        return reason
    keys = [f"{r.key.child.name}({', '.join(r.key.columns)})" for r in _askers(plan, table)]
    more = f" and {len(keys) - 2} more" if len(keys) > 2 else ""
    askers = f"referenced by {', '.join(keys[:2])}{more}" if keys else "nothing copied references it"
    return f"{reason}; {askers}" if reason.startswith("tables[") else askers


def _askers(plan: Plan, table: TableName) -> list[Relation]:
    """The relations that may ask for rows of the table."""
    return [
        r
        for r in plan.relations_to.get(table, ())
        if r.policy is Policy.INCLUDE and plan.rule(r.key.child) is not Rule.SKIP
    ]


def cycles(plan: Plan) -> tuple[CyclePreview, ...]:
    """All cycles of the graph, tables that reference themselves included."""
    return tuple(_cycle(plan, c) for c in plan.graph.components if c.cyclic)


def _cycle(plan: Plan, component: Component) -> CyclePreview:
    keys = []
    for key in component.inside:
        columns = (plan.schema[key.child].column(c) for c in key.columns)
        keys.append((key.label, tuple(c.name for c in columns if c is not None and c.nullable)))
    return CyclePreview(component.id, tuple(map(str, component.tables)), tuple(keys))


# -- numbers


def counted(plan: Plan, source: Source) -> dict[TableName, Rows]:
    """Every table's rows as a run would copy them now."""
    stats = exact.count(plan, source)
    return {t: _as_rows(stats.get(t, Stats())) for t in plan.tables}


def _as_rows(done: Stats) -> Rows:
    return Rows(done.extracted - done.dropped, done.referred, exact=True)


def estimated(plan: Plan, source: Source | None) -> dict[TableName, Rows]:
    """Every table's rows as far as planner and catalog know, children before parents."""
    own = estimate.extracted(plan, source)
    rows: dict[TableName, Rows] = {}
    for component in reversed(plan.graph.components):
        for table in component.tables:
            rows[table] = Rows(own[table], _referred(plan, component, table, own[table], rows))
    return {t: rows[t] for t in plan.tables}


def _referred(plan: Plan, component: Component, table: TableName, own: int, rows: Mapping[TableName, Rows]) -> int:
    """At most what all kept rows reference, and never more than the rest of the table."""
    if plan.rule(table) not in (Rule.RELEVANT, Rule.REFERENCED):
        return 0
    asked = 0
    for relation in _askers(plan, table):
        # A cycle's own keys may ask for ever more rows: the rest of the table is the only bound.
        most = UNKNOWN if relation.key.child in component.tables else rows[relation.key.child].most
        asked = UNKNOWN if UNKNOWN in (asked, most) else asked + most
    total = plan.schema[table].rows
    rest = max(0, total - max(0, own)) if total >= 0 else UNKNOWN
    return max(asked, rest) if UNKNOWN in (asked, rest) else min(asked, rest)
