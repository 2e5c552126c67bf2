"""The button that opens a run's report, in the details of `finish`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from airflow.sdk import BaseOperator, BaseOperatorLink

from airflow_subset_provider.compat import conf

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

PAGE_URL = "/subset/report"


class ReportLink(BaseOperatorLink):
    """To the page that the plugin serves; no button before there is a report."""

    name = "Report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The page's address. Airflow asks on the worker, when the task has ended, however it did."""
        if not getattr(operator, "reported", False):
            return ""
        base = conf.get("api", "base_url", fallback="").rstrip("/")
        asked = urlencode({"run_id": ti_key.run_id, "task_id": ti_key.task_id})
        return f"{base}{PAGE_URL}/{quote(ti_key.dag_id, safe='')}?{asked}"
