"""What the user asks for, validated as a whole before anything else happens.

A `Spec` holds the same fields as `SubsetOperator` and as the spec file of the command line; it is plain data, so it
renders, serialises and compares. Checks that need only the request itself are made here; checks against the schema
are made by `plan`, checks against the real database by `run`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from msgspec import Struct
from msgspec.structs import asdict, replace
from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator, ValidationError
from pydantic_core import core_schema as cs

from airflow_subset_provider.core.errors import Fault, RequestError


class Rule(StrEnum):
    """Which rows of a table are kept (semantics: Rules for a table)."""

    RELEVANT = "relevant"
    WHOLE = "whole"
    REFERENCED = "referenced"
    SKIP = "skip"


class Others(StrEnum):
    """The rule of the tables that no filter reaches."""

    WHOLE = "whole"
    REFERENCED = "referenced"
    SKIP = "skip"


class Policy(StrEnum):
    """What happens to a kept row's reference whose row is not kept (semantics: References)."""

    INCLUDE = "include"
    NULL = "null"
    DROP = "drop"


class OnDrift(StrEnum):
    """What a run does when the source's schema is no longer the catalog's."""

    FAIL = "fail"
    WARN = "warn"  # and goes on, if the copy is correct all the same

    @classmethod
    def of(cls, text: str) -> Self:
        """The member of that name.

        Raises:
            RequestError: there is none.
        """
        try:
            return cls(text)
        except ValueError:
            raise RequestError(Fault(f"{text!r} is neither 'fail' nor 'warn'", "on_drift")) from None


def part_size(chunk_rows: Any) -> int:
    """About how many rows a part of a large table is to have; 0: no table is loaded in parts.

    Raises:
        RequestError: it is no number of rows.
    """
    if isinstance(chunk_rows, bool) or not isinstance(chunk_rows, int) or chunk_rows < 0:
        advice = "Say about how many rows each part is to have, such as 5_000_000; 0 cuts no table."
        raise RequestError(Fault(f"{chunk_rows!r} is no number of rows", "chunk_rows", advice))
    return chunk_rows


class RelationSpec(Struct, frozen=True):
    """Settings of the foreign keys that one pattern matches, or the declaration of a virtual one.

    Attributes:
        follow: whether filters flow down through it; None for what a less specific pattern says, else yes.
        references: its policy; None for what a less specific pattern says, else the run's.
        to: declares a virtual foreign key to `table.column[,column]` (or `table`, for its primary key);
            with `type`, one parent for each value of the type column (a polymorphic reference).
        type: the child's column that says which parent a polymorphic reference means.
    """

    follow: bool | None = None
    references: Policy | None = None
    to: str | dict[str, str] | None = None
    type: str | None = None


class Spec(Struct, frozen=True, kw_only=True):
    """One request.

    Attributes:
        filters: table -> WHERE clause (trusted SQL of the DAG's author). Tables as `table` or `schema.table`.
        schemas: schemas (on MySQL: databases) in scope; empty for the engine's default.
        others: the rule of tables that no filter reaches.
        tables: pattern -> rule, overriding the worked-out one; shell patterns, the most specific wins.
        references: the policy of every foreign key not set apart in `relations`.
        relations: pattern -> settings of the foreign keys it matches, or a virtual foreign key.
        sample: table -> "5%" or a number of rows; deterministic, combined with the table's filter by AND.
        seed: chooses another sample of the same size.
        referential_integrity: off: filters apply to their own tables only and no reference is looked at.
        whole_limit: tables with more rows (as the source estimates) are copied whole only if `tables` names them.
    """

    filters: dict[str, str] = {}
    schemas: tuple[str, ...] = ()
    others: Others = Others.WHOLE
    tables: dict[str, Rule] = {}
    references: Policy = Policy.INCLUDE
    relations: dict[str, RelationSpec] = {}
    sample: dict[str, str | int] = {}
    seed: int = 0
    referential_integrity: bool = True
    whole_limit: int = 10_000_000

    @classmethod
    def of(cls, **fields: Any) -> Self:
        """Validate the fields together.

        Raises:
            RequestError: with one fault for every field that is wrong.
        """
        return cls(**validated(fields, SHAPE, _VALIDATOR))

    def with_filters(self, filters: Mapping[str, str]) -> Spec:
        """The same request with other clauses, as after rendering templates."""
        return replace(self, filters=self.of(filters=dict(filters)).filters)


