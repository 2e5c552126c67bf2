"""`cli(*arguments)`: the command line in this process; `shop`: a small database and its target, on real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airflow_subset_provider.cli import main
from sandbox.postgresql import PostgresEndpoint
from tests.databases import CreateDatabase

SHOP = Path(__file__).with_name("shop.sql")


@dataclass(frozen=True)
class Done:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command; nothing of the tester's environment reaches it."""
    for name in ("SUBSET_SOURCE", "SUBSET_TARGET", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        printed = capsys.readouterr()
        return Done(int(ended.value.code or 0), printed.out, printed.err)

    return run


@dataclass(frozen=True)
class Shop:
    """A source and a target, by URL."""

    source: str
    target: str

    @property
    def ends(self) -> tuple[str, ...]:
        return ("--source", self.source, "--target", self.target)

    def counts(self) -> dict[str, int]:
        """Rows of the target's tables."""
        return counts(self.target)


def counts(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        return {n: connection.execute(f'SELECT count(*) FROM "{n}"').fetchone()[0] for (n,) in names}  # type: ignore


@pytest.fixture(scope="session")
def shop_source(source_server: PostgresEndpoint) -> Iterator[str]:
    """The source's URL; everybody reads it."""
    name = "subset_cli_shop"
    source_server.drop_database(name)
    source_server.create_database(name)
    source_server.run_script(name, SHOP.read_text())
    yield source_server.url(name)
    source_server.drop_database(name)


@pytest.fixture
def shop(
    shop_source: str, source_server: PostgresEndpoint, target_server: PostgresEndpoint, fresh_database: CreateDatabase
) -> Shop:
    """With an empty target of this test's own."""
    target = fresh_database(target_server, hint="cli")
    target_server.run_script(target, source_server.dump(shop_source.rsplit("/", 1)[1], schema_only=True))
    return Shop(shop_source, target_server.url(target))


def query(url: str, text: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(text)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else []
