"""What would make a run faster, smaller or more complete: looked for in the catalogue, and by sampling, never assumed.

Nothing here changes a plan. Each suggestion names what to do in the user's own terms: an index to create, a virtual
foreign key to declare, a table to set a rule for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import sqlalchemy as sa
from msgspec import Struct

from airflow_subset_provider.core import sql
from airflow_subset_provider.core.engines.base import Source
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.preview import Preview
from airflow_subset_provider.core.relations import family
from airflow_subset_provider.core.schema import ForeignKey, Schema, Table, TableName
from airflow_subset_provider.core.spec import Rule

WORTH_AN_INDEX = 10_000  # rows; a smaller table is scanned in no time
SAMPLE = 1000  # values of a column that may be a foreign key
ENOUGH = 5  # different values, all found in the parent, before a column is worth mentioning
LARGE_SHARE = 0.25  # of all kept rows


class Suggestion(Struct, frozen=True):
    """One thing worth doing.

    Attributes:
        kind: "index", "foreign key" or "large table".
        about: the column or table.
        why: what was seen.
        do: what to write.
    """

    kind: str
    about: str
    why: str
    do: str


def suggest(plan: Plan, preview: Preview, source: Source | None = None) -> tuple[Suggestion, ...]:
    """Everything worth saying about a plan.

    Args:
        source: asked for indexes and samples; None: only the preview's numbers are looked at.
    """
    asked = () if source is None else (*_indexes(plan, source), *_foreign_keys(plan, source))
    return (*asked, *_large_tables(preview))


# -- indexes


def _indexes(plan: Plan, source: Source) -> Iterator[Suggestion]:
    """Foreign keys that filters flow down through and whose columns no index begins with."""
    indexes = source.indexes(plan.schema.schemas)
    if indexes is None:
        return
    carriers = {r.key: None for t in plan.tables for r in plan.carriers(t)}
    for key in carriers:
        rows = plan.schema[key.child].rows
        if rows >= WORTH_AN_INDEX and not _indexed(key, indexes.get(key.child, ())):
            columns = ", ".join(key.columns)
            yield Suggestion(
                "index",
                f"{key.child}({columns})",
                f"filters reach {key.child} by this key, and without an index all of its ~{rows:,} rows are read",
                source.add_index(key.child, key.columns),
            )


def _indexed(key: ForeignKey, indexes: Iterable[tuple[str, ...]]) -> bool:
    return any(set(columns[: len(key.columns)]) == set(key.columns) for columns in indexes)


# -- undeclared foreign keys


def _foreign_keys(plan: Plan, source: Source) -> Iterator[Suggestion]:
    for child, column, parent in _candidates(plan.schema, {k for r in plan.relations for k in [r.key]}):
        found, matched = _sampled(plan.schema, source, child, column, parent)
        if found >= ENOUGH and found == matched:
            (key,) = parent.primary_key
            yield Suggestion(
                "foreign key",
                f"{child}.{column}",
                f"its name and type say {parent.name}, and all of {found} values looked at are there",
                f'relations: {{"{child}.{column}": {{"to": "{parent.name}.{key}"}}}}',
            )


def _candidates(schema: Schema, keys: Iterable[ForeignKey]) -> Iterator[tuple[TableName, str, Table]]:
    """Columns under no key of their own whose name ends in a parent's name and key, of a like type."""
    taken = {(k.child, c) for k in (*schema.foreign_keys, *keys) for c in k.columns}
    parents = _by_reference_name(schema)
    for table in schema.tables:
        types = {c.name for c in table.columns if c.name.endswith("_type")}
        for column in table.columns:
            polymorphic = f"{column.name.removesuffix('_id')}_type" in types
            if (table.name, column.name) in taken or table.primary_key == (column.name,) or polymorphic:
                continue
            parent = _parent_of(column.name, parents)
            if parent is None or (parent.name == table.name and not column.nullable):
                continue
            key = parent.column(parent.primary_key[0])
            if key is not None and family(key.type) == family(column.type):
                yield table.name, column.name, parent


def _by_reference_name(schema: Schema) -> dict[str, Table]:
    """Tables with a key of one column, by the names a column that references them may have.

    `city_id` for both `city(city_id)` and `cities(id)`; names that two tables share are left out.
    """
    found: dict[str, list[Table]] = {}
    for table in schema.tables:
        if len(table.primary_key) != 1:
            continue
        (key,) = table.primary_key
        singulars = _singulars(table.name.name.lower())
        named = {f"{s}_{key.lower()}" for s in singulars} | {f"{s}{key.lower()}" for s in singulars}
        if any(key.lower() in (f"{s}_id", f"{s}id", f"{s}_no", f"{s}_code") for s in singulars):
            named = {key.lower()}
        for name in named:
            found.setdefault(name, []).append(table)
    return {name: tables[0] for name, tables in found.items() if len(tables) == 1}


def _singulars(name: str) -> set[str]:
    forms = {name}
    if name.endswith("ies"):
        forms.add(f"{name[:-3]}y")
    if name.endswith("es"):
        forms.add(name[:-2])
    if name.endswith("s"):
        forms.add(name[:-1])
    return forms


def _parent_of(column: str, parents: dict[str, Table]) -> Table | None:
    """By the whole name, else without a prefix: `billing_address_id` may mean `address_id`."""
    name = column.lower()
    while name:
        if name in parents:
            return parents[name]
        _, _, name = name.partition("_")
    return None


def _sampled(schema: Schema, source: Source, child: TableName, column: str, parent: Table) -> tuple[int, int]:
    """How many different values were looked at, and how many of them the parent has."""
    tables = sql.Tables(schema)
    rows = tables[child].c[column]
    some = tables.select(child, [rows]).where(rows.is_not(None)).limit(SAMPLE).subquery("subset_some")
    values = sa.select(some.c[column].label("value")).distinct().subquery("subset_values")
    above = tables[parent.name]
    there = sql.exists(above, [above.c[parent.primary_key[0]] == values.c.value], values)
    count = sa.func.count()
    found, matched = source.rows(
        sa.select(count, sa.func.coalesce(sa.func.sum(sa.case((there, 1), else_=0)), 0)).select_from(values)
    )[0]
    return int(found), int(matched)


# -- large tables


def _large_tables(preview: Preview) -> Iterator[Suggestion]:
    """Tables that make up much of the result, with the path that pulled them in."""
    total = sum(max(0, t.rows.own) + (t.rows.referred if t.rows.exact else 0) for t in preview.copied)
    if total < WORTH_AN_INDEX:
        return
    for table in preview.copied:
        rows = max(0, table.rows.own) + (table.rows.referred if table.rows.exact else 0)
        if rows >= LARGE_SHARE * total:
            do = {
                Rule.WHOLE: f'others: referenced, or tables: {{"{table.table}": "referenced"}}',
                Rule.RELEVANT: f'a narrower filter above it, or one of its own: filters: {{"{table.table}": "…"}}',
            }.get(table.rule, f'tables: {{"{table.table}": "skip"}}, if its rows are not needed')
            share = f"{rows / total:.0%} of the copy ({'' if table.rows.exact else '~'}{rows:,} rows)"
            yield Suggestion("large table", table.table, f"{share}; {table.rule.value}: {table.reason}", do)
