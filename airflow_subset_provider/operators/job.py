"""What all tasks of one SubsetOperator share: the plan made at parse time, and the way from it to a run of the core.

A job is built once per parse and handed to every task; it is not serialised, because a worker parses the DAG file
again. It holds connection ids, never connections.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, Self

from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.engines.base import Endpoint
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.spec import OnDrift

if TYPE_CHECKING:
    from airflow_subset_provider.core.run import Run


@dataclass(frozen=True)
class Job:
    """One SubsetOperator, as its tasks see it.

    Attributes:
        group_id: the full id of the task group; the ids of its tasks begin with it.
        cached: the plan's schema comes from the cache, not from a catalog file.
        report: where the report is written: a template; empty for nowhere.
        consistent: all tasks are to read one state of the source.
        demanded: and the run fails where that cannot be.
    """

    plan: Plan
    source_conn_id: str
    target_conn_id: str
    group_id: str
    cached: bool
    replace_existing: bool = False
    create_schema: bool = False
    report: str = ""
    on_drift: OnDrift = OnDrift.FAIL
    consistent: bool = False
    demanded: bool = False

    def task_id(self, name: str) -> str:
        """The full id of one of the group's tasks."""
        return f"{self.group_id}.{name}"

    def settled(self, filters: Mapping[str, str]) -> Plan:
        """The plan with the filters as rendered."""
        if filters == self.plan.spec.filters:
            return self.plan
        return planning.build(self.plan.spec.with_filters(filters), self.plan.schema)

    def run(
        self,
        key: str,
        filters: Mapping[str, str],
        alive: Callable[[str, datetime], bool],
        log: logging.Logger,
        exported: str | None = None,
    ) -> Run:
        """The core's run, ready to take any of its steps; looks the connections up, opens none.

        Args:
            exported: the name of the source's state that its steps read.

        Raises:
            EndpointError: a connection is unknown here, or of an unsupported type.
            RequestError: a rendered filter is none.
        """
        from airflow_subset_provider import connections
        from airflow_subset_provider.core.run import Run

        return Run(
            self.settled(filters),
            connections.endpoint(self.source_conn_id),
            connections.endpoint(self.target_conn_id),
            key=key,
            replace_existing=self.replace_existing,
            create_schema=self.create_schema,
            on_drift=self.on_drift,
            alive=alive,
            log=log,
            exported=exported,
        )

    def extract_sql(self, component: Component, filters: Mapping[str, str]) -> str:
        """The component's statements, as they go to the source; needs no connection."""
        from airflow_subset_provider.core.run import Run

        nowhere = Endpoint(self.plan.schema.dialect, _connect_nowhere, self.source_conn_id)
        statements = Run(self.settled(filters), nowhere, nowhere).extract_sql(component)
        return "\n\n".join(f"-- {table}\n{sql};" for table, sql in statements.items())

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        """The same: it is frozen, and Airflow copies tasks deeply when some of a DAG's tasks are cleared."""
        return self


def _connect_nowhere() -> NoReturn:
    raise AssertionError("rendering needs no connection")
