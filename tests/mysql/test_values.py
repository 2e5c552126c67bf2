"""Every value arrives as the bytes it was, by LOAD DATA and by INSERT."""

from __future__ import annotations

import re

import pytest

from tests.mysql.conftest import Pair

EVERY_BYTE = bytes(range(256))
EVIL = b"\\ \t \n \r \0 \x1a ' \" \\N \\. %s"

COLUMNS = """
id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
ti TINYINT, tu TINYINT UNSIGNED, si SMALLINT, mi MEDIUMINT UNSIGNED, zi INT ZEROFILL, bi BIGINT, bu BIGINT UNSIGNED,
de DECIMAL(65,30), f FLOAT, f3 FLOAT(7,3), db DOUBLE, b1 BIT(1), b9 BIT(9), b64 BIT(64),
da DATE, dt DATETIME, dt6 DATETIME(6), ts TIMESTAMP NULL, ts3 TIMESTAMP(3) NULL, tm TIME, tm6 TIME(6), y YEAR,
c CHAR(10), vc VARCHAR(50), ci VARCHAR(50) COLLATE utf8mb4_unicode_ci, l1 VARCHAR(50) CHARACTER SET latin1,
u2 VARCHAR(20) CHARACTER SET ucs2, sj VARCHAR(20) CHARACTER SET sjis, gb VARCHAR(20) CHARACTER SET gbk,
bn BINARY(16), vb VARBINARY(300), tb TINYBLOB, bl BLOB, lb LONGBLOB, tt TINYTEXT, tx TEXT, lt LONGTEXT,
e ENUM('a','b''c','d,e','é'), s SET('x','y','z'), n ENUM('1','2','0') NOT NULL DEFAULT '1',
el ENUM('ä','ö') CHARACTER SET latin1, js JSON, g GEOMETRY, p POINT,
gv INT GENERATED ALWAYS AS (si + 1) VIRTUAL, gs VARCHAR(60) GENERATED ALWAYS AS (CONCAT('x', l1)) STORED,
hidden INT INVISIBLE,
touched TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
`Odd ``name :x` INT
"""


def hexed(value: bytes) -> str:
    return f"x'{value.hex()}'"


ROWS = (
    "id = 0",
    "ti = -128, tu = 255, si = -32768, mi = 16777215, zi = 7, bi = -9223372036854775808, bu = 18446744073709551615",
    "de = -12345678901234567890123456789012345.123456789012345678901234567891, b1 = b'1', b9 = b'100000000'",
    "f = 16777217, db = 0.1e0 + 0.2e0, b64 = x'0000000a095c0000', b9 = b'001011100', b1 = b'0'",
    "f = 3.4028234e38, db = 1.7976931348623157e308, f3 = 1234.567, b64 = x'ffffffffffffffff'",
    "f = 0.1, db = -0e0",
    "f = 1.17549435e-38, db = 2.2250738585072014e-308",
    "da = '0000-00-00', dt = '0000-00-00 00:00:00', dt6 = '2024-02-31 23:59:59.999999', ts = '0000-00-00 00:00:00'",
    "ts3 = '2038-01-19 03:14:07.999', tm = '-838:59:59', tm6 = '838:59:58.999999', y = 0",
    "da = '9999-12-31', dt = '2024-00-00 00:00:00', ts = '1970-01-01 02:00:01', y = 2155",
    "y = 1901, ts = '2024-10-27 02:30:00'",
    r"c = 'abc   ', vc = 'emoji 😀 🧪 \\ \t \n', l1 = 'älatin ÿ', u2 = 'ucs \\ \n é', sj = '表ソ十', gb = '縗誠'",
    "c = '', vc = '', l1 = '', tx = '', bl = '', js = '\"\"'",
    r"vc = '\\N', tx = '\\N', vb = '\\N', bl = 'NULL'",
    r"vc = 'a\0b', tx = '\Z', ci = 'é'",
    f"bn = {hexed(bytes(16))}, vb = {hexed(EVERY_BYTE)}, tb = {hexed(EVERY_BYTE[:255])}, lb = {hexed(EVIL * 1000)}",
    f"bl = {hexed(EVERY_BYTE * 100)}, tt = {hexed(EVIL.replace(b'%', b''))}, lt = REPEAT('a\\n', 100000)",
    "bn = x'6162002009 0a5c'".replace(" ", "") + ", vb = x'747261696c20200000'",
    "e = 'b''c', s = 'x,z', n = '0', el = 'ö'",
    "e = 'é', s = '', n = '1'",
    "e = 'd,e', n = 3, s = 7",
    r"""js = '{"a": [1, 2.5, "x\\\\y\\t", null, true], "é😀": {"n": 1e100}}'""",
    r"""js = '"tab\\tnl\\n"'""",
    "g = ST_GeomFromText('POLYGON((0 0,10 0,10 10,0 10,0 0))'), p = ST_GeomFromText('POINT(1.5 -2.5)', 4326)",
    "e = 'no such member'",
    "hidden = 1, `Odd ``name :x` = 5",
)

