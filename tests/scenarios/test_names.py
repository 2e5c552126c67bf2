"""Names that break SQL which is pasted together."""

from __future__ import annotations

import pytest

from tests.scenarios.kit import MakeLab


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


ODD = [
    "MixedCase",
    "order",
    "public.dot",
    "quo\"te's",
    "tick`s",
    "per%scent %(x)s",
    "co:lon :bind",
    "back\\slash",
    "naïve—日本語",
    pytest.param(
        "smile_😀", marks=pytest.mark.engines("postgresql", because="MySQL takes the Basic Multilingual Plane only")
    ),
    "semi;colon --",
    "wanted",
    "a" * 63,
    "new\nline {brace}",
]

TRIGGER = {
    "postgresql": "CREATE FUNCTION {n}() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN RAISE 'fired'; END $f$;"
    "CREATE TRIGGER {n} BEFORE INSERT ON {n} FOR EACH ROW EXECUTE FUNCTION {n}();",
    "mysql": "CREATE TRIGGER {n} BEFORE INSERT ON {n} FOR EACH ROW SIGNAL SQLSTATE '45000';",
}


@pytest.mark.parametrize("name", ODD)
def test_one_name_for_everything(name: str, engine: str, lab: MakeLab) -> None:
    """Table, column, constraint, index, sequence and trigger bear the name; in a cycle, with every step of a run."""
    other_name = name[:60] + "_2"
    n, other = quoted(name), quoted(other_name)
    schema = f"""
    CREATE TABLE {n} ({n} int PRIMARY KEY, {other} int, top int);
    CREATE TABLE {other} ({n} serial PRIMARY KEY, {other} int CONSTRAINT {other} REFERENCES {n});
    ALTER TABLE {n} ADD CONSTRAINT {n} FOREIGN KEY ({other}) REFERENCES {other};
    """
    rows = f"""
    SET session_replication_role = replica;
    INSERT INTO {n} VALUES (1, 12, 5), (2, 11, 5), (3, NULL, 6), (4, NULL, 7);
    INSERT INTO {other} VALUES (11, 1), (12, 3), (14, 4);
    """
    trigger = TRIGGER["postgresql" if engine == "postgresql" else "mysql"].replace("{n}", n)
    db = lab(schema, rows, target=schema + trigger)
    q = db.q(name)
    db.run(filters={f"public.{name}": f"{q}.{q} = 2 AND {q}.top = 5"}, others="referenced")
    assert db.target.ids(name, other_name) == {name: [1, 2, 3], other_name: [11, 12]}
    db.run(
        filters={f"public.{name}": "top > 5"},
        sample={f"public.{name}": 2},
        relations={f"public.{name}.*": {"references": "drop"}},
    )
    assert db.target.ids(name) == {name: [3, 4]}


KEYWORDS = {
    "postgresql": "SELECT word FROM pg_get_keywords() WHERE catcode <> 'U' ORDER BY 1",
    "mariadb": "SELECT LOWER(WORD) FROM information_schema.KEYWORDS WHERE WORD REGEXP '^[A-Z]' ORDER BY 1",
    "mysql": "SELECT LOWER(WORD) FROM information_schema.KEYWORDS WHERE RESERVED = 1 ORDER BY 1",
}
TABLES = 40  # as many tables are called like a keyword; columns, like every one


