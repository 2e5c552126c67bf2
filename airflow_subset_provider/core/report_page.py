"""A report for people: Markdown, and one HTML page that holds everything it shows and fetches nothing.

The numbers are the report's; the graph and the cycles are the plan's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Protocol, Self, TypeVar

from msgspec import Struct

from airflow_subset_provider.core import picture
from airflow_subset_provider.core.errors import Fault, RequestError
from airflow_subset_provider.core.markdown import cell, code, plain
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.preview import CyclePreview, cycles
from airflow_subset_provider.core.report import Report, TableReport
from airflow_subset_provider.core.tally import size

SUFFIXES = (".html", ".json", ".md")


class Line(Struct, frozen=True):
    """One table of the page: its numbers, and the bars in percent."""

    table: TableReport
    filter: str
    kept_bar: float
    time_bar: float

    @property
    def share(self) -> str:
        """Of the source's rows."""
        rows = self.table.source_rows
        return f"{min(1.0, self.table.kept / rows):.1%}" if rows > 0 else ""


class Place(Protocol):
    """Where a report goes: a local path, or one of an object store (`UPath`, Airflow's `ObjectStoragePath`)."""

    @property
    def suffix(self) -> str: ...  # noqa: D102

    @property
    def parent(self) -> Self: ...  # noqa: D102

    def __truediv__(self, name: str) -> Self: ...

    def mkdir(self, *, parents: bool, exist_ok: bool) -> None: ...  # noqa: D102

    def write_text(self, text: str, *, encoding: str) -> Any: ...  # noqa: D102


P = TypeVar("P", bound=Place)


def files(place: P) -> list[P]:
    """The files of a report: the one named, or all kinds in a folder.

    Raises:
        RequestError: no report can be written to a file of that name; to be asked before a run, not after it.
    """
    if place.suffix in SUFFIXES:
        return [place]
    if re.fullmatch(r"\.[A-Za-z]{2,5}", place.suffix):
        kinds = ", ".join(SUFFIXES)
        advice = f"Use {kinds}, or a name without a suffix for a folder that takes all three."
        raise RequestError(Fault(f"unknown kind of report {place.suffix!r}", str(place), advice))
    return [place / f"report{suffix}" for suffix in SUFFIXES]


def write(report: Report, plan: Plan, place: P, folders: bool = True) -> list[P]:
    """Write the report's files; which they are.

    Args:
        folders: the place is in folders, of which those that are missing are made.
    """
    written = files(place)
    if folders:
        written[0].parent.mkdir(parents=True, exist_ok=True)
    for file in written:
        file.write_text(render(report, plan, file.suffix), encoding="utf-8")
    return written


def render(report: Report, plan: Plan, suffix: str) -> str:
    """The report as `.html`, `.json` or `.md`."""
    match suffix:
        case ".html":
            return html(report, plan)
        case ".md":
            return markdown(report, plan)
    return report.to_json() + "\n"


# -- HTML


def html(report: Report, plan: Plan) -> str:
    """One page, light or dark as the reader's machine is, readable on a telephone and without a network."""
    import jinja2

    loader = jinja2.PackageLoader("airflow_subset_provider.core")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": _number, "size": size}
    kept = {t.table: t.kept for t in report.tables}
    drawn = picture.svg(plan, {t: f"{kept[str(t)]:,}" for t in plan.tables if kept.get(str(t))})
    return environment.get_template("report.html.j2").render(
        report=report,
        lines=list(_lines(report, plan)),
        share=_share(report),
        svg=drawn,
        cycles=_cycles(plan),
        dangling=[k for k in report.keys if k.dangling],
        proven=sum(k.proof == "validated" for k in report.keys),
        bytes=sum(t.bytes for t in report.tables),
    )


def _lines(report: Report, plan: Plan) -> Iterator[Line]:
    """The tables that hold rows first, the largest first; the rest by name."""
    filters = {str(t): p.filter or "" for t, p in plan.tables.items()}
    longest = max((t.seconds for t in report.tables), default=0.0) or 1.0
    for table in sorted(report.tables, key=lambda t: (-t.kept, t.table)):
        rows = max(table.source_rows, table.kept)
        yield Line(
            table,
            filters.get(table.table, ""),
            100 * table.kept / rows if rows else 0.0,
            100 * table.seconds / longest,
        )


def _cycles(plan: Plan) -> tuple[CyclePreview, ...]:
    """Those a run went round."""
    copied = set(map(str, plan.copied))
    return tuple(c for c in cycles(plan) if copied.intersection(c.tables))


def _share(report: Report) -> str:
    return f"{report.kept / report.source_rows:.2%}" if report.source_rows else ""


def _number(value: int) -> str:
    return f"{value:,}"


# -- Markdown


def markdown(report: Report, plan: Plan) -> str:
    """For a pull request, a chat or a log."""
    share = f" of about {report.source_rows:,} ({_share(report)})" if report.source_rows else ""
    parts = [
        f"# Subset of {plain(report.source)} in {plain(report.target)}",
        f"{report.kept:,} rows{share} in {report.seconds:.1f} s; {report.dangling} dangling references, "
        f"{sum(k.proof == 'validated' for k in report.keys)} of {len(report.keys)} foreign keys proven by the server.",
        report.guarantee,
        *(f"- ⚠ {plain(warning)}" for warning in report.warnings),
        "\n".join(_markdown_table(report)),
    ]
    for cycle in _cycles(plan):
        keys = "\n".join(f"- {code(key)}{_nullable(columns)}" for key, columns in cycle.keys)
        parts.append(f"Cycle of {', '.join(map(code, cycle.tables))}:\n\n{keys}")
    return "\n\n".join(parts) + "\n"


def _markdown_table(report: Report) -> Iterator[str]:
    yield "| table | rule | source | kept | referred | dropped | nulled | seconds | why |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|---|"
    for t in report.tables:
        source: Any = f"~{t.source_rows:,}" if t.source_rows >= 0 else "?"
        numbers = " | ".join(f"{n:,}" for n in (t.kept, t.referred, t.dropped, t.nulled))
        yield f"| {cell(code(t.table))} | {t.rule} | {source} | {numbers} | {t.seconds:.2f} | {plain(t.reason)} |"


def _nullable(columns: tuple[str, ...]) -> str:
    return f", {plain(', '.join(columns))} may be NULL" if columns else ", NOT NULL"
