"""A target that has nothing and writes down what it is asked: the conversation of references, as literal SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from airflow_subset_provider.core import engines, sql
from airflow_subset_provider.core.engines.base import Moved
from airflow_subset_provider.core.integrity import Integrity
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.schema import Table, TableName

Flavour = type(engines.get("postgresql").flavour)


class Recorder(Flavour):  # type: ignore[misc, valid-type]
    """As far as `Integrity` needs a target.

    Attributes:
        told: title and SQL of every statement, in order.
    """

    def __init__(self, plan: Plan) -> None:
        self.tables = sql.Tables(plan.schema)
        self.told: list[tuple[str, str]] = []

    def settle(self, plan: Plan, source: Any) -> Integrity:
        return Integrity(plan, source, self)  # type: ignore[arg-type]

    def pages(self, statement: Any) -> Iterator[list[tuple[str, ...]]]:
        """One page with one row of ever the same texts."""
        self._tell("what is missing, asked of the target", statement)
        yield [tuple(str(n + 1) for n, _ in enumerate(statement.selected_columns))]

    def load(self, _source: Any, statement: Any, table: Table) -> Moved:
        self._tell(f"{table.name}, fetched from the source", statement)
        return Moved()

    def load_missing(self, source: Any, statement: Any, table: Table, _key: Sequence[str]) -> Moved:
        return self.load(source, statement, table)

    def stage(self, name: str, statement: Any) -> sa.TableClause:
        self._tell(f"into pg_temp.{name}", f"CREATE TEMP TABLE {name} AS {self.compile(statement)}")
        return sa.table(name, *(sa.column(str(c.key), c.type) for c in statement.selected_columns), schema="pg_temp")

    def delete(self, table: TableName, conditions: Sequence[Any]) -> int:
        self._tell(f"{table}, left out of the target", sa.delete(self.tables[table]).where(*conditions))
        return 0

    def _tell(self, title: str, statement: Any) -> None:
        self.told.append((title, self.compile(statement)))
