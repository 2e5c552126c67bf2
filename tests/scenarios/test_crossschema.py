"""Keys from one schema to another, in scope and out of it."""

from __future__ import annotations

import pytest

from airflow_subset_provider.core import engines
from airflow_subset_provider.core.repair import repair
from airflow_subset_provider.core.run import Run, reflect
from tests.scenarios.kit import MakeLab

SCHEMA = """
CREATE SCHEMA crm; CREATE SCHEMA "Shop Floor";
CREATE TABLE crm.customer (id int PRIMARY KEY);
CREATE TABLE "Shop Floor".customer (id int PRIMARY KEY, crm int REFERENCES crm.customer);
CREATE TABLE "order" (id int PRIMARY KEY, customer int REFERENCES "Shop Floor".customer, agent int NOT NULL DEFAULT 1);
"""
ROWS = """
INSERT INTO crm.customer VALUES (1), (2), (3);
INSERT INTO "Shop Floor".customer VALUES (11, 1), (12, 2), (13, NULL);
INSERT INTO "order" (id, customer) VALUES (101, 11), (102, 12), (103, 13), (104, NULL);
"""
ALL = ("crm", "Shop Floor", "public")


def test_filters_and_references_cross_schemas(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    db.run(schemas=ALL, filters={"crm.customer": "id = 1"})
    assert db.target.ids() == {"order": [101], "Shop Floor.customer": [11], "crm.customer": [1]}
    db.run(schemas=ALL, filters={"order": "id >= 102"}, others="referenced")
    assert db.target.ids() == {"order": [102, 103, 104], "Shop Floor.customer": [12, 13], "crm.customer": [2]}


def test_a_name_that_two_schemas_have_must_say_which(lab: MakeLab) -> None:
    error = str(lab(SCHEMA, ROWS).refusal(schemas=ALL, filters={"customer": "id = 1"}))
    assert "'customer' is ambiguous" in error
    assert "crm.customer" in error
    assert "Shop Floor.customer" in error


def test_a_parent_out_of_scope_is_nulled_and_the_report_says_so(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    report = db.run(filters={"order": "id <= 103"})
    assert db.target.rows("order") == [(101, None, 1), (102, None, 1), (103, None, 1)]
    assert any("its parent is not copied" in w for w in report.warnings)


def test_a_parent_out_of_scope_that_cannot_be_nulled_leaves_its_rows_out(lab: MakeLab) -> None:
    schema = """
    CREATE SCHEMA other; CREATE TABLE other.p (id int PRIMARY KEY);
    CREATE TABLE c (id int PRIMARY KEY, p int NOT NULL REFERENCES other.p);
    CREATE TABLE d (id int PRIMARY KEY, c int REFERENCES c);
    """
    db = lab(
        schema, "INSERT INTO other.p VALUES (1); INSERT INTO c VALUES (1, 1); INSERT INTO d VALUES (1, 1), (2, NULL);"
    )
    report = db.run(filters={"d": "true"})
    assert db.target.ids("c") == {"c": []}
    assert db.target.rows("d") == [(1, None), (2, None)]
    assert any("rows are left out" in w for w in report.warnings)


@pytest.mark.parametrize("schemas", [ALL, tuple(reversed(ALL))])
def test_the_missing_schemas_are_made(schemas: tuple[str, ...], lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS, target="")
    db.run(schemas=schemas, filters={"crm.customer": "id = 2"}, create_schema=True)
    assert db.target.ids() == {"order": [102], "Shop Floor.customer": [12], "crm.customer": [2]}
    db.run(schemas=schemas, filters={"crm.customer": "id = 1"}, create_schema=True)
    assert db.target.ids() == {"order": [101], "Shop Floor.customer": [11], "crm.customer": [1]}


@pytest.mark.engines("postgresql", because="MySQL has no such setting")
def test_the_session_keeps_its_name_when_the_schema_is_made(lab: MakeLab) -> None:
    """pg_dump's script sets what it likes; administrators know a run's sessions by their name."""
    db = lab(SCHEMA, ROWS, target="")
    engine = engines.get("postgresql")
    with (
        engine.source(db.source.endpoint(), "subset") as source,
        engine.target(db.target.endpoint(), "subset prepare") as target,
    ):
        with target.transaction():
            target.create_schema(source.schema_dump(ALL), source, ALL)
        kept = target.rows("SELECT current_setting('application_name'), current_setting('search_path')")
    assert kept == [("subset prepare", '"$user", public')]


@pytest.mark.engines("postgresql", because="MySQL has no search path")
def test_users_with_different_search_paths(lab: MakeLab) -> None:
    """Types and keys are named with their schemas: what one user's path resolves, another's does not."""
    schema = """
    CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('glad', 'sad'); CREATE DOMAIN app.code AS varchar(4);
    CREATE TABLE app.p (id int PRIMARY KEY, code app.code UNIQUE, mood app.mood);
    CREATE TABLE app.c (id int PRIMARY KEY, p int REFERENCES app.p, code app.code REFERENCES app.p (code),
                        up int REFERENCES app.c);
    """
    rows = """
    INSERT INTO app.p VALUES (1, 'one', 'glad'), (2, 'two', 'sad');
    INSERT INTO app.c VALUES (1, 1, 'two', NULL), (2, 2, 'two', 1);
    """
    db = lab(schema, rows)
    here, plain = {"options": "-c search_path=app,public"}, {"options": "-c search_path=public"}
    assert reflect(db.source.endpoint(**here), ["app"]) == reflect(db.source.endpoint(**plain), ["app"])
    request = {"filters": {"app.c": "id = 1"}, "others": "referenced", "schemas": ["app"]}
    run = Run(db.plan(**request), db.source.endpoint(**here), db.target.endpoint(**here), key="run", fresh=True)
    run.prepare()
    assert {i.how for i in repair(db.target.endpoint(**plain)).items} == {"validated"}
    db.assert_in_force()
    db.run(**request, source=db.source.endpoint(**plain), target=db.target.endpoint(**here))
    assert db.target.ids() == {"app.c": [1], "app.p": [1, 2]}
    request["filters"] = {"app.p": "mood = 'sad'::mood"}  # as its author's path resolves it
    db.run(**request, source=db.source.endpoint(**here))
    assert db.target.ids() == {"app.c": [1, 2], "app.p": [1, 2]}
