"""What the commands print for people: tables that are readable at 100 columns, and faults with a mark at the place."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from airflow_subset_provider.core.errors import Fault, SubsetError
from airflow_subset_provider.core.preview import CyclePreview, Preview, TablePreview
from airflow_subset_provider.core.repair import Repair
from airflow_subset_provider.core.report import Report
from airflow_subset_provider.core.spec import Rule
from airflow_subset_provider.core.suggest import Suggestion
from airflow_subset_provider.core.validate import Validation
from airflow_subset_provider.core.verify import Verification

MOST_WARNINGS = 8
NOT_REACHED = "no filter reaches it"
PLAIN_WIDTH = 100  # where no terminal says how wide it is
STYLES = {Rule.RELEVANT: "bold blue", Rule.REFERENCED: "cyan", Rule.WHOLE: "", Rule.SKIP: "dim"}


def console(stderr: bool = False) -> Console:
    """One that is PLAIN_WIDTH wide in a pipe or a file."""
    stream = sys.stderr if stderr else sys.stdout
    told = stream.isatty() or "COLUMNS" in os.environ
    return Console(stderr=stderr, width=None if told else PLAIN_WIDTH, highlight=False)


@contextmanager
def page(path: Path | None) -> Iterator[Console]:
    """Stdout, or a file that is PLAIN_WIDTH wide."""
    if path is None:
        yield console()
        return
    with path.open("w", encoding="utf-8") as file:
        yield Console(file=file, width=PLAIN_WIDTH, highlight=False)


# -- plan


def plan(out: Console, preview: Preview, suggestions: Iterable[Suggestion] = ()) -> None:
    """The table of tables, cycles, warnings and sums."""
    table = _table(">#", "table", "rule", ">in source", ">kept", "why")
    short = _shortened(preview)
    for line in preview.tables:
        table.add_row(
            f"{line.order}{'↻' if line.cycle else ''}",
            short(line.table),
            Text(line.rule, STYLES[line.rule]),
            f"~{line.source_rows:,}" if line.source_rows >= 0 else "?",
            str(line.rows),
            Text(_why(line)),
        )
    out.print(table)
    for cycle in preview.cycles:
        out.print(_cycle(cycle, short), soft_wrap=True)
    _warnings(out, preview.warnings)
    _suggestions(out, suggestions)
    out.print(f"guarantee: {preview.guarantee}", soft_wrap=True)
    out.print(_sums(preview), soft_wrap=True)


def _shortened(preview: Preview) -> Callable[[str], str]:
    """Leaves the schema out of names where there is only one."""
    schemas = {t.table.split(".")[0] for t in preview.tables}
    if len(schemas) != 1:
        return str
    return partial(re.compile(rf"(?<![\w.]){re.escape(schemas.pop())}\.").sub, "")


def _why(line: TablePreview) -> str:
    """What the table's own name and its rule do not say already."""
    if line.reason.startswith(NOT_REACHED):
        return NOT_REACHED
    way = re.match(r"below a filter: (?P<name>.*?)\((?P<columns>[^)]*)\)(?P<rest>.*)", line.reason)
    if way and line.table.endswith(f".{way['name']}") and not line.filter:
        return f"by {way['columns']}{way['rest']}"
    if line.filter:
        return f"{'filter' if line.reason == 'filter' else line.reason}: {line.filter}"
    return line.reason


def _cycle(cycle: CyclePreview, short: Callable[[str], str]) -> Text:
    text = Text(f"↻ cycle {cycle.id}: {', '.join(map(short, cycle.tables))}\n", "bold")
    for key, nullable in cycle.keys:
        text.append(f"    {short(key)}", "not bold")
        text.append(f"  {', '.join(nullable)} may be NULL\n" if nullable else "  NOT NULL\n", "not bold dim")
    return text


def _sums(preview: Preview) -> str:
    rules = {rule: sum(t.rule is rule for t in preview.tables) for rule in Rule}
    tables = ", ".join(f"{n} {rule.value}" for rule, n in rules.items() if n)
    own = sum(max(0, t.rows.own) for t in preview.copied)
    unknown = sum(t.rows.own < 0 for t in preview.copied)
    source = sum(max(0, t.source_rows) for t in preview.tables)
    if preview.exact:
        kept = f"{sum(t.rows.most for t in preview.copied):,} rows, counted now"
    else:
        kept = f"~{own:,} rows by the tables' own rules, estimated (~), and what they reference (≤: at most)"
    more = f"; {unknown} tables without an estimate" if unknown else ""
    return f"{len(preview.tables)} tables: {tables}. {kept}, of ~{source:,} in the source{more}."


