"""The demo's report on the terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

MB = 1_000_000


def report(console: Console, shape: Mapping[str, Any], source_rows: Mapping[str, int], seconds: float) -> None:
    """Print what a run kept, and why.

    Args:
        shape: `Report.as_dict()`.
        source_rows: per table, counted.
        seconds: for the whole run, Airflow's part included.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("table", no_wrap=True)
    for heading in ("source rows", "kept", "share", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("rule", no_wrap=True)
    table.add_column("why")
    for row in shape["tables"]:
        name = row["table"].partition(".")[2]
        total = source_rows[name]
        table.add_row(
            name,
            f"{total:,}",
            f"{row['kept']:,}",
            _share(row["kept"], total),
            f"{row['seconds']:.2f}",
            row["rule"],
            Text(_why(row["reason"])),
        )
    console.print(table)
    total, kept = sum(source_rows.values()), shape["kept"]
    size = sum(row["bytes"] for row in shape["tables"]) / MB
    console.print(
        f"[bold]{kept:,}[/] of {total:,} rows ({_share(kept, total)}), {size:.1f} MB in {seconds:.1f} s. "
        f"[bold]{shape['dangling']} dangling references[/]: {_proof(shape['keys'])}."
    )


def _proof(keys: Sequence[Mapping[str, Any]]) -> str:
    """How it is known: a server that checks a key it is given proves it, one that does not is asked what dangles."""
    validated = sum(key["proof"] == "validated" for key in keys)
    if validated:
        return f"{validated} of {len(keys)} foreign keys validated by the server"
    held = sum(not key["dangling"] for key in keys)
    return f"{held} of {len(keys)} foreign keys checked by query"


def _why(reason: str) -> str:
    """Without the words that the rule says already, and without columns: the path alone."""
    short = reason.removeprefix("below a filter: ").removeprefix("no filter reaches it: ")
    return re.sub(r"\([^)]*\) →", " →", short).partition(" → ")[2] or short


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"
