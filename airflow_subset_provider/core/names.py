"""From what a user writes to the tables and foreign keys of a schema.

One place decides how names and patterns match, so that every setting accepts the same spellings: `table` or
`schema.table`, `table.column` or `schema.table.column` (commas between the columns of a composite key), a
constraint's name, with shell wildcards where a pattern is allowed. Names with dots need no quotes: all readings are
tried.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from airflow_subset_provider.core.errors import Fault
from airflow_subset_provider.core.schema import ForeignKey, Schema, TableName

WILDCARDS = frozenset("*?[")


def find_table(schema: Schema, text: str, where: str) -> TableName | Fault:
    """The one table that `text` names.

    Args:
        where: the setting `text` stands in, for the message.

    Returns:
        The table, or a fault with the nearest names or the candidates.
    """
    found = [t.name for t in schema.tables if text in (t.name.name, str(t.name))]
    if len(found) == 1:
        return found[0]
    if found:
        return Fault(f"{text!r} is ambiguous", where, f"Say which: {', '.join(map(str, found))}.")
    return Fault(f"no table {text!r} in {_scope(schema)}", where, nearest(text, table_spellings(schema)))


def find_columns(schema: Schema, text: str, where: str) -> tuple[TableName, tuple[str, ...]] | Fault:
    """The table and columns that `table.column[,column]` (or a bare table: its primary key) names."""
    readings = []
    for table in schema.tables:
        names = {c.name for c in table.columns}
        for spelling in (table.name.name, str(table.name)):
            if text == spelling and table.primary_key:
                readings.append((table.name, table.primary_key))
            elif text.startswith(f"{spelling}."):
                named = tuple(c.strip() for c in text[len(spelling) + 1 :].split(","))
                if names.issuperset(named):
                    readings.append((table.name, named))
    if len(readings) == 1:
        return readings[0]
    if readings:
        return Fault(f"{text!r} is ambiguous", where, "Write schema.table.column.")
    columns = [f"{t.name.name}.{c.name}" for t in schema.tables for c in t.columns]
    return Fault(f"no column {text!r} in {_scope(schema)}", where, nearest(text, columns))


def table_spellings(schema: Schema) -> list[str]:
    """All ways to write all tables."""
    return [s for t in schema.tables for s in (t.name.name, str(t.name))]


def key_spellings(key: ForeignKey) -> tuple[str, ...]:
    """All ways to write one foreign key."""
    columns = ",".join(key.columns)
    return (f"{key.child.name}.{columns}", f"{key.child}.{columns}", key.name, *key.also)


def matching(patterns: Iterable[str], spellings: Iterable[str]) -> list[str]:
    """The patterns that match one of the spellings, most specific first: exact, then by literal length, then last."""
    spelled = tuple(spellings)
    found = [p for p in patterns if any(fnmatchcase(s, p) or s == p for s in spelled)]
    found.reverse()
    return sorted(found, key=specificity, reverse=True)


def specificity(pattern: str) -> tuple[bool, int]:
    """Greater is more specific."""
    return (not is_pattern(pattern), sum(c not in WILDCARDS for c in pattern))


def is_pattern(text: str) -> bool:
    """Whether it holds a shell wildcard."""
    return not WILDCARDS.isdisjoint(text)


def nearest(text: str, choices: Iterable[str]) -> str:
    """`Did you mean …?`, or a hint where to look when nothing is near."""
    from difflib import get_close_matches  # here, because a DAG file's parse imports this module and seldom fails

    near = list(dict.fromkeys(get_close_matches(text, list(choices), n=3)))
    return f"Did you mean {' or '.join(near)}?" if near else "Check the spelling and the schemas in scope."


def _scope(schema: Schema) -> str:
    return "schema " + ", ".join(schema.schemas) if schema.schemas else "the schema"
