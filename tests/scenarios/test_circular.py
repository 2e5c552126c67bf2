"""Cycles of every kind: rows that cannot be loaded in any order, kept by what lies above or by their own filter."""

from __future__ import annotations

import pytest

from tests.scenarios.kit import MakeLab

NULLABLE = """
CREATE TABLE team (id int PRIMARY KEY, captain int);
CREATE TABLE player (id int PRIMARY KEY, team int NOT NULL REFERENCES team);
ALTER TABLE team ADD CONSTRAINT team_captain FOREIGN KEY (captain) REFERENCES player;
"""
TEAMS = """
BEGIN;
SET session_replication_role = replica;
INSERT INTO team VALUES (1, 11), (2, 22), (3, NULL), (4, 12);
INSERT INTO player VALUES (11, 1), (12, 1), (21, 2), (22, 2), (31, 3), (41, 4);
COMMIT;
"""


def test_a_filter_in_a_nullable_cycle_goes_round_it(lab: MakeLab) -> None:
    db = lab(NULLABLE, TEAMS)
    db.run(filters={"team": "id = 1"})
    # Players 11 and 12 are the team's; team 4's captain is 12, but the filter on team is never widened.
    assert db.target.rows("team") == [(1, 11)]
    assert db.target.ids("player") == {"player": [11, 12]}


