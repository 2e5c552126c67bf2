"""What a type's text means for a copy: how its values become text and literals, and in which disguise they travel.

A column's type is kept as the server spells it with its character set and collation, e.g. `varchar(20) CHARACTER SET
utf8mb4 COLLATE utf8mb4_bin`: usable in CREATE TABLE, and enough to know how a value must be written so that it compares
with the column exactly as the column's own values do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

_SHAPE = re.compile(
    r"(?P<base>\w+)(?:\((?P<size>.*)\))?(?P<unsigned> unsigned)?(?: zerofill)?"
    r"(?: CHARACTER SET (?P<charset>\w+))?(?: COLLATE (?P<collation>\w+))?\Z",
    re.DOTALL,
)
_NO_PAD = re.compile("_0900_|_nopad_")  # collations that count trailing spaces
_GREATEST = {False: "9223372036854775807", True: "18446744073709551615"}


class Kind(Enum):
    """Types that are handled alike."""

    INTEGER = "integer"
    BIT = "bit"
    DECIMAL = "decimal"
    FLOAT = "float"
    TEMPORAL = "temporal"
    TEXT = "text"
    BINARY = "binary"
    JSON = "json"
    SPATIAL = "spatial"
    OTHER = "other"  # MariaDB's UUID, INET4, INET6: text outside, bytes inside


_KINDS = {
    Kind.INTEGER: ("tinyint", "smallint", "mediumint", "int", "bigint", "year"),
    Kind.BIT: ("bit",),
    Kind.DECIMAL: ("decimal",),
    Kind.FLOAT: ("float", "double"),
    Kind.TEMPORAL: ("date", "datetime", "timestamp", "time"),
    Kind.TEXT: ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"),
    Kind.BINARY: ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector"),
    Kind.JSON: ("json",),
    Kind.SPATIAL: (
        "geometry",
        "point",
        "linestring",
        "polygon",
        "multipoint",
        "multilinestring",
        "multipolygon",
        "geomcollection",
        "geometrycollection",
    ),
}
_KIND_OF = {base: kind for kind, bases in _KINDS.items() for base in bases}


class Type(Struct, frozen=True):
    """A type taken apart.

    Attributes:
        size: what stands in brackets: a length, precision and scale, or the members of an ENUM or SET.
    """

    base: str
    size: str = ""
    unsigned: bool = False
    charset: str = ""
    collation: str = ""

    @property
    def kind(self) -> Kind:
        """How it is handled."""
        return _KIND_OF.get(self.base, Kind.OTHER)

    @property
    def large(self) -> bool:
        """Whether one value can be megabytes long."""
        return self.base.endswith(("text", "blob")) or self.kind in (Kind.JSON, Kind.SPATIAL)

    @property
    def members(self) -> tuple[str, ...]:
        """The members of an ENUM or SET."""
        return tuple(m.replace("''", "'") for m in re.findall(r"'((?:[^']|'')*)'", self.size))

    @property
    def length(self) -> int:
        """Characters or bytes that a value may have."""
        if self.base in ("enum", "set"):
            lengths = [len(m) for m in self.members] or [0]
            return max(lengths) if self.base == "enum" else sum(lengths) + len(lengths)
        if self.size.isdigit():
            return int(self.size)
        return {"char": 1, "binary": 1, "tinytext": 255, "tinyblob": 255, "text": 65_535, "blob": 65_535}.get(
            self.base, 16_777_215
        )


@lru_cache(maxsize=4096)
def parsed(text: str) -> Type:
    """Take a type's text apart; what this module does not know is of kind OTHER."""
    found = _SHAPE.match(re.sub(r"\s*/\*.*?\*/", "", text))  # old temporal formats: `datetime /* mariadb-5.3 */`
    if found is None:
        return Type(text)
    parts = found.groupdict(default="")
    return Type(parts["base"], parts["size"], bool(parts["unsigned"]), parts["charset"], parts["collation"])


class CastAs(FunctionElement[Any]):
    """CAST to a type by the server's own spelling; SQLAlchemy leaves out casts that it thinks MySQL has not."""

    name = "cast_as"
    inherit_cache = True


@compiles(CastAs)
def _compile_cast(element: CastAs, compiler: Any, **options: Any) -> str:
    value, target = (compiler.process(part, **options) for part in element.clauses)
    return f"CAST({value} AS {target})"


def cast(value: sa.ColumnElement[Any], target: str) -> sa.ColumnElement[Any]:
    """CAST(value AS target)."""
    return CastAs(value, sa.literal_column(target))


def as_text(value: sa.ColumnElement[Any], type_: Type) -> sa.ColumnElement[Any]:
    """A key's value as ASCII text that `literal` reads back: bytes as hex digits, free of character sets."""
    match type_.kind:
        case Kind.TEXT | Kind.BINARY | Kind.JSON | Kind.SPATIAL:
            return sa.func.hex(value)
        case Kind.BIT:
            return cast(cast(value, "UNSIGNED"), "CHAR")
        case Kind.FLOAT:
            return cast(cast(value, "DOUBLE"), "CHAR")  # FLOAT itself is shown with six digits only
    return cast(value, "CHAR")


