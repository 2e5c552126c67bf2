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
        "cli": ["airflow_subset_provider.airflow_cli.commands"],
        "config": {
            "subset": {
                "description": "Settings of the SubsetOperator.",
                "options": {
                    "catalog_cache": _option(
                        "Where reflected schemas are kept for DAGs that name no catalog file: a directory that the DAG "
                        "processor and all workers share, or the URL of an object store (as for ObjectStoragePath).\n"
                        "Default: the directory subset_catalogs in AIRFLOW_HOME.",
                        "string",
                        example="s3://aws_default@bucket/subset_catalogs",
                    ),
                    "catalog_ttl": _option(
                        "Seconds after which a kept schema is reflected again when the DAG processor parses a DAG; "
                        "0: never. Whatever is set, a run that finds the schema changed refreshes it.",
                        "float",
                        default="86400",
                    ),
                    "table_assets": _option(
                        "Most tables of a copy that are announced as assets of their own; of a larger copy only the "
                        "copy's asset is. Airflow records all of them while the last task waits, 5 seconds at most "
                        "unless [workers] execution_api_timeout says otherwise.",
                        "integer",
                        default="100",
                    ),
                    "lock_hours": _option(
                        "Hours after which a target's lock may be taken over from a run that this Airflow knows "
                        "nothing of: one of the command line, or of another deployment.",
                        "float",
                        default="24",
                    ),
                    "snapshot_patience": _option(
                        "Seconds that `hold` keeps the snapshot while no other task of its group runs, because there "
                        "is no slot for any. Then it withdraws, and each table is read at its own time. Each run waits "
                        "up to half as long again, so that not all of several withdraw at once.",
                        "float",
                        default="300",
                    ),
                },
            }
        },
    }


def _option(
    description: str, kind: str, *, example: str | None = None, default: str | None = None
) -> dict[str, str | None]:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": kind,
        "example": example,
        "default": default,
    }
