"""Foreign keys whose values only the server can match: by a collation, or to columns that are not unique."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_subset_provider.core import engines, exact
from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.errors import RequestError
from airflow_subset_provider.core.run import reflect
from airflow_subset_provider.core.spec import Spec
from airflow_subset_provider.core.verify import verify
from tests.mysql.conftest import Pair

# MySQL 8.4 and later refuse a reference to columns that are not unique unless told so; MariaDB has no such setting.
LET_IN = "SET SESSION foreign_key_checks = 1 /*!80400 , restrict_fk_on_non_standard_key = OFF */"
GROUPS = (
    "CREATE TABLE term (id INT AUTO_INCREMENT PRIMARY KEY, category INT, "
    "code VARCHAR(9) COLLATE utf8mb4_unicode_ci, KEY (code))",
    "CREATE TABLE request (id INT PRIMARY KEY, code VARCHAR(9) COLLATE utf8mb4_unicode_ci, "
    "FOREIGN KEY (code) REFERENCES term (code))",
    "CREATE TABLE branch (id INT PRIMARY KEY, term INT, FOREIGN KEY (term) REFERENCES term (id))",
)


def kept(pair: Pair, **request: Any) -> dict[str, int]:
    """The rows of each table after a run, which `plan --exact` counts beforehand."""
    plan = planning.build(Spec.of(**request), reflect(pair.source.endpoint()))
    with engines.get("mysql").source(pair.source.endpoint(), "test") as session:
        counted = {t.name: done.kept for t, done in exact.count(plan, session).items()}
    report = pair.subset(**request)
    found = {t.table.split(".")[1]: t.kept for t in report.tables}
    assert counted == {t: n for t, n in found.items() if t in counted}
    assert report.dangling == 0
    return found


def groups_let_in(pair: Pair) -> list[str]:
    return [LET_IN] if pair.source.server.version.startswith("MySQL") else []


@pytest.fixture
def groups(pair: Pair) -> Pair:
    """Two terms have the code `open`; request 2 spells it in another way. The target's tables are for a run to make."""
    pair.source.run(
        *groups_let_in(pair),
        *GROUPS,
        "INSERT INTO term VALUES (1, 1, 'open'), (2, 2, 'Open'), (3, 1, 'shut'), (4, 2, 'other')",
        "INSERT INTO request VALUES (1, 'open'), (2, 'OPEN'), (3, 'shut'), (4, NULL)",
        "INSERT INTO branch VALUES (1, 2), (2, 4), (3, NULL)",
    )
    return pair


def test_a_reference_to_a_column_that_is_not_unique_means_every_row_of_its_value(groups: Pair) -> None:
    assert kept(groups, filters={"request": "id = 2"}, others="referenced")["term"] == 2
    # That one of them is here because of another key, or of the filter, does not stand for the other.
    assert kept(groups, filters={"request": "id = 2", "branch": "id = 1"}, others="referenced")["term"] == 2
    whole = kept(groups, filters={"request": "id = 2"}, tables={"branch": "whole", "term": "referenced"})
    assert whole == {"branch": 3, "request": 1, "term": 3}
    below = kept(groups, filters={"term": "category = 1"}, others="referenced")
    assert below == {"branch": 0, "request": 3, "term": 3}
    assert groups.target.run("SELECT id FROM term ORDER BY id") == ((1,), (2,), (3,))


def test_nothing_is_cut_while_a_row_of_the_value_is_kept(groups: Pair) -> None:
    request = {"filters": {"term": "id = 1"}, "tables": {"request": "whole"}, "references": "null"}
    assert kept(groups, **request) == {"branch": 0, "request": 4, "term": 1}
    found = groups.target.run("SELECT id, code FROM request ORDER BY id")
    assert found == ((1, "open"), (2, "OPEN"), (3, None), (4, None))


