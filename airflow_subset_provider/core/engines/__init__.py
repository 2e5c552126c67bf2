"""The registry of engines: the only place that maps a name to code.

Engines are imported when asked for, so that a Postgres user needs no MySQL driver. What must be known of an engine
where it cannot be imported (a DAG is parsed without any driver) stands here as well.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from msgspec import Struct

from airflow_subset_provider.core.errors import EndpointError, Fault

if TYPE_CHECKING:
    from airflow_subset_provider.core.engines.base import Engine


class Entry(Struct, frozen=True):
    """What is known of an engine without importing it.

    Attributes:
        place: `module:class`.
        shares_snapshots: one session's state of the database can be read by others (`Source.export_snapshot`).
    """

    place: str
    shares_snapshots: bool = False


_ENGINES = {
    "mariadb": Entry("airflow_subset_provider.core.engines.mysql:MariaDbEngine"),
    "mysql": Entry("airflow_subset_provider.core.engines.mysql:MySqlEngine"),
    "postgresql": Entry("airflow_subset_provider.core.engines.postgresql:PostgresEngine", shares_snapshots=True),
}
NAMES = tuple(_ENGINES)


def get(name: str) -> Engine:
    """The engine of that name.

    Raises:
        EndpointError: there is none.
    """
    module, attribute = _entry(name).place.split(":")
    engine: Engine = getattr(import_module(module), attribute)()
    return engine


def shares_snapshots(name: str) -> bool:
    """Whether several sessions of the engine of that name can read one state of the database.

    Raises:
        EndpointError: there is none.
    """
    return _entry(name).shares_snapshots


def _entry(name: str) -> Entry:
    if name not in _ENGINES:
        raise EndpointError(Fault(f"no engine for {name!r}", do=f"Use one of: {', '.join(sorted(_ENGINES))}."))
    return _ENGINES[name]
