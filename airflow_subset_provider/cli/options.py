"""The options that several commands share, as groups: a command takes a group as one argument.

`takes` spreads the groups of a command's signature into options of their own, so that each is written down once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from airflow_subset_provider.cli import ends, spec_file
from airflow_subset_provider.core.engines.base import Endpoint
from airflow_subset_provider.core.schema import Schema
from airflow_subset_provider.core.spec import Others, Policy, Spec

WHERE = "ENDS"
WHAT = "REQUEST"


def takes(function: Callable[..., None]) -> Callable[..., None]:
    """Make a command of a function whose parameters may be option groups (dataclasses)."""
    hints = get_type_hints(function, include_extras=True)
    own = signature(function).parameters
    groups = {name: hints[name] for name in own if is_dataclass(hints[name])}
    spread = [
        Parameter(f.name, Parameter.KEYWORD_ONLY, default=f.default, annotation=found[f.name])
        for group in groups.values()
        for found in [get_type_hints(group, include_extras=True)]
        for f in fields(group)
    ]
    plain = [p.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[n]) for n, p in own.items() if n not in groups]

    def command(**given: Any) -> None:
        made = {name: group(**{f.name: given.pop(f.name) for f in fields(group)}) for name, group in groups.items()}
        function(**made, **given)

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__annotations__ = {p.name: p.annotation for p in (*plain, *spread)}
    command.__signature__ = Signature([*plain, *spread])  # type: ignore[attr-defined]
    return command


@dataclass(frozen=True)
class Source:
    """Where to read."""

    source: Annotated[
        str | None,
        typer.Option(
            envvar="SUBSET_SOURCE",
            metavar="URL",
            rich_help_panel=WHERE,
            help="The source: postgresql://user@host:port/database or mysql://… A password in it can be seen in the "
            "list of processes: put the URL into the environment, or the password where the driver looks for it.",
        ),
    ] = None
    source_conn: Annotated[
        str | None, typer.Option(metavar="ID", rich_help_panel=WHERE, help="The source, as a connection of Airflow.")
    ] = None

    def needed(self) -> Endpoint:
        """The endpoint."""
        return ends.endpoint(self.source, self.source_conn, "source")

    def given(self) -> Endpoint | None:
        """The endpoint, if the user named one."""
        return ends.maybe_endpoint(self.source, self.source_conn)


@dataclass(frozen=True)
class Target:
    """Where to write."""

    target: Annotated[
        str | None,
        typer.Option(envvar="SUBSET_TARGET", metavar="URL", rich_help_panel=WHERE, help="The target, like --source."),
    ] = None
    target_conn: Annotated[
        str | None, typer.Option(metavar="ID", rich_help_panel=WHERE, help="The target, as a connection of Airflow.")
    ] = None

    def needed(self) -> Endpoint:
        """The endpoint."""
        return ends.endpoint(self.target, self.target_conn, "target")


Schemas = Annotated[
    list[str] | None,
    typer.Option("--schema", metavar="NAME", rich_help_panel=WHAT, help="A schema in scope; may be repeated."),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", dir_okay=False, metavar="FILE", help="Where to write; default: stdout.")
]
Consistent = Annotated[
    bool | None,
    typer.Option(
        "--consistent/--no-consistent",
        help="Whether the copy is the source at one point in time.",
        show_default="where the source can show it",
    ),
]


@dataclass(frozen=True)
class Request:
    """What to copy: a spec file, and options that add to it or overrule it."""

    spec: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=WHAT,
            help="A YAML or TOML file with the fields of SubsetOperator; `airflow-subset schema` describes it.",
        ),
    ] = None
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", "-f", metavar="'TABLE: CLAUSE'", rich_help_panel=WHAT, help="A WHERE clause; may be repeated."
        ),
    ] = None
    schemas: Schemas = None
    others: Annotated[
        Others | None, typer.Option(rich_help_panel=WHAT, help="The rule of tables that no filter reaches.")
    ] = None
    tables: Annotated[
        list[str] | None,
        typer.Option(
            "--table",
            metavar="'PATTERN: RULE'",
            rich_help_panel=WHAT,
            help="relevant, whole, referenced or skip, for the tables a pattern matches; may be repeated.",
        ),
    ] = None
    references: Annotated[
        Policy | None,
        typer.Option(rich_help_panel=WHAT, help="What becomes of a reference to a row that is not kept."),
    ] = None
    relations: Annotated[
        list[str] | None,
        typer.Option(
            "--relation",
            metavar="'KEY: SETTINGS'",
            rich_help_panel=WHAT,
            help="For the foreign keys a pattern matches (table.column, or the constraint's name): include, null or "
            "drop; nofollow; `to TABLE.COLUMN` declares a virtual one. May be repeated.",
        ),
    ] = None
    samples: Annotated[
        list[str] | None,
        typer.Option(
            "--sample", metavar="'TABLE: 5%'", rich_help_panel=WHAT, help="A share or number of rows; may be repeated."
        ),
    ] = None
    whole_limit: Annotated[
        int | None,
        typer.Option(metavar="ROWS", rich_help_panel=WHAT, help="Larger tables are copied whole only if named."),
    ] = None
    catalog: Annotated[
        Path | None,
        typer.Option(metavar="FILE", rich_help_panel=WHAT, help="The schema, from a file that `reflect` wrote."),
    ] = None

    @cached_property
    def file(self) -> spec_file.SpecFile:
        """The spec file with the options put in."""
        fields = spec_file.read(self.spec) if self.spec else {}
        for name, texts in (("filters", self.filters), ("tables", self.tables), ("sample", self.samples)):
            if texts:
                fields[name] = {**(fields.get(name) or {}), **dict(_pair(text, name) for text in texts)}
        if self.relations:
            fields["relations"] = {**(fields.get("relations") or {}), **dict(map(_relation, self.relations))}
        said = {
            "schemas": self.schemas,
            "others": self.others,
            "references": self.references,
            "whole_limit": self.whole_limit,
            "catalog": None if self.catalog is None else str(self.catalog),
        }
        return spec_file.SpecFile.of(**fields | {name: value for name, value in said.items() if value})

    def consistent(self, said: bool | None) -> bool | None:
        """What the option says, else the file."""
        return self.file.consistent if said is None else said

    @property
    def wanted(self) -> Spec:
        """The request as the core takes it."""
        return self.file.request

    def schema(self, source: Endpoint | None) -> Schema:
        """From the catalog file, else from the source."""
        if self.file.catalog:
            return read_catalog(Path(self.file.catalog))
        if source is None:
            raise typer.BadParameter("say where the schema comes from: --catalog FILE, or a source")
        from airflow_subset_provider.core import run

        return run.reflect(source, self.wanted.schemas)


def _pair(text: str, setting: str) -> tuple[str, str | int]:
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not colon or not name or not value:
        raise typer.BadParameter(f"{text!r} is not of the form 'NAME: VALUE' ({setting})")
    return name, int(value) if setting == "sample" and value.isdigit() else value


def _relation(text: str) -> tuple[str, dict[str, Any]]:
    key, words = _pair(text, "relations")
    settings: dict[str, Any] = {}
    rest = iter(str(words).split())
    for word in rest:
        if word in ("follow", "nofollow"):
            settings["follow"] = word == "follow"
        elif word in list(Policy):
            settings["references"] = word
        elif word == "to" and (parent := next(rest, "")):
            settings["to"] = parent
        else:
            raise typer.BadParameter(f"{text!r}: say include, null or drop; nofollow; or `to TABLE.COLUMN`")
    return key, settings


def read_catalog(path: Path) -> Schema:
    """A catalog file.

    Raises:
        RequestError: it is none.
    """
    return Schema.read(path, "Make it anew: airflow-subset reflect.")


def write(text: str, output: Path | None) -> None:
    """To a file, or to stdout."""
    if output is None:
        typer.echo(text, nl=not text.endswith("\n"))
        return
    whole = text if text.endswith("\n") else f"{text}\n"
    if _is_replaceable(output):
        _replace(output.resolve(), whole)
    else:
        output.write_text(whole, encoding="utf-8")


def _is_replaceable(path: Path) -> bool:
    """Whether another file may take its place: not that of /dev/stdout, nor of one that is not to be written."""
    known = not path.exists() or (path.is_file() and os.access(path, os.W_OK))
    return known and os.access(path.resolve().parent, os.W_OK)


def _replace(path: Path, text: str) -> None:
    """At once: a DAG parse that reads a catalog meanwhile finds the old one or the new one, never half of one."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_text(text, encoding="utf-8")
        if path.exists():
            shutil.copymode(path, scratch)
        try:
            scratch.replace(path)
        except OSError:  # a file that is mounted by itself (EBUSY)
            path.write_text(text, encoding="utf-8")
    finally:
        scratch.unlink(missing_ok=True)
