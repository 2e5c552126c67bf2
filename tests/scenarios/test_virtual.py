"""Foreign keys that the database does not know: declared by the user, polymorphic, and full of values without a row."""

from __future__ import annotations

import pytest

from tests.scenarios.kit import MakeLab


def test_values_of_a_wider_type_are_not_cut_to_fit(lab: MakeLab) -> None:
    """'abcdefg' is no reference to 'abcde', nor 1.234 to 1.23."""
    schema = """
    CREATE TABLE p (name varchar(5) PRIMARY KEY);
    CREATE TABLE q (n numeric(9, 2) PRIMARY KEY);
    CREATE TABLE c (id int PRIMARY KEY, name text, n numeric);
    """
    rows = """
    INSERT INTO p VALUES ('abcde'), ('x'); INSERT INTO q VALUES (1.23), (2);
    INSERT INTO c VALUES (1, 'abcdefg', 1.234), (2, 'x', 2.0), (3, 'nobody', 77777777777);
    """
    db = lab(schema, rows)
    for policy in ("include", "drop", "null"):
        db.run(
            filters={"c": "true"},
            others="referenced",
            references=policy,
            relations={"c.name": {"to": "p"}, "c.n": {"to": "q", "follow": False}},
        )
        kept = {"include": [1, 2, 3], "drop": [1, 3], "null": [1, 2, 3]}[policy]
        assert db.target.ids("c") == {"c": kept}
        assert db.target.ids("p") == {"p": ["x"] if policy == "include" else []}
        assert [str(n) for n in db.target.ids("q")["q"]] == (["2.00"] if policy == "include" else [])
    assert db.target.rows("c")[0][1:2] == ("abcdefg",)
    assert db.target.rows("c")[1][1:] == (None, None)


POLYMORPHIC = """
CREATE TABLE issue (id int PRIMARY KEY); CREATE TABLE merge (id int PRIMARY KEY);
CREATE TABLE comment (id int PRIMARY KEY, on_type text, on_id int, up int REFERENCES comment);
"""
COMMENTS = """
INSERT INTO issue VALUES (1), (2); INSERT INTO merge VALUES (1), (2);
INSERT INTO comment VALUES (1, 'Issue', 1, NULL), (2, 'Issue', 2, 1), (3, 'Merge', 1, NULL), (4, 'Merge', 2, 3),
    (5, 'Snippet', 1, NULL), (6, NULL, 1, NULL), (7, 'Issue', NULL, NULL), (8, 'Issue', 99, NULL), (9, 'it''s', 1, 1);
"""
ON = {"comment.on_id": {"type": "on_type", "to": {"Issue": "issue", "Merge": "merge.id", "it's": "issue.id"}}}


def test_a_polymorphic_reference(lab: MakeLab) -> None:
    db = lab(POLYMORPHIC, COMMENTS)
    db.run(filters={"issue": "id = 1"}, relations=ON)
    # 1 and 9 are on issue 1, 2 answers 1; others have no filter above them that they could reach.
    assert db.target.ids() == {"issue": [1, 2], "merge": [1, 2], "comment": [1, 2, 9]}
    db.run(filters={"comment": "id > 1"}, others="referenced", relations=ON)
    assert db.target.ids() == {"issue": [1, 2], "merge": [1, 2], "comment": [1, 2, 3, 4, 5, 6, 7, 8, 9]}
    db.run(filters={"comment": "id = 4"}, others="referenced", relations=ON)
    assert db.target.ids() == {"issue": [], "merge": [1, 2], "comment": [3, 4]}


def test_a_polymorphic_reference_by_number(lab: MakeLab) -> None:
    """As Django's content_type_id."""
    db = lab(
        POLYMORPHIC.replace("on_type text", "on_type int"),
        """
    INSERT INTO issue VALUES (1), (2); INSERT INTO merge VALUES (1), (2);
    INSERT INTO comment VALUES (1, 7, 1, NULL), (2, 8, 1, NULL), (3, 7, 2, NULL), (4, NULL, 1, NULL);
    """,
    )
    on = {"comment.on_id": {"type": "on_type", "to": {"7": "issue.id", "8": "merge.id"}}}
    db.run(filters={"issue": "id = 1"}, others="referenced", relations=on)
    assert db.target.ids() == {"issue": [1], "merge": [], "comment": [1]}


