"""docs/cli.md names every command and option; docs/subset.schema.json is what `schema` prints."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from airflow_subset_provider.cli import EXIT_CODES, app
from airflow_subset_provider.cli.spec_file import SHAPE
from tests.cli.conftest import Cli

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_every_command_and_option_is_documented() -> None:
    sections = (DOCS / "cli.md").read_text().split("\n## ")
    missing = []
    for name, command in COMMANDS.items():
        own = [s for s in sections if s.startswith(f"`{name}`")]
        if not own:
            missing.append(name)
            continue
        shared = [s for s in sections if s.startswith(("The two databases", "What to copy"))]
        text = own[0] + "".join(shared)
        options = [o for p in command.params for o in (*p.opts, *p.secondary_opts) if o.startswith("--")]
        missing += [f"{name} {o}" for o in options if f"`{o}" not in text and o != "--help"]
    assert missing == []


def test_every_exit_code_is_documented() -> None:
    text = (DOCS / "cli.md").read_text().split("\n## Exit codes")[1]
    for code in (0, 1, 2, *EXIT_CODES.values(), 130):
        assert f"| {code} |" in text


def test_the_schema_file_is_current(cli: Cli) -> None:
    assert cli("schema").out == (DOCS / "subset.schema.json").read_text()


def test_the_schema_describes_every_field() -> None:
    shape = json.loads((DOCS / "subset.schema.json").read_text())
    assert set(shape["properties"]) == {*SHAPE, "$schema"}
    assert [n for n, p in shape["properties"].items() if n != "$schema" and not p.get("description")] == []
    assert shape["additionalProperties"] is False


def test_completion_is_offered(cli: Cli) -> None:
    done = cli("--help")
    assert done.code == 0
    assert "--install-completion" in done.out
    assert "--show-completion" in done.out
