"""What README and docs/cli.md show of the command line is what it prints, of the demo shop on a private server.

Every `$ airflow-subset ...` of a `console` block is run, in order. Lines of `…` stand for any number of lines; times,
estimates (`~`, `≤`: ANALYZE samples at random) and the width of columns may differ. UPDATE_DOCS=1 writes the blocks
that elide nothing anew.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.demo import database
from sandbox.postgresql import PostgresServer

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(?<=```console\n).*?(?=```)", re.DOTALL)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of somebody with the demo's source and an empty target."""
    with PostgresServer() as server:
        database.build(server, "shop")
        server.create_database("staging")
        plain = {k: v for k, v in os.environ.items() if not k.startswith("SUBSET_") and k != "COLUMNS"}
        ends = {"SUBSET_SOURCE": server.url("shop"), "SUBSET_TARGET": server.url("staging")}
        yield plain | ends | {"PYTHONUNBUFFERED": "1"}


@pytest.mark.parametrize("document", ["README.md", "docs/cli.md"])
def test_the_output_shown_is_the_output_printed(document: str, shop: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "example_dags").symlink_to(ROOT / "example_dags")
    file = ROOT / document
    text = file.read_text(encoding="utf-8")
    assert "```console\n$ airflow-subset" in text
    faults: list[tuple[str, list[list[str]], list[list[str]]]] = []

    def checked(block: re.Match[str]) -> str:
        done = []
        for command, shown in _commands(block[0]):
            printed = _run(command, shop, tmp_path) if command.startswith("airflow-subset") else shown
            if not _same(_comparable(shown), _comparable(printed)):
                faults.append((command, _comparable(shown), _comparable(printed)))
            done.append(f"$ {command}\n" + (shown if "…" in shown else printed))
        return "".join(done)

    renewed = BLOCK.sub(checked, text)
    if os.environ.get("UPDATE_DOCS"):
        file.write_text(renewed, encoding="utf-8")
    else:
        assert faults == []


def _commands(block: str) -> Iterator[tuple[str, str]]:
    """Each command, with its continuation lines, and what is shown below it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command = re.match(r"(?:.*\\\n)*.*\n", part)
        assert command
        yield command[0].rstrip("\n"), part[command.end() :]


def _run(command: str, environment: dict[str, str], folder: Path) -> str:
    words = shlex.split(command.replace("\\\n", " "))[1:]
    done = subprocess.run(
        [Path(sys.executable).with_name("airflow-subset"), *words],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def _comparable(text: str) -> list[list[str]]:
    """Words of lines that are not empty; rules between them count as one word."""
    text = re.sub(r"[~≤][\d,]+", "~", re.sub(r"─+", "─", text))
    text = re.sub(r"\d+\.\d+(?= s\b| MB/s|$)", "N", text, flags=re.MULTILINE)
    text = re.sub(r"[\d,]+(?= rows/s)", "N", text)
    return [line.split() for line in text.splitlines() if line.strip()]


def _same(shown: list[list[str]], printed: list[list[str]]) -> bool:
    """Equal, with `…` for any lines."""
    if not shown or not printed:
        return not printed and all(line == ["…"] for line in shown)
    if shown[0] == ["…"]:
        return any(_same(shown[1:], printed[n:]) for n in range(len(printed) + 1))
    return shown[0] == printed[0] and _same(shown[1:], printed[1:])
