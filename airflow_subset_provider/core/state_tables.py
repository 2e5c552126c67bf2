"""The tables that hold a run's state, in the target itself: schema `airflow_subset`, or a prefix where there is none.

Each state is changed in the same transactions as the data it speaks of, so that no crash leaves them apart.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

MODEL = sa.MetaData()
LOCK = sa.Table(
    "run_lock",
    MODEL,
    sa.Column("one", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("run", sa.String(500), nullable=False),
    sa.Column("taken", sa.String(40), nullable=False),
)
PREPARED = sa.Table(
    "prepared",
    MODEL,
    sa.Column("one", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("taken", sa.String(40), nullable=False),
    sa.Column("began", sa.String(40), nullable=False),
)
SUSPENDED = sa.Table(
    "suspended",
    MODEL,
    sa.Column("table_schema", sa.String(64), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(20), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("definition", sa.Text().with_variant(mysql.LONGTEXT(), "mysql"), nullable=False),
    sa.Column("validated", sa.SmallInteger, nullable=False),
)
CLAIMS = sa.Table(
    "claims",
    MODEL,
    sa.Column("table_schema", sa.String(64), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("claims", sa.Integer, nullable=False),
)
CHUNKS = sa.Table(
    "chunks",
    MODEL,
    sa.Column("table_schema", sa.String(64), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("low", sa.Text),
    sa.Column("high", sa.Text),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("stats", sa.Text),
)
CLOSED = sa.Table(
    "closed",
    MODEL,
    sa.Column("table_schema", sa.String(64), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
)
# The last one made: where it is, they all are (but for those that a later version added).
TABLES = sa.Table(
    "tables",
    MODEL,
    sa.Column("table_schema", sa.String(64), primary_key=True),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("run", sa.String(500), nullable=False),
    sa.Column("stats", sa.Text, nullable=False),
)
# Names are compared as they are spelled, and the state is undone with the rows it speaks of.
ON_MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


@cache
def placed(schema: str, prefix: str) -> dict[str, sa.Table]:
    """The state tables under the names they have in one target."""
    here = sa.MetaData(schema=schema)
    return {
        table.name: sa.Table(f"{prefix}{table.name}", here, *[c._copy() for c in table.columns], **ON_MYSQL)
        for table in MODEL.tables.values()
    }
