"""`airflow subset reflect`: what of the command line is in Airflow's own as well.

Airflow imports this module whenever one of its commands starts (provider_info: `cli`), so names and help texts are all
there is in it: what is done is `airflow-subset reflect`, imported when it is asked for. Airflow 3.1 does not look for
such commands.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand

__all__ = ["commands"]


def commands() -> list[CLICommand]:
    """What this package adds to `airflow`."""
    reflect = ActionCommand(
        name="reflect",
        help="Write a database's schema as a catalog file, for SubsetOperator(catalog=...)",
        func=_reflect,
        args=(
            _arg("conn_id", metavar="CONN_ID", help="The connection to the database"),
            _arg("--schema", metavar="NAME", action="append", default=[], help="A schema in scope; may be repeated"),
            _arg("-o", "--output", metavar="FILE", help="Where to write; default: stdout"),
        ),
    )
    return [GroupCommand("subset", "Small, complete copies of Postgres and MySQL databases", [reflect])]


def _arg(*flags: str, **settings: Any) -> Arg:
    return Arg(flags, **settings)  # type: ignore[no-untyped-call]


def _reflect(given: Namespace) -> None:
    from airflow_subset_provider.cli import main

    options = [word for name in given.schema for word in ("--schema", name)]
    options += ["--output", given.output] if given.output else []
    main(["reflect", "--source-conn", given.conn_id, *options])