# Types that not every supported version has: since which one it does.
NEWER = (
    ("MariaDB 10.5", "i6 INET6", "i6 = '2001:db8::ff00:42:8329'"),
    ("MariaDB 10.7", "u UUID", "u = UUID()"),
    ("MariaDB 10.10", "i4 INET4", "i4 = '10.0.0.1'"),
    ("MariaDB 11.7", "v VECTOR(3)", "v = VEC_FromText('[1, -3e10, 0]')"),
    ("MySQL 9.0", "v VECTOR(3)", "v = TO_VECTOR('[1, -3e10, 0]')"),
)


def _has(version: str, since: str) -> bool:
    (kind, number), (wanted, least) = version.split(" ", 1), since.split(" ", 1)
    major, minor, *_ = re.findall(r"\d+", number)
    return kind == wanted and (int(major), int(minor)) >= tuple(map(int, least.split(".")))


@pytest.fixture(params=["LOAD DATA", "INSERT"])
def target_options(request: pytest.FixtureRequest) -> dict[str, object]:
    """The client may load local data, or may not."""
    return {"local_infile": request.param == "LOAD DATA"}


def test_values_of_every_type(pair: Pair, target_options: dict[str, object]) -> None:
    newer = [(column, value) for since, column, value in NEWER if _has(pair.source.server.version, since)]
    columns = ", ".join([COLUMNS, *(column for column, _ in newer)])
    pair.source.run(
        f"CREATE TABLE t ({columns}) DEFAULT CHARSET utf8mb4",
        *(f"INSERT INTO t SET {row}, touched = '2020-01-01'" for row in (*ROWS, *(value for _, value in newer))),
    )
    report = pair.subset(filters={"t": "1 -- all"}, target_options=target_options)
    assert report.kept == len(ROWS) + len(newer)
    assert pair.target.rows("t") == pair.source.rows("t")


def test_keys_of_every_type(pair: Pair) -> None:
    """A key goes from the target into a statement for the source and back: no type may lose anything on the way."""
    kinds = {
        "bu": ("BIGINT UNSIGNED", ["18446744073709551615", "1"]),
        "bi": ("BIGINT", ["-9223372036854775808", "9223372036854775807"]),
        "de": ("DECIMAL(30,10)", ["12345678901234567890.1234567891", "-0.5"]),
        "dt": ("DATETIME(6)", ["'2024-02-31 01:02:03.000001'", "'0000-00-00 00:00:00'"]),
        "ts": ("TIMESTAMP(3)", ["'2024-03-31 01:30:00.123'", "'2024-03-31 05:30:00'"]),
        "tm": ("TIME(6)", ["'-12:00:00.5'", "'838:59:59'"]),
        "vc": ("VARCHAR(40) COLLATE utf8mb4_unicode_ci", [r"'é😀\\ \' %s :x'", "'B'"]),
        "l1": ("VARCHAR(40) CHARACTER SET latin1", ["'ÿ'", "''"]),
        "vb": ("VARBINARY(40)", [r"'a\0\n'", r"'a\0'"]),
        "bn": ("BINARY(8)", ["x'61'", "x'ff00ff'"]),
        "e": ("ENUM('p','q')", ["'q'", "'p'"]),
    }
    for name, (type_, (first, second)) in kinds.items():
        pair.source.run(
            f"CREATE TABLE parent_{name} (k {type_} NOT NULL PRIMARY KEY, boss {type_} NULL DEFAULT NULL, "
            f"FOREIGN KEY (boss) REFERENCES parent_{name} (k)) DEFAULT CHARSET utf8mb4",
            f"CREATE TABLE child_{name} (id INT PRIMARY KEY, k {type_} NULL DEFAULT NULL, "
            f"FOREIGN KEY (k) REFERENCES parent_{name} (k)) DEFAULT CHARSET utf8mb4",
            f"INSERT INTO parent_{name} VALUES ({second}, NULL), ({first}, {second})",
            f"INSERT INTO child_{name} VALUES (1, {first}), (2, NULL)",
        )
    report = pair.subset(filters={f"child_{n}": "id = 1" for n in kinds}, others="referenced")
    assert report.dangling == 0
    for name in kinds:
        assert pair.target.rows(f"parent_{name}") == pair.source.rows(f"parent_{name}"), name


