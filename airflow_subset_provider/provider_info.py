"""What Airflow asks a provider package about itself; imports nothing but the version."""

from __future__ import annotations

from typing import Any

from airflow_subset_provider import __version__


def get_provider_info() -> dict[str, Any]:
    """The provider's metadata (Airflow documentation, "Custom provider packages")."""
    return {
        "package-name": "airflow-subset-provider",
        "name": "Database subset",
        "description": "Small, referentially complete copies of Postgres and MySQL databases.",
        "versions": [__version__],
        "operators": [
            {
                "integration-name": "Database subset",
                "python-modules": ["airflow_subset_provider.operators.subset"],
            }
        ],
    }
