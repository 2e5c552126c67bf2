"""What this user has no right to see: information_schema leaves it out without a word."""

from __future__ import annotations

import re
from collections.abc import Iterable

from airflow_subset_provider.core.engines.mysql.session import MySqlSession
from airflow_subset_provider.core.errors import SubsetError
from airflow_subset_provider.core.schema import TableName

_NAME = r"(\*|`(?:[^`]|``)*`)"
_GRANT = re.compile(rf"(GRANT|REVOKE) (.+?) ON (?:TABLE )?{_NAME}\.{_NAME} (?:TO|FROM) ")


def without_triggers(session: MySqlSession, tables: Iterable[TableName]) -> list[TableName]:
    """The tables whose triggers it may not see: that takes TRIGGER, or all rights (MySQL manual 28.3.45).

    SHOW GRANTS has the rights of the roles in force as well; on MariaDB not where it is asked FOR somebody.
    """
    try:
        lines = [line for (line,) in session.rows("SHOW GRANTS")]
    except SubsetError:  # a server without grants, where everybody may see everything
        return []
    held = [_Held(*found.groups()) for line in lines if (found := _GRANT.match(line)) and _sees(found[2])]
    return [table for table in tables if not _allowed(held, table)]


def _sees(rights: str) -> bool:
    """Rights on columns stand with these in brackets."""
    return bool(re.search(r"\b(TRIGGER|ALL PRIVILEGES)\b", re.sub(r"\(.*?\)", "", rights)))


class _Held:
    """One line of SHOW GRANTS."""

    def __init__(self, verb: str, _: str, database: str, table: str) -> None:
        self.given = verb == "GRANT"
        self._database, self._table = database, table

    def covers(self, table: TableName) -> bool:
        """A database is a pattern where the whole of it is meant (MySQL manual 15.7.1.6)."""
        if self._table != "*":
            return (_bare(self._database), _bare(self._table)) == table
        return self._database == "*" or bool(re.fullmatch(_pattern(_bare(self._database)), table.schema))


def _allowed(held: Iterable[_Held], table: TableName) -> bool:
    """Given, and not taken back for a database (MySQL: partial_revokes)."""
    covering = [line.given for line in held if line.covers(table)]
    return any(covering) and all(covering)


def _bare(name: str) -> str:
    return name[1:-1].replace("``", "`")


def _pattern(like: str) -> str:
    parts = re.findall(r"\\.|.", like, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    return "".join(wild.get(part) or re.escape(part[-1]) for part in parts)
