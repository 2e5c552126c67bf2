"""A scenario's script, written for Postgres, as MySQL and MariaDB take it: the same tables, keys and rows.

Only what scenarios use is translated: types, inline and implicit references, `generate_series`, and the switch that
lets rows in against their foreign keys. Quotes and backslashes mean the same by the connection's `sql_mode`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SQL_MODE = "ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,NO_AUTO_VALUE_ON_ZERO,STRICT_ALL_TABLES"

_NAME = r'(?:"(?:[^"]|"")*"|\w+)'
_PATH = rf"{_NAME}(?:\.{_NAME})?"
_TOKEN = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|.""", re.DOTALL)

_TYPES = (
    (r"serial", "int NOT NULL AUTO_INCREMENT"),
    (r"text", "varchar(300)"),
    (r"timestamp", "datetime"),
    (r"jsonb", "json"),
    (r"numeric(?!\s*\()", "decimal(30, 4)"),
)
_CREATE = re.compile(rf"\s*CREATE TABLE ({_PATH})\s*\((.*)\)\s*\Z", re.DOTALL)
_COLUMN = re.compile(rf"({_NAME})\s")
_INLINE = re.compile(
    rf"\s*(CONSTRAINT {_NAME} )?REFERENCES ({_PATH})(?: \(([^)]*)\))?((?: ON (?:DELETE|UPDATE) CASCADE)*)", re.DOTALL
)
_IMPLICIT = re.compile(rf"REFERENCES ({_PATH})(?!\s*\(|\.|\w)")
_ADD_INLINE = re.compile(rf"ADD ({_NAME}) ([^,]*?)\s*REFERENCES ({_PATH})(?: \(([^)]*)\))?")
_INDEX = re.compile(rf"CREATE (UNIQUE )?INDEX ON ({_PATH}) \(({_NAME})\)")
_SERIES = re.compile(r"generate_series\((\d+), (\d+)\) n\b")
_SETTINGS = {
    "SET session_replication_role = replica": "SET foreign_key_checks = 0",
    "RESET session_replication_role": "SET foreign_key_checks = 1",
}


class Translator:
    """Knows the primary keys of the tables it has seen, which a reference may mean without naming them."""

    def __init__(self) -> None:
        self._keys: dict[str, str] = {}

    def statements(self, script: str) -> Iterator[str]:
        """One by one."""
        for statement in split(script, ";"):
            text = statement.strip()
            if text:
                yield _SETTINGS.get(text) or self._statement(text)

    def _statement(self, text: str) -> str:
        if created := _CREATE.match(text):
            return self._create(created[1], created[2])
        if text.startswith("ALTER TABLE"):
            return self._alter(text)
        return _INDEX.sub(r"CREATE \1INDEX by_\3 ON \2 (\3)", _SERIES.sub(_series, text))

    def _create(self, table: str, body: str) -> str:
        items = [item.strip() for item in split(body, ",")]
        self._learn(table, items)
        lines, keys = [], []
        for item in items:
            if re.match(r"(PRIMARY|FOREIGN|UNIQUE|CONSTRAINT|CHECK)\b", item):
                lines.append(self._explicit(item.replace("UNIQUE NULLS DISTINCT", "UNIQUE")))
                continue
            found = _INLINE.search(item)
            column = _COLUMN.match(item)
            if found and column:
                name, parent, columns, action = found.groups()
                columns = columns or self._keys[parent]
                keys.append(f"{name or ''}FOREIGN KEY ({column[1]}) REFERENCES {parent} ({columns}){action}")
                item = item[: found.start()] + item[found.end() :]
            lines.append(_typed(item))
        return f"CREATE TABLE {table} ({', '.join([*lines, *keys])})"

    def _learn(self, table: str, items: list[str]) -> None:
        for item in items:
            if found := re.match(r"PRIMARY KEY \((.*)\)", item):
                self._keys[table] = found[1]
            elif "PRIMARY KEY" in item and (column := _COLUMN.match(item)):
                self._keys[table] = column[1]

    def _explicit(self, text: str) -> str:
        return _IMPLICIT.sub(lambda m: f"REFERENCES {m[1]} ({self._keys[m[1]]})", text)

    def _alter(self, text: str) -> str:
        """ADD a column with a reference becomes the column and the key."""

        def column_and_key(found: re.Match[str]) -> str:
            column, rest, parent, columns = found.groups()
            key = columns or self._keys[parent]
            return f"ADD {_typed(f'{column} {rest}')}, ADD FOREIGN KEY ({column}) REFERENCES {parent} ({key})"

        if "ADD FOREIGN KEY" not in text and "ADD CONSTRAINT" not in text:
            text = _ADD_INLINE.sub(column_and_key, text)
            return text if "REFERENCES" in text else _typed(text)
        return self._explicit(text)


def split(text: str, separator: str) -> Iterator[str]:
    """The parts between separators that stand in no quotes, comment or parentheses; comments are left out."""
    part, depth = "", 0
    for token in _TOKEN.findall(text):
        if token.startswith(("--", "/*")):
            continue
        depth += (token == "(") - (token == ")")
        if token == separator and not depth:
            yield part
            part = ""
        else:
            part += token
    yield part


def _typed(item: str) -> str:
    for type_, other in _TYPES:
        item = re.sub(rf"(?<=\s){type_}(?=\s|\Z|,)", other, item)
    return item


def _series(found: re.Match[str]) -> str:
    first, last = found.groups()
    return (
        f"(WITH RECURSIVE series (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM series WHERE n < {last}) "
        "SELECT n FROM series) series"
    )
