"""The commands that write nothing to a database: reflect, plan, sql, validate, diff, schema."""

from __future__ import annotations

import json
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from msgspec import to_builtins

from airflow_subset_provider.cli import show, spec_file
from airflow_subset_provider.cli.options import Consistent, Output, Request, Schemas, Source, read_catalog, takes, write
from airflow_subset_provider.core.errors import Fault, RequestError


class Format(StrEnum):
    """What `plan` prints."""

    TABLE = "table"
    JSON = "json"
    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"


@takes
def reflect(source: Source, schemas: Schemas = None, output: Output = None) -> None:
    """Write the source's schema as a catalog file, for `SubsetOperator(catalog=...)` and `--catalog`."""
    from airflow_subset_provider.core import run

    found = run.reflect(source.needed(), schemas or ())
    write(found.to_json(), output)
    keys = f"{len(found.tables)} tables, {len(found.foreign_keys)} foreign keys"
    typer.echo(f"{output or 'catalog'}: {keys}, fingerprint {found.fingerprint}", err=True)


@takes
def plan(
    request: Request,
    source: Source,
    exact: Annotated[
        bool, typer.Option("--exact", help="Count what a run would copy now, by reading all keys; copies nothing.")
    ] = False,
    format_: Annotated[Format, typer.Option("--format", help="A table to read, JSON, or a picture.")] = Format.TABLE,
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Look for missing indexes, undeclared foreign keys and large tables.")
    ] = False,
    consistent: Consistent = None,
    output: Output = None,
) -> None:
    """Show what a run would copy: which tables, in what order, why, and about how many rows.

    With --catalog no database is asked, unless a source is named too: then its planner gives the estimates.
    """
    from airflow_subset_provider.core import engines, picture
    from airflow_subset_provider.core import plan as planning
    from airflow_subset_provider.core import preview as previewing
    from airflow_subset_provider.core import suggest as suggestions

    end = source.given()
    if exact and end is None:
        raise typer.BadParameter("--exact counts rows in a source: name one")
    built = planning.build(request.wanted, request.schema(end))
    if format_ in (Format.MERMAID, Format.DOT):
        write(picture.mermaid(built) if format_ is Format.MERMAID else picture.dot(built), output)
        return
    with ExitStack() as stack:
        live = end and stack.enter_context(engines.get(end.engine).source(end, "airflow_subset plan"))
        found = previewing.preview(built, live or None, exactly=exact, consistent=request.consistent(consistent))
        hints = suggestions.suggest(built, found, live or None) if suggest else ()
    if format_ is Format.SVG:
        write(picture.svg(built, {t: str(p.rows) for t, p in zip(built.tables, found.tables, strict=True)}), output)
    elif format_ is Format.JSON:
        write(json.dumps({**found.as_dict(), "suggestions": to_builtins(hints)}, indent=1), output)
    else:
        with show.page(output) as page:
            show.plan(page, found, hints)


@takes
def sql(
    request: Request,
    source: Source,
    table: Annotated[str | None, typer.Argument(help="Of this table only.", show_default=False)] = None,
    output: Output = None,
) -> None:
    """Print the SELECT of every table as the source gets it, ready to be pasted into the server's own client."""
    from airflow_subset_provider.core import engines, names, select
    from airflow_subset_provider.core import plan as planning
    from airflow_subset_provider.core.spec import Rule

    built = planning.build(request.wanted, request.schema(source.given()))
    wanted = [t for t in built.tables if built.rule(t) in (Rule.RELEVANT, Rule.WHOLE)]
    if table is not None:
        found = names.find_table(built.schema, table, "TABLE")
        if isinstance(found, Fault):
            raise RequestError(found)
        if found not in wanted:
            planned = built.tables[found]
            raise RequestError(Fault(f"has no SELECT of its own: {planned.rule.value}, {planned.reason}", str(found)))
        wanted = [found]
    flavour = engines.get(built.schema.dialect).flavour
    heads = (f"-- {t}: {built.rule(t).value}, {built.tables[t].reason}" for t in wanted)
    statements = (flavour.compile(select.extract(built, t, flavour)) for t in wanted)
    write("\n\n".join(f"{head}\n{text};" for head, text in zip(heads, statements, strict=True)), output)


@takes
def validate(
    request: Request,
    source: Source,
    suggest: Annotated[bool, typer.Option("--suggest/--no-suggest", help="Make suggestions as well.")] = True,
) -> None:
    """Hold the request against the real database: every fault at once, and the rows each good filter selects."""
    from airflow_subset_provider.core import engines
    from airflow_subset_provider.core import plan as planning
    from airflow_subset_provider.core import preview as previewing
    from airflow_subset_provider.core import suggest as suggestions
    from airflow_subset_provider.core import validate as validation

    end = source.needed()
    spec, schema = request.wanted, request.schema(end)
    with engines.get(end.engine).source(end, "airflow_subset validate") as live:
        found = validation.validate(spec, schema, live)
        hints: tuple[suggestions.Suggestion, ...] = ()
        if suggest and not found.faults:
            built = planning.build(spec, schema)
            hints = suggestions.suggest(built, previewing.preview(built, live), live)
    show.validation(found, hints)
    if found.faults:
        raise typer.Exit(1)


def diff(
    old: Annotated[Path, typer.Argument(help="A catalog file.", exists=True, dir_okay=False)],
    new: Annotated[Path, typer.Argument(help="Another.", exists=True, dir_okay=False)],
) -> None:
    """Say what changed between two catalogs; exit code 1 when anything did."""
    from airflow_subset_provider.core import drift

    found = drift.differences(read_catalog(old), read_catalog(new))
    for difference in found:
        typer.echo(str(difference))
    if found:
        raise typer.Exit(1)
    typer.echo("no difference")


def schema(output: Output = None) -> None:
    """Print the JSON Schema of spec files, for editors."""
    write(spec_file.schema_text(), output)
