"""The demo database as catalogs: `python -m sandbox.demo.catalog` renews those beside the example DAGs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg

from airflow_subset_provider.core.run import Endpoint, reflect
from sandbox.demo import database
from sandbox.mysql import MySqlServer
from sandbox.postgresql import PostgresServer
from sandbox.server import Endpoint as Server

FILE: Final = "shop.catalog.json"
_EXAMPLES: Final = Path(__file__).resolve().parents[2] / "example_dags"
_KEPT: Final[dict[str, Callable[[], Server]]] = {FILE: PostgresServer, "shop_mysql.catalog.json": MySqlServer}


def endpoint(server: Server, dbname: str) -> Endpoint:
    """A database of one of the sandbox's servers, as the core takes it."""
    return Endpoint(server.kind, partial(_CONNECT[server.kind], **server.params(dbname)), dbname)


def text(server: Server, dbname: str) -> str:
    """The catalog file of a database."""
    return reflect(endpoint(server, dbname)).to_json()


def _connect_mysql(**params: Any) -> Any:
    import MySQLdb

    return MySQLdb.connect(**params, local_infile=True)


_CONNECT: Final[dict[str, Callable[..., Any]]] = {"postgresql": psycopg.connect, "mysql": _connect_mysql}


def main() -> None:
    """Build the database on each server, reflect it, write the files."""
    for name, start in _KEPT.items():
        with start() as server:
            database.build(server, "shop")
            (_EXAMPLES / name).write_text(text(server, "shop"), encoding="utf-8")


if __name__ == "__main__":
    main()
