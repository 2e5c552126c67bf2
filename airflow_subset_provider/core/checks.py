"""Everything that must hold before a row moves, asked of both servers, all faults at once."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_subset_provider.core import drift, names, select
from airflow_subset_provider.core.engines.base import Source, Target
from airflow_subset_provider.core.errors import DriftError, EndpointError, Fault, RequestError, SubsetError, TargetError
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.schema import Schema, Table, TableName
from airflow_subset_provider.core.spec import Rule
from airflow_subset_provider.core.state import State


def check_drift(plan: Plan, live: Schema) -> None:
    """The plan's schema must be the live one.

    Raises:
        DriftError: with every difference.
    """
    if plan.schema.fingerprint != live.fingerprint:
        faults = drift.differences(plan.schema, live) or [Fault("the schema changed", "source")]
        advice = Fault(
            "the source's schema is not the one this plan was made from",
            "catalog",
            "Reflect again (airflow-subset reflect) and commit the new catalog; without a catalog file, run again.",
        )
        raise DriftError([advice, *faults])


def check_source(plan: Plan, source: Source) -> list[Fault]:
    """Privileges, every filter, and the statements whose validity hangs on more than the schema."""
    readable = [plan.schema[t] for t in plan.copied]
    faults = source.unreadable(readable)
    closed = {t.name for t in readable if faults and source.unreadable([t])}
    for table in plan.tables.values():
        if table.filter is not None and table.name not in closed:
            faults += source.clause_faults(table.name, table.filter, f"filters[{str(table.name)!r}]")
    if not faults:
        for name in _delicate(plan):
            faults += source.statement_faults(select.extract(plan, name, source), f"the SELECT of {name}")
    return faults


def _delicate(plan: Plan) -> Iterator[TableName]:
    """Tables in cycles, with virtual keys or samples: their statements may fail on types that do not compare."""
    for table in plan.tables.values():
        if table.rule is Rule.RELEVANT and (
            plan.graph.component_of[table.name].cyclic
            or table.sample is not None
            or any(r.key.virtual for r in plan.relations_of.get(table.name, ()))
        ):
            yield table.name


def missing_tables(plan: Plan, found: Schema) -> list[TableName]:
    """Tables of the plan that the target does not have."""
    return [t.name for t in plan.schema.tables if t.name not in found]


def check_target(plan: Plan, source: Source, target: Target, found: Schema, replace_existing: bool) -> list[Fault]:
    """Tables, columns, privileges, and whose rows would be replaced."""
    faults: list[Fault] = []
    present: list[Table] = []
    for table in plan.schema.tables:
        if table.name in found:
            present.append(table)
            faults += target.type_faults(table, found[table.name], source)
        else:
            near = names.nearest(table.name.name, [t.name.name for t in found.tables])
            faults.append(
                Fault(f"the target has no table {table.name}", target.label, f"{near} Or use create_schema=True.")
            )
    faults += target.unwritable(present)
    if not faults:
        inside = [t.name for t in present]
        faults += target.outsiders(inside)
        if not replace_existing:
            faults += _foreign_rows(target, inside)
    return faults


def _foreign_rows(target: Target, tables: list[TableName]) -> list[Fault]:
    written = State(target).written()
    strangers = [t for t in target.occupied(tables) if target.located(t) not in written]
    return [
        Fault(
            f"{table} holds rows that no subset run wrote",
            target.label,
            "Say replace_existing=True if they may go, or choose another target.",
        )
        for table in strangers
    ]


def raise_all(groups: dict[type[SubsetError], list[Fault]]) -> None:
    """One error for all faults, of the class of the first group that has any."""
    kinds = [kind for kind in (RequestError, EndpointError, TargetError) if groups.get(kind)]
    if kinds:
        raise kinds[0](fault for kind in kinds for fault in groups[kind])
