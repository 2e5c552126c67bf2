"""What a server says against a WHERE clause, and where in the clause that is: neither server gives a position.

A syntax error quotes the statement from where it stopped, at most 80 characters of it. Other errors name what they
stumbled over: a column, a table, a function, a value; which of several places that is, the server itself is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator

import MySQLdb
from msgspec import Struct

from airflow_subset_provider.core.engines.mysql.errors import code_of, without_values, words_of
from airflow_subset_provider.core.errors import Fault

SYNTAX, UNKNOWN_COLUMN, AGGREGATE = 1064, 1054, 1111
WINDOW = frozenset({3593, 4015})
COERCED = 1292
_COERCED = "text was compared as a number or a date that it does not spell. Compare values of one type"
SHOWN = 40  # characters of what the server stopped at

_NEAR = re.compile(r"near '(.*)' at line (\d+)\Z", re.DOTALL)
_NAMED = re.compile(r"'([^']+)'|\bFUNCTION (\S+) does not exist|\bfunction (\S+) is not defined", re.IGNORECASE)
# Strings and comments hold no names; backquoted names do.
_OPAQUE = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"|/\*.*?\*/|#[^\n]*|--(?=\s)[^\n]*", re.DOTALL)
_AGGREGATES = re.compile(
    r"\b(?:count|sum|avg|min|max|std|stddev\w*|var\w*|bit_\w+|group_concat|json_\w+agg)\s*\(", re.IGNORECASE
)
_WINDOWS = re.compile(r"\b\w+\s*\([^()]*\)\s*over\b", re.IGNORECASE)
# What says another time in another time zone, beside columns of type TIMESTAMP.
_CLOCKS = re.compile(
    r"\b(?:now|sysdate|cur(?:date|time)|unix_timestamp|from_unixtime)\s*\(|\bcurrent_(?:date|time(?:stamp)?)\b"
    r"|\blocaltime(?:stamp)?\b",
    re.IGNORECASE,
)
# Modes that a server may have for its clients, where they show, and what is so without them.
_MODES = {
    "ANSI_QUOTES": ('"', "double quotes hold a string; use backquotes for a name"),
    "NO_BACKSLASH_ESCAPES": ("\\", "a backslash in a string escapes; write it twice"),
    "PIPES_AS_CONCAT": ("||", "|| means OR; use CONCAT"),
}


class Complaint(Struct, frozen=True):
    """What came back for one statement that holds the clause.

    Attributes:
        before: how much of the statement stands before the clause.
    """

    error: MySQLdb.Error
    statement: str
    before: int

    def stopped(self, clause: str) -> int:
        """The character of the clause, from 1, that a syntax error speaks of; one behind its end; 0 where unknown."""
        found = _NEAR.search(str(self.error.args[1])) if code_of(self.error) == SYNTAX else None
        place = -1 if found is None else _place(found[1], int(found[2]), self.statement.rstrip())
        return 0 if place < 0 else max(1, min(place - self.before + 1, len(clause) + 1))


def fault(complaints: list[Complaint], clause: str, where: str, ask: Callable[[str], MySQLdb.Error | None]) -> Fault:
    """One fault for what the server said of a clause in several forms.

    Args:
        ask: what the server says of another clause in this one's place.
    """
    stops = [(position, c) for c in complaints if (position := c.stopped(clause))]
    if stops:
        position, complaint = min(stops, key=lambda stop: stop[0])
        words = _stopped(clause, position)
    else:
        complaint = complaints[0]
        position, words = _culprit(complaint.error, clause, ask), words_of(complaint.error)
    return Fault(words, where, _advice(complaint.error), clause, position)


def remarks(warnings: Iterable[tuple[str, int, str]], clause: str) -> list[str]:
    """What a server warned of while it read rows by the clause, each once; values that only the rows have are left out.

    With 1292, text that is no number has been compared as one: by what its beginning spells, else as 0.
    """
    found = dict.fromkeys(
        f"{_sayable(text, clause)} (warning {code})" for level, code, text in warnings if level == "Warning"
    )
    return [f"{words}: {_COERCED}" if f"warning {COERCED}" in words else words for words in found]


def in_utc(clause: str, zone: str, stamps: Iterable[str]) -> Iterator[str]:
    """That times are UTC, where the clause has any that the server's other clients take for those of `zone`.

    Args:
        stamps: names of the columns that hold a moment, which the server shows in the session's time zone.
    """
    bare = _OPAQUE.sub(" ", clause)
    if zone and (_CLOCKS.search(bare) or any(_identifier(name).search(bare) for name in stamps)):
        yield f"TIMESTAMPs, NOW() and CURDATE() are in UTC here, while the server's time_zone is {zone}: use CONVERT_TZ"


def in_our_modes(clause: str, modes: Collection[str]) -> Iterator[str]:
    """What the clause has that means something else in one of the server's modes."""
    for mode, (mark, meaning) in _MODES.items():
        if mode in modes and mark in clause:
            yield f"the server's sql_mode has {mode}, which is not in force here: {meaning}"


