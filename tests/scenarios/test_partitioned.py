"""Partitioned tables are read and written through their root, keys on single partitions included."""

from __future__ import annotations

import pytest

from tests.scenarios.kit import MakeLab

pytestmark = pytest.mark.engines("postgresql", because="partitioned tables of MySQL take part in no foreign key")

PARENT_AND_CHILD = """
CREATE TABLE customer (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE customer_eu PARTITION OF customer FOR VALUES IN ('eu');
CREATE TABLE customer_us PARTITION OF customer FOR VALUES IN ('us');
CREATE TABLE sale (id int, customer int, region text, sold date NOT NULL, PRIMARY KEY (id, sold),
    FOREIGN KEY (customer, region) REFERENCES customer) PARTITION BY RANGE (sold);
CREATE TABLE sale_old PARTITION OF sale FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE SCHEMA archive;
CREATE TABLE archive.sale_new PARTITION OF sale FOR VALUES FROM ('2020-01-01') TO (MAXVALUE) PARTITION BY RANGE (sold);
CREATE TABLE archive.sale_new_1 PARTITION OF archive.sale_new FOR VALUES FROM ('2020-01-01') TO ('2021-06-01');
CREATE TABLE archive.sale_new_rest PARTITION OF archive.sale_new DEFAULT;
CREATE TABLE note (id int PRIMARY KEY, sale int, sold date, FOREIGN KEY (sale, sold) REFERENCES sale);
"""
ROWS = """
INSERT INTO customer VALUES (1, 'eu'), (2, 'us'), (3, 'us');
INSERT INTO sale VALUES (1, 1, 'eu', '2019-05-01'), (2, 1, 'eu', '2021-05-01'), (3, 2, 'us', '2021-06-01'),
    (4, NULL, 'us', '2018-01-01'), (5, 3, NULL, '2022-01-01'), (6, 3, 'us', '2022-01-01');
INSERT INTO note VALUES (1, 1, '2019-05-01'), (2, 2, '2021-05-01'), (3, 3, '2021-06-01'), (4, 4, NULL);
"""


def test_partitioned_parent_and_child(lab: MakeLab) -> None:
    db = lab(PARENT_AND_CHILD, ROWS)
    db.run(filters={"customer": "region = 'eu'"})
    assert db.target.ids() == {"customer": [1], "sale": [1, 2], "note": [1, 2]}
    assert db.target.query("SELECT id FROM archive.sale_new_1") == [(2,)]
    db.run(filters={"note": "id >= 3"}, others="referenced")
    assert db.target.ids() == {"customer": [2], "sale": [3], "note": [3, 4]}
    db.run(filters={"sale": "sold >= '2021-01-01'", "customer": "id < 3"}, references="null")
    assert db.target.ids() == {"customer": [1, 2], "sale": [2, 3], "note": [2, 3]}


def test_a_filter_on_one_partition_is_told_its_root(lab: MakeLab) -> None:
    error = str(lab(PARENT_AND_CHILD, ROWS).refusal(filters={"sale_old": "true"}))
    assert "no table 'sale_old'" in error
    assert "sale" in error.split("Did you mean")[1]


def test_keys_that_stand_on_some_partitions_only(lab: MakeLab) -> None:
    """They count for the whole table; where they do not stand, a value without a row is copied as it is."""
    schema = """
    CREATE TABLE film (id int PRIMARY KEY);
    CREATE TABLE rental (id int, film int, day int) PARTITION BY LIST (day);
    CREATE TABLE rental_1 PARTITION OF rental (FOREIGN KEY (film) REFERENCES film) FOR VALUES IN (1);
    CREATE TABLE rental_2 PARTITION OF rental FOR VALUES IN (2);
    CREATE TABLE rental_3 PARTITION OF rental (FOREIGN KEY (film) REFERENCES film) FOR VALUES IN (3);
    """
    rows = """
    INSERT INTO film VALUES (1), (2), (3);
    INSERT INTO rental VALUES (11, 1, 1), (12, 2, 1), (21, 1, 2), (22, 99, 2), (23, 3, 2), (31, 2, 3);
    """
    db = lab(schema, rows)
    db.run(filters={"film": "id = 1"})
    assert db.target.rows("rental") == [(11, 1, 1), (21, 1, 2)]
    report = db.run(filters={"rental": "day >= 2"}, others="referenced")
    assert db.target.rows("rental") == [(21, 1, 2), (22, 99, 2), (23, 3, 2), (31, 2, 3)]
    assert db.target.ids("film") == {"film": [1, 2, 3]}
    key = next(k for k in report.keys if "film" in k.key)
    assert (key.dangling, key.in_source) == (1, True)


def test_a_partitioned_table_that_references_itself(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE node (id int, kind int, up int, PRIMARY KEY (id, kind),
        FOREIGN KEY (up, kind) REFERENCES node) PARTITION BY HASH (kind);
    CREATE TABLE node_0 PARTITION OF node FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE node_1 PARTITION OF node FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    """
    rows = "INSERT INTO node SELECT n, n % 3, CASE WHEN n > 3 THEN n - 3 END FROM generate_series(1, 12) n;"
    db = lab(schema, rows)
    db.run(filters={"node": "id = 8"})
    assert db.target.ids() == {"node": [2, 5, 8]}
    db.run(filters={"node": "id >= 6"}, references="drop")
    assert db.target.ids() == {"node": []}


def test_triggers_of_a_partitioned_table_and_of_one_partition(lab: MakeLab) -> None:
    schema = """
    CREATE TABLE seen (n int);
    CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO seen VALUES (1); RETURN NEW; END';
    CREATE TABLE t (id int, p int) PARTITION BY LIST (p);
    CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1);
    CREATE TABLE t_2 PARTITION OF t FOR VALUES IN (2);
    CREATE TRIGGER on_root AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION tell();
    CREATE TRIGGER on_leaf AFTER INSERT ON t_2 FOR EACH ROW EXECUTE FUNCTION tell();
    """
    db = lab(schema, "INSERT INTO t VALUES (1, 1), (2, 2); TRUNCATE seen;")
    db.run(filters={"t": "true"})
    assert db.target.ids() == {"t": [1, 2], "seen": []}
    db.target.execute("INSERT INTO t VALUES (3, 1), (4, 2)")
    assert db.target.ids("seen") == {"seen": [1, 1, 1]}


def test_a_key_of_a_partitioned_table_that_does_not_hold_in_the_copy(lab: MakeLab) -> None:
    """Before version 18 a partitioned table has no NOT VALID keys, so this one waits for a run that fulfils it."""
    schema = """
    CREATE TABLE p (id int PRIMARY KEY);
    CREATE TABLE c (id int, p int CONSTRAINT c_p REFERENCES p) PARTITION BY LIST (id);
    CREATE TABLE c_1 PARTITION OF c DEFAULT;
    """
    db = lab(schema, "INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1, 1), (2, 2);")
    run = db.prepared(filters={"p": "id = 1"}, referential_integrity=False, tables={"c": "whole"})
    run.prepare()
    for component in run.plan.extracts:
        run.extract(component)
    report = run.finish()
    run.release()
    assert db.target.rows("c") == [(1, 1), (2, 2)]
    assert report.dangling == 1
    db.run(filters={"p": "id = 1"})
    assert db.target.rows("c") == [(1, 1)]
