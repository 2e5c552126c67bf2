"""Apache Airflow provider that makes a small, complete copy of a large Postgres or MySQL database.

Public names are imported when first used: `airflow providers` and every DAG parse import this module, and must not
pay for SQLAlchemy, networkx and Airflow's operators before they are needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from airflow_subset_provider.assets import copy_asset as copy_asset
    from airflow_subset_provider.assets import tables_alias as tables_alias
    from airflow_subset_provider.core.errors import SubsetError as SubsetError
    from airflow_subset_provider.operators.subset import SubsetOperator as SubsetOperator

_LAZY = {
    "copy_asset": "airflow_subset_provider.assets",
    "tables_alias": "airflow_subset_provider.assets",
    "SubsetError": "airflow_subset_provider.core.errors",
    "SubsetOperator": "airflow_subset_provider.operators.subset",
}

__all__ = ["SubsetError", "SubsetOperator", "__version__", "copy_asset", "tables_alias"]


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