def _sayable(text: str, clause: str) -> str:
    """Only a value that the clause itself has in quotes: a row's may be any of its letters."""
    value = text.rpartition(": ")[2].strip("'")
    said = value and (f"'{value}'" in clause or f'"{value}"' in clause)
    return text if said else without_values(text)


def _stopped(clause: str, position: int) -> str:
    if position > len(clause.rstrip()):
        return "syntax error: the clause ends too early"
    return f"syntax error near {clause[position - 1 :].splitlines()[0][:SHOWN]!r}"


def _place(rest: str, line: int, statement: str) -> int:
    """Where the statement goes on with `rest`, which may be cut off; -1 where it does not."""
    if statement.endswith(rest):
        return len(statement) - len(rest)
    shown = rest.removesuffix("...").rstrip("\ufffd")
    found = [m.start() for m in re.finditer(re.escape(shown), statement)]
    return next((at for at in found if statement.count("\n", 0, at) + 1 == line), -1)


def _culprit(error: MySQLdb.Error, clause: str, ask: Callable[[str], MySQLdb.Error | None]) -> int:
    """The first place of what the error names at which it would be said were that place the only one."""
    spans = list(_spans(error, clause))
    for start, _ in spans if len(spans) > 1 else ():
        others = [span for span in spans if span[0] != start]
        left = ask(_without(clause, others))
        if left is not None and code_of(left) == code_of(error):
            return start + 1
    return spans[0][0] + 1 if spans else 0


def _spans(error: MySQLdb.Error, clause: str) -> Iterator[tuple[int, int]]:
    """Where the clause says what the error speaks of."""
    bare = _OPAQUE.sub(lambda m: "\0" * len(m[0]), clause)
    code = code_of(error)
    if code == AGGREGATE or code in WINDOW:
        yield from (m.span() for m in (_AGGREGATES if code == AGGREGATE else _WINDOWS).finditer(bare))
        return
    for named in _NAMED.finditer(str(error.args[1])):
        name = next(filter(None, named.groups()))
        found = [m.span() for m in _identifier(name).finditer(bare)]
        found = found or [m.span() for m in re.finditer(re.escape(f"'{name}'"), clause)]
        if found:
            yield from found
            return


def _identifier(name: str) -> re.Pattern[str]:
    """The name as it may be written: of `a.b.c` the server adds a database, or a table, that is not there."""
    parts = [rf"(?:`{re.escape(part)}`|(?<![\w$`]){re.escape(part)}(?![\w$`]))" for part in name.split(".")]
    forms = [r"\s*\.\s*".join(parts[n:]) for n in range(len(parts))]
    return re.compile("|".join(forms), re.IGNORECASE)


def _without(clause: str, spans: list[tuple[int, int]]) -> str:
    """The clause with a NULL in each of these places."""
    for start, end in sorted(spans, reverse=True):
        clause = f"{clause[:start]}NULL{clause[end:]}"
    return clause


def _advice(error: MySQLdb.Error) -> str:
    if code_of(error) == UNKNOWN_COLUMN:
        return "Write a condition on the table's own columns; reach other tables by a subquery."
    return "Write one expression, as it would stand after WHERE."
