"""Every type comes over bit for bit: in binary form where it is portable, as text where it is not."""

from __future__ import annotations

import pytest

from airflow_subset_provider.core.errors import RequestError
from tests.scenarios.kit import Lab, MakeLab

pytestmark = pytest.mark.engines(
    "postgresql", because="the types are those of Postgres: tests/mysql/test_values.py has the others"
)

TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'o''k', 'très "happy"');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
CREATE DOMAIN moods AS mood[];
CREATE TYPE floats AS RANGE (subtype = float8);
"""

# type -> literals, as they stand in a row's place; each type is one table of its own.
VALUES = {
    "boolean": ["true", "false"],
    "smallint": ["-32768", "32767"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "numeric": ["'NaN'", "'Infinity'", "'-Infinity'", "1e-200", "123456789012345678901234567890.000", "0", "-0.10"],
    "numeric(10,2)": ["'NaN'", "1.10", "-99999999.99"],
    "real": ["'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "1.17549435e-38", "3.40282347e38", "0.1"],
    "double precision": ["'NaN'", "'-Infinity'", "'-0'", "5e-324", "1.7976931348623157e308", "0.1", "1/3.0"],
    "money": ["'-92233720368547758.08'", "12.34"],
    "text": [
        "''",
        "' '",
        r"'\N'",
        r"'\.'",
        r"E'tab\there\nand there\r\\'",
        "'NULL'",
        "'日本語😀'",
        "repeat('x', 300000)",
    ],
    "character varying(5)": ["'a  '", "'12345'"],
    "character(5)": ["'a'", "''"],
    '"char"': ["'a'", "''", r"'\377'"],
    "name": ["'pg'"],
    "bytea": [r"'\x'", r"'\x00ff5c0a'", r"decode(repeat('00', 70000), 'hex')"],
    "date": ["'infinity'", "'-infinity'", "'4713-01-01 BC'", "'5874897-12-31'", "'2024-02-29'"],
    "time": ["'00:00'", "'24:00:00'", "'23:59:59.999999'"],
    "time with time zone": ["'12:00+15:59:59'", "'12:00-15:59'"],
    "timestamp": ["'infinity'", "'-infinity'", "'0044-03-15 12:00 BC'", "'2024-01-01 00:00:00.000001'"],
    "timestamp with time zone": ["'infinity'", "'-infinity'", "'2024-01-01 00:00:00.000001+05:45'"],
    "interval": ["'1 year -2 mons 3 days -04:05:06.789'", "'178000000 years'", "'-1 mons'"],
    "interval day to second(0)": ["'1 day 02:03:04'"],
    "uuid": ["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"],
    "json": ["""'{"b":  1, "a": 2,\n "a": 3}'""", "'null'"],
    "jsonb": ["""'{"b": 1, "a": [1.50, "\\u00e9", null]}'""", "'null'"],
    "xml": ["'<a b=\"1\">x &amp; y</a>'", "'text <b/> only'", "''"],
    "bit(5)": ["B'10101'"],
    "bit varying(9)": ["B''", "B'101'"],
    "inet": ["'192.168.1.5/24'", "'::1'", "'10.0.0.1'"],
    "cidr": ["'192.168.0.0/16'", "'2001:db8::/32'"],
    "macaddr": ["'08:00:2b:01:02:03'"],
    "macaddr8": ["'08:00:2b:01:02:03:04:05'"],
    "point": ["'(1.5,-2e300)'", "'(NaN,Infinity)'"],
    "box": ["'(1,1),(0,0)'"],
    "path": ["'[(0,0),(1,1)]'", "'((0,0),(1,1))'"],
    "polygon": ["'((0,0),(1,1),(2,0))'"],
    "circle": ["'<(0,0),3>'"],
    "line": ["'{1,2,3}'"],
    "lseg": ["'[(0,0),(1,1)]'"],
    "tsvector": ["'a:1A fat:2,3 ''q'':4'", "''"],
    "tsquery": ["'a & !b:*A | (c <-> d)'"],
    "int4range": ["'empty'", "'(,5)'", "'[1,)'"],
    "tstzrange": ["'[2024-01-01 00:00+00,infinity)'"],
    "int8multirange": ["'{}'", "'{[1,3),[5,)}'"],
    "floats": ["'[0.1,0.2)'", "'empty'"],
    "mood": ["'sad'", "'o''k'", "'très \"happy\"'"],
    "mood[]": ['\'{sad,NULL,"très \\"happy\\""}\'', "'{}'"],
    "moods": ["'{sad}'"],
    "pair": ["ROW(1, 'x')", "ROW(NULL, NULL)", "ROW(NULL, '')", "ROW(1, '(\",\\')"],
    "pair[]": ["ARRAY[ROW(1, 'x'), NULL]::pair[]"],
    "email": ["'a@b'", "'日@本'"],
    "email[]": ["ARRAY['a@b', NULL]::email[]"],
    "integer[]": ["'{}'", "'{{1,2},{NULL,4}}'", "'[-1:1]={1,2,3}'"],
    "text[]": ["""ARRAY['', NULL, 'NULL', '{"a,b}', E'\\n']"""],
    "timestamp[]": ["'{infinity,2024-01-01}'"],
    "numeric[]": ["'{NaN,1.10}'"],
    "oid": ["4294967295", "0"],
    "regclass": ["'t_regclass'::regclass", "'t_later'::regclass"],
    "regtype[]": ["'{mood,int4}'::regtype[]"],
    "pg_lsn": ["'FFFFFFFF/FFFFFFFF'"],
    "txid_snapshot": ["'10:20:10,14,15'"],
    "oidvector": ["'1 2 3'"],
}


def _tables(rows: bool) -> str:
    parts = [TYPES]
    # The target's user-defined types and tables have other numbers than the source's.
    names = list(VALUES) if rows else list(reversed(VALUES))
    parts.append("CREATE TABLE t_later (id int PRIMARY KEY, up int REFERENCES t_later);" if rows else "")
    parts += [f"CREATE TABLE {_table(t)} (id int PRIMARY KEY, v {t}, up int REFERENCES {_table(t)});" for t in names]
    parts.append("" if rows else "CREATE TABLE t_later (id int PRIMARY KEY, up int REFERENCES t_later);")
    for type_, literals in VALUES.items() if rows else ():
        values = ", ".join(f"({n}, {v}, {n})" for n, v in enumerate([*literals, "NULL"], 1))
        parts.append(f"INSERT INTO {_table(type_)} VALUES {values};")
    return "\n".join(parts)


def _table(type_: str) -> str:
    return "t_" + "".join(c if c.isalnum() else "_" for c in type_)


def _texts(db: Lab, side: str) -> dict[str, list[tuple[str, ...]]]:
    end = getattr(db, side)
    end.execute("SET extra_float_digits = 3; SET bytea_output = 'hex'")
    return {t: end.query(f"SELECT id, md5(v::text), left(v::text, 99) FROM {_table(t)} ORDER BY id") for t in VALUES}


@pytest.fixture
def types(lab: MakeLab) -> Lab:
    return lab(_tables(rows=True), target=_tables(rows=False))


def test_all_types_by_copy(types: Lab) -> None:
    types.run()
    assert _texts(types, "target") == _texts(types, "source")


def test_all_types_as_referred_rows(types: Lab) -> None:
    """Every row references itself, so each goes the way of rows that are fetched upwards in a cycle."""
    types.source.execute("CREATE TABLE start (id int PRIMARY KEY)")
    types.target.execute("CREATE TABLE start (id int PRIMARY KEY)")
    for end in (types.source, types.target):
        for n, t in enumerate(VALUES):
            end.execute(f"ALTER TABLE start ADD c{n} int REFERENCES {_table(t)}")
    types.source.execute("INSERT INTO start SELECT n FROM generate_series(1, 9) n")
    for n, t in enumerate(VALUES):
        types.source.execute(f"UPDATE start s SET c{n} = s.id FROM {_table(t)} t WHERE t.id = s.id")
    types.run(filters={"start": "true"}, others="referenced")
    assert _texts(types, "target") == _texts(types, "source")


KEYS = {
    "text": ["'a,b'", "''", "'\"quo\\te\"'", "'NULL'", "'{x}'", "'it''s 日'"],
    "bytea": [r"'\x00ff'", r"'\x5c'", "''"],
    "character(4)": ["'a'", "'ab  '", "'abcd'"],
    "mood": ["'sad'", "'très \"happy\"'", "'o''k'"],
    "email": ["'a@b'", "'a\"@,'", "'@'"],
    "numeric": ["1.50", "'NaN'", "1e50"],
    "double precision": ["0.1", "'Infinity'", "1e-300"],
    "timestamp with time zone": ["'infinity'", "'2024-01-01 00:00:00.000001+03'", "'-infinity'"],
    "interval": ["'1 mon'", "'-1 days'", "'00:00:01.5'"],
    "uuid": ["gen_random_uuid()", "gen_random_uuid()", "gen_random_uuid()"],
    "inet": ["'10.0.0.1/8'", "'::1'", "'10.0.0.1'"],
    "int4range": ["'empty'", "'[1,2)'", "'(,)'"],
    "date": ["'infinity'", "'2024-01-01'", "'0001-01-01 BC'"],
    "pair": ["ROW(1, 'x')", "ROW(2, '')", "ROW(3, '(,\")')"],
    '"char"': ["'a'", "'b'", "' '"],
    "boolean": ["true", "false"],
    "integer[]": ["'{}'", "'{1,2}'", "'{{1},{2}}'"],
    "text[]": ["""'{"a,b","NULL",NULL}'""", "'{}'", "'{\"\"}'"],
    "jsonb": ["'{\"a\": [1]}'", "'1'", "'null'"],
}


def _key_tables(n: int, type_: str) -> str:
    return f"""
    CREATE TABLE p{n} (k {type_} PRIMARY KEY, n int);
    CREATE TABLE loop{n} (k {type_} PRIMARY KEY, n int, up {type_} REFERENCES loop{n});
    CREATE TABLE c{n} (n int PRIMARY KEY, p {type_} REFERENCES p{n}, l {type_} REFERENCES loop{n});
    """


def _key_rows(n: int, values: list[str]) -> str:
    return "".join(
        f"INSERT INTO p{n} VALUES ({v}, {row});"
        f"INSERT INTO loop{n} SELECT k, n, CASE WHEN n > 1 THEN k END FROM p{n} WHERE n = {row};"
        f"INSERT INTO c{n} SELECT n, k, k FROM p{n} WHERE n = {row};"
        for row, v in enumerate(values, 1)
    )


def test_every_type_as_a_key(lab: MakeLab) -> None:
    """Referenced rows are asked for by value, in a plain table and in a cycle."""
    schema = TYPES + "".join(_key_tables(n, t) for n, t in enumerate(KEYS))
    db = lab(schema, "".join(_key_rows(n, values) for n, values in enumerate(KEYS.values())))
    db.run(filters={f"c{n}": "n <= 2" for n in range(len(KEYS))}, others="referenced")
    for n, type_ in enumerate(KEYS):
        query = f"SELECT k::text, n, '{type_}' FROM {{}}{n} WHERE n <= 2 ORDER BY n"
        for table in ("p", "loop"):
            assert db.target.query(query.format(table)) == db.source.query(query.format(table))
            assert db.target.value(f"SELECT count(*) FROM {table}{n}") == 2
    filters = {f"p{n}": "n = 2" for n in range(len(KEYS))}
    db.run(filters=filters, references="drop", relations={"c*.l": {"follow": False}})
    assert {t: db.target.ids(t)[t] for t in db.target.tables() if t[0] == "c"} == {
        f"c{n}": [2] for n in range(len(KEYS))
    }


def test_a_key_in_a_cycle_of_a_type_without_hash(lab: MakeLab) -> None:
    db = lab(_key_tables(1, "bit(3)"), _key_rows(1, ["B'101'", "B'000'", "B'111'"]))
    db.run(filters={"c1": "n <= 2"}, others="referenced")
    assert db.target.value("SELECT count(*) FROM loop1") == 2


def test_a_column_that_points_to_large_objects_is_refused(lab: MakeLab) -> None:
    """The object lies outside the table: a copy of the number would point to nothing, or to another object."""
    schema = (
        "CREATE DOMAIN lo AS oid; CREATE TABLE doc (id int PRIMARY KEY, body lo); CREATE TABLE t (id int PRIMARY KEY);"
    )
    db = lab(schema, "INSERT INTO doc VALUES (1, lo_from_bytea(0, 'x')); INSERT INTO t VALUES (1);")
    error = db.refusal(filters={"doc": "id = 1"})
    assert isinstance(error, RequestError)
    assert "large object" in str(error)
    assert "public.doc.body" in str(error)
    assert "Skip the table" in str(error)
    db.run(filters={"t": "id = 1"}, tables={"doc": "skip"})
    assert db.target.ids() == {"doc": [], "t": [1]}
