"""A table that references itself: chains deeper than any default limit, in both directions, and rings."""

from __future__ import annotations

import time

import pytest

from tests.scenarios.kit import MakeLab

DEPTH = 20_000
# A walk takes a second of the servers and little of this process. A round trip for every link takes this process more
# than a millisecond each; a walk whose steps grow with its length takes the servers minutes.
OWN_SECONDS, SECONDS = 15, 180

SCHEMA = """
CREATE TABLE area (id int PRIMARY KEY);
CREATE TABLE part (id int PRIMARY KEY, area int REFERENCES area, whole int REFERENCES part);
CREATE INDEX ON part (whole);
"""
CHAIN = f"""
INSERT INTO area VALUES (1), (2);
INSERT INTO part SELECT n, CASE WHEN n = 1 THEN 1 WHEN n > {DEPTH} THEN 2 END,
                        CASE WHEN n NOT IN (1, {DEPTH + 1}) THEN n - 1 END
FROM generate_series(1, {DEPTH + 10}) n;
"""


@pytest.fixture(autouse=True)
def _in_seconds():
    started, own = time.monotonic(), time.process_time()
    yield
    assert time.process_time() - own < OWN_SECONDS
    assert time.monotonic() - started < SECONDS


def test_a_chain_is_walked_down_to_its_end(lab: MakeLab) -> None:
    db = lab(SCHEMA, CHAIN)
    db.run(filters={"area": "id = 1"})
    assert db.target.query("SELECT count(*), min(id), max(id) FROM part") == [(DEPTH, 1, DEPTH)]


def test_a_chain_is_walked_up_to_its_end(lab: MakeLab) -> None:
    db = lab(SCHEMA, CHAIN)
    report = db.run(filters={"part": f"id = {DEPTH}"}, others="referenced")
    assert db.target.query("SELECT count(*), min(id), max(id) FROM part") == [(DEPTH, 1, DEPTH)]
    assert db.target.ids("area") == {"area": [1]}
    part = next(t for t in report.tables if t.table == "public.part")
    assert (part.extracted, part.referred, part.kept) == (1, DEPTH - 1, DEPTH)


def test_a_chain_falls_to_its_end_when_its_head_is_dropped(lab: MakeLab) -> None:
    db = lab(SCHEMA, CHAIN)
    report = db.run(filters={"part": "id > 1"}, references="drop")
    # 2 references 1, which is not kept: all of the chain falls. The other ten stay.
    assert db.target.ids("part") == {"part": list(range(DEPTH + 1, DEPTH + 11))}
    part = next(t for t in report.tables if t.table == "public.part")
    assert (part.extracted, part.dropped, part.kept) == (DEPTH + 9, DEPTH - 1, 10)


def test_a_chain_is_cut_where_its_head_is_not_kept(lab: MakeLab) -> None:
    db = lab(SCHEMA, CHAIN)
    db.run(filters={"part": "id > 2"}, references="null")
    assert db.target.query("SELECT id FROM part WHERE whole IS NULL ORDER BY 1") == [(3,), (DEPTH + 1,)]


def test_a_chain_without_a_key_of_its_own_is_walked_down(lab: MakeLab) -> None:
    """The parent key is unique but nullable, so no column names every row."""
    schema = SCHEMA.replace("CREATE TABLE part (id int PRIMARY KEY", "CREATE TABLE part (id int UNIQUE")
    schema = schema.replace("REFERENCES part)", "REFERENCES part (id))")
    db = lab(schema, CHAIN + "INSERT INTO part VALUES (NULL, NULL, 5), (NULL, NULL, 5), (NULL, NULL, 20005);")
    db.run(filters={"area": "id = 1"})
    assert db.target.query("SELECT count(*), count(id), max(id) FROM part") == [(DEPTH + 2, DEPTH, DEPTH)]


def test_rings_and_rows_that_reference_themselves(lab: MakeLab) -> None:
    rows = """
    SET session_replication_role = replica;
    INSERT INTO area VALUES (1), (2);
    INSERT INTO part VALUES (1, 1, 1), (2, NULL, 2), (3, 1, 5), (4, NULL, 3), (5, NULL, 4), (6, NULL, 5), (7, 2, 7);
    """
    db = lab(SCHEMA, rows)
    db.run(filters={"area": "id = 1"})
    assert db.target.ids("part") == {"part": [1, 3, 4, 5, 6]}


def test_two_self_references(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE person (id int PRIMARY KEY, mother int REFERENCES person, father int REFERENCES person, clan int);
    """
    rows = """
    INSERT INTO person VALUES (1, NULL, NULL, 1), (2, NULL, NULL, 2), (3, 1, 2, 1), (4, NULL, NULL, 3), (5, 3, 4, 1),
        (6, 5, NULL, 2);
    """
    db = lab(schema, rows)
    db.run(filters={"person": "id = 5"})
    assert db.target.ids() == {"person": [1, 2, 3, 4, 5]}
    db.run(filters={"person": "clan = 1"}, references="drop")
    assert db.target.ids() == {"person": [1]}
    db.run(filters={"person": "clan = 1"}, relations={"person.father": {"references": "null"}})
    assert db.target.rows("person") == [(1, None, None, 1), (3, 1, None, 1), (5, 3, None, 1)]


def test_a_table_called_parent_that_references_itself(lab: MakeLab) -> None:
    schema = 'CREATE TABLE parent (id int PRIMARY KEY, parent int REFERENCES parent, wanted int, "walk" int);'
    db = lab(schema, "INSERT INTO parent (id, parent) VALUES (1, NULL), (2, 1), (3, 2), (4, NULL);")
    db.run(filters={"parent": "parent.id = 3"})
    assert db.target.ids() == {"parent": [1, 2, 3]}
    db.run(filters={"parent": "parent.id >= 3"}, references="null")
    assert db.target.rows("parent") == [(3, None, None, None), (4, None, None, None)]
