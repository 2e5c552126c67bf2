"""What the target's tables insist on and the source's do not: NOT NULL columns, and unique keys of the target's own.

Neither is wrong by itself: a staging schema is often ahead of its source, and the rows may well do. So NULLs are looked
for in the rows that would come, before anything is emptied; whatever cannot be foreseen so cheaply is told.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from airflow_subset_provider.core import select
from airflow_subset_provider.core.engines.base import Source, Target
from airflow_subset_provider.core.errors import Fault
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.schema import Column, Schema, Table, TableName
from airflow_subset_provider.core.spec import Rule


def null_faults(plan: Plan, source: Source, found: Schema, label: str) -> Iterator[Fault]:
    """Columns that are NOT NULL in the target, and NULL in a row that a table of the source would bring by its rule.

    Each such table is read once. Where the two schemas agree, as they mostly do, nothing is asked.

    Args:
        found: the target's schema; it has all tables.
    """
    for table, strict in _stricter(plan, found):
        if plan.rule(table) in (Rule.RELEVANT, Rule.WHOLE):
            for name in _null(plan, source, table, strict):
                yield Fault(
                    "NULL in rows of the source, but NOT NULL in the target",
                    f"{label}, {table}.{name}",
                    "Let the target's column be NULL, or leave these rows out by a filter.",
                )


def _stricter(plan: Plan, found: Schema) -> Iterator[tuple[TableName, list[Column]]]:
    """Tables of the copy with the columns that may be NULL in the source and not in the target."""
    for name in plan.copied:
        theirs = {c.name: c for c in found[name].columns}
        strict = [
            c for c in plan.schema[name].copied if c.nullable and c.name in theirs and not theirs[c.name].nullable
        ]
        if strict:
            yield name, strict


def _null(plan: Plan, source: Source, table: TableName, columns: list[Column]) -> list[str]:
    """The names of those of the columns that are NULL in any row of the table's extract."""
    rows = select.extract(plan, table, source).subquery("subset_rows")
    nulls = (sa.func.max(sa.case((rows.c[c.name].is_(None), sa.literal_column("1")))) for c in columns)
    with source.snapshot():
        answers = source.rows(sa.select(*nulls))[0]
    return [c.name for c, null in zip(columns, answers, strict=True) if null]


def remarks(plan: Plan, found: Schema, target: Target) -> Iterator[str]:
    """What may stop a load although nothing speaks against it yet."""
    for table, strict in _stricter(plan, found):
        if plan.rule(table) is not Rule.WHOLE:
            names = ", ".join(c.name for c in strict)
            yield f"{table}: NOT NULL in the target alone: {names}. A referred row with NULL there would stop the run"
    own = [(name, columns) for name in plan.copied for columns in _own_keys(plan.schema[name], found[name])]
    numbered = target.numbered([name for name, _ in own]) if own else set()
    for name, columns in own:
        # A number that the target itself gives to every row is never repeated.
        if not any((name, c) in numbered and plan.schema[name].column(c) is None for c in columns):
            names = ", ".join(columns)
            yield f"{name}: unique in the target alone: ({names}). Rows of the source that repeat it would stop the run"


def _own_keys(wanted: Table, found: Table) -> Iterator[tuple[str, ...]]:
    """Keys of the target that no key of the source implies."""
    for columns in dict.fromkeys(k.columns for k in found.keys):
        if not any(set(k.columns) <= set(columns) for k in wanted.keys):
            yield columns
