"""Secondary indexes of large tables are dropped while rows are loaded, and are what they were whatever happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from airflow_subset_provider.core import indexes
from airflow_subset_provider.core.engines.base import Suspended
from airflow_subset_provider.core.errors import Fault, IntegrityError, LockedError, SubsetError
from airflow_subset_provider.core.proof import Proof
from airflow_subset_provider.core.repair import repair
from airflow_subset_provider.core.run import Run
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.state import State
from tests.scenarios.kit import Lab, MakeLab

TABLES = """
CREATE TABLE p (id int PRIMARY KEY, word varchar(40));
CREATE TABLE t (id int PRIMARY KEY, p int REFERENCES p, up int REFERENCES t, a varchar(40), b int, c int, u int UNIQUE,
    doc varchar(200), calc int GENERATED ALWAYS AS (b + 1) STORED);
CREATE INDEX t_a ON t (a);
CREATE INDEX t_b ON t (b DESC, c);
CREATE INDEX t_p ON t (p, b);
CREATE INDEX t_up ON t (up);
CREATE INDEX t_calc ON t (calc, b);
CREATE UNIQUE INDEX t_unique ON t (b, id);
CREATE INDEX p_word ON p (word);
"""
MYSQL = """
CREATE INDEX "t ""odd`name (" ON t (c, "a"(7) DESC) COMMENT 'it''s "so"
KEY "t_a" (';
CREATE FULLTEXT INDEX t_full ON t (doc);
"""
OWN = {
    "postgresql": """
CREATE INDEX "t ""odd" ON t USING btree (a COLLATE "C" varchar_pattern_ops DESC NULLS LAST)
    INCLUDE (c) WITH (fillfactor = 70);
CREATE INDEX t_hash ON t USING hash (doc);
CREATE INDEX t_brin ON t USING brin (c) WITH (pages_per_range = 4);
CREATE INDEX t_gin ON t USING gin (to_tsvector('english', doc));
CREATE INDEX t_expression ON t (lower(a));
CREATE INDEX t_partial ON t (c) WHERE b > 5;
CREATE INDEX t_told ON t (c); COMMENT ON INDEX t_told IS 'about it';
CREATE INDEX t_cluster ON t (c, b); ALTER TABLE t CLUSTER ON t_cluster;
""",
    "mariadb": MYSQL + "CREATE INDEX t_ignored ON t (c) IGNORED;",
    "mysql": MYSQL + "CREATE INDEX t_invisible ON t (c) INVISIBLE; CREATE INDEX t_part ON t ((b + c));",
}
# A foreign key's own columns are InnoDB's to look up by, and a cycle's are the run's.
DROPPED = {
    "postgresql": {"t_a", "t_b", "t_p", "t_calc", 't "odd', "t_hash", "t_brin"},
    "mariadb": {"t_a", "t_b", 't ""odd`name (', "t_ignored"},
    "mysql": {"t_a", "t_b", 't ""odd`name (', "t_invisible"},
}
ROWS = """
INSERT INTO p SELECT n, 'word' FROM generate_series(1, 10) n;
INSERT INTO t (id, p, a, b, c, u, doc) SELECT n, n % 10 + 1, 'a' || (n * 7919 % 331), n * 7919 % 331, n % 5, n, 'a doc'
FROM generate_series(1, 300) n;
"""
PARTS = "INSERT INTO t SELECT n, n * 7919 % 331 FROM generate_series(1, 300) n;"
REQUEST: dict[str, Any] = {"filters": {"p": "id <= 9"}}  # 270 of 300


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "LARGE", 100)


@pytest.fixture
def shop(engine: str, lab: MakeLab) -> Lab:
    db = lab(TABLES + OWN[engine], ROWS)
    if engine == "postgresql":
        db.source.execute("ANALYZE")
    return db


@pytest.fixture
def before(shop: Lab) -> dict[str, str]:
    """The target's indexes."""
    return shop.target.indexes()


@pytest.fixture
def never_built(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Whoever loads a table dies before its indexes are built; called, it undoes that."""
    build = indexes.build
    monkeypatch.setattr(indexes, "build", lambda *_args: None)
    return lambda: monkeypatch.setattr(indexes, "build", build)


def test_dropped_before_the_load_and_built_after_it(
    shop: Lab, before: dict[str, str], engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = shop.prepared(**REQUEST)
    with caplog.at_level(logging.INFO):
        run.prepare()
        there = shop.target.indexes()
        assert before.keys() - there.keys() == DROPPED[engine]
        assert there.items() <= before.items()
        for component in run.plan.extracts:
            run.extract(component)
    assert shop.target.indexes() == before
    assert "index" not in {kind for _, kind in shop.target.suspended()}
    told = [m for m in caplog.messages if "index" in m and ("built after" in m or "built in" in m)]
    assert len(told) == 2
    assert all("public.t: indexes " in m and all(n.replace('""', '"') in m for n in DROPPED[engine]) for m in told)
    _close(run)
    run.finish()
    run.release()
    shop.assert_in_force()
    assert shop.target.ids("t")["t"] == [n for n in range(1, 301) if n % 10 != 9]


def test_a_whole_run(shop: Lab, before: dict[str, str]) -> None:
    shop.run(**REQUEST)
    assert shop.target.indexes() == before
    shop.run(key="again", **REQUEST)
    assert shop.target.indexes() == before


def test_few_rows_keep_their_indexes(shop: Lab, before: dict[str, str]) -> None:
    run = shop.prepared(filters={"t": "id <= 5"}, others="referenced")
    run.prepare()
    assert shop.target.indexes() == before
    run.release()


def test_a_filter_and_a_sample(shop: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(indexes, "LARGE", 10)
    run = shop.prepared(filters={"t": "b < 300"}, sample={"t": 200})
    run.prepare()
    assert "t_a" not in shop.target.indexes()
    assert "nobody can tell" not in caplog.text
    run.release()


def test_a_small_table_keeps_its_indexes(shop: Lab, before: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "LARGE", 1000)
    run = shop.prepared(**REQUEST)
    run.prepare()
    assert shop.target.indexes() == before
    run.release()


def test_rows_that_are_dropped_by_a_key_are_found_by_its_index(shop: Lab) -> None:
    run = shop.prepared(references="drop", **REQUEST)
    run.prepare()
    assert "t_p" in shop.target.indexes()
    run.release()


@pytest.mark.engines("mariadb", because="elsewhere a foreign key references a unique key")
def test_a_key_that_is_not_unique_keeps_its_index(lab: MakeLab) -> None:
    tables = "CREATE TABLE t (id int PRIMARY KEY, b int); CREATE INDEX t_b ON t (b); CREATE INDEX t_b_id ON t (b, id);"
    child = "CREATE TABLE child (id int PRIMARY KEY, t int, FOREIGN KEY (t) REFERENCES t (b));"
    db = lab(tables + child, PARTS)
    before = db.target.indexes()
    run = db.prepared()
    run.prepare()
    assert db.target.indexes() == before
    run.release()


@pytest.mark.engines("postgresql", because="tests/mysql/test_indexes.py has the rights of MySQL")
def test_an_owner_who_may_not_make_an_index_again(lab: MakeLab) -> None:
    """Dropping an index takes ownership of the table, making one takes CREATE on the schema as well."""
    db = lab("CREATE TABLE t (id int PRIMARY KEY, b int); CREATE INDEX t_b ON t (b);", f"{PARTS} ANALYZE;")
    before, role = db.target.indexes(), f"poor_{db.target.params['dbname'][-20:]}"
    db.target.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'poor'; ALTER TABLE t OWNER TO {role}")
    db.target.execute(f"GRANT CREATE, TEMP ON DATABASE {db.target.params['dbname']} TO {role}")
    db.target.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    try:
        plan, owner = db.plan(), db.target.endpoint(user=role, password="poor")
        run = Run(plan, db.source.endpoint(), owner)
        run.prepare()
        assert db.target.indexes() == before
        run.release()
        db.target.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
        run.prepare()
        assert "t_b" not in db.target.indexes()
        run.release()
        assert db.target.indexes() == before
    finally:
        db.target.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


# -- runs that end in the middle


@pytest.mark.parametrize("done", ["noted", "dropped", "loaded"])
def test_a_run_that_dies(
    shop: Lab, before: dict[str, str], done: str, never_built: Callable[[], None], engine: str
) -> None:
    run = shop.prepared("dead", **REQUEST)
    _until(run, done)
    assert (before.keys() - shop.target.indexes().keys() == DROPPED[engine]) == (done != "noted")
    never_built()
    run.release()
    assert shop.target.indexes() == before
    assert shop.target.suspended() == []
    run.release()


@pytest.mark.parametrize("done", ["noted", "dropped", "loaded"])
@pytest.mark.parametrize("key", ["dead", "another"])
def test_the_next_run_gives_back_what_a_dead_one_dropped(
    shop: Lab, before: dict[str, str], done: str, key: str, never_built: Callable[[], None]
) -> None:
    _until(shop.prepared("dead", **REQUEST), done)
    never_built()
    shop.run(key=key, **REQUEST)
    assert shop.target.indexes() == before


def test_the_next_run_has_few_rows(shop: Lab, before: dict[str, str]) -> None:
    _until(shop.prepared("dead", **REQUEST), "dropped")
    shop.run(key="another", filters={"p": "id = 1"}, others="skip")
    assert shop.target.indexes() == before


def test_an_index_that_was_made_meanwhile_is_noted_beside_the_others(shop: Lab, before: dict[str, str]) -> None:
    _until(shop.prepared("dead", **REQUEST), "dropped")
    for end in (shop.source, shop.target):
        end.execute("CREATE INDEX t_new ON t (b)")
    _until(shop.prepared("dead too", **REQUEST), "dropped")
    assert "t_new" not in shop.target.indexes()
    shop.run(key="another", **REQUEST)
    assert {k: v for k, v in shop.target.indexes().items() if k != "t_new"} == before
    assert "t_new" in shop.target.indexes()


def test_a_repair(shop: Lab, before: dict[str, str], engine: str) -> None:
    _until(shop.prepared("dead", **REQUEST), "dropped")
    done = repair(shop.target.endpoint())
    built = {r.item.name.replace("`", "``") for r in done.items if r.item.kind == "index" and r.how == "built"}
    assert len(built) == len(DROPPED[engine])
    assert shop.target.indexes() == before
    assert repair(shop.target.endpoint()).items == ()


def test_a_finish_that_fails(
    shop: Lab, before: dict[str, str], never_built: Callable[[], None], monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    run = shop.prepared(**REQUEST)
    _until(run, "loaded")
    never_built()
    with monkeypatch.context() as patch:
        patch.setattr(Proof, "keys", _dangling)
        with pytest.raises(IntegrityError):
            run.finish()
    assert before.keys() - shop.target.indexes().keys() == DROPPED[engine]
    run.release()
    assert shop.target.indexes() == before


def test_finish_builds_what_no_step_came_to(shop: Lab, before: dict[str, str], never_built: Callable[[], None]) -> None:
    run = shop.prepared(**REQUEST)
    _until(run, "loaded")
    never_built()
    run.finish()
    assert shop.target.indexes() == before
    run.release()
    shop.assert_in_force()


def test_built_but_not_yet_forgotten(shop: Lab, before: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = shop.prepared(**REQUEST)
    run.prepare()
    (component,) = [c for c in run.plan.extracts if TableName("public", "t") in c.tables]
    with monkeypatch.context() as patch:
        patch.setattr(State, "forget_suspended", _lost)
        with pytest.raises(ConnectionError):
            run.extract(component)
    assert "index" in {kind for _, kind in shop.target.suspended()}
    assert shop.target.indexes() == before
    run.release()
    assert shop.target.indexes() == before
    assert shop.target.suspended() == []


def test_two_attempts_at_building(shop: Lab, before: dict[str, str], never_built: Callable[[], None]) -> None:
    run = shop.prepared(**REQUEST)
    _until(run, "loaded")
    never_built()

    def build(_: int) -> None:
        with run.ends.target() as target:
            indexes.build(target, run.tally)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(build, range(3)))
    assert shop.target.indexes() == before
    run.finish()
    run.release()
    shop.assert_in_force()


@pytest.mark.engines("mariadb", "mysql", because="making an index commits there")
def test_a_prepare_that_comes_between_building_and_forgetting(
    shop: Lab, before: dict[str, str], engine: str, monkeypatch: pytest.MonkeyPatch, never_built: Callable[[], None]
) -> None:
    """A worker that was taken for dead has built its indexes, which the next attempt has noted and dropped again."""
    late, run = shop.prepared(**REQUEST), shop.prepared(**REQUEST)
    _until(late, "loaded")
    never_built()
    with late.ends.target() as target:
        build = target.build

        def build_and_wait(items: list[Suspended]) -> None:
            build(items)
            run.prepare()

        monkeypatch.setattr(target, "build", build_and_wait)
        with pytest.raises(LockedError):
            indexes.build(target, late.tally)
    assert before.keys() - shop.target.indexes().keys() == DROPPED[engine]
    run.release()
    assert shop.target.indexes() == before


def test_a_table_in_parts(lab: MakeLab, engine: str) -> None:
    db = lab("CREATE TABLE t (id int PRIMARY KEY, b int); CREATE INDEX t_b ON t (b);", PARTS)
    if engine == "postgresql":
        db.source.execute("ANALYZE")
    before = db.target.indexes()
    run = replace(db.prepared(), chunk_rows=100)
    run.prepare()
    parts = run.parts(run.plan.extracts[0])
    first, *others = parts.cut()
    assert others
    for part in others:
        parts.load(part.number)
        assert db.target.indexes().keys() == before.keys() - {"t_b"}
    parts.load(first.number)
    assert db.target.indexes() == before
    run.finish()
    run.release()
    db.assert_in_force()


@pytest.mark.engines("postgresql", because="InnoDB refuses no row for what a plain index has room for")
def test_rows_that_do_not_fit_in_an_index(lab: MakeLab) -> None:
    schema = "CREATE TABLE t (id int PRIMARY KEY, words text);"
    rows = """INSERT INTO t SELECT n, CASE n WHEN 7 THEN (SELECT string_agg(md5(i::text), '')
              FROM generate_series(1, 500) i) END FROM generate_series(1, 300) n; ANALYZE;"""
    db = lab(schema, rows, target=schema + "CREATE INDEX t_words ON t (words);")
    before = db.target.indexes()
    with pytest.raises(SubsetError, match=r"t_words") as caught:
        db.run()
    assert not caught.value.retryable
    assert db.target.suspended() == [("t_words", "index")]
    assert db.target.holders() == []
    assert [(r.item.name, r.how) for r in repair(db.target.endpoint()).items] == [("t_words", "still off")]
    db.run(key="another", filters={"t": "id <> 7"})
    assert db.target.indexes() == before


def _until(run: Run, done: str) -> None:
    if done == "noted":
        with run.ends.both() as (source, target):
            run.preparation(source, target).claim(run.plan.schema, {}, State(target).begin())
        return
    run.prepare()
    if done == "loaded":
        for component in run.plan.extracts:
            run.extract(component)
        _close(run)


def _close(run: Run) -> None:
    for component in run.plan.closures:
        run.refer(component)


def _dangling(_: Proof) -> None:
    raise IntegrityError(Fault("1 rows reference rows that are not in the copy"))


def _lost(_: State, item: Suspended) -> None:
    raise ConnectionError(item.name)
