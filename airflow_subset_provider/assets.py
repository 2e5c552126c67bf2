"""What a copy is called as an Airflow asset, so that other DAGs can be scheduled on a refresh.

A DAG is parsed without its connections, so these names hold connection ids only: the id is the logical name of a
database in Airflow, whatever host stands behind it today. Cheap to import: a DAG that only waits for a copy needs none
of the rest of this package.
"""

from __future__ import annotations

from urllib.parse import quote

from airflow.sdk import Asset, AssetAlias

__all__ = ["copy_asset", "tables_alias"]

GROUP = "subset"


def copy_asset(target_conn_id: str) -> Asset:
    """The copy behind a connection: updated when a SubsetOperator has proven it.

    `schedule=copy_asset("shop_staging")` starts a DAG then.
    """
    name = _ascii(target_conn_id)
    return Asset(name=f"{GROUP}/{name}", uri=f"x-{GROUP}://{name}", group=GROUP)


def tables_alias(target_conn_id: str) -> AssetAlias:
    """All tables of that copy; each becomes an asset by its usual URI (`postgres://host:port/db/schema/table`)."""
    return AssetAlias(name=f"{GROUP}/{_ascii(target_conn_id)}/tables", group=GROUP)


def _ascii(conn_id: str) -> str:
    """The id with `%XX` for what Airflow takes in no name of an asset."""
    return "".join(c if c.isascii() else quote(c) for c in conn_id)
