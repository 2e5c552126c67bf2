"""A bank that never rests: a source that changes all through a run, each change known, so that any state can be made.

Every transaction of the writer moves money (`checking` and `savings` always sum to 0 together), adds and deletes
accounts, transfers, notes and branches, and raises `version`. What it does hangs on the version alone: a copy that
says version n is one point in time exactly when it equals the copy of a bank at rest that was brought to version n.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from airflow_subset_provider.core.engines.base import Endpoint
from airflow_subset_provider.core.run import subset
from airflow_subset_provider.core.spec import Spec
from sandbox.postgresql import PostgresEndpoint
from tests.databases import CreateDatabase

BRANCHES, ACCOUNTS = 9, 90
SCHEMA = """
CREATE TABLE version (n int NOT NULL);
CREATE TABLE branch (id int PRIMARY KEY);
CREATE TABLE account (id int PRIMARY KEY, branch_id int NOT NULL REFERENCES branch, sponsor_id int REFERENCES account,
                      balance int NOT NULL);
CREATE TABLE transfer (id int PRIMARY KEY, from_id int NOT NULL REFERENCES account,
                       to_id int NOT NULL REFERENCES account, amount int NOT NULL);
CREATE TABLE note (id int PRIMARY KEY, transfer_id int NOT NULL REFERENCES transfer ON DELETE CASCADE,
                   account_id int REFERENCES account);