def test_a_cycle_through_a_column_that_is_not_unique(pair: Pair) -> None:
    pair.source.run(
        *groups_let_in(pair),
        "CREATE TABLE part (id INT PRIMARY KEY, kind INT, up INT, whole INT, KEY (kind), "
        "FOREIGN KEY (up) REFERENCES part (kind), FOREIGN KEY (whole) REFERENCES part (id))",
        "INSERT INTO part VALUES (1, 10, NULL, NULL), (2, 10, NULL, NULL), (3, 20, 10, NULL), (4, 20, NULL, 1), "
        "(5, 30, 20, NULL), (6, 40, NULL, 2), (7, 40, NULL, NULL), (8, 50, 10, 1)",
    )
    assert kept(pair, filters={"part": "id = 8"}) == {"part": 3}
    assert pair.target.run("SELECT id FROM part ORDER BY id") == ((1,), (2,), (8,))
    assert kept(pair, filters={"part": "id IN (5, 6)"}) == {"part": 6}
    assert pair.target.run("SELECT id FROM part ORDER BY id") == ((1,), (2,), (3,), (4,), (5,), (6,))


def test_a_row_falls_with_the_last_row_of_the_value_it_references(pair: Pair) -> None:
    pair.source.run(
        *groups_let_in(pair),
        "CREATE TABLE part (id INT PRIMARY KEY, kind INT, up INT, KEY (kind), FOREIGN KEY (up) REFERENCES part (kind))",
        # 3 and 4 stand on 1 and 2; 5 on 3 and 4; 6 on 1 alone.
        "INSERT INTO part VALUES (1, 10, NULL), (2, 10, NULL), (3, 20, 10), (4, 20, 10), (5, 30, 20), (7, 40, NULL)",
        "INSERT INTO part VALUES (6, 50, 40)",
    )
    assert kept(pair, filters={"part": "id > 1"}, references="drop") == {"part": 6}
    assert kept(pair, filters={"part": "id NOT IN (1, 2, 7)"}, references="drop") == {"part": 0}


def test_rows_of_one_value_that_cannot_be_told_apart(pair: Pair) -> None:
    """A table without a key may hold a row twice; one of a value's rows is here by the filter."""
    pair.source.run(
        *groups_let_in(pair),
        "CREATE TABLE term (code INT, category INT, KEY (code))",
        "CREATE TABLE request (id INT PRIMARY KEY, code INT, FOREIGN KEY (code) REFERENCES term (code))",
        "INSERT INTO term VALUES (1, 1), (1, 2), (1, 2), (2, 2), (3, 1)",
        "INSERT INTO request VALUES (1, 1), (2, 2), (3, 3)",
    )
    relations = {"request.code": {"follow": False}}
    request = {"filters": {"term": "category = 1", "request": "id = 1"}, "relations": relations}
    assert kept(pair, **request) == {"request": 1, "term": 4}
    assert pair.target.run("SELECT * FROM term ORDER BY 1, 2") == ((1, 1), (1, 2), (1, 2), (3, 1))


BANNING: dict[str, Any] = {
    "filters": {"request": "id = 1"},
    "others": "referenced",
    "relations": {"term.category": {"to": "branch.id", "references": "drop"}},
}


def test_rows_that_may_be_banned_are_refused(groups: Pair) -> None:
    """A row that is fetched and must go again: whether its value's other rows can stay would have to be asked anew."""
    with pytest.raises(RequestError, match=r"request\(code\) -> .*term: references columns that are not unique"):
        kept(groups, **BANNING)


def test_with_integrity_off_no_row_is_banned_and_nothing_refused(groups: Pair) -> None:
    """It was refused by `finish`, when all rows were there."""
    report = groups.subset(**BANNING, referential_integrity=False)
    assert {k.key.split(".", 1)[1].split(" ")[0]: k.dangling for k in report.keys} == {
        "request(code)": 1,
        "branch(term)": 0,
        "term(category)": 0,
    }
    plan = planning.build(Spec.of(**BANNING, referential_integrity=False), reflect(groups.source.endpoint()))
    assert [f.what for f in verify(plan, groups.target.endpoint()).faults] == [
        "1 rows reference rows that are not there"
    ]


