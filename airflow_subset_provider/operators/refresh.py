"""Bringing the cached catalog up to date once a run has seen that the source's schema has changed."""

from __future__ import annotations

import logging

from airflow_subset_provider.core.errors import SubsetError
from airflow_subset_provider.operators.job import Job


def refresh_catalog(job: Job, log: logging.Logger) -> None:
    """Reflect the source again, so that the next parse has the new structure; a catalog file is its author's."""
    if not job.cached:
        return
    from airflow_subset_provider import catalog_cache

    try:
        catalog_cache.refresh(job.source_conn_id, job.plan.spec.schemas)
    except SubsetError as error:  # what the task itself has to say is more important
        log.warning("The cached catalog could not be brought up to date: %s", error)
    else:
        log.info("The cached catalog is up to date again: the DAG has the new structure from its next parse on.")
