"""What the user asks for, validated as a whole before anything else happens.

A `Spec` holds the same fields as `SubsetOperator` and as the spec file of the command line; it is plain data, so it
renders, serialises and compares. Checks that need only the request itself are made here; checks against the schema
are made by `plan`, checks against the real database by `run`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import PydanticCustomError

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


Percent = Annotated[str, Field(pattern=r"^\s*\d+(\.\d+)?\s*%\s*$")]
Count = Annotated[int, Field(ge=0, strict=True)]


def _clause(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        raise PydanticCustomError("clause", "not a WHERE clause") from None


def _amount(value: Any, check: ValidatorFunctionWrapHandler) -> str | int:
    """One fault for a value that is neither, instead of one for each."""
    try:
        amount: str | int = check(value)
        if isinstance(amount, int) or float(amount.strip().rstrip("%")) <= 100:
            return amount
    except ValidationError:
        pass
    raise PydanticCustomError("amount", 'neither a percentage such as "5%" nor a number of rows')


def _parents(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check(value)
    except ValidationError:
        message = "neither table.column nor, for a polymorphic reference, a mapping of values to table.column"
        raise PydanticCustomError("parents", message) from None


Clause = Annotated[str, Field(pattern=r"\S"), WrapValidator(_clause)]
Amount = Annotated[Percent | Count, WrapValidator(_amount)]
Parents = Annotated[str | dict[str, str], WrapValidator(_parents)]


class RelationSpec(BaseModel):
    """Settings of the foreign keys that one pattern matches, or the declaration of a virtual one.

    Attributes:
        follow: whether filters flow down through it; None for what a less specific pattern says, else yes.
        references: its policy; None for what a less specific pattern says, else the run's.
        to: declares a virtual foreign key to `table.column[,column]` (or `table`, for its primary key);
            with `type`, one parent for each value of the type column (a polymorphic reference).
        type: the child's column that says which parent a polymorphic reference means.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    follow: bool | None = None
    references: Policy | None = None
    to: Parents | None = None
    type: str | None = None

    @model_validator(mode="after")
    def _polymorphic_has_both(self) -> Self:
        if (self.type is not None) != isinstance(self.to, dict):
            raise ValueError('a polymorphic reference needs both "type" (a column) and "to" (value -> table.column)')
        return self


class Spec(BaseModel):
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

    model_config = ConfigDict(frozen=True, extra="forbid")

    filters: dict[str, Clause] = {}
    schemas: tuple[str, ...] = ()
    others: Others = Others.WHOLE
    tables: dict[str, Rule] = {}
    references: Policy = Policy.INCLUDE
    relations: dict[str, RelationSpec] = {}
    sample: dict[str, Amount] = {}
    seed: int = 0
    referential_integrity: bool = True
    whole_limit: Annotated[int, Field(ge=0)] = 10_000_000

    @classmethod
    def of(cls, **fields: Any) -> Self:
        """Validate the fields together.

        Raises:
            RequestError: with one fault for every field that is wrong.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            raise RequestError(_fault(e, fields) for e in error.errors()) from None

    def with_filters(self, filters: Mapping[str, str]) -> Spec:
        """The same request with other clauses, as after rendering templates."""
        return self.of(**self.model_dump() | {"filters": dict(filters)})


def _fault(error: Any, fields: Mapping[str, Any]) -> Fault:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
        from difflib import get_close_matches

        near = get_close_matches(where, Spec.model_fields, n=3)
        return Fault("unknown setting", where, f"Did you mean {', '.join(near)}?" if near else "Remove it.")
    return Fault(error["msg"], where, f"Got {error.get('input', fields)!r}.")
