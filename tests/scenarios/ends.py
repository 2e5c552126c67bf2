"""One end of a scenario as a test looks at it: statements by hand, rows, and all that a refused run must leave alone.

The classes answer the same questions on every kind of server; a scenario does not ask which one it is on.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import MySQLdb
import psycopg
from psycopg import sql

from airflow_subset_provider.core.run import Endpoint
from sandbox.mysql_family import MySqlFamilyEndpoint
from tests.scenarios.translation import SQL_MODE, Translator

Row = tuple[Any, ...]


class Database(ABC):
    """One end; what it sees is committed."""

    engine: str
    dbname: str
    proves_keys = True

    def __init__(self, params: dict[str, Any], label: str) -> None:
        self.params = params
        self.label = label

    @abstractmethod
    def execute(self, script: str) -> None:
        """Run a script."""

    @abstractmethod
    def query(self, text: str) -> list[Row]:
        """The rows of one statement."""

    @abstractmethod
    def connect(self, **changes: Any) -> Any:
        """The driver's connection, under another user or address if asked for."""

    @abstractmethod
    def addresses(self) -> list[dict[str, Any]]:
        """Ways to say where the server is."""

    @abstractmethod
    def quote(self, name: str) -> str:
        """An identifier as a clause of this kind of server has it."""

    @abstractmethod
    def _spelled(self) -> list[tuple[str, str]]:
        """Schema and name of every table."""

    @abstractmethod
    def _select(self, schema: str, table: str) -> list[Row]:
        """A table's own rows, without what inherits from it."""

    @abstractmethod
    def constraints(self) -> list[Row]:
        """Table, name, definition and validity of every constraint."""

    @abstractmethod
    def triggers(self) -> list[Row]:
        """All triggers and their state."""

    @abstractmethod
    def indexes(self) -> dict[str, str]:
        """The server's own words for every index, by its name."""

    @abstractmethod
    def state(self, name: str) -> str:
        """The table that holds this of a run's state."""

    @abstractmethod
    def everything(self) -> dict[str, Any]:
        """All that a refused run must leave alone."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    def suspended(self) -> list[tuple[str, str]]:
        """Name and kind of what a run noted as out of force."""
        return [(name, kind) for name, kind in self.query(f"SELECT name, kind FROM {self.state('suspended')}")]

    def holders(self) -> list[str]:
        """The runs that hold this target: none or one."""
        return [run for (run,) in self.query(f"SELECT run FROM {self.state('run_lock')}")]

    def value(self, text: str) -> Any:
        return self.query(text)[0][0]

    def endpoint(self, **changes: Any) -> Endpoint:
        """The engine's way in, under another user or address if asked for."""
        return Endpoint(self.engine, lambda: self.connect(**changes), self.label)

    def rows(self, table: str) -> list[Row]:
        """A table's own rows in order of their columns, NULLs last."""
        schema, _, name = table.partition(".")
        known = name and (schema, name) in self._spelled()
        return sorted(self._select(schema, name) if known else self._select("public", table), key=_in_order)

    def tables(self) -> list[str]:
        """All tables; those of `public` by their bare names."""
        return [t if s == "public" else f"{s}.{t}" for s, t in self._spelled()]

    def ids(self, *tables: str) -> dict[str, list[Any]]:
        """The first column of these tables, or of all."""
        return {t: [row[0] for row in self.rows(t)] for t in tables or self.tables()}

    def unvalidated(self) -> list[str]:
        """The names of the constraints that are NOT VALID."""
        return [name for _, name, _, valid in self.constraints() if not valid]


def _in_order(row: Row) -> list[tuple[bool, Any]]:
    return [(v is None, v if isinstance(v, (int, str, float)) else str(v)) for v in row]


# Postgres -------------------------------------------------------------------------------------------------------


TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'airflow_subset') ORDER BY 1, 2
"""
CONSTRAINTS = """
SELECT format('%I.%I', n.nspname, c.relname), k.conname, replace(pg_get_constraintdef(k.oid), ' NOT VALID', ''),
       k.convalidated
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'airflow_subset') ORDER BY 1, 2
"""
TRIGGERS = """
SELECT tgrelid::regclass::text, tgname::text, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2
"""
INDEXES = """
SELECT i.relname, pg_get_indexdef(i.oid) || format(
    ' cluster %s, replica %s, valid %s, in %s, %s, %s, attached %s', x.indisclustered, x.indisreplident, x.indisvalid,
    i.reltablespace, obj_description(i.oid, 'pg_class'), i.reloptions, (SELECT count(*) FROM pg_depend d
    WHERE d.objid = i.oid AND d.deptype IN ('e', 'x', 'P')))
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'airflow_subset') AND n.nspname !~ '^pg_toast'
"""
SEQUENCES = "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"
SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast)' ORDER BY 1"
EMPTY = """
RESET ALL; SET client_min_messages = warning;
DO $$ DECLARE s text; BEGIN
    FOR s IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', s);
    END LOOP;
