"""A request held against the real database: every fault at once, and what every good filter selects.

`plan.build` stops at the first kind of fault, as it cannot go on without knowing the tables; a person who mends a
request wants all of them, so here the filters are asked about one by one whatever else is wrong.
"""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from airflow_subset_provider.core import checks, names, sql
from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.engines.base import Source
from airflow_subset_provider.core.errors import Fault, RequestError, SubsetError
from airflow_subset_provider.core.schema import Schema, TableName
from airflow_subset_provider.core.spec import Spec


class FilterCheck(Struct, frozen=True):
    """One filter the server accepts.

    Attributes:
        rows: those that answer it, counted.
        source_rows: the table's, estimated; -1 where unknown.
    """

    table: TableName
    clause: str
    rows: int
    source_rows: int


class Validation(Struct, frozen=True):
    """What came out."""

    filters: tuple[FilterCheck, ...]
    faults: tuple[Fault, ...]
    warnings: tuple[str, ...]


def validate(spec: Spec, schema: Schema, source: Source) -> Validation:
    """Check the request against the schema, and each filter against the database."""
    faults, warnings = _planned(spec, schema, source)
    good, remarks = [], []
    for text, clause in spec.filters.items():
        where = f"filters[{text!r}]"
        table = names.find_table(schema, text, where)
        if isinstance(table, Fault):
            continue
        wrong = source.clause_faults(table, clause, where)
        found = wrong or _count(schema, source, table, clause, where)
        if isinstance(found, int):
            good.append(FilterCheck(table, clause, found, schema[table].rows))
            remarks += [f"{where}: {remark}" for remark in source.clause_remarks(table, clause)]
        else:
            faults += found
    faults += checks.another_database(spec, schema, source)
    return Validation(tuple(good), tuple(faults), (*warnings, *remarks))


def _planned(spec: Spec, schema: Schema, source: Source) -> tuple[list[Fault], tuple[str, ...]]:
    """What is wrong with the request but for the clauses themselves; else the plan's warnings."""
    try:
        plan = planning.build(spec, schema)
    except RequestError as error:
        return list(error.faults), ()
    faults = [f for f in checks.check_source(plan, source) if not f.clause]
    return faults, plan.warnings


def _count(schema: Schema, source: Source, table: TableName, clause: str, where: str) -> int | list[Fault]:
    """Rows that answer the clause. Some faults (a division by zero, a bad cast) show only when it is run."""
    rows = sql.Tables(schema).select(table, [sql.ONE]).where(sql.clause(clause)).subquery("subset_rows")
    try:
        return int(source.value(sa.select(sa.func.count()).select_from(rows)))
    except SubsetError as error:
        if error.retryable:
            raise
        cause = error.faults[0]
        return [Fault(f"{cause.what}, when it is run,", where, cause.do, clause)]
