"""Large tables in parts: the same copy, whatever the key is, whichever part dies or comes twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from airflow_subset_provider.core import chunks, parallel
from airflow_subset_provider.core.errors import TargetError
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.report import Report
from airflow_subset_provider.core.run import Run
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.stats import Stats
from airflow_subset_provider.core.verify import verify
from tests.scenarios.kit import Lab, MakeLab

SCHEMA = """
CREATE TABLE shop (id int PRIMARY KEY);
CREATE TABLE sale (id bigint PRIMARY KEY, shop int REFERENCES shop, boss bigint);
CREATE TABLE word (name text PRIMARY KEY, shop int REFERENCES shop);
CREATE TABLE ticket (id uuid PRIMARY KEY, shop int REFERENCES shop);
CREATE TABLE pair (a int, b int, shop int REFERENCES shop, PRIMARY KEY (a, b));
CREATE TABLE day (at timestamptz NOT NULL UNIQUE, shop int REFERENCES shop);
CREATE TABLE keyless (n int, shop int REFERENCES shop);
CREATE TABLE node (id int PRIMARY KEY, up int REFERENCES node, shop int REFERENCES shop);
CREATE TABLE note (id int PRIMARY KEY, sale bigint REFERENCES sale);
"""
ROWS = """
INSERT INTO shop SELECT n FROM generate_series(1, 5) n;
INSERT INTO sale SELECT n * n, n % 5 + 1, NULL FROM generate_series(1, 1000) n;
INSERT INTO word SELECT 'it''s \\ "' || n, n % 5 + 1 FROM generate_series(1, 1000) n;
INSERT INTO ticket SELECT md5(n::text)::uuid, n % 5 + 1 FROM generate_series(1, 1000) n;
INSERT INTO pair SELECT n % 7, n, n % 5 + 1 FROM generate_series(1, 1000) n;
INSERT INTO day SELECT '2026-01-01'::timestamptz + n * interval '1.5 s', n % 5 + 1 FROM generate_series(1, 1000) n;
INSERT INTO keyless SELECT n % 10, n % 5 + 1 FROM generate_series(1, 1000) n;
INSERT INTO node SELECT n, nullif(n / 2, 0), n % 5 + 1 FROM generate_series(1, 1000) n;
INSERT INTO note SELECT n, n * n FROM generate_series(1, 1000) n;
"""
ANALYZE = "ANALYZE;"
# What a scenario's translation does not know.
MYSQL = {
    "id uuid": "id binary(16)",
    "md5(n::text)::uuid": "unhex(left(sha2(n, 256), 32))",
    "at timestamptz": "at datetime(3)",
    "'2026-01-01'::timestamptz + n * interval '1.5 s'": "timestampadd(MICROSECOND, n * 1500000, '2026-01-01')",
    " NOT VALID": "",
    ANALYZE: "",
}
REQUEST: dict[str, Any] = {"filters": {"shop": "id <= 2"}}


class Silence:
    """Hears what a run says."""

    def __init__(self) -> None:
        self.heard: dict[TableName, Stats] = {}

    def phase(self, name: str) -> None: ...

    def started(self, component: Component) -> None: ...

    def done(self, component: Component, stats: dict[TableName, Stats]) -> None:
        self.heard |= stats


def shop(make: MakeLab, schema: str = SCHEMA, rows: str = ROWS) -> Lab:
    """A lab with these tables, as its engine spells them."""
    db = make("")
    db.fill(spelled(db, schema), spelled(db, rows + ANALYZE))
    return db


def spelled(db: Lab, script: str) -> str:
    for words, other in MYSQL.items() if db.engine != "postgresql" else ():
        script = script.replace(words, other)
    return script


def in_parts(db: Lab, jobs: int = 3, rows: int = 150, **request: Any) -> Report:
    run = replace(db.prepared(**request), chunk_rows=rows)
    listener = Silence()
    report = parallel.subset(run, listener, jobs)
    db.assert_in_force()
    assert verify(run.plan, db.target.endpoint()).faults == ()
    assert {str(t): s.extracted for t, s in listener.heard.items()} == {
        t.table: t.extracted for t in report.tables if t.extracted
    } | {str(t): 0 for t, s in listener.heard.items() if not s.extracted}
    return report


@pytest.mark.parametrize("request_", [REQUEST, {"filters": {}}, {"filters": {"shop": "id = 1"}, "others": "skip"}])
@pytest.mark.parametrize("jobs", [1, 3])
def test_the_same_copy(lab: MakeLab, request_: dict[str, Any], jobs: int) -> None:
    db = shop(lab)
    whole = db.run(**request_)
    rows = db.target.everything()["rows"]
    parts = in_parts(db, jobs, **request_)
    assert db.target.everything()["rows"] == rows
    counts = [(t.table, t.kept, t.extracted) for t in whole.tables]
    assert [(t.table, t.kept, t.extracted) for t in parts.tables] == counts


def test_the_same_copy_by_a_sample_of_every_kind_of_key(lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "SAMPLED", 20)
    db = shop(lab)
    db.run(**REQUEST)
    rows = db.target.everything()["rows"]
    in_parts(db, **REQUEST)
    assert db.target.everything()["rows"] == rows


def test_which_tables_are_cut_and_how_finely(lab: MakeLab) -> None:
    db = shop(lab)
    run = replace(db.prepared(**REQUEST), chunk_rows=100)
    run.prepare()
    cut = {
        c.tables[0].name: len(run.parts(c).cut())
        for c in run.plan.extracts
        if chunks.splits(run.plan, c, run.chunk_rows)
    }
    run.release()
    assert {"keyless", "node", "shop"}.isdisjoint(cut)
    assert set(cut) == {"sale", "word", "ticket", "pair", "day", "note"}
    assert cut == {**dict.fromkeys(("sale", "word", "ticket", "day", "note"), 4), "pair": 4}  # 400 of 1000 are wanted


def _sizes(db: Lab, table: str = "sale", rows: int = 100, most: int = chunks.MOST, **request: Any) -> list[int]:
    """Of the parts of one table, in a run of which nothing else is taken."""
    run = replace(db.prepared(**request), chunk_rows=rows, most_parts=most)
    run.prepare()
    (component,) = (c for c in run.plan.extracts if c.title == f"public.{table}")
    assert chunks.splits(run.plan, component, rows)
    cut = run.parts(component).cut()
    sizes = [run.parts(component).load(c.number)[component.tables[0]].extracted for c in cut]
    run.release()
    assert sum(sizes) == len(db.target.rows(table))
    return sizes


@pytest.mark.parametrize("table", ["sale", "word", "ticket", "day"])
def test_parts_are_even(lab: MakeLab, table: str) -> None:
    db = shop(lab)
    assert _sizes(db, table, filters={}) == [100] * 10
    assert _sizes(db, table, filters={"shop": "id <= 3"}, rows=140) == [120] * 5


def test_equal_values_stay_together(lab: MakeLab) -> None:
    """Of a key's first column, with seven values: no part without rows, and none of half a value."""
    assert _sizes(shop(lab), "pair", filters={}, rows=50) == [142, 143, 143, 143, 143, 143, 143]


