"""What all tasks of one SubsetOperator share: the plan made at parse time, and the way from it to a run of the core.

A job is built once per parse and handed to every task; it is not serialised, because a worker parses the DAG file
again. It holds connection ids, never connections.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, Self

from msgspec import Struct, to_builtins

from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.spec import OnDrift

if TYPE_CHECKING:
    from airflow_subset_provider.core.chunks import Chunk
    from airflow_subset_provider.core.run import Run

CUT, PARTS = "cut", "parts"


class Job(Struct, frozen=True, dict=True):
    """One SubsetOperator, as its tasks see it.

    Attributes:
        group_id: the full id of the task group; the ids of its tasks begin with it.
        cached: the plan's schema comes from the cache, not from a catalog file.
        report: where the report is written: a template; empty for nowhere.
        consistent: all tasks are to read one state of the source.
        demanded: and the run fails where that cannot be.
        chunk_rows: larger tables are loaded in parts of about so many rows; 0: none is.
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
    chunk_rows: int = 0

    def __repr__(self) -> str:
        """The same at every parse: Airflow serialises it with a mapped task, and makes a DAG version of each change."""
        return f"Job({self.group_id!r})"

    def task_id(self, name: str) -> str:
        """The full id of one of the group's tasks."""
        return f"{self.group_id}.{name}"

    def in_parts(self, component: Component) -> bool:
        """Whether the component's table is loaded in parts."""
        if not self.chunk_rows:
            return False
        from airflow_subset_provider.core import chunks  # not needed by most parses

        return chunks.splits(self.plan, component, self.chunk_rows)

    def extract_id(self, component: Component) -> str:
        """The full id of the task that loads the component; where it is loaded in parts, of the one that begins it."""
        return self.task_id(f"tables.{component.id}{f'.{CUT}' if self.in_parts(component) else ''}")

    def settled(self, filters: Mapping[str, str]) -> Plan:
        """The plan with the filters as rendered."""
        if filters == self.plan.spec.filters:
            return self.plan
        return planning.build(self.plan.spec.with_filters(filters), self.plan.schema)

    @cached_property
    def request(self) -> str:
        """The same for all tasks of a run whose tables keep the same rows.

        Without the clauses: those that `prepare` has rendered hold for all tasks. With the connections: another source
        has other rows. With what the patterns have come to: the order that they are written in decides, but it may
        change from parse to parse where they come from a set.
        """
        spec, plan = self.plan.spec, self.plan
        asked = to_builtins(spec) | {"filters": sorted(spec.filters), "schemas": sorted(spec.schemas)}
        rules = {str(t.name): t.rule for t in plan.tables.values()}
        relations = sorted(repr((r.key, r.follow, r.policy.value, r.nulls)) for r in plan.relations)
        ends = [self.source_conn_id, self.target_conn_id, self.consistent]
        known = json.dumps([asked, rules, relations, ends], sort_keys=True)
        return hashlib.sha256(known.encode()).hexdigest()[:16]

    def run(
        self,
        key: str,
        filters: Mapping[str, str],
        alive: Callable[[str, datetime], bool],
        log: logging.Logger,
        exported: str | None = None,
        taken: str | None = None,
    ) -> Run:
        """The core's run, ready to take any of its steps; looks the connections up, opens none.

        Args:
            exported: the name of the source's state that its steps read.
            taken: the preparation that its steps belong to.

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
            chunk_rows=self.chunk_rows,
            most_parts=_most_parts(),
            exported=exported,
            taken=taken,
        )

    def extract_sql(self, component: Component, filters: Mapping[str, str]) -> str:
        """The component's statements, as they go to the source; needs no connection."""
        return _shown(self._run_nowhere(filters).extract_sql(component))

    def part_sql(self, component: Component, part: Chunk, filters: Mapping[str, str]) -> str:
        """The statement of one part of the component's table; needs no connection."""
        return _shown({component.tables[0]: self._run_nowhere(filters).parts(component).sql(part)})

    def _run_nowhere(self, filters: Mapping[str, str]) -> Run:
        from airflow_subset_provider.core.run import Endpoint, Run

        nowhere = Endpoint(self.plan.schema.dialect, _connect_nowhere, self.source_conn_id)
        return Run(self.settled(filters), nowhere, nowhere)

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        """The same: it is frozen, and Airflow copies tasks deeply when some of a DAG's tasks are cleared."""
        return self


def _shown(statements: Mapping[TableName, str]) -> str:
    return "\n\n".join(f"-- {table}\n{sql};" for table, sql in statements.items())


def _most_parts() -> int:
    """Airflow refuses to map a task over more than `[core] max_map_length`."""
    from airflow_subset_provider.compat import conf
    from airflow_subset_provider.core import chunks

    return max(1, min(chunks.MOST, int(conf.getint("core", "max_map_length", fallback=chunks.MOST))))


def _connect_nowhere() -> NoReturn:
    raise AssertionError("rendering needs no connection")
