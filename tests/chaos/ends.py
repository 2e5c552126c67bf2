"""The two databases of the chaos tests on each kind of server: what is in them, how they are struck and compared."""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import MySQLdb
import psycopg

from airflow_subset_provider.core.run import Endpoint
from sandbox.mysql_family import MySqlFamilyEndpoint
from sandbox.postgresql import PostgresEndpoint, PostgresServer
from tests.chaos.worker import connector

# A cycle of two tables and one of a table with itself, a diamond, a composite key, a table without any key, tables
# that are only referenced, triggers that must not fire, and indexes that are built after the load.
TABLES = """
CREATE TABLE region (id int PRIMARY KEY, name varchar(40));
CREATE TABLE shop (id int PRIMARY KEY, region_id int NOT NULL, chief_id int);
CREATE TABLE staff (id int PRIMARY KEY, shop_id int NOT NULL, boss_id int);
CREATE TABLE brand (id int PRIMARY KEY, name varchar(40));
CREATE TABLE product (id int PRIMARY KEY, brand_id int, name varchar(40));
CREATE TABLE customer (id int PRIMARY KEY, region_id int NOT NULL, name varchar(40));
CREATE TABLE sale (id int PRIMARY KEY, customer_id int NOT NULL, staff_id int);
CREATE TABLE line (sale_id int, number int, product_id int NOT NULL, PRIMARY KEY (sale_id, number));
CREATE TABLE parcel (id int PRIMARY KEY, sale_id int, number int);
CREATE TABLE visit (customer_id int, page varchar(40));
"""
KEYS = """
ALTER TABLE shop ADD CONSTRAINT shop_region FOREIGN KEY (region_id) REFERENCES region (id);
ALTER TABLE shop ADD CONSTRAINT shop_chief FOREIGN KEY (chief_id) REFERENCES staff (id);
ALTER TABLE staff ADD CONSTRAINT staff_shop FOREIGN KEY (shop_id) REFERENCES shop (id);
ALTER TABLE staff ADD CONSTRAINT staff_boss FOREIGN KEY (boss_id) REFERENCES staff (id);
ALTER TABLE product ADD CONSTRAINT product_brand FOREIGN KEY (brand_id) REFERENCES brand (id);
ALTER TABLE customer ADD CONSTRAINT customer_region FOREIGN KEY (region_id) REFERENCES region (id);
ALTER TABLE sale ADD CONSTRAINT sale_customer FOREIGN KEY (customer_id) REFERENCES customer (id);
ALTER TABLE sale ADD CONSTRAINT sale_staff FOREIGN KEY (staff_id) REFERENCES staff (id);
ALTER TABLE line ADD CONSTRAINT line_sale FOREIGN KEY (sale_id) REFERENCES sale (id);
ALTER TABLE line ADD CONSTRAINT line_product FOREIGN KEY (product_id) REFERENCES product (id);
ALTER TABLE parcel ADD CONSTRAINT parcel_line FOREIGN KEY (sale_id, number) REFERENCES line (sale_id, number);
ALTER TABLE visit ADD CONSTRAINT visit_customer FOREIGN KEY (customer_id) REFERENCES customer (id);
CREATE INDEX customer_name ON customer (name);
CREATE INDEX customer_id_name ON customer (region_id, name);
CREATE INDEX line_number ON line (number, product_id);
CREATE INDEX visit_page ON visit (page, customer_id);
"""
NAMES = ("brand", "customer", "line", "parcel", "product", "region", "sale", "shop", "staff", "visit")


