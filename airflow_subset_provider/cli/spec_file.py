"""The spec file: the fields of `SubsetOperator`, in YAML or TOML, with a JSON Schema for editors."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from pathlib import Path
from typing import Any, Self

from msgspec import NODEFAULT, Struct, to_builtins
from msgspec.structs import fields
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import SchemaValidator
from pydantic_core import core_schema as cs

from airflow_subset_provider.core import spec
from airflow_subset_provider.core.errors import Fault, RequestError
from airflow_subset_provider.core.spec import OnDrift, RelationSpec, Spec

BEYOND = {
    "catalog": cs.nullable_schema(cs.str_schema()),
    "replace_existing": cs.bool_schema(),
    "create_schema": cs.bool_schema(),
    "on_drift": cs.enum_schema(OnDrift, list(OnDrift), sub_type="str"),
    "consistent": cs.nullable_schema(cs.bool_schema()),
    "chunk_rows": cs.int_schema(ge=0),
}
SHAPE = {**spec.SHAPE, **BEYOND}


class SpecFile(Struct, frozen=True, kw_only=True):
    """A request and how to run it.

    Attributes:
        request: what the core takes.
        catalog: a file made by `airflow-subset reflect`; relative to the spec file.
        replace_existing: the target's tables may be emptied even if no subset run filled them.
        create_schema: make the target's tables where there are none.
        on_drift: when the source's schema is no longer the catalog's: "fail", or "warn" and go on if that is harmless.
        consistent: whether the copy is the source at one point in time; null: where the source can show it (Postgres).
        chunk_rows: tables of more rows (as the source estimates) are loaded in parts of about so many, so that several
            jobs share one table; 0: none is.
    """

    request: Spec
    catalog: str | None = None
    replace_existing: bool = False
    create_schema: bool = False
    on_drift: OnDrift = OnDrift.FAIL
    consistent: bool | None = None
    chunk_rows: int = 0

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Validate the fields together.

        Raises:
            RequestError: with one fault for every field that is wrong.
        """
        found = spec.validated(given, SHAPE, SchemaValidator(spec.of_fields(SHAPE)))
        beyond = {name: found.pop(name) for name in BEYOND if name in found}
        return cls(request=Spec(**found), **beyond)


def read(path: Path) -> dict[str, Any]:
    """The fields in a file.

    Raises:
        RequestError: it is neither YAML nor TOML.
    """
    text = path.read_text(encoding="utf-8")
    try:
        found = tomllib.loads(text) if path.suffix == ".toml" else _yaml(text)
    except ValueError as error:
        raise RequestError(Fault(f"cannot be read: {error}", str(path))) from None
    if not isinstance(found, dict):
        raise RequestError(
            Fault("holds no settings", str(path), "Write `filters:` and what else SubsetOperator takes.")
        )
    found.pop("$schema", None)
    if found.get("catalog"):
        found["catalog"] = str(path.parent / found["catalog"])
    return found


def _yaml(text: str) -> Any:
    import yaml  # type: ignore[import-untyped]  # comes with Airflow, without types

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def schema_text() -> str:
    """The JSON Schema, with the words of the classes' own documentation."""
    schema = GenerateJsonSchema().generate(spec.of_fields(SHAPE))
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"], schema["description"] = "A spec file of airflow-subset", "A request and how to run it."
    _describe(schema["properties"], Spec)
    _describe(schema["properties"], SpecFile)
    _describe(schema["properties"]["relations"]["additionalProperties"]["properties"], RelationSpec)
    schema["properties"]["$schema"] = {"type": "string"}
    return json.dumps(schema, indent=2) + "\n"


def _describe(properties: dict[str, Any], cls: type[Struct]) -> None:
    words = _attributes(cls)
    for field in fields(cls):
        if field.name in properties:
            shape = properties[field.name]
            shape["description"] = words[field.name]
            default = field.default if field.default_factory is NODEFAULT else field.default_factory()
            shape["default"] = to_builtins(default)


def _attributes(cls: type) -> dict[str, str]:
    """The `Attributes:` of a class's docstring."""
    _, _, text = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", text, flags=re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in found}
