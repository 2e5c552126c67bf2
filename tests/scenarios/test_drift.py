"""A source whose schema is no longer the catalog's, with `on_drift="warn"`: a correct copy, or a target left alone."""

from __future__ import annotations

import re
from typing import Any

import pytest

from airflow_subset_provider.core.errors import DriftError, TargetError
from airflow_subset_provider.core.report import Report
from airflow_subset_provider.core.spec import OnDrift
from tests.scenarios.kit import Lab, MakeLab

SCHEMA = """
CREATE TABLE customer (id int PRIMARY KEY, name varchar(5) NOT NULL);
CREATE TABLE sale (id int PRIMARY KEY, customer int REFERENCES customer, day date NOT NULL);
CREATE TABLE note (id int PRIMARY KEY, customer int CONSTRAINT note_customer REFERENCES customer);
"""
PARTITIONED = (
    SCHEMA.replace("day date NOT NULL);", "day date NOT NULL) PARTITION BY RANGE (id);")
    + """
CREATE TABLE sale_1 PARTITION OF sale FOR VALUES FROM (0) TO (10);
"""
)
ROWS = """
INSERT INTO customer VALUES (1, 'one'), (2, 'two');
INSERT INTO sale VALUES (1, 1, '2026-01-01'), (2, 2, '2026-01-01'), (3, 1, '2026-01-02');
INSERT INTO note VALUES (1, 1), (2, 2);
"""
REQUEST: dict[str, Any] = {"filters": {"customer": "id = 1"}}
KEPT = {"customer": [1], "note": [1], "sale": [1, 3]}
# MySQL's way to say it; the rest is translated.
SPELLED = {
    "ALTER name TYPE varchar(20)": "MODIFY name varchar(20) NOT NULL",
    "ALTER name TYPE text": "MODIFY name text NOT NULL",
    "ALTER name DROP NOT NULL": "MODIFY name varchar(5)",
    "DROP CONSTRAINT note_pkey": "DROP PRIMARY KEY",
}


def lag(db: Lab, change: str, target: str = "", **request: Any) -> Report:
    """A run by the catalog of before the change."""
    catalog = db.schema("public")
    _change(db, change, target)
    found = db.target.constraints()
    report = db.run_unlike(found, schema=catalog, on_drift=OnDrift.WARN, **REQUEST, **request)
    assert all(w.startswith("changed since the catalog was made: ") for w in report.warnings)
    return report


def _change(db: Lab, source: str, target: str) -> None:
    for end, script in ((db.source, source), (db.target, target)):
        for words, other in SPELLED.items() if db.engine != "postgresql" else ():
            script = script.replace(words, other)
        end.execute(script)


def refusal(db: Lab, change: str, target: str = "", **request: Any) -> str:
    catalog = db.schema("public")
    _change(db, change, target)
    error = db.refusal(schema=catalog, **{"on_drift": OnDrift.WARN, **REQUEST, **request})
    assert isinstance(error, (DriftError, TargetError))
    assert not error.retryable
    return str(error)


