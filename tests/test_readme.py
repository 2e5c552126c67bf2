"""The README holds: its demo output is what the demo prints, its DAG parses, its links and make targets exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from sandbox.demo.database import TABLES

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.xdist_group("demo")
def test_the_demo_prints_what_the_readme_shows() -> None:
    *table, end, rest = _but_for_seconds(_demo(""))
    assert [end, rest] == _words(_shown("demo"))
    assert len(table) == 2 + 1 + len(TABLES) + 1  # one reason takes two lines


@pytest.mark.xdist_group("demo")
@pytest.mark.parametrize("engine", ["mariadb", pytest.param("mysql", marks=pytest.mark.long)])
def test_the_demo_on_the_other_servers(engine: str) -> None:
    """The same rows as on Postgres, and an end of their own."""
    *table, end, rest = _but_for_seconds(_demo(engine))
    assert table == _but_for_seconds(_demo(""))[:-2]
    assert [end, rest] == _words(_shown("demo mysql"))


@cache
def _demo(engine: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "sandbox.demo"],
        cwd=ROOT,
        env={**os.environ, "ENGINE": engine},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _shown(mark: str) -> str:
    shown = re.search(rf"<!-- {mark} -->\n```\n(.*?)\n```\n<!-- /demo -->", README, re.DOTALL)
    assert shown
    return shown[1]


def _but_for_seconds(text: str) -> list[list[str]]:
    """The words of each line from the first on, without what differs from run to run."""
    lines = _words(text)
    start = next(n for n, line in enumerate(lines) if line[:1] == ["Source:"])
    return lines[start:]


def _words(text: str) -> list[list[str]]:
    lines = [
        re.sub(r"\d+\.\d+(?= s\.|\s+(relevant|referenced|whole))", "N", line).split() for line in text.splitlines()
    ]
    return [line for line in lines if line]


def test_the_dag_parses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code
    catalog = ROOT / "example_dags" / "shop.catalog.json"
    file = tmp_path / "dag.py"
    file.write_text(code[1].replace("create_schema=True", f"create_schema=True, catalog={str(catalog)!r}"))
    names: dict[str, object] = {"__file__": str(file)}
    exec(compile(file.read_text(), str(file), "exec"), names)
    assert names["DAG"]
    assert code[1].count("\n") < 20


def test_links_and_commands_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z-]+)", README)) - {"the"}:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_argument_is_described() -> None:
    import inspect

    from airflow_subset_provider import SubsetOperator

    parameters = inspect.signature(SubsetOperator.__init__).parameters
    named = {p for p in parameters if p not in ("self", "default_args", "task_id", "task_arguments")}
    missing = {p for p in named if f"`{p}`" not in README and f"{p}=" not in README}
    assert not missing