def test_a_filter_that_the_planner_misjudges(lab: MakeLab) -> None:
    """Conditions that hang together: it expects 4 of 500 rows, and as little of what is below."""
    some = ", ".join(f"c{n} int" for n in range(7))
    same = ", ".join(["n % 2"] * 7)
    db = shop(
        lab,
        f"CREATE TABLE shop (id int PRIMARY KEY, {some});"
        "CREATE TABLE sale (id int PRIMARY KEY, shop int REFERENCES shop);",
        f"INSERT INTO shop SELECT n, {same} FROM generate_series(1, 500) n;"
        "INSERT INTO sale SELECT n, n % 500 + 1 FROM generate_series(1, 2000) n;",
    )
    assert _sizes(db, filters={"shop": " AND ".join(f"c{n} = 1" for n in range(7))}) == [100] * 10


def test_wanted_rows_that_lie_side_by_side(lab: MakeLab) -> None:
    """As the latest orders do: even steps along the table's key would put all of them into one part."""
    db = shop(lab)
    assert _sizes(db, filters={"sale": "id > 810000"}, rows=20) == [20] * 5


def test_no_more_parts_than_there_may_be(lab: MakeLab) -> None:
    db = shop(lab)
    assert _sizes(db, filters={}, most=4) == pytest.approx([250] * 4, abs=30)
    assert _sizes(db, filters={}, most=1) == [1000]


