"""The commands that have to do with a target: run, verify, repair."""

from __future__ import annotations

import logging
import os
import socket
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from airflow_subset_provider.cli import progress, show
from airflow_subset_provider.cli.options import Consistent, Request, Source, Target, takes
from airflow_subset_provider.core.engines.base import Endpoint
from airflow_subset_provider.core.errors import Fault, RequestError
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.schema import TableName

if TYPE_CHECKING:
    from upath import UPath
from airflow_subset_provider.core.spec import OnDrift

LOCK_HOURS = 24.0  # as long as the operator takes a run it knows nothing of for alive


@takes
def run(
    request: Request,
    source: Source,
    target: Target,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Tables copied at a time.")] = 1,
    chunk_rows: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="ROWS", help="Larger tables are loaded in parts of about so many rows, by several jobs."
        ),
    ] = None,
    replace_existing: Annotated[
        bool, typer.Option("--replace-existing", help="The target's tables may be emptied, whoever filled them.")
    ] = False,
    create_schema: Annotated[
        bool, typer.Option("--create-schema", help="Make the target's tables where there are none.")
    ] = False,
    on_drift: Annotated[
        OnDrift | None,
        typer.Option(help="When the source's schema is no longer the catalog's: stop, or go on if that is harmless."),
    ] = None,
    consistent: Consistent = None,
    report: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE",
            help="Write a report: to a file (.html, .md or .json), or all three to a folder; a path, or an object "
            "store's URL. May be repeated.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print the log of every step instead of progress.")
    ] = False,
) -> None:
    """Copy the subset into the target, and prove it."""
    from airflow_subset_provider.core import parallel, report_page
    from airflow_subset_provider.core import plan as planning
    from airflow_subset_provider.core import run as core

    places = [_place(text) for text in report or ()]
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    else:
        logging.getLogger("airflow_subset_provider").addHandler(logging.NullHandler())
    here, there = source.needed(), target.needed()
    plan = planning.build(request.wanted, request.schema(here))
    one = core.Run(
        plan,
        here,
        there,
        key=run_key(),
        replace_existing=replace_existing or request.file.replace_existing,
        create_schema=create_schema or request.file.create_schema,
        on_drift=on_drift or request.file.on_drift,
        chunk_rows=request.file.chunk_rows if chunk_rows is None else chunk_rows,
        alive=is_alive,
        fresh=request.file.catalog is None,
    )
    components = {"extract": len(plan.extracts), "references": 1 if plan.may_ban else len(plan.closures)}
    console = show.console(stderr=True)
    expected = _expected(plan, here) if console.is_terminal else {}
    with progress.shown(console, expected, components, quiet or verbose) as listener:
        one.watch = listener.watch
        done = parallel.subset(one, listener, jobs, request.consistent(consistent))
    for place in places:
        report_page.write(done, plan, place)
    show.report(done)


def _place(text: str) -> UPath:
    """Where a report goes, made sure of before the run.

    Raises:
        RequestError: no report can be written there.
    """
    from upath import UPath

    from airflow_subset_provider.core import report_page

    try:
        place = UPath(text)
        _ = place.fs  # where the protocol's library is missing, this says which one
    except (ImportError, ValueError) as error:
        raise RequestError(
            Fault(f"cannot be written to: {error}", f"--report {text}", "Use a path or a URL.")
        ) from None
    report_page.files(place)
    return place


def _expected(plan: Plan, end: Endpoint) -> dict[TableName, int]:
    """The rows that bars run up to."""
    from airflow_subset_provider.core import engines, estimate

    with engines.get(end.engine).source(end, "airflow_subset run") as source:
        return estimate.extracted(plan, source)


@takes
def verify(request: Request, source: Source, target: Target) -> None:
    """Look whether a copy still holds together: references counted, constraints in force, rows as the run left them."""
    from airflow_subset_provider.core import plan as planning
    from airflow_subset_provider.core import verify as verifying

    built = planning.build(request.wanted, request.schema(source.given()))
    found = verifying.verify(built, target.needed())
    show.verification(found)
    if found.faults:
        raise typer.Exit(4)


@takes
def repair(
    target: Target,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what is suspended.")] = False,
) -> None:
    """Put back what a crashed run left suspended in a target, and give its lock up."""
    from airflow_subset_provider.core import repair as repairing

    found = repairing.repair(target.needed(), look_only=dry_run)
    show.repair(found)
    if any(line.how == "still off" for line in found.items):
        raise typer.Exit(4)


# -- whose lock is it

PREFIX = "airflow-subset"


def run_key() -> str:
    """Names this process, so that another one on this machine can tell whether it is still there."""
    return f"{PREFIX}/{socket.gethostname()}/{os.getpid()}/{time.time_ns()}"


def is_alive(run: str, taken: datetime) -> bool:
    """Whether a run that holds the lock still goes on: a process of this machine, else for a day taken for alive."""
    prefix, _, rest = run.partition("/")
    host, _, process = rest.partition("/")
    if prefix == PREFIX and host == socket.gethostname():
        return _is_process(int(process.partition("/")[0]))
    return datetime.now(UTC) - taken < timedelta(hours=LOCK_HOURS)


def _is_process(number: int) -> bool:
    if number == os.getpid():
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
