"""Clauses with everything that breaks statements which are pasted together, and with nothing or everything to find."""

from __future__ import annotations

import pytest

from tests.scenarios.kit import Lab, MakeLab

POSTGRES = pytest.mark.engines("postgresql", because="its own operators, quotes and functions")
MYSQL = pytest.mark.engines("mariadb", "mysql", because="their own operators, quotes and functions")

SCHEMA = """
CREATE TABLE p (id int PRIMARY KEY, t text, "Odd ""name%s" int, j jsonb, at timestamp);
CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p, t text);
CREATE TABLE d (id int PRIMARY KEY, c int REFERENCES c, up int REFERENCES d);
"""
ROWS = r"""
INSERT INTO p VALUES (1, 'a%b', 1, '{"k": 1}', '2024-01-01 10:00:00'), (2, 'a:b', 2, '{"q": 2}', '2024-06-01'),
    (3, 'a\b', 3, NULL, '9999-12-31'), (4, 'it''s -- not', 4, '[]', NULL), (5, 'a_b{{', NULL, '{"k": null}', NULL),
    (6, '', 6, '1', NULL);
INSERT INTO c SELECT id + 10, id, 'c' FROM p;
INSERT INTO d SELECT id + 10, id, NULL FROM c UNION ALL SELECT id + 20, NULL, id + 10 FROM c;
"""


@pytest.mark.parametrize(
    ("clause", "ids"),
    [
        ("t LIKE 'a%b'", [1, 2, 3]),
        ("t LIKE 'a\\%b'", [1]),
        pytest.param("t ~ '^a[%]b$' AND id % 2 = 1", [1], marks=POSTGRES),
        ("t = 'a:b' OR t = ':id'", [2]),
        pytest.param("id::text::int = 2", [2], marks=POSTGRES),
        ("at > timestamp '2024-05-01 00:00:00'", [2, 3]),
        pytest.param("t = 'a\\b'", [3], marks=POSTGRES),
        pytest.param("t = E'a\\\\b'", [3], marks=POSTGRES),
        pytest.param("t = $$it's -- not$$", [4], marks=POSTGRES),
        ("t = 'it''s -- not' -- a comment", [4]),
        ("/* a ) comment ; */ id = 4", [4]),
        ("id = 4\n-- and (no more\n", [4]),
        ("t LIKE '%{{'", [5]),
        pytest.param("j ? 'k'", [1, 5], marks=POSTGRES),
        pytest.param("j @> '{\"k\": 1}'", [1], marks=POSTGRES),
        pytest.param('"Odd ""name%s" > 5', [6], marks=POSTGRES),
        pytest.param('p."Odd ""name%s" = 1', [1], marks=POSTGRES),
        ("p.id = 1 OR public.p.id = 2", [1, 2]),
        ("id = 1 OR false", [1]),
        ("(id = 1) OR (id = 2)", [1, 2]),
        ("id IN (SELECT c.p FROM c WHERE c.id > 14)", [5, 6]),
        ("EXISTS (SELECT 1 FROM c WHERE c.p = p.id AND c.id = 12)", [2]),
        ("id = (SELECT max(id) FROM p)", [6]),
        ("(SELECT count(*) FROM c WHERE c.p <= p.id) = 2", [2]),
        ("id IN (WITH x AS (SELECT 3 AS n) SELECT n FROM x)", [3]),
        pytest.param("(id, t) IN (VALUES (1, 'a%b'), (2, 'x'))", [1], marks=POSTGRES),
        ("t = ''", [6]),
        ("CASE WHEN id > 3 THEN id < 5 END", [4]),
        ("NOT (id > 1)", [1]),
        pytest.param("'t'", [1, 2, 3, 4, 5, 6], marks=POSTGRES),
        pytest.param("t REGEXP '^a[%]b$' AND id % 2 = 1", [1], marks=MYSQL),
        pytest.param("t = 'a\\\\b'", [3], marks=MYSQL),
        pytest.param('t = "a%b"', [1], marks=MYSQL),
        pytest.param("t = 'it\\'s -- not' # a comment", [4], marks=MYSQL),
        pytest.param("JSON_CONTAINS_PATH(j, 'one', '$.k')", [1, 5], marks=MYSQL),
        pytest.param("j->'$.k' = 1", [1], marks=pytest.mark.engines("mysql", because="MariaDB has no such operator")),
        pytest.param('p.`Odd "name%s` = 1', [1], marks=MYSQL),
        pytest.param("id & 4", [4, 5, 6], marks=MYSQL),
        pytest.param("1", [1, 2, 3, 4, 5, 6], marks=MYSQL),
        pytest.param("RAND() < 2", [1, 2, 3, 4, 5, 6], marks=MYSQL),
        ("id BETWEEN 2 AND 3", [2, 3]),
        ("true", [1, 2, 3, 4, 5, 6]),
        ("false", []),
        ("id < 0", []),
        ("t = '\u65e5\u672c \U0001f600'", []),
        pytest.param("random() < 2", [1, 2, 3, 4, 5, 6], marks=POSTGRES),
    ],
)
def test_clause(clause: str, ids: list[int], filtered: Lab) -> None:
    filtered.run(filters={"p": clause})
    below = [n + 10 for n in ids]
    assert filtered.target.ids("p", "c") == {"p": ids, "c": below}
    assert filtered.target.ids("d") == {"d": [n + 20 for n in ids] + [n + 30 for n in ids]}


@pytest.fixture
def filtered(shared_lab: MakeLab) -> Lab:
    return shared_lab(SCHEMA, ROWS)


def test_a_clause_in_a_cycle(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS)
    db.run(filters={"d": "up IS NULL -- %s :x\n AND d.id <> 21 AND public.d.id < 25", "p": "t LIKE 'a%'"})
    assert db.target.ids("d") == {"d": [22, 23]}


def test_empty_tables(lab: MakeLab) -> None:
    db = lab(SCHEMA)
    report = db.run(filters={"p": "id = 1"})
    assert db.target.ids() == {"p": [], "c": [], "d": []}
    assert report.kept == 0


def test_nothing_matches_and_everything_else_is_whole(lab: MakeLab) -> None:
    db = lab(SCHEMA + "CREATE TABLE other (id int);", ROWS + "INSERT INTO other VALUES (1);")
    report = db.run(filters={"p": "id < 0"})
    assert db.target.ids() == {"p": [], "c": [], "d": [], "other": [1]}
    assert report.kept == 1


def test_a_sample_is_the_same_every_time(lab: MakeLab) -> None:
    db = lab(
        "CREATE TABLE t (a int, b text, PRIMARY KEY (b, a));",
        "INSERT INTO t SELECT n, n FROM generate_series(1, 2000) n;",
    )
    db.run(sample={"t": "10%"})
    first = db.target.rows("t")
    assert 150 < len(first) < 250
    db.run(sample={"t": "10%"})
    assert db.target.rows("t") == first
    db.run(sample={"t": "10%"}, seed=7)
    other = db.target.rows("t")
    assert 150 < len(other) < 250
    assert other != first
    db.run(sample={"t": 3}, filters={"t": "a > 5 OR a = 1"})
    assert db.target.rows("t") == [(1, "1"), (10, "10"), (100, "100")]
    db.run(sample={"t": 0})
    assert db.target.rows("t") == []
    db.run(sample={"t": "100%"})
    assert len(db.target.rows("t")) == 2000
    db.run(sample={"t": "0%"})
    assert db.target.rows("t") == []
