"""Renew the catalog file beside the example DAGs from the demo database: `python -m sandbox.demo.catalog`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg

from airflow_subset_provider.core.run import Endpoint, reflect
from sandbox.demo import database
from sandbox.postgresql import PostgresServer

CATALOG = Path(__file__).resolve().parents[2] / "example_dags" / "shop.catalog.json"


def main() -> None:
    """Build the database, reflect it, write the file."""
    with PostgresServer() as server:
        database.build(server)

        def connect() -> Any:
            return psycopg.connect(**server.params("shop"))

        CATALOG.write_text(reflect(Endpoint("postgresql", connect, "shop")).to_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
