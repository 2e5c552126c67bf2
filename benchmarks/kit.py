"""Shared by the benchmarks: two scratch servers, a child process whose peak memory is known, medians and ratios."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sandbox.postgresql import PostgresServer

MEMORY = 1024 * 1024  # bytes in a MiB


@contextmanager
def two_servers() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A source and a target, each with a database `bench`."""
    with PostgresServer() as source, PostgresServer() as target:
        for server in (source, target):
            server.create_database("bench")
        yield source, target


def child(module: str, **arguments: Any) -> dict[str, Any]:
    """Run `python -m module` with JSON arguments; its last line is its result, as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", module, json.dumps(arguments)], stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def interleaved(runs: int, **commands: Callable[[], Any]) -> dict[str, list[float]]:
    """Seconds of each command, run in turn so that a slow spell of the machine meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            started = time.monotonic()
            command()
            seconds[name].append(time.monotonic() - started)
    return seconds


def told(name: str, seconds: list[float]) -> str:
    """Median, least and greatest."""
    return f"{name:<28} median {statistics.median(seconds):7.2f} s   ({min(seconds):.2f} to {max(seconds):.2f})"


def ratio(mine: list[float], other: list[float]) -> float:
    """The median of the pairwise ratios."""
    return statistics.median(a / b for a, b in zip(mine, other, strict=True))