def test_a_cycle_without_filter_of_its_own_is_walked_until_nothing_is_added(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE league (id int PRIMARY KEY);
    CREATE TABLE team (id int PRIMARY KEY, league int REFERENCES league, captain int);
    CREATE TABLE player (id int PRIMARY KEY, team int NOT NULL REFERENCES team);
    ALTER TABLE team ADD FOREIGN KEY (captain) REFERENCES player;
    """
    rows = """
    SET session_replication_role = replica;
    INSERT INTO league VALUES (1), (2);
    INSERT INTO team VALUES (1, 1, NULL), (2, NULL, 11), (3, NULL, 21), (4, 2, NULL), (5, NULL, NULL);
    INSERT INTO player VALUES (11, 1), (21, 2), (31, 3), (41, 4), (51, 5);
    """
    db = lab(schema, rows)
    db.run(filters={"league": "id = 1"})
    assert db.target.ids() == {"league": [1], "team": [1, 2, 3], "player": [11, 21, 31]}


NOT_NULL = """
CREATE TABLE husband (id int PRIMARY KEY, wife int NOT NULL);
CREATE TABLE wife (id int PRIMARY KEY, husband int NOT NULL REFERENCES husband);
ALTER TABLE husband ADD FOREIGN KEY (wife) REFERENCES wife;
"""


@pytest.mark.parametrize("policy", ["include", "null", "drop"])
def test_a_cycle_of_not_null_keys_that_are_not_deferrable(policy: str, lab: MakeLab) -> None:
    rows = """
    SET session_replication_role = replica;
    INSERT INTO husband VALUES (1, 1), (2, 2), (3, 4), (4, 5), (5, 3);
    INSERT INTO wife VALUES (1, 1), (2, 2), (4, 3), (5, 4), (3, 5);
    """
    db = lab(NOT_NULL, rows)
    db.run(filters={"husband": "id IN (1, 3)"}, references=policy)
    # Husband 3's wife is 4, whose husband is 3: both pairs are closed.
    assert db.target.ids() == {"husband": [1, 3], "wife": [1, 4]}


def test_a_not_null_cycle_whose_rows_go_all_the_way_round(lab: MakeLab) -> None:
    rows = """
    SET session_replication_role = replica;
    INSERT INTO husband VALUES (1, 12), (2, 13), (3, 11), (4, 14);
    INSERT INTO wife VALUES (11, 1), (12, 2), (13, 3), (14, 4);
    """
    db = lab(NOT_NULL, rows)
    db.run(filters={"husband": "id = 1"})
    # 1 → 12 → 2 → 13 → 3 → 11 → 1: one ring of references, so all of it but the pair of 4.
    assert db.target.ids() == {"husband": [1, 2, 3], "wife": [11, 12, 13]}
    db.run(filters={"husband": "id = 1"}, references="drop")
    assert db.target.ids() == {"husband": [], "wife": []}


SEVERAL = """
CREATE TABLE a (id int PRIMARY KEY, b int, c int);
CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
CREATE TABLE c (id int PRIMARY KEY, a int REFERENCES a, b int REFERENCES b);
ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b, ADD FOREIGN KEY (c) REFERENCES c;
"""


def test_several_cycles_in_one_component(lab: MakeLab) -> None:
    rows = """
    SET session_replication_role = replica;
    INSERT INTO a VALUES (1, NULL, NULL), (2, 1, NULL), (3, NULL, 1), (4, 9, NULL), (5, 5, 5);
    INSERT INTO b VALUES (1, 1), (3, 3), (9, NULL), (5, 5);
    INSERT INTO c VALUES (1, NULL, 1), (2, 2, 9), (3, NULL, 3), (5, 5, 5);
    """
    db = lab(SEVERAL, rows)
    db.run(filters={"c": "a = 2"})
    # Only c 2 answers; a and b lie below c only through a.c: nothing references c 2. The rest is referred.
    assert db.target.ids() == {"a": [1, 2], "b": [1, 9], "c": [2]}


def test_several_cycles_under_one_filter(lab: MakeLab) -> None:
    schema = "CREATE TABLE top (id int PRIMARY KEY);" + SEVERAL + "ALTER TABLE a ADD top int REFERENCES top;"
    rows = """
    SET session_replication_role = replica;
    INSERT INTO top VALUES (1), (2);
    INSERT INTO a VALUES (1, NULL, NULL, 1), (2, 1, NULL, NULL), (3, NULL, 1, 2), (4, 9, NULL, 2), (5, NULL, 3, NULL);
    INSERT INTO b VALUES (1, 1), (3, 3), (9, NULL);
    INSERT INTO c VALUES (1, NULL, 1), (2, 4, 9), (3, NULL, 3);
    """
    db = lab(schema, rows)
    db.run(filters={"top": "id = 1"})
    # a1 (top 1) → b1 → a2 and c1 → a3 (by c1, though its own top is 2) → b3 → c3 → a5.
    assert db.target.ids() == {"top": [1, 2], "a": [1, 2, 3, 5], "b": [1, 3], "c": [1, 3]}


def test_a_cycle_with_a_self_reference_in_it(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE company (id int PRIMARY KEY, chief int);
    CREATE TABLE employee (id int PRIMARY KEY, company int NOT NULL REFERENCES company, boss int REFERENCES employee);
    ALTER TABLE company ADD FOREIGN KEY (chief) REFERENCES employee;
    """
    rows = """
    SET session_replication_role = replica;
    INSERT INTO company VALUES (1, 10), (2, 20), (3, 12), (4, NULL);
    INSERT INTO employee VALUES (10, 1, NULL), (11, 1, 10), (12, 2, 11), (20, 2, NULL), (30, 3, NULL), (40, 4, 30),
        (50, 4, NULL);
    """
    db = lab(schema, rows)
    db.run(filters={"employee": "id IN (11, 12, 20, 30, 40)"})
    # 11's boss is 10 (referred); 12 is in company 2, whose chief is 20; 40's company is 4.
    assert db.target.ids() == {"company": [1, 2, 3, 4], "employee": [10, 11, 12, 20, 30, 40]}


def test_two_keys_between_the_tables_of_a_cycle(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE node (id int PRIMARY KEY, first int, last int);
    CREATE TABLE edge (id int PRIMARY KEY, start int NOT NULL REFERENCES node, stop int NOT NULL REFERENCES node);
    ALTER TABLE node ADD FOREIGN KEY (first) REFERENCES edge, ADD FOREIGN KEY (last) REFERENCES edge;
    """
    rows = """
    SET session_replication_role = replica;
    INSERT INTO node VALUES (1, 12, 13), (2, NULL, NULL), (3, NULL, NULL), (4, 42, NULL), (5, NULL, 12);
    INSERT INTO edge VALUES (12, 1, 2), (13, 1, 3), (23, 2, 3), (42, 4, 2), (45, 4, 5);
    """
    db = lab(schema, rows)
    db.run(filters={"node": "id = 2"})
    # Edges at 2: 12, 23 and 42; their other ends 1, 3 and 4 are referred, and 1's last edge 13.
    assert db.target.ids() == {"node": [1, 2, 3, 4], "edge": [12, 13, 23, 42]}


def test_a_filter_on_two_tables_of_one_cycle(lab: MakeLab) -> None:
    db = lab(NULLABLE, TEAMS)
    db.run(filters={"team": "id IN (1, 2)", "player": "id <> 12"}, references="null")
    assert db.target.rows("team") == [(1, 11), (2, 22)]
    # 31 and 41 answer their own filter, but their team is not kept and the key to it cannot be NULL.
    assert db.target.ids("player") == {"player": [11, 21, 22]}


@pytest.mark.engines("postgresql", because="MySQL has no deferrable keys")
def test_a_deferrable_cycle_stays_deferrable(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE a (id int PRIMARY KEY, b int NOT NULL);
    CREATE TABLE b (id int PRIMARY KEY, a int NOT NULL REFERENCES a DEFERRABLE INITIALLY DEFERRED);
    ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b ON DELETE CASCADE DEFERRABLE;
    """
    db = lab(
        schema,
        "BEGIN; SET CONSTRAINTS ALL DEFERRED; INSERT INTO a VALUES (1, 1), (2, 2);"
        "INSERT INTO b VALUES (1, 1), (2, 2); COMMIT;",
    )
    db.run(filters={"a": "id = 1"})
    assert db.target.ids() == {"a": [1], "b": [1]}
