"""`SubsetOperator`: a task group that is written like an operator and mirrors the source's foreign-key graph.

    prepare -> tables.* -> loaded -> references.* -> finish      (and release and prepared, teardowns of prepare)

One task for each component of the graph, edges where foreign keys run. The group's only leaf is `finish`, so whatever
follows the group starts on a proven copy. No database is asked anything here when `catalog=` names a file or the
catalog is in the cache; the heavy parts of the core are imported by the tasks, not by the parse.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from os import PathLike
from typing import Any, NoReturn

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, BaseOperator, TaskGroup

from airflow_subset_provider.assets import copy_asset, tables_alias
from airflow_subset_provider.compat import group_arguments
from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core import snapshot
from airflow_subset_provider.core.errors import Fault, RequestError
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.spec import OnDrift, Spec, part_size
from airflow_subset_provider.operators import arguments, catalog_file, texts
from airflow_subset_provider.operators.finish import FinishOperator, ReleaseOperator
from airflow_subset_provider.operators.job import CUT, PARTS, Job
from airflow_subset_provider.operators.parts import LABEL, CutOperator, ExtractPartOperator
from airflow_subset_provider.operators.prepare import PrepareOperator
from airflow_subset_provider.operators.snapshot import tasks as snapshot_tasks
from airflow_subset_provider.operators.tables import ExtractOperator, ReferencesOperator, SettleOperator

__all__ = ["SubsetOperator"]


class SubsetOperator(TaskGroup):
    """Copy a small, referentially complete subset of a database.

    Args:
        task_id: the id of the task group.
        source_conn_id: the connection to read from; read-only, SELECT is enough.
        target_conn_id: the connection to write to; its tables in scope are emptied first.
        filters: table -> WHERE clause. Templates: rendered once a run. Trusted SQL.
        schemas: the schemas (on MySQL: databases) in scope; none for the default one.
        others: the rule of the tables that no filter reaches: "whole", "referenced" or "skip".
        tables: pattern -> rule ("relevant", "whole", "referenced", "skip") of the tables it matches.
        references: what happens to a kept row's reference to a row that is not kept: "include", "null" or "drop".
        relations: pattern -> settings of the foreign keys it matches, or a virtual foreign key.
        sample: table -> "5%" or a number of rows.
        seed: chooses another sample of the same size.
        referential_integrity: off: filters apply to their own tables only.
        whole_limit: tables with more rows (as the source estimates) are copied whole only if `tables` names them.
        catalog: a catalog file (made by `airflow subset reflect`), relative to the DAG file's folder (or the folder of
            the module whose function makes the DAG; or in the zip archive that they are in). With it, parsing the DAG
            opens no connection. None: reflect once, and keep the result in the cache.
        replace_existing: the target's tables may be emptied even if no subset run filled them.
        create_schema: make the target's tables where there are none.
        report: where a report of each run is written: an absolute path or the URL of an object store, as for
            ObjectStoragePath; a file (`.html`, `.md`, `.json`) or a folder that takes all three. A template.
        on_drift: when the source's schema is no longer the catalog's: "fail", or "warn" and go on if the copy is
            correct all the same (docs/rules.md: Drift).
        consistent: whether the copy is the source at one point in time (docs/consistency.md). None: where source and
            executor can; True: fail where they cannot.
        chunk_rows: tables of more rows (as the catalog estimates) are loaded in parts of about so many, each by a
            mapped task instance of its own, so that several workers share one table (docs/rules.md: Large tables).
        default_args: as of any task group.
        task_arguments: whatever any operator takes (`retries`, `pool`, `queue`, `execution_timeout`, ...), for every
            task of the group; `trigger_rule` is for its first task, `outlets` and `inlets` are for its last, beside
            the assets of the copy (`copy_asset`) and of its tables.

    Raises:
        RequestError: with every fault found in the request.
        EndpointError: the schema is needed and the source cannot be reached from here.
    """

    def __init__(
        self,
        *,
        task_id: str,
        source_conn_id: str,
        target_conn_id: str,
        filters: Mapping[str, str] | None = None,
        schemas: Sequence[str] = (),
        others: str = "whole",
        tables: Mapping[str, str] | None = None,
        references: str = "include",
        relations: Mapping[str, Any] | None = None,
        sample: Mapping[str, str | int] | None = None,
        seed: int = 0,
        referential_integrity: bool = True,
        whole_limit: int = 10_000_000,
        catalog: str | PathLike[str] | None = None,
        replace_existing: bool = False,
        create_schema: bool = False,
        report: str | PathLike[str] | None = None,
        on_drift: str = "fail",
        consistent: bool | None = None,
        chunk_rows: int = 0,
        default_args: Mapping[str, Any] | None = None,
        **task_arguments: Any,
    ) -> None:
        own = inspect.signature(SubsetOperator.__init__).parameters.keys() - {"self", "task_arguments"}
        faults: list[Fault] = []
        with arguments.gathered(faults):
            sorted_arguments = arguments.sort(task_arguments, own)
        faults += arguments.of_the_parse(task_id, source_conn_id, target_conn_id, catalog)
        with arguments.gathered(faults):
            spec = Spec.of(
                filters=arguments.clauses(filters or {}, faults),
                schemas=schemas,
                others=others,
                tables=tables or {},
                references=references,
                relations=relations or {},
                sample=sample or {},
                seed=seed,
                referential_integrity=referential_integrity,
                whole_limit=whole_limit,
            )
        with arguments.gathered(faults):
            drift = OnDrift.of(on_drift)
        with arguments.gathered(faults):
            chunk_rows = part_size(chunk_rows)
        RequestError.raise_for(faults)
        self._open(task_id, {**(default_args or {}), **sorted_arguments.everywhere}, sorted_arguments.group)
        self.plan: Plan = _plan(self.dag, catalog, source_conn_id, spec)
        job = Job(
            self.plan,
            source_conn_id,
            target_conn_id,
            str(self.group_id),
            cached=catalog is None,
            replace_existing=replace_existing,
            create_schema=create_schema,
            report="" if report is None else str(report),
            on_drift=drift,
            consistent=snapshot.wanted(self.plan.schema.dialect, consistent),
            demanded=bool(consistent),
            chunk_rows=chunk_rows,
        )
        self.tooltip = f"{source_conn_id} → {target_conn_id}: {len(self.plan.copied)} tables"
        self._document(job)
        self._lay_out(job, sorted_arguments)

    @classmethod
    def partial(cls, **_: Any) -> NoReturn:
        """A group's tasks are known at parse time, so it cannot be expanded."""
        raise _not_mapped(cls.__name__)

    # -- the group

    def _open(self, task_id: str, default_args: dict[str, Any], of_the_group: Mapping[str, Any]) -> None:
        """Become a group of the DAG."""
        wanted = {
            "group_id": task_id,
            "default_args": default_args,
            "dag": of_the_group.get("dag"),
            "parent_group": of_the_group.get("task_group"),
            "group_display_name": of_the_group.get("task_display_name"),
            "doc_md": of_the_group.get("doc_md"),
        }
        super().__init__(**group_arguments({k: v for k, v in wanted.items() if v is not None}))
        if next(self.iter_mapped_task_groups(), None) is not None:
            raise _not_mapped(f"{self.group_id}, in a mapped task group")

    def _document(self, job: Job) -> None:
        if getattr(self, "doc_md", "") is None:
            words = snapshot.guarantee(job.consistent)
            self.doc_md = texts.group_doc(job.plan, job.source_conn_id, job.target_conn_id, words)

    # -- its tasks

    def _lay_out(self, job: Job, given: arguments.Arguments) -> None:
        plan = job.plan
        prepare = PrepareOperator(job=job, **self._task("prepare"), **given.first)
        release = ReleaseOperator(job=job, **self._task("release"))
        finish = FinishOperator(job=job, **self._last(job, given))
        loaded = EmptyOperator(**self._task("loaded"), trigger_rule="all_success")
        tables = self._group("tables", "Rows that the tables keep by their own rules, parents first")
        self._extracts(tables, job)
        setups = [prepare, *self._snapshot(job, prepare)]
        setups[-1] >> tables >> loaded
        if plan.may_ban or plan.closures:
            references = self._group("references", "Rows that kept rows reference, children first")
            self._closures(references, job)
            loaded >> references >> finish
        else:
            loaded >> finish
        # A teardown that could fail the DAG run would hide `finish` from Airflow's verdict on the run: only leaves
        # count, and with on_failure_fail_dagrun `release` would be the leaf.
        finish >> release.as_teardown(setups=setups, on_failure_fail_dagrun=False)
        self._a_refusal_counts(prepare)

    def _a_refusal_counts(self, prepare: BaseOperator) -> None:
        """Let a `prepare` that fails fail the DAG run.

        When one table's task is cleared, Airflow clears `prepare` with it, which refuses, but not `finish`. That still
        has its earlier success, so the run would end as one. What is cleared with a setup is its teardowns; this one
        does nothing, cannot run unless `prepare` has succeeded, and counts for the run's state.
        """
        prepared = EmptyOperator(**self._task("prepared"))
        prepared.as_teardown(setups=prepare, on_failure_fail_dagrun=True)

    def _snapshot(self, job: Job, prepare: BaseOperator) -> list[BaseOperator]:
        """The tasks that make the run one point in time; the one that the tables wait for."""
        if not job.consistent:
            return []
        hold, wait = snapshot_tasks(job, self._task)
        hold.as_teardown(setups=prepare, on_failure_fail_dagrun=False)
        prepare >> wait
        return [wait]

    def _extracts(self, group: TaskGroup, job: Job) -> None:
        nodes = {
            c.id: _in_parts(job, c, group)
            if job.in_parts(c)
            else ExtractOperator(job=job, component=c, **_component_task(job.plan, c, group))
            for c in job.plan.extracts
        }
        _connect(nodes, job.plan.graph.edges)

    def _closures(self, group: TaskGroup, job: Job) -> None:
        if job.plan.may_ban:
            SettleOperator(job=job, **{**self._task("settle"), "task_group": group}, trigger_rule="all_success")
            return
        tasks = {
            c.id: ReferencesOperator(job=job, component=c, **_component_task(job.plan, c, group, "referred rows of "))
            for c in job.plan.closures
        }
        _connect(tasks, ((child, parent) for parent, child in job.plan.graph.edges))

    def _last(self, job: Job, given: arguments.Arguments) -> dict[str, Any]:
        """The arguments of the last task: whatever the DAG's default_args say, it alone announces the copy."""
        defaults = {**self.dag.default_args, **self.default_args}
        own = copy_asset(job.target_conn_id), tables_alias(job.target_conn_id)
        outlets = [*own, *(given.last.get("outlets", defaults.get("outlets")) or ())]
        return {**self._task("finish"), **given.last, "outlets": outlets, "trigger_rule": "all_success"}

    def _group(self, name: str, tooltip: str) -> TaskGroup:
        return TaskGroup(name, parent_group=self, dag=self.dag, tooltip=tooltip)

    def _task(self, task_id: str) -> dict[str, Any]:
        doc = texts.STEPS.get(task_id)
        return {"task_id": task_id, "task_group": self, "dag": self.dag, "outlets": [], "doc_md": doc}


