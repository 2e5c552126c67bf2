"""Whether a target's column takes every value of a source's, by their types' texts alone: the servers may differ.

Collations may differ: they say how text compares, not what it is, and MySQL and MariaDB share few of the newer ones.
Character sets must agree (or the target's hold the source's as a subset, byte for byte), because text travels as the
bytes it is stored as.
"""

from __future__ import annotations

from collections.abc import Iterator

from airflow_subset_provider.core.engines.base import GENERATE, NOT_GENERATED
from airflow_subset_provider.core.engines.mysql.types import Kind, Type, parsed
from airflow_subset_provider.core.errors import Fault
from airflow_subset_provider.core.schema import Column, Table

_INTEGERS = ("tinyint", "smallint", "mediumint", "int", "bigint")
_COLLECTIONS = {"geomcollection", "geometrycollection"}  # MySQL's name and MariaDB's
_SUPERSETS = {
    "ascii": ("latin1", "utf8mb3", "utf8", "utf8mb4"),
    "utf8": ("utf8mb3", "utf8mb4"),
    "utf8mb3": ("utf8", "utf8mb4"),
}


def faults(wanted: Table, found: Table, label: str) -> list[Fault]:
    """What keeps the found table from taking the wanted one's rows."""
    return [*_columns(wanted, found, label), *_surplus(wanted, found, label)]


def _columns(wanted: Table, found: Table, label: str) -> Iterator[Fault]:
    for column in wanted.columns:
        mine = found.column(column.name)
        where = f"{label}, {wanted.name}.{column.name}"
        if mine is None:
            yield Fault(f"the target has no such column (source: {column.type})", where, "Add it.")
        elif column.generated:
            if not mine.generated:
                yield Fault(NOT_GENERATED, where, GENERATE)
        elif mine.generated:
            yield Fault("the target generates this column, the source does not", where)
        elif not takes(parsed(mine.type), parsed(column.type)):
            yield Fault(f"the target's type is {mine.type}, the source's {column.type}", where, "Alter it.")


def _surplus(wanted: Table, found: Table, label: str) -> Iterator[Fault]:
    names = {c.name for c in wanted.columns}
    for column in found.copied:
        if column.name not in names and _insists(column):
            where = f"{label}, {found.name}.{column.name}"
            yield Fault("the source has no such column, and it needs a value", where)


def _insists(column: Column) -> bool:
    return not column.nullable and not column.default


def takes(mine: Type, given: Type) -> bool:
    """Whether every value of the given type is one of mine."""
    if {mine.kind, given.kind} == {Kind.JSON, Kind.TEXT}:  # MariaDB's JSON is a LONGTEXT
        return {mine.base, given.base} == {"json", "longtext"}
    if mine.kind is not given.kind:
        return False
    match mine.kind:
        case Kind.INTEGER:
            return _takes_integers(mine, given)
        case Kind.TEXT:
            return _same_bytes(mine.charset, given.charset) and _takes_strings(mine, given)
        case Kind.BINARY:
            return _takes_strings(mine, given)
        case Kind.DECIMAL | Kind.BIT | Kind.TEMPORAL | Kind.FLOAT:
            return _takes_numbers(mine, given)
        case Kind.SPATIAL:
            return mine.base in (given.base, "geometry") or {mine.base, given.base} == _COLLECTIONS
    return mine.base == given.base


def _takes_integers(mine: Type, given: Type) -> bool:
    """The display width says nothing of the values."""
    if "year" in (mine.base, given.base):
        return mine.base == given.base
    wider = _INTEGERS.index(mine.base) - _INTEGERS.index(given.base)
    if mine.unsigned == given.unsigned:
        return wider >= 0
    return given.unsigned and wider > 0


def _takes_strings(mine: Type, given: Type) -> bool:
    for base in ("enum", "set"):
        if base in (mine.base, given.base):
            return mine.base == given.base and mine.members[: len(given.members)] == given.members
    if mine.base == "vector" or given.base == "vector":
        return (mine.base, mine.size) == (given.base, given.size)
    # CHAR drops spaces at its end, BINARY adds zero bytes: each takes its own kind and length only.
    if mine.base == "char":
        return given.base == "char" and mine.length >= given.length
    if mine.base == "binary":
        return given.base == "binary" and mine.length == given.length
    return _capacity(mine) >= _capacity(given)


def _capacity(type_: Type) -> int:
    large = {"tiny": 255, "medium": 16_777_215, "long": 4_294_967_295}
    for prefix, size in large.items():
        if type_.base.startswith(prefix):
            return size
    return 65_535 if type_.base in ("text", "blob") else type_.length


def _takes_numbers(mine: Type, given: Type) -> bool:
    if mine.base != given.base:
        return (mine.base, given.base) == ("double", "float") and not mine.size
    if mine.unsigned and not given.unsigned:
        return False
    a, b = _sizes(mine), _sizes(given)
    if mine.kind is Kind.DECIMAL:
        return a[0] - a[1] >= b[0] - b[1] and a[1] >= b[1]
    if mine.kind is Kind.FLOAT:
        return not mine.size or mine.size == given.size
    return a >= b


def _sizes(type_: Type) -> list[int]:
    sizes = [int(n) for n in type_.size.split(",") if n.strip().isdigit()]
    default = {Kind.DECIMAL: [10, 0], Kind.BIT: [1]}.get(type_.kind, [0])
    return sizes + default[len(sizes) :]


def _same_bytes(mine: str, given: str) -> bool:
    return mine == given or mine in _SUPERSETS.get(given, ())
