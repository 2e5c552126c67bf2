"""The demo database: a bicycle shop chain of 21 tables and 300,000 rows that the server generates from two SQL files.

The files use nothing but plain SQL and arithmetic, so every build of them holds the same rows, whichever server runs
them: `schema_KIND.sql` and `data_KIND.sql` beside this module, one pair for each kind of server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import NullPool, create_engine, func, select, table

from sandbox.server import Endpoint

EXAMPLE_FILTER: Final = {"customer": "country_code = 'NZ'"}
"""The customers of New Zealand: 2.6 % of all, with what they did and what that refers to."""

# In the order of creation. It is no order to load in: department and employee need each other, so do store and staff.
TABLES: Final = (
    "country",
    "city",
    "address",
    "exchange_rate",
    "department",
    "employee",
    "store",
    "staff",
    "brand",
    "category",
    "product",
    "stock",
    "coupon",
    "customer",
    "order",
    "order_line",
    "payment",
    "shipment",
    "shipment_line",
    "review",
    "event_log",
)

_DIRECTORY: Final = Path(__file__).parent
_DRIVERS: Final = {"postgresql": "psycopg", "mysql": "pymysql"}


def build(server: Endpoint, dbname: str = "shop") -> dict[str, int]:
    """Make the database with schema and rows; return each table's number of rows."""
    create_schema(server, dbname)
    server.run_script(dbname, _DIRECTORY / f"data_{server.kind}.sql")
    return row_counts(server, dbname)


def create_schema(server: Endpoint, dbname: str = "shop") -> None:
    """Make the database with its tables and no rows."""
    server.create_database(dbname)
    server.run_script(dbname, _DIRECTORY / f"schema_{server.kind}.sql")


def row_counts(server: Endpoint, dbname: str = "shop") -> dict[str, int]:
    """Count every table's rows."""
    engine = create_engine(server.url(dbname, _DRIVERS[server.kind]), poolclass=NullPool)
    with engine.connect() as connection:
        return {name: connection.scalars(select(func.count()).select_from(table(name))).one() for name in TABLES}
