"""From what stands on the command line or in the environment to the core's endpoints.

No message holds a password: an endpoint is called by host and database, and a URL is never repeated. What a driver
reads by itself stays in force where the URL does not say otherwise: PGPASSWORD, ~/.pgpass, MYSQL_PWD, the [client]
group of ~/.my.cnf.
"""

from __future__ import annotations

import os
from typing import Any

import typer

from airflow_subset_provider.core.engines.base import Endpoint
from airflow_subset_provider.core.errors import EndpointError, Fault

POSTGRES = ("postgresql", "postgres")
MYSQL = ("mysql", "mariadb")


def endpoint(url: str | None, conn_id: str | None, side: str) -> Endpoint:
    """The endpoint of a URL, or of an Airflow connection, which wins over a URL that is only in the environment.

    Args:
        side: "source" or "target", for messages.
    """
    found = maybe_endpoint(url, conn_id)
    if found is None:
        raise typer.BadParameter(f"say where the {side} is: --{side} URL, SUBSET_{side.upper()} or --{side}-conn ID")
    return found


def maybe_endpoint(url: str | None, conn_id: str | None) -> Endpoint | None:
    """The same; None where nothing is said."""
    if conn_id is not None:
        return _airflow_endpoint(conn_id)
    return None if url is None else _url_endpoint(url)


def _airflow_endpoint(conn_id: str) -> Endpoint:
    try:
        from airflow_subset_provider import connections
    except ImportError as error:
        raise EndpointError(
            Fault("needs Airflow, which is not installed here", f"connection {conn_id!r}", "Use a URL.")
        ) from error
    # As `airflow connections get` does it: connections of Airflow's own database are found, too.
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    return connections.endpoint(conn_id)


def _url_endpoint(url: str) -> Endpoint:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    wanted = "Write postgresql://user@host:port/database or mysql://user@host:port/database."
    try:
        parts = make_url(url)
        kind = parts.get_backend_name()
    except (ArgumentError, ValueError):
        raise EndpointError(Fault("that is not a URL", "source or target", wanted)) from None
    if "@" in f"{parts.host}{parts.database}":  # then a part of the password stands where the host should
        raise EndpointError(
            Fault("there is an @ behind the host", "source or target", "Percent-encode user and password: / is %2F.")
        )
    label = f"{parts.host or 'localhost'}/{parts.database or ''}"
    if kind in POSTGRES:
        return _postgres(parts, label)
    if kind in MYSQL:
        return _mysql(parts, label, kind)
    raise EndpointError(Fault(f"no support for {kind!r}", label, wanted))


def _postgres(parts: Any, label: str) -> Endpoint:
    plain = parts.set(drivername="postgresql").render_as_string(hide_password=False)

    def connect() -> Any:
        import psycopg

        return psycopg.connect(plain)

    return Endpoint("postgresql", connect, label)


def _mysql(parts: Any, label: str, kind: str) -> Endpoint:
    try:
        import MySQLdb
    except ImportError as error:
        raise EndpointError(
            Fault("MySQL support is not installed", label, "Install airflow-subset-provider[mysql].")
        ) from error
    given = {
        "host": parts.host,
        "port": parts.port,
        "user": parts.username,
        "password": parts.password or os.environ.get("MYSQL_PWD"),
        "database": parts.database,
        **parts.query,
    }
    said = {name: value for name, value in given.items() if value is not None}

    def connect() -> Any:
        return MySQLdb.connect(read_default_group="client", local_infile=True, **said)

    return Endpoint(kind, connect, label)
