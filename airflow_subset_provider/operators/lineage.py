"""What a table's task tells OpenLineage: which table came from which, column by column.

Asked by Airflow's OpenLineage provider after the task, if that is installed; nothing of it is imported otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from airflow_subset_provider.core.schema import Table, TableName
from airflow_subset_provider.operators.job import Job
from airflow_subset_provider.operators.secrets import masked

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_subset_provider.connections import Address
    from airflow_subset_provider.core.stats import Stats


class Traced:
    """A task that moves rows and can say so.

    Attributes:
        moved: the tables this task has written, and how much; empty before it has.
        sql: the statements, where it has some to show.
    """

    job: Job
    sql: str = ""
    moved: Mapping[TableName, Stats] = MappingProxyType({})

    def get_openlineage_facets_on_complete(self, _task_instance: Any) -> OperatorLineage[Any, Any]:
        """The tables as inputs and outputs; asked after a failed task too, which has moved nothing."""
        from airflow.providers.common.compat.openlineage.facet import SQLJobFacet
        from airflow.providers.openlineage.extractors import OperatorLineage

        from airflow_subset_provider.connections import address

        if not self.moved:
            return OperatorLineage()
        source = address(self.job.source_conn_id)
        target = address(self.job.target_conn_id, self.job.plan.schema.schemas)
        if source is None or target is None:  # rather no dataset than one of a wrong name
            return OperatorLineage()
        tables = [self.job.plan.schema[name] for name in self.moved]
        return OperatorLineage(
            inputs=[_read(source, table) for table in tables],
            outputs=[_written(source, target, table, self.moved[table.name]) for table in tables],
            job_facets={"sql": SQLJobFacet(query=masked(self.sql))} if self.sql else {},
        )


def _name(end: Address, table: TableName) -> str:
    return ".".join(end.path(table))


def _read(source: Address, table: Table) -> Any:
    from airflow.providers.common.compat.openlineage.facet import InputDataset

    return InputDataset(namespace=source.server, name=_name(source, table.name), facets={"schema": _schema(table)})


def _written(source: Address, target: Address, table: Table, moved: Stats) -> Any:
    from airflow.providers.common.compat.openlineage.facet import OutputDataset, OutputStatisticsOutputDatasetFacet

    size = OutputStatisticsOutputDatasetFacet(rowCount=moved.kept, size=moved.bytes)
    return OutputDataset(
        namespace=target.server,
        name=_name(target, table.name),
        facets={"schema": _schema(table), "columnLineage": _columns(source, table)},
        outputFacets={"outputStatistics": size},
    )


def _schema(table: Table) -> Any:
    from airflow.providers.common.compat.openlineage.facet import SchemaDatasetFacet, SchemaDatasetFacetFields

    return SchemaDatasetFacet(fields=[SchemaDatasetFacetFields(name=c.name, type=c.type) for c in table.columns])


def _columns(source: Address, table: Table) -> Any:
    """Each column comes from its namesake, but for those that the target computes."""
    from airflow.providers.common.compat.openlineage.facet import ColumnLineageDatasetFacet, Fields, InputField

    name = _name(source, table.name)
    return ColumnLineageDatasetFacet(
        fields={
            c.name: Fields(
                inputFields=[InputField(namespace=source.server, name=name, field=c.name)],
                transformationType="IDENTITY",
                transformationDescription="copied as it is",
            )
            for c in table.columns
            if not c.generated
        }
    )
