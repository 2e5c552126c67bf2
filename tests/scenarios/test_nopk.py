"""Tables without any key: their rows are a multiset, and each comes as often as it stands in the source."""

from __future__ import annotations

import pytest

from tests.scenarios.kit import MakeLab


def test_duplicate_rows_come_as_often_as_they_are(lab: MakeLab) -> None:
    schema = (
        "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE log (p int REFERENCES p, q int REFERENCES p, words text);"
    )
    rows = """
    INSERT INTO p VALUES (1), (2);
    INSERT INTO log VALUES (1, 1, 'x'), (1, 1, 'x'), (1, 1, 'x'), (1, 2, 'y'), (2, 1, 'z'), (2, 1, 'z'), (2, 2, 'n'),
        (NULL, NULL, 'n'), (NULL, 1, 'z');
    """
    db = lab(schema, rows)
    db.run(filters={"p": "id = 1"})
    # Connected by either key, but not twice when by both.
    assert db.target.rows("log") == [(1, 1, "x")] * 3 + [(1, 2, "y")] + [(2, 1, "z")] * 2 + [(None, 1, "z")]
    assert db.target.ids("p") == {"p": [1, 2]}
    db.run(filters={"p": "id = 1"}, references="drop")
    assert db.target.rows("log") == [(1, 1, "x")] * 3 + [(None, 1, "z")]
    db.run(filters={"p": "id = 1"}, references="null")
    assert db.target.rows("log") == sorted([(1, 1, "x")] * 3 + [(1, None, "y")], key=str) + [(None, 1, "z")] * 3


def test_many_ways_to_a_table_with_duplicate_rows(lab: MakeLab) -> None:
    """So many that they are left-joined instead of spelled out as branches."""
    columns = ", ".join(f"c{n} int REFERENCES p" for n in range(8))
    schema = f"CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE log ({columns}, words text);"
    rows = """
    INSERT INTO p SELECT n FROM generate_series(1, 5) n;
    INSERT INTO log VALUES (1,1,1,1,1,1,1,1,'all'), (1,1,1,1,1,1,1,1,'all'), (2,2,2,2,2,2,2,1,'last'),
        (2,2,2,2,2,2,2,2,'none'), (NULL,NULL,NULL,1,NULL,NULL,NULL,NULL,'one');
    """
    db = lab(schema, rows)
    db.run(filters={"p": "id = 1", "log": "log.words <> 'x' AND words LIKE '%'"})
    assert [r[-1] for r in db.target.query("SELECT * FROM log ORDER BY words")] == ["all", "all", "last", "one"]


@pytest.mark.engines("postgresql", because="MySQL has no such tables")
def test_a_table_without_columns(lab: MakeLab) -> None:
    schema = "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE nothing ();"
    db = lab(
        schema, "INSERT INTO p VALUES (1); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;"
    )
    db.run(filters={"p": "id = 1"})
    assert db.target.value("SELECT count(*) FROM nothing") == 2


def test_rows_that_are_all_null(lab: MakeLab) -> None:
    db = lab("CREATE TABLE a (x int, y text);", "INSERT INTO a VALUES (NULL, NULL), (NULL, NULL), (NULL, '');")
    db.run(filters={"a": "x IS NULL"})
    assert db.target.rows("a") == [(None, ""), (None, None), (None, None)]


def test_a_sample_of_a_table_without_key_is_refused(lab: MakeLab) -> None:
    db = lab("CREATE TABLE a (x int);", "INSERT INTO a VALUES (1);")
    assert "no primary or unique key to sample by" in str(db.refusal(sample={"a": 1}))
