"""A source that changes between the steps of a run: whatever the seams, nothing dangles in the end.

Each change is made after the extracts and before the references, where it hurts most.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from airflow_subset_provider.core.plan import build
from airflow_subset_provider.core.run import Endpoint, Run, reflect
from airflow_subset_provider.core.spec import Spec
from sandbox.postgresql import PostgresEndpoint
from tests.databases import CreateDatabase

SCHEMA = """
CREATE TABLE lookup (id int PRIMARY KEY);
CREATE TABLE boss (id int PRIMARY KEY, lookup_id int REFERENCES lookup, boss_id int REFERENCES boss);
CREATE TABLE owner (id int PRIMARY KEY, boss_id int NOT NULL REFERENCES boss);
CREATE TABLE item (id int PRIMARY KEY, owner_id int NOT NULL REFERENCES owner, lookup_id int REFERENCES lookup);
CREATE TABLE note (item_id int NOT NULL REFERENCES item, text text);
"""
DATA = """
INSERT INTO lookup SELECT generate_series(1, 9);
INSERT INTO boss SELECT n, n, nullif(n - 1, 0) FROM generate_series(1, 9) n;
INSERT INTO owner SELECT n, n FROM generate_series(1, 9) n;
INSERT INTO item SELECT n, (n - 1) / 3 + 1, (n - 1) / 3 + 1 FROM generate_series(1, 27) n;
INSERT INTO note SELECT n, 'note ' || n FROM generate_series(1, 27) n;
"""

CHANGES = {
    "a new parent for a kept child": "INSERT INTO boss VALUES (50, 1, 9); UPDATE owner SET boss_id = 50 WHERE id = 1",
    "a parent and its children gone": "DELETE FROM note WHERE item_id = 1; DELETE FROM item WHERE id = 1",
    "a referred row gone, its child moved": "UPDATE owner SET boss_id = 8 WHERE id = 1; "
    "UPDATE boss SET boss_id = 8 WHERE boss_id = 1; DELETE FROM boss WHERE id = 1",
    "a whole table's row gone": "UPDATE item SET lookup_id = 9 WHERE lookup_id = 2; "
    "UPDATE boss SET lookup_id = 9 WHERE lookup_id = 2; DELETE FROM lookup WHERE id = 2",
    "a chain replaced": "INSERT INTO boss SELECT n, 1, n - 1 FROM generate_series(10, 40) n; "
    "UPDATE owner SET boss_id = 40 WHERE id = 2; UPDATE boss SET boss_id = NULL WHERE boss_id = 2; "
    "DELETE FROM boss WHERE id = 2",
    "everything gone": "TRUNCATE lookup, boss, owner, item, note",
}


@pytest.fixture
def ends(
    source_server: PostgresEndpoint, target_server: PostgresEndpoint, fresh_database: CreateDatabase
) -> tuple[Endpoint, Endpoint, Callable[[str], object]]:
    from_name, to_name = fresh_database(source_server), fresh_database(target_server)
    source_server.run_script(from_name, SCHEMA + DATA)
    target_server.run_script(to_name, SCHEMA)
    return (
        Endpoint("postgresql", lambda: psycopg.connect(**source_server.params(from_name)), "source"),
        Endpoint("postgresql", lambda: psycopg.connect(**target_server.params(to_name)), "target"),
        lambda text: source_server.run_script(from_name, text),
    )


@pytest.mark.parametrize("others", ["whole", "referenced"])
@pytest.mark.parametrize("policy", ["include", "drop"])
@pytest.mark.parametrize("change", CHANGES)
def test_seams_are_healed(
    change: str, others: str, policy: str, ends: tuple[Endpoint, Endpoint, Callable[[str], object]]
) -> None:
    source, target, execute = ends
    spec = Spec.of(filters={"owner": "id <= 3"}, others=others, relations={"item.lookup_id": {"references": policy}})
    run = Run(build(spec, reflect(source)), source, target)
    run.prepare()
    for number, component in enumerate(run.plan.extracts):
        run.extract(component)
        if number == len(run.plan.extracts) - 2:
            execute(CHANGES[change])
    if run.plan.may_ban:
        run.settle()
    for component in () if run.plan.may_ban else run.plan.closures:
        run.refer(component)
    report = run.finish()
    run.release()
    assert report.dangling == 0
    with target.connect() as connection:
        unvalidated = connection.execute("SELECT conname FROM pg_constraint WHERE NOT convalidated").fetchall()
        kept = dict(
            connection.execute(
                "SELECT 'note', count(*) FROM note UNION SELECT 'item', count(*) FROM item "
                "UNION SELECT 'owner', count(*) FROM owner UNION SELECT 'boss', count(*) FROM boss "
                "UNION SELECT 'lookup', count(*) FROM lookup"
            ).fetchall()
        )
    assert unvalidated == []
    assert kept == {t.table.removeprefix("public."): t.kept for t in report.tables}
