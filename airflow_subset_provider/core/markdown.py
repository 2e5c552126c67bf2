"""Names and clauses in Markdown: what somebody called a table must not be taken for markup (CommonMark 0.31, GFM)."""

from __future__ import annotations

import re


def code(text: str) -> str:
    """A code span in one line; its fence is longer than any run of backticks in the text (CommonMark 6.1)."""
    line = _line(text)
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    # A backtick at an end would lengthen the fence; a space at both ends is taken off.
    space = " " if line[:1] + line[-1:] in ("  ", "``") or "`" in (line[:1], line[-1:]) else ""
    return f"{fence}{space}{line}{space}{fence}"


def plain(text: str) -> str:
    """Words in one line that hold names."""
    return re.sub(r"[\\`*<|]", r"\\\g<0>", _line(text))


def cell(markup: str) -> str:
    """Markup inside of a table, where a bar ends the cell even in a code span (GFM 4.10)."""
    return re.sub(r"(?<!\\)\|", r"\\|", markup)


def _line(text: str) -> str:
    return " ".join(text.splitlines())
