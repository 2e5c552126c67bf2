"""Columns, indexes and conditions that the servers compute, from values that give a warning on the way."""

from __future__ import annotations

import pytest

from airflow_subset_provider.core.errors import SubsetError
from tests.mysql.conftest import Pair

# Each was made in modes that let `12abc` pass for a number, 300 for a TINYINT and anything for a date.
COMPUTED = {
    "stored": "v INT AS (CAST(s AS SIGNED)) STORED",
    "virtual": "v INT AS (CAST(s AS SIGNED)) VIRTUAL, KEY (v)",
    "of a type too small": "v TINYINT AS (n * 100) STORED, w CHAR(2) AS (s) STORED",
    "of a date": "v DATE AS (STR_TO_DATE(s, '%Y')) STORED",
    "beyond all dates": "v DATETIME AS (DATE_ADD('9999-12-31', INTERVAL n DAY)) STORED",
    "checked": "CHECK (s > 0 OR n > 0)",
    "indexed": "KEY ((CAST(s AS SIGNED)))",
}


@pytest.mark.parametrize("local_infile", [True, False])
@pytest.mark.parametrize("computed", COMPUTED)
def test_what_is_computed_may_give_warnings(computed: str, local_infile: bool, pair: Pair) -> None:
    """The source's server gave them for the same values."""
    if computed == "indexed" and pair.source.server.version.startswith("MariaDB"):
        pytest.skip("MariaDB has no functional indexes")
    pair.source.run(
        "CREATE TABLE child (id INT PRIMARY KEY, t INT)",
        f"CREATE TABLE t (id INT PRIMARY KEY, up INT, s VARCHAR(20), n INT, {COMPUTED[computed]}, "
        "FOREIGN KEY (up) REFERENCES t (id)) DEFAULT CHARSET utf8mb4",
        "ALTER TABLE child ADD FOREIGN KEY (t) REFERENCES t (id)",
        "INSERT INTO t (id, up, s, n) VALUES (1, NULL, '12abc', 3), (2, 1, '12', 1), (3, 2, '34x', 4), (4, 1, 'y', 5)",
        "INSERT INTO child VALUES (1, 3)",
    )
    options = {"target_options": {"local_infile": local_infile}}
    for request, ids in (
        ({"filters": {"t": "id <= 3"}}, (1, 2, 3)),
        ({"filters": {"child": "id = 1"}, "others": "referenced"}, (1, 2, 3)),
        ({"filters": {"t": "id > 2"}, "references": "null"}, (3, 4)),
        ({"filters": {"t": "id > 2"}, "references": "drop"}, ()),
    ):
        pair.subset(**request, **options)
        assert tuple(row[0] for row in pair.target.run("SELECT id FROM t ORDER BY id")) == ids
        there = [row for row in pair.source.rows("t") if int(row[0], 16) in ids]
        assert request.get("references") or pair.target.rows("t") == there


TABLE = (
    "CREATE TABLE t (id INT PRIMARY KEY, up INT, s VARCHAR(20), e ENUM('a', 'b'), v INT AS (CAST(s AS SIGNED)) STORED, "
    "FOREIGN KEY (up) REFERENCES t (id))"
)


@pytest.mark.parametrize("local_infile", [True, False])
def test_a_value_that_is_stored_may_give_none(local_infile: bool, pair: Pair) -> None:
    pair.both(TABLE)
    pair.source.run("INSERT INTO t (id, s, e) VALUES (1, '12abc', 'b'), (2, '3', ''), (3, '4', 'b')")
    pair.target.run("ALTER TABLE t ADD UNIQUE (e)")
    with pytest.raises(SubsetError, match="Duplicate entry") as error:
        pair.subset(filters={"t": "1"}, target_options={"local_infile": local_infile})
    assert "1292" not in str(error.value)
    assert pair.target.run("SELECT COUNT(*) FROM t") == ((0,),)


def test_more_warnings_than_are_listed_are_an_error(pair: Pair) -> None:
    """Among those that are not, there may be one of a value."""
    pair.both(TABLE)
    many = " CROSS JOIN ".join(f"(SELECT 1{' UNION ALL SELECT 1' * 41}) AS t{n}" for n in range(3))
    pair.source.run(f"INSERT INTO t (id, s) SELECT ROW_NUMBER() OVER (), '12abc' FROM {many}")
    with pytest.raises(SubsetError, match=r"INTEGER value \(warning 1292\).*chunk_rows"):
        pair.subset(filters={"t": "1"}, target_options={"local_infile": True})
    assert pair.subset(filters={"t": "1"}, target_options={"local_infile": False}).kept == 42**3


def test_a_column_that_takes_no_null_gets_none(pair: Pair) -> None:
    """Outside strict mode, UPDATE would make it 0."""
    pair.source.run(TABLE, "INSERT INTO t (id, up, s, e) VALUES (1, 1, '12abc', ''), (2, 1, '3', 'a')")
    pair.target.run(TABLE.replace("up INT", "up INT NOT NULL"))
    with pytest.raises(SubsetError, match=r"'up' cannot be null"):
        pair.subset(filters={"t": "id = 2"}, references="null")
    assert pair.subset(filters={"t": "id = 2"}).kept == 2
    assert pair.target.rows("t") == pair.source.rows("t")
