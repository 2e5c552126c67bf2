"""Where a reflected schema (the catalog) is kept between parses, when a DAG names no catalog file.

A DAG's structure hangs on the source's schema, and its file is parsed again and again, on the DAG processor and on the
worker of every task. So the schema is reflected once and kept where all of them can read it: a directory, or any
object store that Airflow can address (`[subset] catalog_cache`). The file holds names, types and keys: no rows, no
secrets, no address of the database. An entry too old (`[subset] catalog_ttl`) is reflected again, but not by a worker
that is about to run one of the group's tasks, and an old entry is better than none when the source cannot be reached:
`prepare` compares it with the live schema anyway, and refreshes it. Where a request names a table that the entry does
not know, there is no DAG and so no run that could: then the parse does (`renewed`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from airflow.sdk import ObjectStoragePath, get_parsing_context

from airflow_subset_provider import connections
from airflow_subset_provider.compat import conf
from airflow_subset_provider.core.errors import EndpointError, Fault, SubsetError
from airflow_subset_provider.core.schema import Schema

__all__ = ["DEFAULT_TTL", "location", "read", "refresh", "renewed"]

log = logging.getLogger(__name__)

SECTION = "subset"
DEFAULT_TTL = 86_400.0
RECENT = 60.0  # a request that is wrong on any schema is parsed every half a minute


def read(conn_id: str, schemas: Sequence[str] = ()) -> Schema:
    """The schema from the cache, else from the database (and into the cache).

    Raises:
        EndpointError: it is not in the cache, and the database cannot be reached from here; or there is no such cache;
            the message says what to do.
    """
    path = location(conn_id, schemas)
    kept, age = _load(path)
    if kept and (_fresh(age) or get_parsing_context().task_id):
        return kept
    try:
        return refresh(conn_id, schemas)
    except SubsetError as error:
        if kept:
            log.warning("Using the catalog of %s of %.0f hours ago: %s", conn_id, age / 3600, error)
            return kept
        raise EndpointError([*error.faults, _advice(conn_id, schemas)]) from error


def renewed(conn_id: str, schemas: Sequence[str] = ()) -> Schema | None:
    """The schema reflected anew, where the entry may be to blame for what `read` gave.

    None for an entry of a moment ago, for a worker that is about to run a task, and where the database cannot be
    reached.
    """
    kept, age = _load(location(conn_id, schemas))
    if kept is None or age < RECENT or get_parsing_context().task_id:
        return None
    try:
        return refresh(conn_id, schemas)
    except SubsetError as error:
        log.warning("The catalog of %s cannot be made anew: %s", conn_id, error)
        return None


def refresh(conn_id: str, schemas: Sequence[str] = ()) -> Schema:
    """Reflect the database and keep the result.

    Raises:
        EndpointError: it cannot be reached.
    """
    from airflow_subset_provider.core import run

    schema = run.reflect(connections.endpoint(conn_id), schemas)
    path = location(conn_id, schemas)
    try:
        _store(path, schema)
    except OSError as error:
        log.warning("The catalog cannot be kept at %s (%s): every parse will reflect %s.", path, error, conn_id)
    return schema


def location(conn_id: str, schemas: Sequence[str] = ()) -> Path | ObjectStoragePath:
    """Where the catalog of these schemas of a connection is kept.

    Raises:
        EndpointError: there is no such place.
    """
    key = hashlib.sha256(json.dumps([conn_id, sorted(schemas)]).encode()).hexdigest()[:12]
    return _directory() / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', conn_id)[:80]}-{key}.json"


def _directory() -> Path | ObjectStoragePath:
    home = os.environ.get("AIRFLOW_HOME", "~/airflow")
    chosen: str = conf.get(SECTION, "catalog_cache", fallback="") or f"{home}/subset_catalogs"
    if "://" not in chosen:
        return Path(chosen).expanduser()
    try:
        path = ObjectStoragePath(chosen)
        _ = path.fs  # finds the protocol's library and the connection
    except Exception as error:  # each provider says in its own way what it misses
        advice = (
            "Name a directory, or an object store whose provider is installed here, with a connection of it: "
            "s3://aws_default@bucket/catalogs."
        )
        where = f"[{SECTION}] catalog_cache = {chosen}"
        raise EndpointError(Fault(f"cannot be opened: {error}", where, advice)) from error
    return path


def _fresh(age: float) -> bool:
    ttl: float = conf.getfloat(SECTION, "catalog_ttl", fallback=DEFAULT_TTL)
    return ttl <= 0 or age < ttl


def _load(path: Path | ObjectStoragePath) -> tuple[Schema | None, float]:
    """The schema and its age in seconds; none when there is no entry, or one of another version of this package."""
    try:
        text = path.read_text(encoding="utf-8")
        return Schema.from_json(text), time.time() - json.loads(text)["reflected_at"]
    except (OSError, ValueError, KeyError, TypeError):
        return None, 0.0


def _store(path: Path | ObjectStoragePath, schema: Schema) -> None:
    """Write the entry so that a reader finds the old one or the new one, never half of one."""
    text = f'{{"reflected_at": {time.time():.0f}, {schema.to_json()[1:]}'
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(path, ObjectStoragePath):  # in Airflow 3.1 that is a Path as well
        path.write_text(text, encoding="utf-8")  # an object appears when it is whole
        return
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(scratch).chmod(0o644)  # mkstemp's 0600 would shut out tasks under `run_as_user`
        Path(scratch).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(scratch).unlink()
        raise


def _advice(conn_id: str, schemas: Sequence[str]) -> Fault:
    options = "".join(f" --schema {s}" for s in schemas)
    return Fault(
        "the DAG's structure needs the source's schema, and there is none in the cache",
        f"connection {conn_id!r}",
        f"Make a catalog file where the source can be reached (airflow-subset reflect --source-conn {conn_id}{options}"
        f" -o {conn_id}.catalog.json), put it beside the DAG file and say catalog={f'{conn_id}.catalog.json'!r}: "
        "then parsing opens no connection.",
    )
