"""Which texts a server holds equal under a collation, so that keys can be compared where no server is asked.

No function tells two texts apart as a collation does and can be read back. So every key comes with a mark that is the
same exactly for what is equal, and the first text that came with a mark stands for all of them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

MADE = """
CREATE TABLE temp.spellings (collation TEXT, mark TEXT, spelling TEXT, PRIMARY KEY (collation, mark)) WITHOUT ROWID
"""
NOTED = "INSERT OR IGNORE INTO temp.spellings VALUES (?, ?, ?)"
KNOWN = "SELECT mark, spelling FROM temp.spellings WHERE collation = ? AND mark IN (SELECT value FROM json_each(?))"


class Spellings:
    """One spelling for each value, in a temporary table of a SQLite database: memory stays flat."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Nothing is known yet."""
        self._connection = connection
        connection.execute(MADE)

    def one(self, collation: str, marked: Sequence[str | None]) -> list[str | None]:
        """The spelling that stands for each value.

        Args:
            collation: marks are compared within it only.
            marked: texts as `Flavour.marked` gives them; None for NULL.
        """
        pairs = [(None, None) if text is None else text.split(" ", 1) for text in marked]
        spelled = {mark: text for mark, text in pairs if mark is not None}
        self._connection.executemany(NOTED, ((collation, mark, text) for mark, text in spelled.items()))
        known = dict(self._connection.execute(KNOWN, (collation, json.dumps(list(spelled)))))
        return [known.get(mark) for mark, _ in pairs]