def comparable(value: sa.ColumnElement[Any], type_: Type) -> sa.ColumnElement[Any]:
    """A text that is equal for keys that the server holds equal, as far as case and trailing spaces go.

    It is read back by `literal` as a key that the server holds equal to the value, so it cannot be `weights`.
    """
    if type_.kind is Kind.DECIMAL:
        return cast(cast(value, "DECIMAL(65, 30)"), "CHAR")
    if type_.kind is Kind.TEXT:
        shorter = _unpadded(value, type_)
        return sa.func.hex(sa.func.lower(shorter) if type_.collation.endswith("_ci") else shorter)
    return as_text(value, type_)


def weights(value: sa.ColumnElement[Any], type_: Type) -> sa.ColumnElement[Any]:
    """What the collation compares a text by, as hex digits (MySQL manual 14.8, "WEIGHT_STRING")."""
    return sa.func.hex(sa.func.weight_string(_unpadded(value, type_)))


def _unpadded(value: sa.ColumnElement[Any], type_: Type) -> sa.ColumnElement[Any]:
    return value if _NO_PAD.search(type_.collation) else sa.func.rtrim(value)


def literal(text: str | None, type_: Type) -> str:
    """The SQL of a value that `as_text` gave, of the column's own type, character set and collation."""
    if text is None:
        return null(type_)
    match type_.kind:
        case Kind.TEXT:
            return f"_{type_.charset} x'{_hex(text)}' COLLATE {type_.collation}"
        case Kind.BINARY | Kind.JSON | Kind.SPATIAL:
            return f"x'{_hex(text)}'"
        case Kind.INTEGER | Kind.BIT:
            number = str(int(text))
            return f"CAST({number} AS UNSIGNED)" if type_.unsigned or type_.kind is Kind.BIT else number
    return f"CAST('{_plain(text)}' AS {_castable(_with_room_for(text, type_))})"


def _with_room_for(text: str, type_: Type) -> Type:
    """The type, or one with more digits: cut to fit, a reference of a wider type would match a row it does not mean."""
    whole, _, fraction = text.lstrip("-").partition(".")
    match type_.kind:
        case Kind.DECIMAL:
            precision, _, scale = (type_.size or "10,0").partition(",")
            if len(fraction) > int(scale or 0) or len(whole) > max(1, int(precision) - int(scale or 0)):
                return replace(type_, size="65,30")
        case Kind.TEMPORAL if len(fraction) > int(type_.size or 0):
            return replace(type_, size="6")
    return type_


def null(type_: Type) -> str:
    """A NULL of the type.

    CAST(NULL AS SIGNED) is an int(2) on MariaDB, and BINARY(n) pads: integers are taken from the greatest value
    instead.
    """
    if type_.kind in (Kind.INTEGER, Kind.BIT):
        greatest = _GREATEST[type_.unsigned or type_.kind is Kind.BIT]
        return f"NULLIF({greatest}, {greatest})"
    target = f"CAST(NULL AS {_castable(type_)})"
    return f"{target} COLLATE {type_.collation}" if type_.kind is Kind.TEXT else target


def typed(value: sa.ColumnElement[Any] | None, type_: Type) -> sa.ColumnElement[Any]:
    """The value as it is, in an expression wide enough for every value of the type; a NULL of the type for None.

    The columns of a recursive CTE have the types of its non-recursive part (MySQL manual 15.2.20, MariaDB likewise),
    and IF has the common type of both branches; a CAST of the value would pad binary strings.
    """
    nothing: sa.ColumnElement[Any] = sa.literal_column(null(type_))
    if value is None:
        return nothing
    if type_.unsigned and type_.kind is Kind.INTEGER:
        value = cast(value, "UNSIGNED")  # signed and unsigned together would make a DECIMAL
    return sa.func.IF(sa.literal_column("FALSE"), nothing, value)


def widest(own: str, others: Sequence[str]) -> str:
    """The spelling of a type that compares as `own` does and has room for the values of all."""
    mine, all_ = parsed(own), [parsed(t) for t in (own, *others)]
    length = max(t.length for t in all_)
    match mine.kind:
        case Kind.TEXT if length > mine.length:
            return f"varchar({length}) CHARACTER SET {mine.charset} COLLATE {mine.collation}"
        case Kind.BINARY if length > mine.length:
            return f"varbinary({length})"
        case Kind.DECIMAL if len({t.size for t in all_}) > 1:
            return "decimal(65,30)"
        case Kind.TEMPORAL if len({t.size for t in all_}) > 1:
            return f"{mine.base}(6)"
    return own


def _castable(type_: Type) -> str:
    """What CAST calls it."""
    size = f"({type_.size})" if type_.size else ""
    match type_.kind:
        case Kind.TEXT:
            return f"CHAR({type_.length}) CHARACTER SET {type_.charset}"
        case Kind.BINARY | Kind.JSON | Kind.SPATIAL:
            return f"BINARY({type_.length})"
        case Kind.FLOAT:
            return "DOUBLE"
        case Kind.DECIMAL:
            return f"DECIMAL{size}"
        case Kind.TEMPORAL:
            return f"{'DATETIME' if type_.base == 'timestamp' else type_.base.upper()}{size}"
    return type_.base.upper()


def _hex(text: str) -> str:
    return _checked(text, r"[0-9A-Fa-f]*")


def _plain(text: str) -> str:
    return _checked(text, r"[0-9A-Za-z.:+ -]*")


def _checked(text: str, pattern: str) -> str:
    """Key texts come from this module's own `as_text`; whatever else they held would be SQL."""
    if not re.fullmatch(pattern, text):
        raise ValueError("not a key's text")
    return text