SPELLINGS = ("Straße", "Zoë", "plain")
COLLATIONS = {
    # the collation, and for each reference the row it means
    "utf8mb4_unicode_ci": {"STRASSE": 1, "strasse  ": 1, "ZOE": 2, "Zoë ": 2, "PLAIN": 3},
    "utf8mb4_general_ci": {"STRAßE": 1, "zoe ": 2, "Plain": 3},
    "utf8mb4_bin": {"Straße": 1, "Zoë ": 2, "plain": 3},
}


@pytest.mark.parametrize("collation", COLLATIONS)
def test_text_keys_that_are_written_differently(collation: str, pair: Pair) -> None:
    """Case, accents and trailing spaces, as far as the collation leaves them out of account."""
    text = f"VARCHAR(20) CHARACTER SET utf8mb4 COLLATE {collation}"
    pair.both(
        f"CREATE TABLE person (id INT PRIMARY KEY, name {text} NOT NULL UNIQUE)",
        f"CREATE TABLE letter (id INT PRIMARY KEY, writer {text}, reader {text}, "
        "FOREIGN KEY (writer) REFERENCES person (name), FOREIGN KEY (reader) REFERENCES person (name))",
    )
    names = COLLATIONS[collation]
    first, *_, last = names
    pair.source.run(
        f"INSERT INTO person VALUES {', '.join(f'({n}, {name!r})' for n, name in enumerate(SPELLINGS, 1))}",
        f"INSERT INTO letter VALUES {', '.join(f'({n}, {name!r}, NULL)' for n, name in enumerate(names, 1))}",
        f"INSERT INTO letter VALUES (100, {SPELLINGS[0]!r}, {first!r}), (101, NULL, {last!r})",
    )
    everyone = kept(pair, filters={"letter": "id < 100"}, others="referenced")
    assert everyone == {"letter": len(names), "person": 3}
    assert set(pair.target.rows("letter")) < set(pair.source.rows("letter"))
    both = kept(pair, filters={"letter": "id = 100"}, others="referenced")
    assert both == {"letter": 1, "person": 1}
    for n in (1, 2, 3):
        wanted = sum(row == n for row in names.values()) + (n in (1, 3))
        assert kept(pair, filters={"person": f"id = {n}"})["letter"] == wanted


def test_trailing_spaces_that_count(pair: Pair) -> None:
    """Under a NO PAD collation a text and the same with a space are two keys."""
    mysql = pair.source.server.version.startswith("MySQL")
    text = f"VARCHAR(20) CHARACTER SET utf8mb4 COLLATE {'utf8mb4_0900_ai_ci' if mysql else 'utf8mb4_unicode_nopad_ci'}"
    pair.both(
        f"CREATE TABLE person (name {text} PRIMARY KEY)",
        f"CREATE TABLE letter (id INT PRIMARY KEY, writer {text}, FOREIGN KEY (writer) REFERENCES person (name))",
    )
    pair.source.run(
        "INSERT INTO person VALUES ('a'), ('a '), ('b')", "INSERT INTO letter VALUES (1, 'A'), (2, 'A '), (3, 'B')"
    )
    assert kept(pair, filters={"letter": "id <= 2"}, others="referenced") == {"letter": 2, "person": 2}
    assert kept(pair, filters={"letter": "id = 2"}, others="referenced") == {"letter": 1, "person": 1}
    assert pair.target.run("SELECT name FROM person") == (("a ",),)


@pytest.mark.parametrize("name", ["subset_n", "SUBSET_N"])
def test_a_column_of_the_name_that_a_temporary_key_has(pair: Pair, name: str) -> None:
    pair.source.run(
        f"CREATE TABLE t (id INT PRIMARY KEY, {name} INT, subset_n1 INT, up INT, FOREIGN KEY (up) REFERENCES t (id))",
        "INSERT INTO t VALUES (1, 5, 6, NULL), (2, 5, 6, 1), (3, 5, 6, 2)",
    )
    pair.subset(filters={"t": "id = 3"}, others="referenced")
    assert pair.target.rows("t") == pair.source.rows("t")