def test_a_new_nullable_column_is_left_out(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    report = lag(db, "ALTER TABLE customer ADD vat text; UPDATE customer SET vat = 'DE1'")
    (warning,) = report.warnings
    assert re.search(r": public\.customer\.vat: column added \((text|varchar\(300\).*)\)$", warning)
    assert db.target.rows("customer") == [(1, "one")]
    assert db.target.ids() == KEPT


def test_a_new_column_that_the_target_has_too_may_not_stay_empty(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    add = "ALTER TABLE customer ADD vat text"
    said = refusal(db, f"{add}; UPDATE customer SET vat = 'DE1'", add)
    assert "public.customer.vat: source and target have this column, the catalog does not" in said


def test_a_new_generated_column_on_both_sides_fills_itself(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    add = "ALTER TABLE customer ADD loud text GENERATED ALWAYS AS (upper(name)) STORED"
    lag(db, add, add)
    assert db.target.rows("customer") == [(1, "one", "ONE")]


def test_the_schema_just_made_has_the_new_column_as_well(lab: MakeLab) -> None:
    """The source's own description of it knows the column, the catalog does not: nothing is made."""
    db = lab(SCHEMA, ROWS, target="")
    assert "it would stay empty" in refusal(db, "ALTER TABLE customer ADD vat text", create_schema=True)


def test_a_new_table_is_left_out(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    made = "CREATE TABLE visit (id int PRIMARY KEY, customer int REFERENCES customer)"
    report = lag(db, f"{made}; INSERT INTO visit VALUES (1, 1)", made)
    assert db.target.ids() == {**KEPT, "visit": []}
    assert len(report.warnings) == 2


def test_a_new_table_that_existing_rows_reference(lab: MakeLab) -> None:
    change = "CREATE TABLE shop (id int PRIMARY KEY); ALTER TABLE customer ADD shop int REFERENCES shop"
    said = refusal(lab(SCHEMA, ROWS), change)
    assert "public.customer(shop) -> public.shop: foreign key added\n" in said
    assert "public.shop: table added. Harmless by itself." in said


@pytest.mark.parametrize(
    "change", ["ADD vat int", "DROP customer, DROP day", "ADD up int; ALTER TABLE trail DROP day", "DROP id"]
)
def test_the_columns_of_a_skipped_table(lab: MakeLab, change: str) -> None:
    """No row of it is written, so nothing can be lost or not fit, whether the target follows or stays."""
    made = "CREATE TABLE trail (id int, customer int, day date);"
    for follows in (True, False):
        db = lab(SCHEMA + made, ROWS + "INSERT INTO trail VALUES (1, 1, NULL);")
        lag(
            db,
            f"ALTER TABLE trail {change}",
            f"ALTER TABLE trail {change}" if follows else "",
            tables={"trail": "skip"},
        )
        assert db.target.ids("customer", "sale", "trail") == {"customer": [1], "sale": [1, 3], "trail": []}


def test_a_schema_that_is_made_with_a_skipped_table_of_new_columns(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS, target="")
    catalog = db.schema("public")
    db.source.execute("ALTER TABLE note ADD vat int")
    db.run(schema=catalog, on_drift=OnDrift.WARN, create_schema=True, tables={"note": "skip"}, **REQUEST)
    assert db.target.ids("customer", "note") == {"customer": [1], "note": []}


def test_a_skipped_table_that_is_gone_from_both_ends(lab: MakeLab) -> None:
    """It is in the catalog, so the copy would be expected to have it, if empty."""
    gone = "DROP TABLE note"
    assert "the target has no table public.note" in refusal(lab(SCHEMA, ROWS), gone, gone, tables={"note": "skip"})


def test_a_wider_column(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    wider = "ALTER TABLE customer ALTER name TYPE varchar(20)"
    lag(db, f"{wider}; UPDATE customer SET name = 'one hundred'", wider)
    assert db.target.rows("customer") == [(1, "one hundred")]


def test_a_wider_column_without_room_in_the_target(lab: MakeLab) -> None:
    said = refusal(lab(SCHEMA, ROWS), "ALTER TABLE customer ALTER name TYPE text")
    assert re.search(
        r"public\.customer\.name: the target's type is \w[^,]*\(5\).*, the source's (text|varchar\(300\).*)\. Alter",
        said,
    )


@pytest.mark.engines("postgresql", because="a partition is a table of its own")
def test_a_new_partition(lab: MakeLab) -> None:
    db = lab(PARTITIONED, ROWS)
    made = "CREATE TABLE sale_2 PARTITION OF sale FOR VALUES FROM (10) TO (20);"
    lag(db, f"{made}; INSERT INTO sale VALUES (11, 1, '2026-01-03')", made)
    assert db.target.ids("sale") == {"sale": [1, 3, 11]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER TABLE sale DROP day", "public.sale.day: column dropped"),
        ("DROP TABLE note", "public.note: table dropped"),
        ("ALTER TABLE note DROP CONSTRAINT note_pkey", "public.note: primary key dropped (id)"),
        ("ALTER TABLE note DROP CONSTRAINT note_customer", "foreign key dropped"),
        ("ALTER TABLE customer ALTER name DROP NOT NULL", "nullable: False -> True"),
    ],
)
def test_harmful_changes_still_stop_the_run(lab: MakeLab, change: str, said: str) -> None:
    told = refusal(lab(SCHEMA, ROWS), f"{change}; ALTER TABLE customer ADD vat text")
    assert said in told
    assert re.search(r"column added \(.*\)\. Harmless by itself\.", told)


def test_harmless_changes_stop_a_run_by_default(lab: MakeLab) -> None:
    told = refusal(lab(SCHEMA, ROWS), "ALTER TABLE customer ADD vat text", on_drift=OnDrift.FAIL)
    assert "on_drift='warn' lets such a run go on" in told