def test_every_keyword_of_the_server(lab: MakeLab) -> None:
    """SQLAlchemy's list of reserved words is not quite the server's."""
    db = lab("CREATE TABLE p (id int PRIMARY KEY);", "INSERT INTO p VALUES (1), (2);")
    every = [w for (w,) in db.source.query(KEYWORDS[db.engine]) if w not in ("id", "up")]
    columns = ", ".join(f'"{w}" int' for w in every)
    words = every[:: max(1, len(every) // TABLES)]
    script = "".join(f'CREATE TABLE "{w}" ("{w}" int PRIMARY KEY, p int REFERENCES p);' for w in words)
    script += f"CREATE TABLE wide (id int PRIMARY KEY, up int REFERENCES wide, {columns});"
    for end in (db.source, db.target):
        end.execute(script)
    db.source.execute("".join(f'INSERT INTO "{w}" VALUES (1, 1), (2, 2);' for w in words))
    db.source.execute("INSERT INTO wide (id, up) VALUES (2, NULL), (1, 2)")
    db.run(filters={"p": "id = 1", "wide": "id = 1"})
    assert db.target.ids() == {"p": [1], "wide": [1, 2], **{w: [1] for w in words}}


@pytest.mark.parametrize("name", ["wanted", "parent", "stale", "subset_known_0", "subset_doomed_rows", "t", "s"])
def test_a_plain_parent_called_like_what_a_statement_makes(name: str, lab: MakeLab) -> None:
    schema = f"CREATE TABLE {name} (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES {name});"
    db = lab(schema, f"INSERT INTO {name} VALUES (1), (2), (3); INSERT INTO c VALUES (1, 1), (2, 2), (3, NULL);")
    db.run(filters={"c": "id = 2"}, others="referenced")
    assert db.target.ids() == {"c": [2], name: [2]}
    db.run(filters={"c": "true", name: "id = 1"}, references="null", relations={"c.p": {"follow": False}})
    assert db.target.rows("c") == [(1, 1), (2, None), (3, None)]


def test_a_table_and_a_schema_whose_names_read_alike(lab: MakeLab) -> None:
    """`a.b` is table b of schema a, and table `a.b` of schema public."""
    schema = 'CREATE SCHEMA a; CREATE TABLE a.b (id int PRIMARY KEY); CREATE TABLE "a.b" (id int PRIMARY KEY);'
    db = lab(schema, 'INSERT INTO a.b VALUES (1), (2); INSERT INTO "a.b" VALUES (3), (4);')
    db.run(schemas=("public", "a"), filters={"public.a.b": "id = 3", "b": "id = 1"})
    assert db.target.query("SELECT id FROM a.b") == [(1,)]
    assert db.target.query('SELECT id FROM public."a.b"') == [(3,)]
    assert "ambiguous" in str(db.refusal(schemas=("public", "a"), filters={"a.b": "id = 1"}))


def test_names_that_differ_in_case_only(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE t (id int PRIMARY KEY, other int);
    CREATE TABLE "T" (id int PRIMARY KEY, t int REFERENCES t);
    """
    db = lab(schema, 'INSERT INTO t VALUES (1, 2), (2, 1); INSERT INTO "T" VALUES (1, 2), (2, 1), (3, NULL);')
    db.run(filters={"t": "other = 2"})
    assert db.target.rows("t") == [(1, 2)]
    assert db.target.rows("T") == [(2, 1)]


@pytest.mark.engines("postgresql", because="columns of MySQL that differ in case only are one")
def test_columns_that_differ_in_case_only(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE t (id int PRIMARY KEY, "Id" int);
    CREATE TABLE "T" (id int PRIMARY KEY, "ID" int REFERENCES t);
    """
    db = lab(schema, 'INSERT INTO t VALUES (1, 2), (2, 1); INSERT INTO "T" VALUES (1, 2), (2, 1), (3, NULL);')
    db.run(filters={"t": '"Id" = 2'})
    assert db.target.rows("t") == [(1, 2)]
    assert db.target.rows("T") == [(2, 1)]


def test_tables_called_like_what_a_statement_makes(lab: MakeLab) -> None:
    """CTEs and temporary tables are named so that no table of the schema is meant by mistake."""
    schema = """
    CREATE TABLE subset_a (id int PRIMARY KEY);
    CREATE TABLE a (id int PRIMARY KEY, up int REFERENCES a, x int REFERENCES subset_a);
    CREATE TABLE subset_cycle_a (id int PRIMARY KEY, a int REFERENCES a);
    CREATE TABLE subset_stage (id int PRIMARY KEY, a int REFERENCES subset_cycle_a, up int REFERENCES subset_stage);
    CREATE TABLE subset_known_0 (id int PRIMARY KEY, tag int REFERENCES subset_stage);
    """
    rows = """
    INSERT INTO subset_a VALUES (1), (2);
    INSERT INTO a VALUES (1, NULL, 1), (2, 1, NULL), (3, NULL, 2);
    INSERT INTO subset_cycle_a VALUES (1, 2), (2, 3);
    INSERT INTO subset_stage VALUES (1, 1, NULL), (2, NULL, 1), (3, 2, NULL);
    INSERT INTO subset_known_0 VALUES (1, 2), (2, 3);
    """
    db = lab(schema, rows)
    db.run(filters={"subset_a": "id = 1"})
    assert db.target.ids() == {
        "a": [1, 2],
        "subset_a": [1],
        "subset_cycle_a": [1],
        "subset_known_0": [1],
        "subset_stage": [1, 2],
    }
