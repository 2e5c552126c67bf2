"""Is a copy still what a run made of it? Every reference counted, every constraint looked at, every row count compared.

Stands on nothing a run said of itself but its notes of how many rows it wrote.
"""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from airflow_subset_provider.core import engines
from airflow_subset_provider.core.engines.base import Endpoint, Source, Target
from airflow_subset_provider.core.errors import Fault
from airflow_subset_provider.core.integrity import Integrity, is_loose
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.report import KeyReport
from airflow_subset_provider.core.schema import Schema, TableName
from airflow_subset_provider.core.state import State


class Verification(Struct, frozen=True):
    """What was found.

    Attributes:
        faults: what does not hold; empty for a sound copy.
        keys: every foreign key with its dangling references, counted.
        rows: per table.
    """

    faults: tuple[Fault, ...]
    keys: tuple[KeyReport, ...]
    rows: dict[TableName, int]


def verify(plan: Plan, target: Endpoint) -> Verification:
    """Look at the target; only reads."""
    with engines.get(target.engine).target(target, "airflow_subset verify") as end, end.transaction():
        end.use(plan.schema)
        found = end.reflect(plan.schema.schemas)
        missing = [t for t in plan.schema.tables if t.name not in found]
        if missing:
            return Verification(tuple(Fault("is not in the target", str(t.name)) for t in missing), (), {})
        keys = _keys(plan, end)
        rows = {t.name: _count(end, t.name) for t in plan.schema.tables}
        faults = [*_dangling(keys), *_unvalidated(plan, found), *_unfinished(end), *_changed(end, rows)]
    return Verification(tuple(faults), keys, rows)


def _keys(plan: Plan, end: Target) -> tuple[KeyReport, ...]:
    nowhere: Source = None  # type: ignore[assignment]  # counting asks the target alone
    integrity = Integrity(plan, nowhere, end)
    return tuple(KeyReport(r.key.label, integrity.count_dangling(r), "counted", is_loose(r.key)) for r in plan.judged)


def _dangling(keys: tuple[KeyReport, ...]) -> list[Fault]:
    wrong = [k for k in keys if k.dangling and not k.in_source]
    return [Fault(f"{k.dangling:,} rows reference rows that are not there", k.key) for k in wrong]


def _unvalidated(plan: Plan, found: Schema) -> list[Fault]:
    """Keys that the source has validated must be in force in the copy."""
    there = {k.label: k for k in found.foreign_keys}
    faults = []
    for key in plan.schema.foreign_keys:
        if key.label not in there:
            faults.append(Fault("the target has no such foreign key", key.label, "Put it back: airflow-subset repair."))
        elif key.validated and not there[key.label].validated:
            faults.append(Fault("the target has it unvalidated", key.label, "Run again, or validate it."))
    return faults


def _unfinished(end: Target) -> list[Fault]:
    state = State(end)
    holder = state.holder() if state.exists() else None
    if holder is None:
        return []
    return [Fault(f"run {holder!r} holds it and has not ended", end.label, "Wait for it, or: airflow-subset repair.")]


def _changed(end: Target, rows: dict[TableName, int]) -> list[Fault]:
    """Rows that came or went since the run."""
    state = State(end)
    noted = state.progress.stats() if state.exists() else {}
    return [
        Fault(f"has {rows[t]:,} rows, the run left {done.kept:,}", str(t), "Somebody wrote it since.")
        for t, done in noted.items()
        if t in rows and rows[t] != done.kept
    ]


def _count(end: Target, table: TableName) -> int:
    return int(end.value(end.tables.select(table, [sa.func.count()])))