def test_a_virtual_key_that_is_declared_as_well(lab: MakeLab) -> None:
    """It counts once: of the composite key, b alone becomes NULL, since a belongs to another key."""
    schema = """
    CREATE TABLE x (id int PRIMARY KEY); CREATE TABLE p (a int, b int, PRIMARY KEY (a, b));
    CREATE TABLE c (id int PRIMARY KEY, a int REFERENCES x, b int, FOREIGN KEY (a, b) REFERENCES p);
    """
    db = lab(schema, "INSERT INTO x VALUES (1); INSERT INTO p VALUES (1, 1); INSERT INTO c VALUES (1, 1, 1);")
    request = {"filters": {"c": "true"}, "others": "referenced", "tables": {"p": "skip"}}
    for relations in ({}, {"c.a,b": {"to": "p.a,b"}}):
        db.run(**request, relations=relations)
        assert db.target.rows("c") == [(1, 1, None)]


def test_a_polymorphic_reference_nulled_and_dropped(lab: MakeLab) -> None:
    db = lab(POLYMORPHIC, COMMENTS)
    relations = {"comment.on_id": ON["comment.on_id"] | {"references": "null", "follow": False}}
    db.run(filters={"issue": "id = 1", "comment": "true"}, others="skip", relations=relations)
    assert db.target.rows("comment") == [
        (1, "Issue", 1, None),
        (2, "Issue", None, 1),
        (3, "Merge", None, None),
        (4, "Merge", None, 3),
        (5, "Snippet", 1, None),
        (6, None, 1, None),
        (7, "Issue", None, None),
        (8, "Issue", 99, None),
        (9, "it's", 1, 1),
    ]
    relations = {"comment.on_id": ON["comment.on_id"] | {"references": "drop", "follow": False}}
    db.run(filters={"issue": "id = 2", "comment": "true"}, others="skip", relations=relations, references="null")
    assert db.target.ids("comment") == {"comment": [2, 3, 4, 5, 6, 7, 8]}  # merge is skipped: nulled, not dropped
    assert db.target.rows("comment")[1:3] == [(3, "Merge", None, None), (4, "Merge", None, 3)]


def test_a_virtual_key_to_a_composite_and_to_itself(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE p (a int, b int, up_a int, up_b int, PRIMARY KEY (a, b));
    CREATE TABLE c (id int PRIMARY KEY, x int, y int);
    """
    rows = """
    INSERT INTO p VALUES (1, 1, NULL, NULL), (1, 2, 1, 1), (2, 1, 1, 2), (3, 3, 9, 9);
    INSERT INTO c VALUES (1, 2, 1), (2, 3, 3), (3, 1, NULL), (4, 4, 4);
    """
    db = lab(schema, rows)
    relations = {"c.x,y": {"to": "p.a,b"}, "p.up_a, up_b": {"to": "p"}}
    db.run(filters={"c": "id <= 3"}, others="referenced", relations={"c.x,y": {"to": "p"}, "p.up_a,up_b": {"to": "p"}})
    assert [r[:2] for r in db.target.rows("p")] == [(1, 1), (1, 2), (2, 1), (3, 3)]
    db.run(filters={"p": "a = 1 AND b = 2"}, relations=relations)
    assert [r[:2] for r in db.target.rows("p")] == [(1, 1), (1, 2)]
    assert db.target.ids("c") == {"c": []}


def test_a_virtual_key_in_a_cycle_with_values_its_parent_has_no_room_for(lab: MakeLab) -> None:
    db = lab(
        "CREATE TABLE t (id int PRIMARY KEY, up bigint);", "INSERT INTO t VALUES (1, 2), (2, 77777777777), (3, 1);"
    )
    db.run(filters={"t": "id = 1"}, relations={"t.up": {"to": "t"}})
    assert db.target.ids() == {"t": [1, 2]}


def test_a_virtual_key_in_a_cycle_whose_values_would_match_when_cut(lab: MakeLab) -> None:
    db = lab(
        "CREATE TABLE t (id varchar(3) PRIMARY KEY, up varchar(9));",
        "INSERT INTO t VALUES ('a', 'b'), ('b', 'cutoff'), ('cut', NULL), ('d', 'cut');",
    )
    db.run(filters={"t": "id = 'a'"}, relations={"t.up": {"to": "t"}})
    assert db.target.ids() == {"t": ["a", "b"]}


@pytest.mark.engines("postgresql", because="MySQL has no composite types")
def test_a_key_of_a_composite_type_with_a_null_in_it(lab: MakeLab) -> None:
    schema = """
    CREATE TYPE pair AS (a int, b text);
    CREATE TABLE p (k pair PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY, p pair REFERENCES p);
    """
    db = lab(schema, "INSERT INTO p VALUES (ROW(2, NULL)); INSERT INTO c VALUES (1, ROW(2, NULL));")
    db.run(filters={"c": "true"}, others="referenced")
    assert db.target.value("SELECT count(*) FROM p") == 1
