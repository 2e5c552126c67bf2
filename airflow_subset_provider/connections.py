"""From an Airflow connection to an endpoint of the core: the only module that sees a password.

Connections are opened by Airflow's own hooks, so that every extra (`sslmode`, IAM tokens, ...) means what it means
everywhere else in Airflow. Hooks and drivers are imported when an endpoint of their kind is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseHook
from msgspec import Struct

from airflow_subset_provider.compat import AirflowNotFoundException, AirflowRuntimeError
from airflow_subset_provider.core.errors import EndpointError, Fault
from airflow_subset_provider.core.schema import TableName

if TYPE_CHECKING:
    from airflow_subset_provider.core.engines.base import Endpoint

__all__ = ["Address", "address", "endpoint"]


class Address(Struct, frozen=True):
    """What the world calls a database: no user, no password.

    Attributes:
        kind: "postgres" or "mysql": the scheme of its URIs.
        guest: the schema of the copy that is in this database under the database's own name (MySQL); "" for none.
    """

    kind: str
    host: str
    port: int
    database: str
    guest: str = ""

    @property
    def server(self) -> str:
        """The server's URI, which OpenLineage calls the namespace of its tables."""
        return f"{self.kind}://{self.host}:{self.port}"

    def path(self, table: TableName) -> tuple[str, ...]:
        """A table's place on the server; a MySQL schema is itself a database."""
        if self.kind != "mysql":
            return (self.database, table.schema, table.name)
        return (self.database if table.schema == self.guest else table.schema, table.name)

    def uri(self, table: TableName) -> str:
        """A table's URI, as Airflow's own providers write it."""
        return "/".join([self.server, *(quote(part, safe="") for part in self.path(table))])


def endpoint(conn_id: str) -> Endpoint:
    """The endpoint of a connection; nothing is opened yet.

    Raises:
        EndpointError: there is no such connection, or none of a supported type.
    """
    found = _connection(conn_id)
    if found.conn_type not in _KINDS:
        kinds = ", ".join(sorted(_KINDS))
        kind = found.conn_type or ""
        raise EndpointError(
            Fault(f"its type is {kind!r}", f"connection {conn_id!r}", f"Supported connection types: {kinds}.")
        )
    return _KINDS[found.conn_type](conn_id, found)


def address(conn_id: str, copied: Sequence[str] = ()) -> Address | None:
    """Where a connection of a supported type leads; nothing is opened.

    Args:
        copied: the schemas whose copy it holds, if it is a target: only one, on MySQL, goes into the connection's own
            database, whatever its name.

    Returns:
        None where that shows only once it is opened: of several hosts, any may answer.
    """
    found = _connection(conn_id)
    if found.conn_type == "mysql":
        guest = copied[0] if len(copied) == 1 and found.schema else ""
        return _address("mysql", found.host or "", str(found.port or 3306), found.schema or "", guest)
    return _postgres_address(found)


def _address(kind: str, host: str, port: str, database: str, guest: str = "") -> Address | None:
    if not host or host.startswith(("/", "@")):  # none, or a file: the driver takes a socket of this machine
        host = "localhost"
    if not port.isdecimal() or "," in host:
        return None
    try:
        ascii_host = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:  # such a name is in no DNS
        return None
    return Address(kind, f"[{ascii_host}]" if ":" in ascii_host else ascii_host, int(port), database, guest)


def _postgres_address(found: Any) -> Address | None:
    """What the hook would have libpq connect to: extras win, then the environment, and last the user's name.

    An empty text is a value to libpq: it asks no environment then (PostgreSQL manual, 32.1.2 and 32.15).
    """
    from psycopg import pq

    fields = {"host": found.host, "port": found.port, "dbname": found.schema, "user": found.login}
    given = {k: str(v) for k, v in (fields | found.extra_dejson).items() if v is not None}
    if "service" in given or "conninfo" in given:
        return None  # a file's matter, or one of another syntax
    known = {option.keyword.decode(): option.val.decode() for option in pq.Conninfo.get_defaults() if option.val}
    known |= {k: given[k] for k in ("host", "hostaddr", "port", "dbname", "user") if k in given}
    database = known.get("dbname") or known.get("user", "")
    host = known.get("host") or known.get("hostaddr", "")
    return _address("postgres", host, known["port"] or "5432", database) if database else None


def _connection(conn_id: str) -> Any:
    try:
        return BaseHook.get_connection(conn_id)
    except (AirflowNotFoundException, AirflowRuntimeError, ImportError) as error:
        # ImportError: where Airflow 3.1 has no supervisor to ask, as in `airflow dags list` or a plain `python dag.py`.
        raise EndpointError(_unknown(conn_id)) from error


def _unknown(conn_id: str) -> Fault:
    return Fault(
        "no such connection here",
        f"connection {conn_id!r}",
        f"Add it in Airflow (Admin > Connections), in a secrets backend, or as AIRFLOW_CONN_{conn_id.upper()}.",
    )


# The hooks are given the connection that was looked up: each look-up is a request to Airflow's API server.


def _postgres(conn_id: str, found: Any) -> Endpoint:
    from airflow.providers.postgres.hooks.postgres import PostgresHook
    from psycopg.rows import tuple_row

    from airflow_subset_provider.core.engines.base import Endpoint

    def connect() -> Any:
        connection: Any = PostgresHook(postgres_conn_id=conn_id, connection=found).get_conn()
        connection.row_factory = tuple_row  # the connection's `cursor` extra may have asked for another one
        return connection

    return Endpoint("postgresql", connect, conn_id)


def _mysql(conn_id: str, found: Any) -> Endpoint:
    try:
        from airflow.providers.mysql.hooks.mysql import MySqlHook

        from airflow_subset_provider.core.engines.base import Endpoint
    except ImportError as error:
        raise EndpointError(
            Fault(
                "MySQL support is not installed", f"connection {conn_id!r}", "Install airflow-subset-provider[mysql]."
            )
        ) from error

    def connect() -> Any:
        connection: Any = MySqlHook(mysql_conn_id=conn_id, connection=found, local_infile=True).get_conn()
        if not type(connection).__module__.startswith("MySQLdb"):
            advice = "Remove `client` from the connection's extras, or set it to mysqlclient."
            raise EndpointError(Fault("it asks for another driver than mysqlclient", f"connection {conn_id!r}", advice))
        return connection

    return Endpoint("mysql", connect, conn_id)


_KINDS: dict[str, Callable[[str, Any], Endpoint]] = {"mysql": _mysql, "postgres": _postgres, "postgresql": _postgres}