def test_more_keys_than_are_held_in_memory(lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a catalog from when the table was small: every second one is let go, as often as needed."""
    monkeypatch.setattr(chunks, "SAMPLED", 20)
    monkeypatch.setattr(chunks, "MOST", 5)
    sizes = _sizes(shop(lab), filters={}, rows=20, most=1000)
    assert len(sizes) == 50
    assert set(sizes) == {16, 24}  # of 1000 keys, every eighth one was held


@pytest.mark.parametrize("sample", [{}, {"sale": "50%"}])
def test_parts_by_a_sample_of_the_keys(lab: MakeLab, sample: dict[str, str]) -> None:
    """A user's own sample of the table is another one."""
    db = shop(lab, rows=ROWS + "INSERT INTO sale SELECT 2000000 + n, n % 5 + 1, NULL FROM generate_series(1, 19000) n;")
    sizes = _sizes(db, filters={"shop": "id <= 3"}, rows=1000, sample=sample)
    wanted = sum(sizes)
    assert len(sizes) == pytest.approx(wanted / 1000, abs=2)
    assert all(700 <= size <= 1400 for size in sizes), sizes


def test_what_hangs_on_all_rows_is_not_cut(lab: MakeLab) -> None:
    db = shop(lab)
    plan = db.plan(
        filters={"shop": "true"}, sample={"sale": 500, "word": "50%"}, relations={"pair.shop": {"references": "drop"}}
    )
    cut = {c.tables[0].name for c in plan.extracts if chunks.splits(plan, c, 100)}
    assert {"sale", "pair"}.isdisjoint(cut)
    assert {"word", "ticket"} <= cut


def test_a_sample_by_share_in_parts(lab: MakeLab) -> None:
    db = shop(lab)
    request: dict[str, Any] = {"filters": {"shop": "id <= 3"}, "sample": {"word": "50%"}}
    db.run(**request)
    rows = db.target.rows("word")
    assert 0 < len(rows) < 600
    in_parts(db, **request)
    assert db.target.rows("word") == rows


def test_many_ways_to_the_filters_in_parts(lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Branches of a UNION ALL, each with the part's conditions."""
    keys = ", ".join(f"s{n} int REFERENCES shop" for n in range(3))
    values = ", ".join(f"(n + {n}) % 5 + 1" for n in range(3))
    db = shop(
        lab,
        f"CREATE TABLE shop (id int PRIMARY KEY); CREATE TABLE deal (id int PRIMARY KEY, {keys});",
        "INSERT INTO shop SELECT n FROM generate_series(1, 5) n;"
        f"INSERT INTO deal SELECT n, {values} FROM generate_series(1, 900) n;",
    )
    db.run(filters={"shop": "id = 1"})
    rows = db.target.rows("deal")
    assert len(rows) == 540
    in_parts(db, filters={"shop": "id = 1"})
    assert db.target.rows("deal") == rows
    monkeypatch.setattr(chunks, "SAMPLED", 20)
    sizes = _sizes(db, "deal", filters={"shop": "id = 1"})
    assert 3 < len(sizes) < 9
    assert db.target.rows("deal") == rows


# -- parts that die, come twice, or come late


def _cut(db: Lab, key: str = "run") -> tuple[Run, Component, list[int]]:
    """A run whose table `sale` has been cut, everything else loaded."""
    run = replace(db.prepared(key, **REQUEST), chunk_rows=40)
    run.prepare()
    (sale,) = (c for c in run.plan.extracts if c.title == "public.sale")
    for component in run.plan.extracts:
        if component is not sale:
            run.extract(component)
    numbers = [c.number for c in run.parts(sale).cut()]
    assert len(numbers) > 3
    return run, sale, numbers


def _end(db: Lab, run: Run) -> None:
    for component in run.plan.closures:
        run.refer(component)
    report = run.finish()
    run.release()
    expected = [r for r in db.source.rows("sale") if r[1] in (1, 2)]
    assert db.target.rows("sale") == expected
    assert next(t.extracted for t in report.tables if t.table == "public.sale") == len(expected)
    db.assert_in_force()


def test_a_part_may_be_repeated(lab: MakeLab) -> None:
    db = shop(lab)
    run, sale, numbers = _cut(db)
    first = [run.parts(sale).load(n) for n in numbers]
    assert [run.parts(sale).load(n) for n in numbers] == first
    _end(db, run)


def test_a_part_at_work_twice(lab: MakeLab) -> None:
    db = shop(lab)
    run, sale, numbers = _cut(db)
    others = [replace(run) for _ in range(3)]
    with ThreadPoolExecutor(6) as pool:
        doing = [pool.submit(other.parts(sale).load, n) for n in numbers for other in (run, *others)]
        for done in doing:
            done.result()
    _end(db, run)


def test_a_part_that_dies_leaves_nothing(lab: MakeLab) -> None:
    db = shop(lab)
    run, sale, numbers = _cut(db)
    db.target.execute(spelled(db, "ALTER TABLE sale ADD CONSTRAINT picky CHECK (id < 250000) NOT VALID"))
    failed = []
    for n in numbers:
        try:
            run.parts(sale).load(n)
        except Exception:
            failed.append(n)
    assert 0 < len(failed) < len(numbers)
    db.target.execute("ALTER TABLE sale DROP CONSTRAINT picky")
    with pytest.raises(TargetError, match="sale: nothing was loaded"):
        run.finish()
    for n in failed:
        run.parts(sale).load(n)
    _end(db, run)


def test_a_table_that_is_loaded_is_not_cut_again(lab: MakeLab) -> None:
    """Later steps may have built on it."""
    db = shop(lab)
    run, sale, numbers = _cut(db)
    for n in numbers:
        run.parts(sale).load(n)
    again = replace(run, chunk_rows=80).parts(sale).cut()
    assert [c.number for c in again] == numbers
    assert db.target.rows("sale")
    _end(db, run)


@pytest.mark.parametrize("loaded", [0, 1])
def test_a_table_is_cut_once(lab: MakeLab, loaded: int) -> None:
    """Some of its parts may be there, and their tasks are not taken again."""
    db = shop(lab)
    run, sale, numbers = _cut(db)
    for n in numbers[:loaded]:
        run.parts(sale).load(n)
    assert [c.number for c in replace(run, chunk_rows=80).parts(sale).cut()] == numbers
    for n in numbers[loaded:]:
        run.parts(sale).load(n)
    _end(db, run)


def test_a_table_is_loaded_whole_after_some_parts(lab: MakeLab) -> None:
    """As `prepare` does when only some of a table's tasks are cleared."""
    db = shop(lab)
    run, sale, numbers = _cut(db)
    run.parts(sale).load(numbers[0])
    run.extract(sale)
    for n in numbers:
        run.parts(sale).load(n)
    _end(db, run)


def test_a_cut_that_another_attempt_has_overtaken(lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose worker was taken for dead while it looked at the source: what the other one has done stays."""
    db = shop(lab)
    run, sale, numbers = _cut(db)
    look = chunks.cut

    def overtaken(*arguments: Any) -> list[chunks.Chunk]:
        monkeypatch.undo()
        other = replace(run).parts(sale)
        for chunk in other.cut():
            other.load(chunk.number)
        return look(*arguments)

    monkeypatch.setattr(chunks, "cut", overtaken)
    assert [c.number for c in replace(run, chunk_rows=80).parts(sale).cut()] == numbers
    _end(db, run)


@pytest.mark.engines("postgresql", because="it asks the server who waits")
def test_a_part_under_way_when_the_table_is_loaded_whole(lab: MakeLab) -> None:
    """It is waited for, and its rows go with those of before."""
    db = shop(lab)
    run, sale, _ = _cut(db)
    here = db.target.endpoint()
    with here.connect() as part, here.connect() as watcher, ThreadPoolExecutor(1) as pool:
        watcher.autocommit = True
        part.execute("UPDATE airflow_subset.chunks SET tries = tries + 1 WHERE table_name = 'sale' AND number = 1")
        part.execute("INSERT INTO sale VALUES (1, 1)")
        anew = pool.submit(run.extract, sale)
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        while watcher.execute(waiting).fetchone() == (0,):
            assert not anew.done()
            time.sleep(0.05)
        part.commit()
        anew.result()
    _end(db, run)


def test_parts_of_a_run_that_was_prepared_again(lab: MakeLab) -> None:
    db = shop(lab)
    run, sale, numbers = _cut(db)
    run.parts(sale).load(numbers[0])
    run.prepare()
    with pytest.raises(TargetError, match=r"public\.sale has not been cut into parts"):
        run.parts(sale).load(numbers[0])
    run, sale, numbers = _cut(db)
    for n in numbers:
        run.parts(sale).load(n)
    _end(db, run)


def test_rows_that_come_and_go_between_two_parts(lab: MakeLab) -> None:
    """On a live source nothing dangles, and rows beyond the last bound belong to the last part."""
    db = shop(lab)
    run, sale, numbers = _cut(db)
    changes: list[Callable[[], None]] = [
        lambda: db.source.execute("DELETE FROM note WHERE sale = 1; DELETE FROM sale WHERE id = 1"),
        lambda: db.source.execute("INSERT INTO sale VALUES (2000000, 1, NULL), (-5, 1, NULL)"),
        lambda: db.source.execute("UPDATE sale SET boss = 7"),
    ]
    for n, change in zip(numbers, changes, strict=False):
        run.parts(sale).load(n)
        change()
    for n in numbers[len(changes) :]:
        run.parts(sale).load(n)
    for component in run.plan.closures:
        run.refer(component)
    assert run.finish().dangling == 0
    run.release()
    found = {row[0] for row in db.target.rows("sale")}
    assert 2000000 in found
    db.assert_in_force()
