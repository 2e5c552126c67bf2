"""The registry of engines: the only place that maps a name to code.

Engines are imported when asked for, so that a Postgres user needs no MySQL driver.
"""

from __future__ import annotations

from importlib import import_module

from airflow_subset_provider.core.engines.base import Engine
from airflow_subset_provider.core.errors import EndpointError, Fault

_ENGINES = {
    "mariadb": "airflow_subset_provider.core.engines.mysql:MariaDbEngine",
    "mysql": "airflow_subset_provider.core.engines.mysql:MySqlEngine",
    "postgresql": "airflow_subset_provider.core.engines.postgresql:PostgresEngine",
}


def get(name: str) -> Engine:
    """The engine of that name.

    Raises:
        EndpointError: there is none.
    """
    if name not in _ENGINES:
        raise EndpointError(Fault(f"no engine for {name!r}", do=f"Use one of: {', '.join(sorted(_ENGINES))}."))
    module, attribute = _ENGINES[name].split(":")
    engine: Engine = getattr(import_module(module), attribute)()
    return engine
