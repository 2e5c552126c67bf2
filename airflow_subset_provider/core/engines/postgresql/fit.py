"""Whether a target's column takes every value of a source's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from airflow_subset_provider.core.engines.base import GENERATE, NOT_GENERATED
from airflow_subset_provider.core.errors import Fault
from airflow_subset_provider.core.schema import Column, Table


class UserType(NamedTuple):
    """A type that is no server's own: its name says nothing of its values.

    Attributes:
        kind: as pg_type has it: "e", an enum, "d", a domain, "c", a composite type, "r", a range, "m", a multirange.
        names: an enum's labels, a composite type's attributes.
        types: the attributes' types, a domain's one type, that of a range's bounds.
    """

    kind: str
    names: list[str]
    types: list[str]

    def __str__(self) -> str:
        """What it is made of, for people."""
        if self.kind == "c":
            return f"({', '.join(f'{n} {t}' for n, t in zip(self.names, self.types, strict=True))})"
        over = {"d": "a domain over", "r": "a range of", "m": "a multirange of"}.get(self.kind)
        return f"{over} {self.types[0]}" if over else f"an enum of {', '.join(self.names)}"


UserTypes = tuple[Mapping[str, UserType], Mapping[str, UserType]]
Casts = Callable[[str, str], bool]

# Implicit casts lose nothing, but for those to a float of fewer digits, to a time zone nobody named, to `name` (it ends
# after 63 bytes), and to the names and numbers of the server's own things.
WIDER = """
SELECT to_regtype(%(a)s) = to_regtype(%(b)s) OR EXISTS (
    SELECT FROM pg_cast WHERE castsource = to_regtype(%(a)s) AND casttarget = to_regtype(%(b)s) AND castcontext = 'i'
    AND NOT (casttarget = 'float4'::regtype AND castsource <> 'int2'::regtype)
    AND NOT (casttarget = 'float8'::regtype AND castsource IN ('int8'::regtype, 'numeric'::regtype))
    AND casttarget NOT IN ('timestamptz'::regtype, 'timetz'::regtype, 'name'::regtype, 'oid'::regtype)
    AND casttarget::regtype::text !~ '^reg')
"""


def faults(wanted: Table, found: Table, label: str, made: UserTypes, casts: Casts) -> list[Fault]:
    """What keeps the found table from taking the wanted one's rows.

    Args:
        made: the users' own types, the source's and the target's.
        casts: whether the target's server takes every value of one type (without modifiers) as one of another.
    """
    columns = (_fault(c, found.column(c.name), f"{label}, {wanted.name}.{c.name}", made, casts) for c in wanted.columns)
    return [*(fault for fault in columns if fault), *_surplus(wanted, found, label)]


def _fault(column: Column, mine: Column | None, where: str, made: UserTypes, casts: Casts) -> Fault | None:
    if mine is None:
        return Fault(f"the target has no such column (source: {column.type})", where, "Add it.")
    if column.generated:
        return None if mine.generated else Fault(NOT_GENERATED, where, GENERATE)
    if mine.generated:
        return Fault("the target generates this column, the source does not", where)
    if mine.type != column.type and not _takes(column.type, mine.type, casts):
        return Fault(f"the target's type is {mine.type}, the source's {column.type}", where, "Alter it.")
    return next(_unlike(column.type, mine.type, where, made), None)


def _surplus(wanted: Table, found: Table, label: str) -> Iterator[Fault]:
    names = {c.name for c in wanted.columns}
    for c in found.copied:
        if c.name not in names and not c.nullable and not c.default:
            yield Fault("the source has no such column, and it needs a value", f"{label}, {found.name}.{c.name}")


def _takes(given: str, mine: str, casts: Casts) -> bool:
    if bare(given) == bare(mine):
        return "(" not in mine or _fits(given, mine)
    if bare(mine).startswith("interval "):  # of some fields alone: the server cuts what it is given
        return False
    return "(" not in mine and casts(given, mine)


def _unlike(given: str, mine: str, where: str, made: UserTypes) -> Iterator[Fault]:
    """Where the users' types of these names, or arrays of them, are not made alike, down to the types they are made of.

    A row's values travel in the order of its attributes, whatever these are called on the other side.
    """
    name, own = given.removesuffix("[]"), mine.removesuffix("[]")
    theirs, ours = made[0].get(name), made[1].get(own)
    if theirs is None or ours is None:
        return
    if theirs.kind == ours.kind == "e":
        if lacking := [repr(label) for label in theirs.names if label not in ours.names]:
            yield Fault(f"the target's {own} lacks {', '.join(lacking)}", where, "ALTER TYPE … ADD VALUE.")
        return
    pairs = list(zip(theirs.types, ours.types, strict=False))
    alike = (theirs.kind, theirs.names) == (ours.kind, ours.names) and all(_takes(a, b, _never) for a, b in pairs)
    if not alike:
        yield Fault(f"the target's type differs: {own} is {ours}, the source's {theirs}", where, "Make it the same.")
        return
    for a, b in pairs:
        yield from _unlike(a, b, where, made)


def _never(_given: str, _mine: str) -> bool:
    """No cast is made inside of a value."""
    return False


def bare(type_: str) -> str:
    """A type without its modifier: `character varying(10)[]` -> `character varying[]`."""
    start, end = type_.find("("), type_.find(")")
    return type_ if start < 0 or type_.startswith('"') else type_[:start] + type_[end + 1 :]


def _fits(given: str, mine: str) -> bool:
    """Whether every value of a type has room in the same one with another modifier."""
    (size, *scale), (room, *room_scale) = _size(given), _size(mine)
    if bare(mine).startswith("bit") and "varying" not in mine:
        return size == room
    digits, room_digits = sum(scale), sum(room_scale)
    return digits <= room_digits and size - digits <= room - room_digits


def _size(type_: str) -> tuple[int, ...]:
    """A modifier's numbers; none counts as without limit, but that of a time: six digits of a second."""
    inside = type_[type_.find("(") + 1 : type_.find(")")] if "(" in type_ else ""
    none = 6 if type_.startswith(("time", "interval")) else 2**31
    return tuple(map(int, re.findall(r"-?\d+", inside))) or (none,)
