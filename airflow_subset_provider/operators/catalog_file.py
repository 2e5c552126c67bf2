"""The catalog file that a DAG names: where it is, and what to do when it is not there.

A relative path starts at the DAG's folder. While the DAG's file is parsed, Airflow takes that for the folder of the
module that makes the DAG, which may be a factory elsewhere; so the folder of the parsed file comes next. Where DAG
files are in a zip archive, from which Airflow imports them, the catalog is in it, too.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from os import PathLike
from pathlib import Path

from airflow.sdk import DAG

from airflow_subset_provider.compat import parsed_file
from airflow_subset_provider.core.errors import Fault, RequestError
from airflow_subset_provider.core.schema import Schema

__all__ = ["read"]


def read(dag: DAG, catalog: str | PathLike[str], conn_id: str, schemas: Collection[str]) -> Schema:
    """The schema in the file.

    Args:
        schemas: those asked for; none for whatever it holds.

    Raises:
        RequestError: there is no such file, it is no catalog, or it holds other schemas.
    """
    paths = _paths(dag, catalog)
    path = next((p for p in paths if _opened(p).exists()), paths[-1])
    advice = _advice(path, conn_id, schemas)
    found = _opened(path)
    if not found.exists():
        where = " nor in ".join(str(p.parent) for p in paths)
        raise RequestError(Fault(f"is not in {where}", f"catalog {path.name}", advice))
    schema = Schema.read(found, advice)
    if schemas and set(schemas) != set(schema.schemas):
        raise RequestError(
            Fault(f"holds the schemas {', '.join(schema.schemas)}, not those asked for", f"catalog {path}", advice)
        )
    return schema


def _paths(dag: DAG, catalog: str | PathLike[str]) -> list[Path]:
    """Where the file may be: one path, if it is absolute."""
    folders = [Path(dag.folder or ".")]
    if parsed := parsed_file():
        folders.append(parsed.parent)
    return list(dict.fromkeys(folder / catalog for folder in folders))


def _archive(path: Path) -> Path | None:
    return next((p for p in path.parents if p.is_file() and zipfile.is_zipfile(p)), None)


def _opened(path: Path) -> Path | zipfile.Path:
    archive = _archive(path)
    return zipfile.Path(archive, path.relative_to(archive).as_posix()) if archive else path


def _advice(path: Path, conn_id: str, schemas: Collection[str]) -> str:
    options = "".join(f" --schema {s}" for s in schemas)
    command = f"Make it anew: airflow-subset reflect --source-conn {conn_id}{options} -o"
    return f"{command} {path.name}, and put it into {path.parent}" if _archive(path) else f"{command} {path}"
