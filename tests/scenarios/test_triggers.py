"""Triggers of the target: none fires during a run, all are as they were after it."""

from __future__ import annotations

import pytest

from tests.scenarios.kit import MakeLab

pytestmark = pytest.mark.engines(
    "postgresql", because="triggers are switched off there, and dropped on MySQL: see tests/mysql/test_triggers.py"
)

SCHEMA = """
CREATE TABLE fired (what text);
CREATE TABLE p (id int PRIMARY KEY, up int REFERENCES p);
CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE, q int NOT NULL REFERENCES p);
"""
ARMED = """
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO fired VALUES (TG_NAME); RETURN coalesce(NEW, OLD); END $$;
CREATE TRIGGER rows BEFORE INSERT OR UPDATE OR DELETE ON p FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER statement AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON p FOR EACH STATEMENT EXECUTE FUNCTION tell();
CREATE TRIGGER "Off" BEFORE INSERT ON c FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER always BEFORE INSERT OR UPDATE OR DELETE ON c FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER replica BEFORE INSERT ON c FOR EACH ROW EXECUTE FUNCTION tell();
CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON c DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tell();
ALTER TABLE c DISABLE TRIGGER "Off"; ALTER TABLE c ENABLE ALWAYS TRIGGER always;
ALTER TABLE c ENABLE REPLICA TRIGGER replica;
"""
ROWS = """
INSERT INTO p VALUES (1, NULL), (2, 1), (3, NULL);
INSERT INTO c VALUES (1, 1, 2), (2, 3, 2), (3, NULL, 3);
"""


def test_none_fires_and_all_are_as_they_were(lab: MakeLab) -> None:
    db = lab(SCHEMA, ROWS, target=SCHEMA + ARMED)
    before = db.target.triggers()
    assert {state for *_, state in before} == {"O", "A", "D", "R"}
    report = [db.run(filters={"p": "id >= 2"}, references=policy) for policy in ("include", "null", "drop")][-1]
    assert db.target.ids() == {"fired": [], "p": [3], "c": [3]}
    assert report.kept == 2
    db.target.execute("INSERT INTO p VALUES (9, NULL)")
    assert db.target.ids("fired") == {"fired": ["rows", "statement"]}
    assert db.target.triggers() == before


def test_a_trigger_that_refuses_everything(lab: MakeLab) -> None:
    armed = """
    CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
    CREATE TRIGGER no BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON c EXECUTE FUNCTION no();
    """
    db = lab(SCHEMA, ROWS, target=SCHEMA + armed)
    db.run(filters={"p": "id = 3"})
    assert db.target.ids() == {"fired": [], "p": [1, 2, 3], "c": [2, 3]}
