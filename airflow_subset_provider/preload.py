"""The code of a table's task, to be imported by the process that tasks are forked from.

On LocalExecutor and CeleryExecutor each task is a fork that does its own imports, and those are more than half of what
a small table's task costs. A deployment of many tables may import this module in its `airflow_local_settings.py`
(docs/deployment.md). Airflow is still starting up then, so nothing of it is imported here.
"""

from __future__ import annotations

from contextlib import suppress

import airflow_subset_provider.core.run  # noqa: F401  (to have it imported)
from airflow_subset_provider.core import engines

for _name in engines.NAMES:
    with suppress(ImportError):  # not every deployment has every driver
        engines.get(_name)
