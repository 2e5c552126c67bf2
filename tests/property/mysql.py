"""The random databases on MySQL and MariaDB: what differs there, and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import MySQLdb

from airflow_subset_provider.core.run import Endpoint
from tests.property.harness import Engine, Pair, dangling_query, run_engine
from tests.property.model import Dialect, Example

# From version 8.4 on, MySQL refuses a reference to columns that are not unique unless told otherwise.
LET_IN = "/*!80400 SET SESSION restrict_fk_on_non_standard_key = OFF */"


class MySqlDialect(Dialect):
    """Keys cannot be TEXT, a backslash escapes, a schema is a database, and no key stands unvalidated."""

    name = "mysql"
    types: ClassVar[dict[str, str]] = {
        "int": "int",
        "bigint": "bigint unsigned",
        "text": "varchar(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "word": "varchar(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
        "uuid": "binary(16)",
    }
    can_leave_unvalidated = False
    can_reference_groups = True
    indexes = (
        "SELECT INDEX_NAME, NON_UNIQUE, SEQ_IN_INDEX, COLUMN_NAME FROM information_schema.STATISTICS "
        "WHERE TABLE_SCHEMA = {schema} AND TABLE_NAME = {table}"
    )

    def __init__(self, schema: str) -> None:
        self.schema, self.other_schema = schema, f"{schema}_other"

    def quote(self, name: str) -> str:
        return "`" + name.replace("`", "``") + "`"

    def literal(self, value: Any) -> str:
        if isinstance(value, uuid.UUID):
            return f"x'{value.hex}'"
        return super().literal(value.replace("\\", "\\\\") if isinstance(value, str) else value)

    def spellings(self, word: str) -> list[str]:
        return [*super().spellings(word), f"{word} "]

    def folded(self, kind: str, value: Any) -> Any:
        found = super().folded(kind, value)
        return found.rstrip(" ") if kind == "word" and found else found

    def empty(self) -> str:
        return ";\n".join(
            f"DROP DATABASE IF EXISTS {self.quote(s)}; CREATE DATABASE {self.quote(s)} CHARACTER SET utf8mb4"
            for s in (self.schema, self.other_schema)
        )


class _Connection:
    """As much of a psycopg connection as the harness uses; on the target, the source's databases have other names."""

    def __init__(self, params: Mapping[str, Any], names: Mapping[str, str]) -> None:
        self._connection = MySQLdb.connect(**params, charset="utf8mb4", autocommit=True, init_command=LET_IN)
        self._names = {f"`{a}`": f"`{b}`" for a, b in names.items()}

    def execute(self, query: str) -> Any:
        for here, there in self._names.items():
            query = query.replace(here, there)
        cursor = self._connection.cursor()
        cursor.execute(query)
        return cursor

    def run_script(self, script: str) -> None:
        cursor = self.execute(script)
        while cursor.nextset() is not None:
            pass

    def close(self) -> None:
        self._connection.close()


class MySqlPair(Pair):
    """Two databases of one server or of two."""

    def __init__(
        self, source: Mapping[str, Any], target: Mapping[str, Any], dialect: MySqlDialect, engine: Engine = run_engine
    ) -> None:
        copy = MySqlDialect(f"{dialect.schema}_copy")
        names = {dialect.schema: copy.schema, dialect.other_schema: copy.other_schema}
        self.source: Any = _Connection(source, {})
        self.target: Any = _Connection(target, names)
        self.endpoints = (_endpoint(source, dialect.schema, "source"), _endpoint(target, copy.schema, "target"))
        self.engine = engine

    def fill_source(self, example: Example) -> None:
        """Keys are checked here: MySQL 9.7 refuses some that hold (error 1452, a self-reference, after other DDL)."""
        self.source.execute("SET SESSION foreign_key_checks = 0")
        _execute(self.source, example, rows=True)
        self.source.execute("SET SESSION foreign_key_checks = 1")
        for key in example.model.schema(example.dialect).foreign_keys:
            dangling = self.source.execute(dangling_query(key, example.dialect)).fetchall()
            assert not dangling, f"{key.label} dangles: {dangling}"

    def empty_target(self, example: Example) -> None:
        _execute(self.target, example, rows=False)

    def _check_constraints(self, example: Example) -> None:
        """Every declared key stands in the target, and nothing dangles under it."""
        for key in example.model.schema(example.dialect).foreign_keys:
            if example.spec.referential_integrity and key.parent.schema == example.dialect.schema:
                dangling = self.target.execute(dangling_query(key, example.dialect)).fetchall()
                assert not dangling, f"{key.label} dangles: {dangling}"
            names = self.target.execute(
                "SELECT CONSTRAINT_NAME FROM information_schema.KEY_COLUMN_USAGE "
                f"WHERE REFERENCED_TABLE_NAME IS NOT NULL AND CONSTRAINT_NAME = {example.dialect.literal(key.name)}"
            ).fetchall()
            assert names, f"{key.name} is gone"


def _endpoint(params: Mapping[str, Any], database: str, label: str) -> Endpoint:
    return Endpoint("mysql", lambda: MySQLdb.connect(**{**params, "database": database}), label)


def _execute(connection: Any, example: Example, *, rows: bool) -> None:
    statements: Sequence[str] = [example.dialect.empty(), *example.model.statements(example.dialect, rows=rows)]
    connection.run_script(";\n".join(statements))
