"""Telling Airflow that a copy is there: the asset events of `finish`.

They are outlets of `finish` alone, which succeeds when the copy is proven: a table that is loaded but not validated
must start nobody. The copy's asset is known at parse time; its tables are known by their usual URIs, which need the
connection, so at parse time an alias stands for them and `finish` resolves it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from airflow_subset_provider import connections
from airflow_subset_provider.assets import copy_asset, tables_alias
from airflow_subset_provider.compat import conf
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.operators.job import Job
from airflow_subset_provider.operators.secrets import masked

if TYPE_CHECKING:
    from airflow_subset_provider.core.report import Report

# Airflow records all of a task's events in the request that ends the task, and its workers wait 5 seconds for that
# (`[workers] execution_api_timeout`). On two busy cores an event took 9 to 16 ms.
DEFAULT_MOST = 100


def announce(events: Any, job: Job, report: Report, log: logging.Logger) -> None:
    """Name the tables that this run has refreshed, and say with each event what it brought.

    Args:
        events: the context's `outlet_events`; Airflow emits them if the task succeeds.
    """
    common = {"run": report.run, "source": job.source_conn_id}
    events[copy_asset(job.target_conn_id)].extra = {
        **common,
        "rows": report.kept,
        "dangling": report.dangling,
        "fingerprint": report.fingerprint,
    }
    tables = events[tables_alias(job.target_conn_id)]
    kept = {t.table: t.kept for t in report.tables}
    for name, asset in _tables(job, log).items():
        tables.add(asset, extra={**common, "rows": kept.get(str(name), 0)})


def _tables(job: Job, log: logging.Logger) -> dict[TableName, Asset]:
    """The assets of the copied tables; none where the copy's own is to stand for them all. Fails for no reason."""
    try:
        most = conf.getint("subset", "table_assets", fallback=DEFAULT_MOST)
        if len(job.plan.copied) > most:
            log.info(
                "%d tables: more than [subset] table_assets, so the copy's asset stands for all", len(job.plan.copied)
            )
            return {}
        address = connections.address(job.target_conn_id, job.plan.schema.schemas)
        if address is not None:
            return {table: Asset(address.uri(table)) for table in job.plan.copied}
        why = f"where {job.target_conn_id!r} leads shows only when it is opened"
    except Exception as error:  # the copy is proven by now, and what Airflow takes in a URI is Airflow's to say
        why = masked(f"the tables cannot be named: {type(error).__name__}: {error}")
    log.warning("The copy's asset stands for all of its tables: %s", why)
    return {}
