"""The spec file: the fields of `SubsetOperator`, in YAML or TOML, with a JSON Schema for editors."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from airflow_subset_provider.core.errors import Fault, RequestError
from airflow_subset_provider.core.spec import OnDrift, RelationSpec, Spec

BEYOND = ("catalog", "replace_existing", "create_schema", "on_drift", "consistent", "chunk_rows")


class SpecFile(Spec):
    """A request and how to run it.

    Attributes:
        catalog: a file made by `airflow-subset reflect`; relative to the spec file.
        replace_existing: the target's tables may be emptied even if no subset run filled them.
        create_schema: make the target's tables where there are none.
        on_drift: when the source's schema is no longer the catalog's: "fail", or "warn" and go on if that is harmless.
        consistent: whether the copy is the source at one point in time; null: where the source can show it (Postgres).
        chunk_rows: tables of more rows (as the source estimates) are loaded in parts of about so many, so that several
            jobs share one table; 0: none is.
    """

    catalog: str | None = None
    replace_existing: bool = False
    create_schema: bool = False
    on_drift: OnDrift = OnDrift.FAIL
    consistent: bool | None = None
    chunk_rows: Annotated[int, Field(ge=0)] = 0

    @property
    def request(self) -> Spec:
        """What the core takes."""
        return Spec.of(**self.model_dump(exclude=set(BEYOND)))


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
    schema = SpecFile.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["properties"]["$schema"] = {"type": "string"}
    _describe(schema, {**_attributes(Spec), **_attributes(SpecFile)})
    _describe(schema["$defs"]["RelationSpec"], _attributes(RelationSpec))
    for part in (schema, *schema["$defs"].values()):
        part["description"] = part.get("description", "").split("\n\n")[0]
    return json.dumps(schema, indent=2) + "\n"


def _describe(schema: dict[str, Any], words: dict[str, str]) -> None:
    for name, shape in schema["properties"].items():
        if name in words:
            shape["description"] = words[name]


def _attributes(cls: type) -> dict[str, str]:
    """The `Attributes:` of a class's docstring."""
    _, _, text = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", text, flags=re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in found}
