"""`airflow-subset`: the core from the command line.

Needs no Airflow but for `--source-conn` and `--target-conn`. Results go to stdout or a file, everything said about them
to stderr. What a command needs of the core is imported when it runs, so that help and completion come at once.
"""

from __future__ import annotations

import sys

import typer

from airflow_subset_provider.cli import act, look
from airflow_subset_provider.core.errors import (
    DriftError,
    EndpointError,
    IntegrityError,
    RetryableError,
    SubsetError,
    TargetError,
)

__all__ = ["EXIT_CODES", "app", "main"]

# 1 is the code of every other fault of the request; 2 is a wrong command line; 130 an interrupt.
EXIT_CODES: dict[type[SubsetError], int] = {
    RetryableError: 3,
    IntegrityError: 4,
    EndpointError: 5,
    TargetError: 5,
    DriftError: 6,
}

app = typer.Typer(
    help="Small, referentially complete copies of Postgres and MySQL databases.",
    epilog="Exit codes: 0 done; 1 a fault in the request, or what `validate` and `diff` found; 2 wrong command line; "
    "3 try again (lost connection, lock); 4 the copy does not hold together; 5 a database cannot be used as it is; "
    "6 the schema is not the catalog's; 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for command in (
    look.reflect,
    look.plan,
    look.sql,
    look.validate,
    act.run,
    act.verify,
    look.diff,
    act.repair,
    look.schema,
):
    app.command()(command)


def exit_code(error: SubsetError) -> int:
    """What a shell is told of an error."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)


def main(arguments: list[str] | None = None) -> None:
    """The console script; always ends in SystemExit."""
    try:
        app(arguments, prog_name="airflow-subset")
    except SubsetError as error:
        from airflow_subset_provider.cli import show

        show.error(error)
        sys.exit(exit_code(error))
    except OSError as error:
        typer.echo(f"error: {error.filename or ''}: {error.strerror or error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)