def rows(size: int) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Every table's rows, parents first."""
    some = range(1, size + 1)
    yield "region", [(n, f"region {n}") for n in range(1, 21)]
    yield "shop", [(n, n % 20 + 1, n * 3 % 50 + 1) for n in range(1, 51)]
    yield "staff", [(n, n % 50 + 1, n // 7 or None) for n in range(1, 501)]
    yield "brand", [(n, f"brand {n}") for n in range(1, 101)]
    yield "product", [(n, n % 100 + 1, f"product {n}") for n in range(1, 1001)]
    yield "customer", [(n, n % 20 + 1, f"customer {n}") for n in some]
    yield "sale", [(n, n * 7 % size + 1, n % 500 + 1) for n in some]
    yield "line", [(n // 2 + 1, n % 2, n * 11 % 1000 + 1) for n in range(2 * size)]
    yield "parcel", [(n, n, 0) for n in range(1, size // 2)]
    yield "visit", [(n % size + 1, f"page {n % 9}") for n in range(2 * size)]


class Ends(ABC):
    """Source and target."""

    engine: str
    source: dict[str, Any]
    target: dict[str, Any]

    def endpoint(self, which: str) -> Endpoint:
        return Endpoint(self.engine, connector(self.engine, getattr(self, which)), which)

    @abstractmethod
    def left(self) -> dict[str, Any]:
        """All that a run leaves in the target: rows in their order, keys, triggers, indexes, and the run's state."""

    @abstractmethod
    def cut(self, which: str) -> None:
        """The server ends this package's sessions at one end."""

    def crash(self) -> None:
        """The target's server dies and starts again."""
        self.cut("target")


class PostgresEnds(Ends):
    """On Postgres."""

    engine = "postgresql"

    def __init__(self, source: PostgresEndpoint, target: PostgresEndpoint, names: tuple[str, str], size: int) -> None:
        self.source, self.target = source.params(names[0]), target.params(names[1])
        self._private = isinstance(target, PostgresServer)
        for params in (self.source, self.target):
            with psycopg.connect(**params) as connection:
                connection.execute(TABLES)
                if params is self.source:
                    for table, values in rows(size):
                        with connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
                            for row in values:
                                copy.write_row(row)
                connection.execute(KEYS)
                connection.execute("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'")
                connection.execute("CREATE TRIGGER no BEFORE UPDATE ON sale FOR EACH ROW EXECUTE FUNCTION no()")
        with psycopg.connect(**self.source, autocommit=True) as connection:
            connection.execute("ANALYZE")

    @contextmanager
    def _connected(self, params: dict[str, Any]) -> Iterator[psycopg.Connection[Any]]:
        for _ in range(200):
            with suppress(psycopg.OperationalError):  # while the server recovers
                connection = psycopg.connect(**params, autocommit=True)
                break
        else:
            raise AssertionError("the server did not come back")
        with connection:
            yield connection

    def left(self) -> dict[str, Any]:
        with self._connected(self.target) as connection:
            found: dict[str, Any] = {t: connection.execute(f"SELECT * FROM {t} x ORDER BY x").fetchall() for t in NAMES}
            keys = "SELECT conname, convalidated, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f'"
            found["keys"] = sorted(connection.execute(keys).fetchall())
            found["triggers"] = connection.execute(
                "SELECT tgname, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
            ).fetchall()
            found["indexes"] = connection.execute(
                "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
            ).fetchall()
            for table in ("suspended", "run_lock"):
                found[table] = connection.execute(f"SELECT * FROM airflow_subset.{table}").fetchall()
            return found

    def cut(self, which: str) -> None:
        with self._connected(getattr(self, which)) as connection:
            connection.execute(f"SELECT pg_terminate_backend(pid) {_OURS}")

    def crash(self) -> None:
        """The postmaster ends all sessions when one of them dies of SIGKILL, and recovers from the WAL."""
        if not self._private:
            return self.cut("target")
        with self._connected(self.target) as connection:
            pids = connection.execute(f"SELECT pid {_OURS}").fetchall()
        for (pid,) in pids[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


_OURS = "FROM pg_stat_activity WHERE application_name LIKE 'airflow_subset%' AND datname = current_database()"


class MySqlEnds(Ends):
    """On MariaDB or MySQL."""

    engine = "mysql"

    def __init__(self, source: MySqlFamilyEndpoint, target: MySqlFamilyEndpoint, names: tuple[str, str], size: int):
        self.source, self.target = source.params(names[0]), target.params(names[1])
        for params in (self.source, self.target):
            with self._connected(params) as cursor:
                for statement in TABLES.split(";")[:-1]:
                    cursor.execute(statement)
                if params is self.source:
                    cursor.execute("SET foreign_key_checks = 0")
                    for table, values in rows(size):
                        marks = ", ".join(["%s"] * len(values[0]))
                        cursor.executemany(f"INSERT INTO {table} VALUES ({marks})", values)
                for statement in KEYS.split(";")[:-1]:
                    cursor.execute(statement)
                cursor.execute("CREATE TRIGGER no BEFORE UPDATE ON sale FOR EACH ROW SIGNAL SQLSTATE '45000'")

    @contextmanager
    def _connected(self, params: dict[str, Any]) -> Iterator[Any]:
        connection = MySQLdb.connect(**params, charset="utf8mb4", autocommit=True)
        try:
            yield connection.cursor()
        finally:
            connection.close()

    def left(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with self._connected(self.target) as cursor:

            def query(text: str) -> Any:
                cursor.execute(text)
                return list(cursor.fetchall())

            for table in NAMES:
                found[table] = sorted(query(f"SELECT * FROM {table}"), key=str)
            found["keys"] = query(
                "SELECT CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS "
                "WHERE CONSTRAINT_SCHEMA = DATABASE() ORDER BY 1"
            )
            found["triggers"] = query(
                "SELECT TRIGGER_NAME, ACTION_STATEMENT FROM information_schema.TRIGGERS "
                "WHERE TRIGGER_SCHEMA = DATABASE()"
            )
            found["indexes"] = query(
                "SELECT TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME FROM information_schema.STATISTICS "
                "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME NOT LIKE 'airflow_subset%' ORDER BY 1, 2, 3"
            )
            for table in ("suspended", "run_lock"):
                found[table] = query(f"SELECT * FROM airflow_subset_{table}")
        return found

    def cut(self, which: str) -> None:
        params = getattr(self, which)
        with self._connected(params) as cursor:
            cursor.execute(
                "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            )
            for (number,) in cursor.fetchall():
                with suppress(MySQLdb.OperationalError):  # it ended by itself
                    cursor.execute(f"KILL {number}")