# -- what the fields may be: pydantic's core schemas. To derive them from a model takes a worker a seventh of its parse.


def _clause(value: Any, check: cs.ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        raise PydanticCustomError("clause", "not a WHERE clause") from None


def _amount(value: Any, check: cs.ValidatorFunctionWrapHandler) -> str | int:
    """One fault for a value that is neither, instead of one for each."""
    try:
        amount: str | int = check(value)
        if isinstance(amount, int) or float(amount.strip().rstrip("%")) <= 100:
            return amount
    except ValidationError:
        pass
    raise PydanticCustomError("amount", 'neither a percentage such as "5%" nor a number of rows')


def _parents(value: Any, check: cs.ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        message = "neither table.column nor, for a polymorphic reference, a mapping of values to table.column"
        raise PydanticCustomError("parents", message) from None


def _fields(relation: Any) -> Any:
    """Of a relation that was validated in another request; anything else as it is."""
    return asdict(relation) if isinstance(relation, RelationSpec) else relation


def _relation(fields: dict[str, Any]) -> RelationSpec:
    relation = RelationSpec(**fields)
    if (relation.type is not None) != isinstance(relation.to, dict):
        raise ValueError('a polymorphic reference needs both "type" (a column) and "to" (value -> table.column)')
    return relation


def _mapping(values: CoreSchema) -> CoreSchema:
    return cs.dict_schema(cs.str_schema(), values)


def _one_of(enum: type[StrEnum]) -> CoreSchema:
    return cs.enum_schema(enum, list(enum), sub_type="str")


def of_fields(shape: Mapping[str, CoreSchema]) -> CoreSchema:
    """The schema of a mapping of these fields, any of them, and no other."""
    fields = {name: cs.typed_dict_field(schema, required=False) for name, schema in shape.items()}
    return cs.typed_dict_schema(fields, extra_behavior="forbid")


_PERCENT = cs.str_schema(pattern=r"^\s*\d+(\.\d+)?\s*%\s*$")
_RELATION = {
    "follow": cs.nullable_schema(cs.bool_schema()),
    "references": cs.nullable_schema(_one_of(Policy)),
    "to": cs.nullable_schema(
        cs.no_info_wrap_validator_function(_parents, cs.union_schema([cs.str_schema(), _mapping(cs.str_schema())]))
    ),
    "type": cs.nullable_schema(cs.str_schema()),
}
SHAPE: dict[str, CoreSchema] = {
    "filters": _mapping(cs.no_info_wrap_validator_function(_clause, cs.str_schema(pattern=r"\S"))),
    "schemas": cs.tuple_schema([cs.str_schema()], variadic_item_index=0),
    "others": _one_of(Others),
    "tables": _mapping(_one_of(Rule)),
    "references": _one_of(Policy),
    "relations": _mapping(
        cs.no_info_before_validator_function(
            _fields, cs.no_info_after_validator_function(_relation, of_fields(_RELATION))
        )
    ),
    "sample": _mapping(
        cs.no_info_wrap_validator_function(_amount, cs.union_schema([_PERCENT, cs.int_schema(ge=0, strict=True)]))
    ),
    "seed": cs.int_schema(),
    "referential_integrity": cs.bool_schema(),
    "whole_limit": cs.int_schema(ge=0),
}
_VALIDATOR = SchemaValidator(of_fields(SHAPE))


def validated(fields: Mapping[str, Any], shape: Mapping[str, CoreSchema], validator: SchemaValidator) -> dict[str, Any]:
    """The fields, as the validator of that shape takes them.

    Raises:
        RequestError: with one fault for every field that is wrong.
    """
    try:
        found: dict[str, Any] = validator.validate_python(dict(fields))
    except ValidationError as error:
        raise RequestError(_fault(e, fields, shape) for e in error.errors()) from None
    return found


def _fault(error: Any, fields: Mapping[str, Any], shape: Mapping[str, CoreSchema]) -> Fault:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
        from difflib import get_close_matches

        near = get_close_matches(where, shape, n=3)
        return Fault("unknown setting", where, f"Did you mean {', '.join(near)}?" if near else "Remove it.")
    return Fault(error["msg"], where, f"Got {error.get('input', fields)!r}.")
