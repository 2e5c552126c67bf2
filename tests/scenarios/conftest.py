"""Every scenario runs on every engine, but for those that say which engines have what they are about, and why.

`pytest.mark.engines("postgresql", because="…")` on a test, a module or a single parameter is such a say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.scenarios.ends import Row
from tests.scenarios.kit import MakeLab, lab_fixture, shared_lab_fixture, workbench_fixture
from tests.scenarios.translation import split

__all__ = ["lab_fixture", "shared_lab_fixture", "workbench_fixture"]

ENGINES = ("postgresql", "mariadb", "mysql")

Rows = list[Row]
SubsetOf = Callable[..., dict[str, Rows]]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The kind of server that both ends are."""
    return request.param


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the engines that a scenario is not for."""
    chosen = [item for item in items if _is_for_its_engine(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
    items[:] = chosen


def _is_for_its_engine(item: pytest.Item) -> bool:
    engine = item.callspec.params.get("engine") if isinstance(item, pytest.Function) and _has_params(item) else None
    return engine is None or all(engine in mark.args for mark in item.iter_markers("engines"))


def _has_params(item: pytest.Function) -> bool:
    return hasattr(item, "callspec")


class Scenario:
    """A source and a target of one test's own."""

    def __init__(self, lab: MakeLab) -> None:
        self._lab = lab

    def run(self, script: str, **request: Any) -> None:
        """Load the script into the source and its schema into the target, and run the request."""
        schema = ";".join(s for s in split(script, ";") if not s.strip().startswith("INSERT"))
        self.db = self._lab("", script, target=schema)
        self.db.run(**request)

    def rows(self) -> dict[str, Rows]:
        """All rows of all tables in the target's schema `public`, sorted."""
        return {table: self.db.target.rows(table) for table in self.db.target.tables() if "." not in table}


@pytest.fixture
def scenario(lab: MakeLab) -> Scenario:
    return Scenario(lab)


@pytest.fixture
def subset_of(scenario: Scenario) -> SubsetOf:
    """Run one request over one script; return all rows of all tables in the target, sorted."""

    def run(script: str, **request: Any) -> dict[str, Rows]:
        scenario.run(script, **request)
        return scenario.rows()

    return run


def ids(rows: Rows) -> list[Any]:
    """The first column."""
    return [row[0] for row in rows]
