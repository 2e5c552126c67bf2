"""The code of a table's task, to be imported by the process that tasks are forked from.

On LocalExecutor and CeleryExecutor each task is a fork that does its own imports, and those are more than half of what
a small table's task costs. A deployment of many tables may import this module in its `airflow_local_settings.py`
(docs/deployment.md). Airflow is still starting up then, so nothing of it is imported here, but at the first fork after
that.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module

import airflow_subset_provider.core.run  # noqa: F401  (to have it imported)
from airflow_subset_provider.core import engines

_LATER = iter(
    (
        "airflow.providers.postgres.hooks.postgres",
        "airflow.providers.mysql.hooks.mysql",
        "airflow_subset_provider.connections",
        "airflow_subset_provider.operators.subset",
    )
)


def _import_what_hangs_on_airflow() -> None:
    """Once, for some 0.1 s. What a signal handler raises meanwhile is lost: Python lets nothing out of such a hook."""
    airflow = sys.modules.get("airflow")
    if airflow is None or getattr(airflow.__spec__, "_initializing", False):  # the import system's own mark, in CPython
        return
    for name in _LATER:
        with suppress(Exception):  # what a task needs, its own import complains of
            import_module(name)


for _name in engines.NAMES:
    with suppress(ImportError):  # not every deployment has every driver
        engines.get(_name)
os.register_at_fork(before=_import_what_hangs_on_airflow)
