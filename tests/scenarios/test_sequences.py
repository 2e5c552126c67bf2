"""After a run every sequence goes on behind what the copy holds, wherever it came from."""

from __future__ import annotations

import pytest

from tests.scenarios.kit import MakeLab


def test_a_counter_goes_on_behind_what_the_copy_holds(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE counted (id serial PRIMARY KEY, v int, up int REFERENCES counted);
    CREATE TABLE nobody (id serial PRIMARY KEY, v int);
    CREATE TABLE sentinel (id serial PRIMARY KEY, v int);
    CREATE TABLE plain (id int PRIMARY KEY);
    """
    rows = """
    INSERT INTO counted VALUES (5, 1, NULL), (90, 2, 5), (1000, 3, NULL); INSERT INTO nobody VALUES (7, 7);
    INSERT INTO sentinel VALUES (-1, 1), (0, 2);
    """
    db = lab(schema, rows)
    report = db.run(filters={"counted": "id = 90", "nobody": "id = 1"})
    assert report.sequences == 3
    for table in ("counted", "nobody", "sentinel"):
        db.target.execute(f"INSERT INTO {table} (v) VALUES (9)")
    assert db.target.ids() == {"counted": [5, 90, 91], "nobody": [1], "plain": [], "sentinel": [-1, 0, 1]}


@pytest.mark.engines("postgresql", because="a counter of MySQL belongs to one table")
def test_the_next_row_finds_a_free_number(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE owned (id serial PRIMARY KEY);
    CREATE TABLE always (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
    CREATE SEQUENCE free START 7;
    CREATE TABLE standing (id int PRIMARY KEY DEFAULT nextval('free'));
    CREATE SEQUENCE both_of_them;
    CREATE TABLE one (id int PRIMARY KEY DEFAULT nextval('both_of_them'));
    CREATE TABLE two (id int PRIMARY KEY DEFAULT nextval('both_of_them'));
    CREATE SEQUENCE down INCREMENT -1;
    CREATE TABLE below (id int PRIMARY KEY DEFAULT nextval('down'));
    CREATE SEQUENCE tens INCREMENT 10 START 10;
    CREATE TABLE by_ten (id smallint PRIMARY KEY DEFAULT nextval('tens'));
    CREATE SCHEMA "Elsewhere"; CREATE SEQUENCE "Elsewhere"."the 'one'";
    CREATE TABLE far (id int PRIMARY KEY DEFAULT nextval('"Elsewhere"."the ''one''"'));
    CREATE TABLE part (id serial, p int) PARTITION BY LIST (p);
    CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
    CREATE TABLE nobody (id serial PRIMARY KEY);
    """
    tables = ("owned", "always", "standing", "one", "two", "below", "by_ten", "far")
    rows = "".join(f"INSERT INTO {t} DEFAULT VALUES;" * 3 for t in tables)
    rows += "INSERT INTO two VALUES (90); INSERT INTO part (p) VALUES (1), (1); INSERT INTO owned VALUES (1000);"
    db = lab(schema, rows)
    report = db.run()
    assert report.sequences == 9
    for table in (*tables, "part"):
        db.target.execute(f"INSERT INTO {table} {'(p) VALUES (1)' if table == 'part' else 'DEFAULT VALUES'}")
    added = {t: set(db.target.ids(t)[t]) - set(db.source.ids(t)[t]) for t in (*tables, "part")}
    assert added == {
        "owned": {1001},
        "always": {4},
        "standing": {10},
        "one": {91},
        "two": {92},
        "below": {-4},
        "by_ten": {40},
        "far": {4},
        "part": {3},
    }
    db.target.execute("INSERT INTO nobody DEFAULT VALUES")
    assert db.target.ids("nobody") == {"nobody": [1]}


@pytest.mark.engines("postgresql", because="a counter of MySQL has no bounds and no other use")
def test_values_outside_of_the_sequences_bounds(lab: MakeLab) -> None:
    """Sentinel rows such as -1 and 0 are below what an ascending sequence can give, others above."""
    schema = """
    CREATE TABLE sentinel (id serial PRIMARY KEY);
    CREATE TABLE mixed (id serial PRIMARY KEY);
    CREATE SEQUENCE small MAXVALUE 100;
    CREATE TABLE above (id int PRIMARY KEY DEFAULT nextval('small'));
    CREATE SEQUENCE huge;
    CREATE TABLE enormous (id numeric PRIMARY KEY DEFAULT nextval('huge'));
    """
    rows = """
    INSERT INTO sentinel VALUES (-1), (0); INSERT INTO mixed VALUES (-1), (5);
    INSERT INTO above VALUES (5), (1000); INSERT INTO enormous VALUES (3), (1e30);
    """
    db = lab(schema, rows)
    db.run()
    for table in ("sentinel", "mixed", "above", "enormous"):
        db.target.execute(f"INSERT INTO {table} DEFAULT VALUES")
    assert db.target.ids() == {
        "above": [5, 6, 1000],
        "enormous": [10**30, 3, 4],
        "mixed": [-1, 5, 6],
        "sentinel": [-1, 0, 1],
    }


@pytest.mark.engines("postgresql", because="a counter of MySQL has no bounds and no other use")
def test_a_sequence_in_a_default_that_is_no_number(lab: MakeLab) -> None:
    schema = """
    CREATE SEQUENCE codes;
    CREATE TABLE doc (code text PRIMARY KEY DEFAULT 'D-' || nextval('codes'), n int DEFAULT nextval('codes'));
    """
    db = lab(schema, "INSERT INTO doc VALUES ('D-5', 4), ('old', NULL);")
    db.run()
    db.target.execute("INSERT INTO doc (code) VALUES ('x')")
    assert db.target.value("SELECT n FROM doc WHERE code = 'x'") == 5