def _warnings(out: Console, warnings: Sequence[str]) -> None:
    for warning in warnings[:MOST_WARNINGS]:
        out.print(Text("warning: ", "yellow") + Text(warning), soft_wrap=True)
    if len(warnings) > MOST_WARNINGS:
        out.print(Text(f"warning: {len(warnings) - MOST_WARNINGS} more; `plan --format json` lists all", "yellow"))


def _suggestions(out: Console, suggestions: Iterable[Suggestion]) -> None:
    for found in suggestions:
        out.print(Text("suggestion: ", "green") + Text(f"{found.about}: {found.why}.\n    {found.do}"), soft_wrap=True)


# -- validate, verify, repair, run


def validation(found: Validation, suggestions: Iterable[Suggestion] = ()) -> None:
    """The good filters with their rows; the faults go to stderr."""
    out = console()
    if found.filters:
        table = _table("table", ">rows", ">in source", "filter")
        for line in found.filters:
            source = f"~{line.source_rows:,}" if line.source_rows >= 0 else "?"
            table.add_row(str(line.table), f"{line.rows:,}", source, Text(line.clause))
        out.print(table)
    _warnings(out, found.warnings)
    _suggestions(out, suggestions)
    if found.faults:
        faults(found.faults)
    else:
        out.print("no fault found", style="green")


def verification(found: Verification) -> None:
    """What was looked at; the faults go to stderr."""
    counted = sum(k.dangling for k in found.keys if k.in_source)
    out = console()
    out.print(f"{sum(found.rows.values()):,} rows in {len(found.rows)} tables, {len(found.keys)} foreign keys counted")
    if counted:
        out.print(f"{counted:,} values match no row under keys that the source does not prove either")
    if found.faults:
        faults(found.faults)
    else:
        out.print("the copy holds together", style="green")


def repair(found: Repair) -> None:
    """What was out of force, and how it is now."""
    out = console()
    if found.holder is not None:
        out.print(f"lock of run {found.holder!r}", soft_wrap=True)
    for line in found.items:
        out.print(f"{line.item.table}: {line.item.kind} {line.item.name}: {line.how}", soft_wrap=True)
    if not found.items:
        out.print("nothing is suspended")


def report(done: Report) -> None:
    """The tables that hold rows, and the sums."""
    out = console()
    table = _table("table", "rule", ">in source", ">kept", ">referred", ">dropped", ">nulled", ">seconds")
    for t in done.tables:
        if t.kept:
            source = f"~{t.source_rows:,}" if t.source_rows >= 0 else "?"
            numbers = (f"{n:,}" if n else "" for n in (t.referred, t.dropped, t.nulled))
            rule = Text(t.rule, STYLES[Rule(t.rule)])
            table.add_row(t.table, rule, source, f"{t.kept:,}", *numbers, f"{t.seconds:.2f}")
    out.print(table)
    _warnings(out, done.warnings)
    share = f" of about {done.source_rows:,} ({done.kept / done.source_rows:.2%})" if done.source_rows else ""
    proven = sum(k.proof == "validated" for k in done.keys)
    out.print(
        f"{done.kept:,} rows{share} in {done.seconds:.1f} s; {done.dangling} dangling references, "
        f"{proven} of {len(done.keys)} foreign keys proven by the server",
        soft_wrap=True,
    )
    out.print(f"guarantee: {done.guarantee}", soft_wrap=True)


def _table(*columns: str) -> Table:
    """A table; `>` before a name aligns right."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for name in columns:
        right = name.startswith(">")
        table.add_column(name.lstrip(">"), justify="right" if right else "left", overflow="fold", no_wrap=right)
    return table


# -- errors


def error(raised: SubsetError) -> None:
    """All faults of an error."""
    faults(raised.faults)


def faults(found: Iterable[Fault]) -> None:
    """One after the other, a clause with a mark under the character the server stopped at."""
    err = console(stderr=True)
    for fault in found:
        err.print(Text("error: ", "bold red") + Text(str(fault)), soft_wrap=True)
        if fault.clause and fault.position:
            line, column = _place(fault.clause, fault.position)
            err.print(Text(f"    {line}\n    {' ' * (column - 1)}^", "cyan"), soft_wrap=True)


def _place(clause: str, position: int) -> tuple[str, int]:
    """The line of the clause that a position is in, and the column there, tabs as one character."""
    before = clause[: position - 1]
    start = before.rfind("\n") + 1
    line = clause[start:].split("\n")[0].replace("\t", " ")
    return line, position - start