def test_keys_that_differ_in_case_only_fetch_one_row(pair: Pair) -> None:
    pair.source.run(
        "CREATE TABLE parent (k VARCHAR(9) COLLATE utf8mb4_unicode_ci PRIMARY KEY) DEFAULT CHARSET utf8mb4",
        "CREATE TABLE child (id INT PRIMARY KEY, k VARCHAR(9) COLLATE utf8mb4_unicode_ci, "
        "FOREIGN KEY (k) REFERENCES parent (k)) DEFAULT CHARSET utf8mb4",
        "INSERT INTO parent VALUES ('Straße')",
        "INSERT INTO child VALUES (1, 'straße'), (2, 'STRASSE'), (3, 'Straße')",
    )
    assert pair.subset(filters={"child": "id < 9"}, others="referenced").kept == 4


def test_a_touched_column_keeps_its_time_when_a_reference_is_nulled(pair: Pair) -> None:
    pair.source.run(
        "CREATE TABLE t (id INT PRIMARY KEY, boss INT, other INT, touched TIMESTAMP DEFAULT CURRENT_TIMESTAMP "
        "ON UPDATE CURRENT_TIMESTAMP, FOREIGN KEY (boss) REFERENCES t (id), FOREIGN KEY (other) REFERENCES t (id))",
        "INSERT INTO t VALUES (1, NULL, NULL, '2020-01-01'), (2, 1, NULL, '2020-01-01'), (3, 2, 1, '2020-01-01')",
    )
    pair.subset(filters={"t": "id > 1"}, references="null")
    assert pair.target.run("SELECT id, boss, other, touched FROM t ORDER BY id") == pair.source.run(
        "SELECT 2, NULL, NULL, touched FROM t WHERE id = 2 UNION SELECT 3, 2, NULL, touched FROM t WHERE id = 3"
    )


def test_a_filter_compares_texts_that_are_no_columns_as_any_client_does(pair: Pair) -> None:
    """With the default collation of the character set: one of another's is an illegal mix with a column's (1267)."""
    pair.source.run(
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20), up INT, FOREIGN KEY (up) REFERENCES t (id)) "
        "DEFAULT CHARSET utf8mb4",
        "CREATE TABLE u (id INT PRIMARY KEY, t INT, name VARCHAR(20), FOREIGN KEY (t) REFERENCES t (id)) "
        "DEFAULT CHARSET utf8mb4",
        "INSERT INTO t VALUES (1, '1', NULL), (2, 'x', 1), (3, '3', 2)",
        "INSERT INTO u VALUES (1, 1, '1'), (2, 3, 'x')",
    )
    clause = "CAST(id AS CHAR) = name AND CONCAT(id, '') = TRIM(name)"
    assert pair.subset(filters={"t": clause, "u": clause}).kept == 3 + 1
    assert pair.subset(filters={"u": "CAST(id + 1 AS CHAR) > name"}, others="referenced").kept == 2
