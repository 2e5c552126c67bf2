"""Everything that must hold before a row moves, asked of both servers, all faults at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from airflow_subset_provider.core import drift, select, strictness
from airflow_subset_provider.core.engines.base import Source, Target
from airflow_subset_provider.core.errors import DriftError, EndpointError, Fault, RequestError, SubsetError, TargetError
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.schema import Schema, Table, TableName
from airflow_subset_provider.core.spec import OnDrift, Rule, Spec
from airflow_subset_provider.core.state import State


def another_database(spec: Spec, schema: Schema, source: Source) -> list[Fault]:
    """A request that names no schemas means the connection's database: the catalog may be of another one.

    Such a plan's statements would be answered all the same, as they name the catalog's database.
    """
    own, known = source.own_schema, schema.schemas
    if spec.schemas or own is None or len(known) != 1 or own == known[0]:
        return []
    return [
        Fault(
            f"the catalog is of the database {known[0]!r}, the connection leads to {own!r}",
            source.label,
            f"Say schemas=[{known[0]!r}] if that is to be read. Else reflect again (airflow-subset reflect) and commit "
            "the new catalog; without a catalog file, run again.",
        )
    ]


def check_drift(plan: Plan, live: Schema, on_drift: OnDrift = OnDrift.FAIL) -> tuple[str, ...]:
    """The plan's schema must be the live one, or differ from it in ways that the user lets pass and no row feels.

    Returns:
        What was let pass.

    Raises:
        DriftError: with every difference.
    """
    if plan.schema.fingerprint == live.fingerprint:
        return ()
    unread = {t for t in plan.tables if plan.rule(t) is Rule.SKIP}
    virtual = [r.key for r in plan.relations if r.key.virtual]
    changes = drift.changes(plan.schema, live, unread, virtual)
    if changes and on_drift is OnDrift.WARN and all(change.harmless for change in changes):
        return tuple(f"changed since the catalog was made: {change}" for change in changes)
    raise DriftError([_what_to_do(changes), *_told(changes)])


def _what_to_do(changes: Sequence[drift.Change]) -> Fault:
    advice = "Reflect again (airflow-subset reflect) and commit the new catalog; without a catalog file, run again."
    if changes and all(change.harmless for change in changes):
        advice += " The copy would be correct without it, too: on_drift='warn' lets such a run go on."
    return Fault("the source's schema is not the one this plan was made from", "catalog", advice)


def _told(changes: Sequence[drift.Change]) -> list[Fault]:
    """Harmful changes first; the others are marked only where there are both."""
    harmful = [c.fault for c in changes if not c.harmless]
    harmless = [c.fault for c in changes if c.harmless]
    if harmful:
        harmless = [replace(fault, do="Harmless by itself.") for fault in harmless]
    return [*harmful, *harmless] or [Fault("the schema changed", "source")]


def check_source(plan: Plan, source: Source) -> list[Fault]:
    """Privileges, every filter, and the statements whose validity hangs on more than the schema."""
    faults = [*source.unreadable([plan.schema[t] for t in plan.copied]), *check_filters(plan, source)]
    faults += [] if source.shares_ctes else list(_too_deep(plan, source))
    if not faults:
        for name in _delicate(plan):
            faults += source.statement_faults(select.extract(plan, name, source), f"the SELECT of {name}")
    return faults


def check_filters(plan: Plan, source: Source) -> list[Fault]:
    """What the source's server says against each filter, but for those of tables that this user may not read."""
    clauses = {t.name: t.filter for t in plan.tables.values() if t.filter is not None}
    any_closed = bool(source.unreadable([plan.schema[t] for t in clauses]))
    return [
        fault
        for table, clause in clauses.items()
        if not (any_closed and source.unreadable([plan.schema[table]]))
        for fault in source.clause_faults(table, clause, f"filters[{str(table)!r}]")
    ]


def filter_remarks(plan: Plan, source: Source) -> tuple[str, ...]:
    """What the source's server remarks on filters that it accepts."""
    return tuple(
        f"filters[{str(table.name)!r}]: {remark}"
        for table in plan.tables.values()
        if table.filter is not None
        for remark in source.filter_remarks(table.name, table.filter)
    )


def _too_deep(plan: Plan, source: Source) -> Iterator[Fault]:
    """Tables whose statement the server would choke on, were it asked."""
    for table in plan.tables.values():
        if table.rule is Rule.RELEVANT:
            try:
                select.extract(plan, table.name, source)
            except RequestError as error:
                yield from error.faults


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


def _missing(tables: Sequence[TableName], some: bool, target: Target) -> list[Fault]:
    if some:
        advice = "Make it in the target, or leave its schema out of `schemas`."
        return [Fault(f"the target has no table {t}", target.label, advice) for t in tables]
    few = ", ".join(map(str, tables[:3])) + (", …" if len(tables) > 3 else "")
    what = f"the target has none of the {len(tables)} tables ({few})"
    return [Fault(what, target.label, "Let the run make them: create_schema=True (--create-schema).")] if tables else []


def check_target(
    plan: Plan, source: Source, target: Target, found: Schema, replace_existing: bool, live: Schema
) -> list[Fault]:
    """Tables, columns, privileges, and whose rows would be replaced.

    Args:
        found: the target's schema.
        live: the source's, which the plan's may be behind.
    """
    faults: list[Fault] = []
    present: list[Table] = []
    for table in plan.schema.tables:
        if table.name in found:
            present.append(table)
            if plan.rule(table.name) is Rule.SKIP:  # it is emptied, and gets no row
                continue
            faults += target.type_faults(drift.as_it_is_now(table, live), found[table.name], source)
            faults += _left_empty(table, live, found[table.name], target)
    faults += target.unfit([found[t.name] for t in present])
    faults += _missing(missing_tables(plan, found), bool(present), target)
    faults += target.unwritable(present)
    if not faults:
        faults += strictness.null_faults(plan, source, found, target.label)
        inside = [t.name for t in present]
        faults += target.outsiders(inside)
        if not replace_existing:
            faults += _foreign_rows(target, inside)
    return faults


def check_to_be_made(plan: Plan, target: Target, live: Schema) -> list[Fault]:
    """What would be wrong with a schema that is made like the source's: foreseen, as not every server can undo that."""
    tables = [table for table in plan.schema.tables if table.name in live]
    faults = target.unfit([live[table.name] for table in tables])
    filled = [table for table in tables if plan.rule(table.name) is not Rule.SKIP]
    return faults + [fault for table in filled for fault in _left_empty(table, live, live[table.name], target)]


def _left_empty(table: Table, live: Schema, found: Table, target: Target) -> Iterator[Fault]:
    """Columns that both ends have and the plan does not know: their values would be lost without a word."""
    for column in drift.added_columns(table, live):
        mine = found.column(column.name)
        if mine is not None and not mine.generated:
            yield Fault(
                "source and target have this column, the catalog does not: it would stay empty",
                f"{target.label}, {table.name}.{column.name}",
                "Reflect again (airflow-subset reflect) and commit the new catalog; without a catalog file, run again.",
            )


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
