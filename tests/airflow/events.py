"""The asset events that Airflow has recorded of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from tests.airflow.conftest import Outcome


@dataclass
class Event:
    uri: str
    name: str
    extra: dict[str, Any]
    task: str


def events_of(outcome: Outcome) -> list[Event]:
    """The asset events of a run."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session

    ti = next(iter(outcome.instances.values()))
    asked = select(AssetModel.uri, AssetModel.name, AssetEvent.extra, AssetEvent.source_task_id).where(
        AssetEvent.asset_id == AssetModel.id,
        AssetEvent.source_dag_id == ti.dag_id,
        AssetEvent.source_run_id == ti.run_id,
    )
    with create_session() as session:
        return [Event(*row) for row in session.execute(asked)]