CREATE TABLE checking (id int PRIMARY KEY, branch_hint int, balance int NOT NULL);
CREATE TABLE savings (id int PRIMARY KEY, balance int NOT NULL);
"""
DATA = f"""
INSERT INTO version VALUES (0);
INSERT INTO branch SELECT generate_series(1, {BRANCHES});
INSERT INTO account SELECT n, n % {BRANCHES} + 1, nullif(n / 3, 0), 0 FROM generate_series(1, {ACCOUNTS}) n;
INSERT INTO checking SELECT n, n % {BRANCHES} + 1, 0 FROM generate_series(1, {ACCOUNTS}) n;
INSERT INTO savings SELECT n, 0 FROM generate_series(1, {ACCOUNTS}) n;
"""
TABLES = ("version", "branch", "account", "transfer", "note", "checking", "savings")

SPECS: dict[str, dict[str, Any]] = {
    "whole": {"filters": {"branch": "id <= 3"}},
    "referenced": {
        "filters": {"transfer": "id % 3 = 0"},
        "others": "referenced",
        "tables": {"version": "whole", "checking": "whole", "savings": "whole"},
    },
    # A referred transfer may itself be impossible to keep: one task settles all.
    "settled": {
        "filters": {"note": "id % 2 = 0"},
        "others": "referenced",
        "tables": {"version": "whole", "checking": "whole", "savings": "whole"},
        "relations": {"transfer.to_id": {"references": "drop"}},
    },
    # The source is asked by `finish` which values of a key that nobody has validated exist.
    "nulled": {
        "filters": {"branch": "id <= 3"},
        "references": "null",
        "relations": {"checking.branch_hint": {"to": "branch.id", "references": "null", "follow": False}},
    },
}


def change(n: int) -> str:
    """The transaction that makes version n."""
    chance = random.Random(n)
    a, b = chance.sample(range(1, ACCOUNTS + 1), 2)
    amount = chance.randint(1, 99)
    steps = [
        f"INSERT INTO transfer VALUES ({n}, {a}, {b}, {amount})",
        f"UPDATE account SET balance = balance - {amount} WHERE id = {a}",
        f"UPDATE account SET balance = balance + {amount} WHERE id = {b}",
        f"UPDATE checking SET balance = balance - {amount} WHERE id = {a}",
        f"UPDATE savings SET balance = balance + {amount} WHERE id = {b}",
        f"INSERT INTO note VALUES ({n}, {n}, {a})",
    ]
    if n % 3 == 0:
        steps.append(f"DELETE FROM transfer WHERE id = {n - 120}")
    if n % 2 == 0:  # a branch, an account in it, and somebody who depends on both
        steps += [
            f"INSERT INTO branch VALUES ({1000 + n})",
            f"INSERT INTO account VALUES ({1000 + n}, {1000 + n}, {a}, 0)",
            f"INSERT INTO transfer VALUES ({1_000_000 + n}, {b}, {1000 + n}, 1)",
            f"INSERT INTO note VALUES ({1_000_000 + n}, {1_000_000 + n}, {1000 + n})",
            f"UPDATE account SET sponsor_id = {1000 + n} WHERE id = {b}",
            f"UPDATE checking SET branch_hint = {1000 + n} WHERE id = {b}",
        ]
        old = 1000 + n - 40
        steps += [
            f"UPDATE account SET sponsor_id = NULL WHERE sponsor_id = {old}",
            f"DELETE FROM note WHERE account_id = {old}",
            f"DELETE FROM transfer WHERE {old} IN (from_id, to_id)",
            f"DELETE FROM account WHERE id = {old}",
            f"DELETE FROM branch WHERE id = {old}",
        ]
    return "; ".join([*steps, f"UPDATE version SET n = {n}"])


class Bank:
    """The source, a target of the same schema, and the writer."""

    def __init__(self, source: PostgresEndpoint, target: PostgresEndpoint, create: CreateDatabase) -> None:
        self._servers, self._create = (source, target), create
        self.names = create(source, hint="bank"), create(target, hint="bank_copy")
        source.run_script(self.names[0], SCHEMA + DATA)
        target.run_script(self.names[1], SCHEMA)
        self.version = 0

    @property
    def urls(self) -> tuple[str, str]:
        source, target = (server.url(name) for server, name in zip(self._servers, self.names, strict=True))
        return source, target

    @property
    def ends(self) -> tuple[Endpoint, Endpoint]:
        source, target = (_endpoint(server, name) for server, name in zip(self._servers, self.names, strict=True))
        return source, target

    @contextmanager
    def at_work(self, pause: float = 0.0) -> Iterator[None]:
        """The writer, at least two hundred versions ahead."""
        over, failed = threading.Event(), []

        def write() -> None:
            try:
                with psycopg.connect(**self._servers[0].params(self.names[0]), autocommit=True) as connection:
                    while not over.is_set():
                        connection.execute(f"BEGIN; {change(self.version + 1)}; COMMIT")  # type: ignore[arg-type]
                        self.version += 1
                        time.sleep(pause if self.version > 200 else 0)
            except BaseException as error:
                failed.append(error)
                raise

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        try:
            while self.version < 200 and not failed:
                time.sleep(0.01)
            yield
        finally:
            over.set()
            thread.join()
        assert not failed

    # -- what a copy must be

    def copied(self) -> dict[str, list[tuple[Any, ...]]]:
        return self._rows(self.names[1])

    def expected(self, spec: Spec, version: int) -> dict[str, list[tuple[Any, ...]]]:
        """The copy of a bank at rest, at that version."""
        source, target = self._servers
        rest, copy = self._create(source, hint="rest"), self._create(target, hint="rest_copy")
        source.run_script(rest, SCHEMA + DATA + "; ".join(["BEGIN", *map(change, range(1, version + 1)), "COMMIT"]))
        target.run_script(copy, SCHEMA)
        subset(spec, _endpoint(source, rest), _endpoint(target, copy))
        return self._rows(copy)

    def is_one_point(self, spec: Spec) -> bool:
        """Whether the copy is the bank at the version that it says, down to the row."""
        found = self.copied()
        ((version,),) = found["version"]
        return found == self.expected(spec, version)

    def sum(self) -> int:
        """Of all money in the copy, where both tables are whole: 0."""
        found = self.copied()
        return sum(row[-1] for table in ("checking", "savings") for row in found[table])

    def unvalidated(self) -> list[str]:
        with self.ends[1].connect() as connection:
            rows = connection.execute("SELECT conname FROM pg_constraint WHERE NOT convalidated").fetchall()
        return [name for (name,) in rows]

    def _rows(self, name: str) -> dict[str, list[tuple[Any, ...]]]:
        with psycopg.connect(**self._servers[1].params(name)) as connection:
            return {t: connection.execute(f"SELECT * FROM {t} ORDER BY 1").fetchall() for t in TABLES}  # type: ignore


def _endpoint(server: PostgresEndpoint, name: str) -> Endpoint:
    params = server.params(name)
    return Endpoint("postgresql", lambda: psycopg.connect(**params), name)
