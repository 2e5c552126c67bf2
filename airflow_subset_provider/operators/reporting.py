"""The report of a run, where Airflow's users find it: files at a place of theirs, and a page that Airflow itself shows.

Files go through Airflow's ObjectStoragePath, so that `s3://aws_default@bucket/folder` means what it means everywhere
else in Airflow. The page travels as an XCom of `finish`, compressed, because the API server that shows it has neither
the DAG's plan nor the right to read whatever path an XCom may name. Nothing here fails a run whose copy is proven.
"""

from __future__ import annotations

import base64
import logging
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import ObjectStoragePath

from airflow_subset_provider.core.errors import Fault, RequestError
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.operators.secrets import masked

if TYPE_CHECKING:
    from airflow_subset_provider.core.report import Report

PAGE = "report_page"
FILES = "report_files"
# Stores without folders: there, to make what is missing would be to make a bucket.
BUCKETS = frozenset({"abfs", "abfss", "adl", "az", "gcs", "gs", "r2", "s3", "s3a", "s3n"})
LARGEST_PAGE = 64_000_000  # bytes; a thousand tables' page has one


def check(place: str) -> None:
    """Make sure before the run that a report can go there, as far as can be told without writing.

    Raises:
        RequestError: it cannot.
    """
    from airflow_subset_provider.core import report_page

    if not place:
        return
    try:
        if "://" not in place and not Path(place).is_absolute():
            advice = (
                "Use an absolute path, or the URL of an object store: each task has a working directory of its own."
            )
            raise RequestError(Fault("is a relative path", f"report {place!r}", advice))
        report_page.files(_path(place))
    except RequestError as error:
        if (shown := masked(place)) == place:
            raise
        # Whoever complains of a place quotes it in a way of their own, in which Airflow would not know the secret.
        raise RequestError(Fault("cannot be used", f"report {shown!r}", error.faults[0].do)) from None


def _path(place: str) -> ObjectStoragePath:
    try:
        path = ObjectStoragePath(place)
        _ = path.fs  # finds the protocol's library and the connection
    except Exception as error:  # each provider says in its own way what it misses
        advice = "Install the provider of that object store, and name a connection of it: s3://aws_default@bucket/x."
        raise RequestError(Fault(f"cannot be opened: {error}", f"report {place!r}", advice)) from error
    return path


def leave(report: Report, plan: Plan, place: Callable[[], str], ti: Any, log: logging.Logger) -> None:
    """Write the report's files, if a place was named, and leave the page for Airflow to show.

    Args:
        place: where to, or "": it may be a template that is rendered only now.
    """
    from airflow_subset_provider.core import report_page

    with _no_reason_to_fail("written", log):
        ti.xcom_push(PAGE, packed(report_page.html(report, plan)))
    with _no_reason_to_fail("written to its place", log):
        if named := place():
            _write(report, plan, named, ti, log)


def _write(report: Report, plan: Plan, place: str, ti: Any, log: logging.Logger) -> None:
    from airflow_subset_provider.core import report_page

    shown = masked(place)
    with _no_reason_to_fail(f"written to {shown}", log, secret=shown != place):
        path = _path(place)
        files = report_page.write(report, plan, path, path.protocol not in BUCKETS)
        written = [str(file) for file in files]
        if shown != place:
            written = [shown if file == path else f"{shown.rstrip('/')}/{file.name}" for file in files]
        ti.xcom_push(FILES, written)
        log.info("Report: %s", ", ".join(written))


@contextmanager
def _no_reason_to_fail(what: str, log: logging.Logger, *, secret: bool = False) -> Iterator[None]:
    """Go on after any error.

    Args:
        secret: it may quote a secret, in a way of its own in which Airflow would not know it.
    """
    try:
        yield
    except Exception as error:
        words = type(error).__name__ if secret else masked(str(error))
        log.warning("The copy is proven, but its report could not be %s: %s", what, words)
        log.debug("The report", exc_info=not secret)


def packed(page: str) -> str:
    """As an XCom holds it."""
    return base64.b64encode(zlib.compress(page.encode(), 9)).decode()


def unpacked(value: object) -> str:
    """What `packed` packed.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, str):
        raise ValueError("not text")
    inflate = zlib.decompressobj()
    try:
        page = inflate.decompress(base64.b64decode(value, validate=True), LARGEST_PAGE)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not inflate.eof:
        raise ValueError("cut short, or too long")
    return page.decode()