def _component_task(plan: Plan, component: Component, group: TaskGroup, what: str = "") -> dict[str, Any]:
    return {
        "task_id": component.id,
        "task_group": group,
        "dag": group.dag,
        "task_display_name": what + component.short_title,  # Airflow has 2,000 characters for it
        "doc_md": texts.component_doc(plan, component),
        "trigger_rule": "all_success",
        "outlets": [],
    }


def _in_parts(job: Job, component: Component, tables: TaskGroup) -> TaskGroup:
    """The tasks of a table that is loaded in parts; `tables.TABLE` is a group of them then."""
    words = {
        "group_id": component.id,
        "parent_group": tables,
        "dag": tables.dag,
        "group_display_name": component.short_title,
        "tooltip": f"In parts of about {job.chunk_rows:,} rows",
        "doc_md": texts.component_doc(job.plan, component),
    }
    group = TaskGroup(**group_arguments(words))
    common: dict[str, Any] = {"job": job, "component": component}
    cut = CutOperator(**common, **_component_task(job.plan, component, group, "cut ") | {"task_id": CUT})
    parts = _component_task(job.plan, component, group, "parts of ") | {"task_id": PARTS}
    ExtractPartOperator.partial(**common, **parts, map_index_template=LABEL).expand(part=cut.output)
    return group


def _connect(nodes: Mapping[str, BaseOperator | TaskGroup], edges: Iterable[tuple[str, str]]) -> None:
    """All that follow a node at once: Airflow looks at the whole DAG for each time that it is told of some."""
    known = sorted((before, after) for before, after in edges if before in nodes and after in nodes)
    for first, pairs in groupby(known, key=itemgetter(0)):
        nodes[first].set_downstream([nodes[after] for _, after in pairs])


def _not_mapped(what: str) -> RequestError:
    return RequestError(Fault("cannot be mapped", what, "Make one SubsetOperator for each target, in a loop."))


def _plan(dag: DAG, catalog: str | PathLike[str] | None, conn_id: str, spec: Spec) -> Plan:
    if catalog is not None:
        return planning.build(spec, catalog_file.read(dag, catalog, conn_id, spec.schemas))
    from airflow_subset_provider import catalog_cache

    schemas = tuple(spec.schemas)
    schema = catalog_cache.read(conn_id, schemas)
    try:
        return planning.build(spec, schema)
    except RequestError:  # it may name what the source has by now
        newer = catalog_cache.renewed(conn_id, schemas)
        if newer is None:
            raise
        return planning.build(spec, newer)
