"""The page in Airflow's UI that shows a run's report: `/subset/report/DAG?run_id=...&task_id=...`.

Airflow leaves a plugin's pages open to everybody, so this one asks for what reading an XCom of the DAG asks for. What
it serves comes from an XCom, which more people than the DAG's author may be able to write: the headers take every
script and every request away from it, and set it apart from Airflow's own pages.

Every process of Airflow loads its plugins, on Celery and Kubernetes each task's. So this module imports nothing of the
provider, and no web framework, before somebody asks for the pages.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from fastapi import FastAPI

HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}
MISSING = "There is no report: the task has not succeeded yet, or its XCom is gone or kept outside Airflow's database."


class SubsetPlugin(AirflowPlugin):
    """Registered by the entry point `airflow.plugins`."""

    name = "subset"

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """What Airflow's API server mounts."""
        from airflow_subset_provider.operators.links import PAGE_URL

        prefix, _, route = PAGE_URL.rpartition("/")
        return [{"app": pages(route), "url_prefix": prefix, "name": "Database subset"}]


def pages(route: str) -> FastAPI:
    """The plugin's pages.

    Args:
        route: where the reports are, below the address that they are mounted at.
    """
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends, FastAPI, HTTPException
    from fastapi.responses import HTMLResponse

    from airflow_subset_provider.operators.reporting import unpacked

    app = FastAPI(title="Database subset", docs_url=None, redoc_url=None, openapi_url=None)
    may_read = Depends(requires_access_dag(method="GET", access_entity=DagAccessEntity.XCOM))

    # No `async`: reading the database would hold the API server's event loop up.
    @app.get(f"/{route}/{{dag_id}}", dependencies=[may_read], response_class=HTMLResponse)
    def show(dag_id: str, run_id: str, task_id: str) -> HTMLResponse:
        try:
            page = unpacked(_xcom(dag_id, run_id, task_id))
        except ValueError:
            raise HTTPException(404, MISSING) from None
        return HTMLResponse(page, headers=HEADERS)

    show.__annotations__ = {"dag_id": str, "run_id": str, "task_id": str, "return": HTMLResponse}
    return app


def _xcom(dag_id: str, run_id: str, task_id: str) -> Any:
    """The page as the task left it; None where it is not."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from airflow_subset_provider.operators.reporting import PAGE

    asked = select(XComModel).filter_by(dag_id=dag_id, run_id=run_id, task_id=task_id, key=PAGE, map_index=-1)
    with create_session() as session:
        found = session.scalars(asked).one_or_none()
        return None if found is None else XComModel.deserialize_value(found)