END $$;
CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC;
"""


class PostgresDatabase(Database):
    """One Postgres database."""

    engine = "postgresql"

    def __init__(self, params: dict[str, Any], label: str) -> None:
        super().__init__(params, label)
        self.dbname = params["dbname"]
        self.connection = psycopg.connect(**params, autocommit=True)

    def execute(self, script: str) -> None:
        """Run a script in one transaction."""
        if script:
            self.connection.execute(script)

    def query(self, text: str) -> list[Row]:
        return self.connection.execute(text).fetchall()

    def connect(self, **changes: Any) -> Any:
        return psycopg.connect(**self.params | changes)

    def addresses(self) -> list[dict[str, Any]]:
        sockets = self.value("SHOW unix_socket_directories")
        return [{"host": host} for host in ("127.0.0.1", "localhost", *([sockets] if sockets else []))]

    def quote(self, name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    def _spelled(self) -> list[tuple[str, str]]:
        return self.query(TABLES)

    def _select(self, schema: str, table: str) -> list[Row]:
        name = sql.Identifier(schema, table)
        plain = self.connection.execute(
            sql.SQL("SELECT relkind = 'r' FROM pg_class WHERE oid = {}::regclass").format(
                sql.Literal(name.as_string(self.connection))
            )
        ).fetchone()[0]
        query = sql.SQL("SELECT * FROM {} {}").format(sql.SQL("ONLY" if plain else ""), name)
        return self.connection.execute(query).fetchall()

    def constraints(self) -> list[Row]:
        return self.query(CONSTRAINTS)

    def triggers(self) -> list[Row]:
        return self.query(TRIGGERS)

    def indexes(self) -> dict[str, str]:
        return dict(self.query(INDEXES))

    def state(self, name: str) -> str:
        return f"airflow_subset.{name}"

    def everything(self) -> dict[str, Any]:
        return {
            "rows": {t: self.rows(t) for t in self.tables()},
            "constraints": self.constraints(),
            "triggers": self.triggers(),
            "sequences": self.query(SEQUENCES),
            "schemas": self.query(SCHEMAS),
        }

    @contextmanager
    def holding(self, *tables: str) -> Iterator[None]:
        """These tables may be read and not written, until `release` or the end."""
        self.connection.execute("BEGIN")
        self.connection.execute(f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE")  # type: ignore[arg-type]
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """End the transaction, if there is one."""
        self.connection.rollback()

    def clear(self) -> None:
        """Leave nothing but an empty schema `public`."""
        self.connection.execute(EMPTY)

    def close(self) -> None:
        self.connection.close()


# MySQL and MariaDB ----------------------------------------------------------------------------------------------


MY_SCHEMAS = "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN ({ignored}) ORDER BY 1"
MY_TABLES = """
SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES
WHERE TABLE_SCHEMA NOT IN ({ignored}) AND TABLE_NAME NOT LIKE 'airflow_subset_%'
"""
MY_FOREIGN_KEYS = """
SELECT TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME,
       REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME
FROM information_schema.KEY_COLUMN_USAGE
WHERE TABLE_SCHEMA NOT IN ({ignored}) AND REFERENCED_TABLE_NAME IS NOT NULL ORDER BY 1, 2, 3, ORDINAL_POSITION
"""
MY_TRIGGERS = """
SELECT EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_NAME, EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER,
       ACTION_STATEMENT, DEFINER, SQL_MODE, COLLATION_CONNECTION
FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA NOT IN ({ignored}) ORDER BY 1, 2, 3
"""
CONSTRAINT = re.compile(r'(?:CONSTRAINT "((?:[^"]|"")*)" |(?:PRIMARY |UNIQUE )?KEY )')

INDEX = re.compile(r'(?:\w+ )?KEY "((?:[^"]|"")*)" ')


class MySqlDatabase(Database):
    """The databases that a scenario makes on a server, as the schemas of one Postgres database.

    `public` is the one of the connection. What stood on the server before is not looked at.
    """

    engine = "mysql"
    dbname = "public"
    proves_keys = False

    def __init__(self, server: MySqlFamilyEndpoint, label: str) -> None:
        super().__init__(server.params(self.dbname), label)
        self.connection = self.connect(database=server.administration_database, autocommit=True, sql_mode=SQL_MODE)
        mariadb = "MariaDB" in self.connection.get_server_info()
        depth = "max_recursive_iterations" if mariadb else "cte_max_recursion_depth"
        self.query(f"SET SESSION {depth} = 1000000, time_zone = '+00:00'")
        self._ignored = "''"
        self._ignored = ", ".join(f"'{n}'" for (n,) in self._asked(MY_SCHEMAS))
        self.query("CREATE DATABASE public CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
        self.query("USE public")
        self._translator = Translator()

    def _asked(self, query: str) -> list[Row]:
        return self.query(query.format(ignored=self._ignored))

    def execute(self, script: str) -> None:
        for statement in self._translator.statements(script):
            self.query(statement)
        if "generate_series" in script:
            self._analyze()

    def _analyze(self) -> None:
        """What the server does by itself some seconds later: until then it takes a large table for an empty one."""
        names = [self._named(*table) for table in self._spelled()]
        self.query(f"ANALYZE NO_WRITE_TO_BINLOG TABLE {', '.join(names)}")

    def query(self, text: str) -> list[Row]:
        with self.connection.cursor() as cursor:
            cursor.execute(text)
            return list(cursor.fetchall())

    def connect(self, **changes: Any) -> Any:
        return MySQLdb.connect(**{"charset": "utf8mb4", "local_infile": True, **self.params, **changes})

    def addresses(self) -> list[dict[str, Any]]:
        return [{"host": "127.0.0.1"}, {"host": "localhost", "unix_socket": self.value("SELECT @@socket")}]

    def quote(self, name: str) -> str:
        return "`" + name.replace("`", "``") + "`"

    def _spelled(self) -> list[tuple[str, str]]:
        return sorted(self._asked(MY_TABLES))  # the server's order knows no case

    def _select(self, schema: str, table: str) -> list[Row]:
        return self.query(f"SELECT * FROM {self._named(schema, table)}")

    def _named(self, schema: str, table: str) -> str:
        return f"{self.quote(schema)}.{self.quote(table)}"

    def _made(self) -> dict[str, str]:
        """SHOW CREATE TABLE of everything: columns, keys, checks, and where AUTO_INCREMENT stands."""
        names = [self._named(*table) for table in self._spelled()]
        return {name: self.query(f"SHOW CREATE TABLE {name}")[0][1] for name in names}

    def constraints(self) -> list[Row]:
        """A foreign key is valid when nothing dangles under it: the server has not proven it."""
        dangling = self._dangling()
        return [
            (table, name, line, (table, name) not in dangling)
            for table, text in self._made().items()
            for line in sorted(line.strip(" ,") for line in text.splitlines())
            if (found := CONSTRAINT.match(line))
            for name in [(found[1] or "").replace('""', '"')]
        ]

    def _dangling(self) -> set[tuple[str, str]]:
        """Table and name of the foreign keys that do not hold."""
        pairs: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
        for s, t, name, column, ps, pt, parent_column in self._asked(MY_FOREIGN_KEYS):
            key = (self._named(s, t), name, self._named(ps, pt))
            pairs.setdefault(key, []).append((self.quote(column), self.quote(parent_column)))
        return {key[:2] for key, columns in pairs.items() if self.value(_orphans(key[0], key[2], columns))}

    def triggers(self) -> list[Row]:
        return self._asked(MY_TRIGGERS)

    def indexes(self) -> dict[str, str]:
        lines = (line.strip().removesuffix(",") for text in self._made().values() for line in text.splitlines())
        return {found[1]: line for line in lines if (found := INDEX.match(line))}

    def state(self, name: str) -> str:
        return f"public.airflow_subset_{name}"

    def everything(self) -> dict[str, Any]:
        return {
            "rows": {t: self.rows(t) for t in self.tables()},
            "tables": self._made(),
            "triggers": self.triggers(),
            "schemas": self._asked(MY_SCHEMAS),
        }

    def close(self) -> None:
        """Remove what the scenario made, too."""
        self.query("SET SESSION foreign_key_checks = 0")
        for (name,) in self._asked(MY_SCHEMAS):
            self.query(f"DROP DATABASE {self.quote(name)}")
        self.connection.close()


def _orphans(child: str, parent: str, columns: list[tuple[str, str]]) -> str:
    equal = " AND ".join(f"p.{b} = c.{a}" for a, b in columns)
    filled = " AND ".join(f"c.{a} IS NOT NULL" for a, _ in columns)
    return f"SELECT COUNT(*) FROM {child} c WHERE {filled} AND NOT EXISTS (SELECT 1 FROM {parent} p WHERE {equal})"
