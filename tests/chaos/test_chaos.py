"""Disturbed runs: whatever falls on a run, after the rerun the target is an undisturbed run's, row by row.

Every step is a process of its own on real servers, as Airflow's tasks are, and what strikes is chosen by the seed in
the test's id. SUBSET_CHAOS_RUNS says how many runs (60 by default on Postgres, a third of that each on MariaDB and
MySQL); SUBSET_CHAOS_SEED the first seed. A failure found is mended, and kept by name in scenarios/test_crash_safety.py.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from airflow_subset_provider.core import chunks, engines
from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.run import reflect
from airflow_subset_provider.core.spec import Spec
from airflow_subset_provider.core.verify import verify
from sandbox import servers
from sandbox.mysql import MySqlEndpoint
from sandbox.mysql_family import MySqlFamilyEndpoint
from tests.chaos.ends import Ends, MySqlEnds, PostgresEnds
from tests.chaos.night import Blow, Night, kill
from tests.chaos.worker import CHUNK_ROWS, MOST_PARTS
from tests.databases import CreateDatabase

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

RUNS = int(os.environ.get("SUBSET_CHAOS_RUNS", "60"))
FIRST = int(os.environ.get("SUBSET_CHAOS_SEED", "0"))
SIZES = {"postgresql": 8_000, "mysql": 3_000}
REQUEST: dict[str, Any] = {
    "filters": {"region": "id <= 4"},
    "others": "referenced",
    "relations": {"product.brand_id": {"references": "null"}},
}


@dataclass
class World:
    """Two databases, the steps between them, and what an undisturbed run leaves."""

    ends: Ends
    night: Night
    undisturbed: dict[str, Any]

    def check(self) -> None:
        """The target is as if nothing had happened."""
        found = self.ends.left()
        wrong = {what for what in self.undisturbed if found[what] != self.undisturbed[what]}
        sizes = {t: (len(self.undisturbed[t]), len(found[t])) for t in wrong}
        assert not wrong, f"wanted and found: {sizes}; {self.night.told}"
        faults = verify(self.night.plan, self.ends.endpoint("target")).faults
        assert not faults, f"{faults}; {self.night.told}"


def _world(ends: Ends, folder: Path) -> World:
    plan = planning.build(Spec.of(**REQUEST), reflect(ends.endpoint("source")))
    night = Night(ends.engine, ends.source, ends.target, plan, folder)
    for n in range(2):  # the second time tells how long the steps last
        assert night.run(f"undisturbed-{n}"), night.told
    world = World(ends, night, ends.left())
    assert all(world.undisturbed[t] for t in ("line", "visit", "product", "keys", "triggers"))
    assert "customer_name" in str(world.undisturbed["indexes"])
    with engines.get(ends.engine).source(ends.endpoint("source"), "test") as source, source.snapshot():
        cut = {
            t: len(chunks.cut(plan, t, CHUNK_ROWS, source, MOST_PARTS))
            for c in plan.extracts
            for t in c.tables
            if len(night.tables[c.id]) > 1
        }
    assert max(cut.values()) == MOST_PARTS, cut
    assert not any(row[1] for row in world.undisturbed["product"])
    return world


@pytest.fixture(scope="module")
def postgres(module_databases: CreateDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """With servers of its own, because one of them will crash."""
    with servers.open_postgres() as source, servers.open_postgres() as target:
        names = module_databases(source, hint="chaos"), module_databases(target, hint="chaos_copy")
        ends = PostgresEnds(source, target, names, SIZES["postgresql"])
        yield _world(ends, tmp_path_factory.mktemp("postgres"))


@pytest.fixture(scope="module")
def mariadb(module_databases: CreateDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with servers.open_mariadb() as server:
        yield _mysql_world(server, module_databases, tmp_path_factory.mktemp("mariadb"))


@pytest.fixture(scope="module")
def mysql(
    mysql_server: MySqlEndpoint, module_databases: CreateDatabase, tmp_path_factory: pytest.TempPathFactory
) -> World:
    return _mysql_world(mysql_server, module_databases, tmp_path_factory.mktemp("mysql"))


def _mysql_world(server: MySqlFamilyEndpoint, create: CreateDatabase, folder: Path) -> World:
    names = create(server, hint="chaos"), create(server, hint="chaos_copy")
    return _world(MySqlEnds(server, server, names, SIZES["mysql"]), folder)


@pytest.fixture(scope="module")
def module_databases() -> CreateDatabase:
    """Databases that go with their servers."""

    def create(server: Any, template: str | None = None, hint: str = "") -> str:
        name = f"subset_{hint}_{os.getpid()}"
        server.drop_database(name)
        server.create_database(name, template)
        return name

    return create


class Disturbance:
    """What one seed does to a run, and what the user does then."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.night, self.seed = world, world.night, seed
        self.random = random.Random(seed)
        self.key = f"night-{seed}-{time.monotonic_ns()}"

    def blow(self, strike: Callable[[BaseProcess], None] = kill, steps: list[str] | None = None) -> Blow:
        """At a random moment of a random step."""
        step = self.random.choice(steps or self.night.steps)
        return Blow(step, self.random.uniform(0, 1.1) * self.night.lasted[step], strike)

    def other_key(self) -> str:
        self.key += "+"
        return self.key

    # -- the disturbances

    def a_killed_task_is_retried(self) -> bool:
        return self.night.run(self.key, blows=[self.blow(), self.blow()])

    def a_killed_task_fails_and_the_group_is_cleared(self) -> bool:
        ended = self.night.run(self.key, blows=[self.blow()], retries=0)
        return ended or self.night.run(self.key)

    def a_killed_task_fails_and_the_next_run_comes(self) -> bool:
        ended = self.night.run(self.key, blows=[self.blow()], retries=0)
        return ended or self.night.run(self.other_key())

    def a_worker_vanishes_with_its_lock(self) -> bool:
        self.night.run(self.key, blows=[self.blow()], retries=0, release=False)
        return self.night.run(self.other_key())

    def release_is_killed(self) -> bool:
        blow = Blow("release", self.random.uniform(0, 1) * self.night.lasted["release"], kill)
        ended = self.night.run(self.key, blows=[self.blow(), blow], retries=0)
        return ended or self.night.run(self.random.choice([self.key, self.other_key()]))

    def a_table_is_repeated(self) -> bool:
        steps = self.random.choice(list(self.night.tables.values()))
        again = self.random.choice([steps, steps[-1:]])
        before = ["prepare", *self.night.extracts]
        loaded = self.night.run(self.key, before, release=False) and self.night.run(self.key, again, release=False)
        return loaded and self.night.run(self.key, [*self.night.references, "finish"])

    def a_table_is_repeated_with_its_downstream(self) -> bool:
        """From some point of the references on, with nothing prepared anew."""
        again = self.night.downstream(self.random.choice(self.night.extracts))
        upto = self.night.steps[: self.random.randint(2, len(self.night.steps) - 1)]
        started = self.night.run(self.key, upto, release=False)
        left = [s for s in self.night.steps if s in again or s not in upto]
        return started and self.night.run(self.key, left)

    def the_group_is_repeated(self) -> bool:
        return self.night.run(self.key, blows=[self.blow()]) and self.night.run(self.key)

    def a_step_is_at_work_twice(self) -> bool:
        """A worker that was taken for dead goes on while its task is tried again."""
        doubles: list[BaseProcess] = []
        step = self.random.choice(self.night.steps)
        after = self.random.uniform(0, 0.5) * self.night.lasted[step]
        blow = Blow(step, after, lambda _: doubles.append(self.night.start(self.key, step)[0]))
        upto = self.night.steps[: self.night.steps.index(step) + 1]
        ended = self.night.run(self.key, upto, [blow], release=False)
        for double in doubles:
            double.join(120)
            assert double.exitcode is not None
        return ended and self.night.run(self.key, self.night.steps[len(upto) :])

    def a_rival_is_turned_away(self) -> bool:
        rival: list[BaseProcess] = []
        name = f"rival-of-{self.key}"
        blow = self.blow(lambda _: rival.append(self.night.start(name, "prepare", alive=True)[0]))
        ended = self.night.run(self.key, blows=[blow])
        for process in rival:
            process.join(120)
            if process.exitcode == 0:  # it came when all was over
                ended = self.night.run(name)
        return ended

    def a_rival_takes_over(self) -> bool:
        """Two runs write at once, each step of either in its own time."""
        upto = self.night.steps[: self.random.randint(2, len(self.night.steps))]
        self.night.run(self.key, upto, release=False)
        rival, rest = self.other_key(), [s for s in self.night.steps if s not in upto]
        first = self.key.removesuffix("+")
        blow = self.blow(lambda _: started.append(self.night.start(first, self.random.choice(self.night.extracts))[0]))
        started: list[BaseProcess] = []
        ended = self.night.run(rival, blows=[blow])
        for process in started:
            process.join(120)
            # Begun while the rival prepares, it may be done before the rival takes the lock.
            assert process.exitcode != 0 or blow.step == "prepare"
        assert not rest or not self.night.run(first, rest)
        return ended

    def the_source_ends_its_sessions(self) -> bool:
        return self.night.run(self.key, blows=[self.blow(lambda _: self.world.ends.cut("source"))], retries=4)

    def the_target_ends_its_sessions(self) -> bool:
        return self.night.run(self.key, blows=[self.blow(lambda _: self.world.ends.cut("target"))], retries=4)

    def the_targets_server_crashes(self) -> bool:
        """It takes seconds to recover on a busy machine, and is asked again at once each time."""
        return self.night.run(self.key, blows=[self.blow(lambda _: self.world.ends.crash())], retries=500)


KINDS = [name for name in vars(Disturbance) if not name.startswith("_") and name not in ("blow", "other_key")]


def _disturbed(world: World, kind: str, seed: int) -> None:
    world.night.told.clear()
    assert getattr(Disturbance(world, seed), kind)(), world.night.told
    world.check()


def _cases(runs: int) -> Any:
    return pytest.mark.parametrize(
        ("kind", "seed"),
        [pytest.param(KINDS[n % len(KINDS)], n, id=f"{n}-{KINDS[n % len(KINDS)]}") for n in range(FIRST, FIRST + runs)],
    )


@_cases(RUNS)
@pytest.mark.xdist_group("chaos-postgres")
def test_on_postgres(postgres: World, kind: str, seed: int) -> None:
    _disturbed(postgres, kind, seed)


@_cases(RUNS // 3)
@pytest.mark.xdist_group("chaos-mariadb")
def test_on_mariadb(mariadb: World, kind: str, seed: int) -> None:
    _disturbed(mariadb, kind, seed)


@_cases(RUNS // 3)
@pytest.mark.xdist_group("chaos-mysql")
def test_on_mysql(mysql: World, kind: str, seed: int) -> None:
    _disturbed(mysql, kind, seed)
