"""Each foreign key as this run uses it: declared or virtual, followed or not, and under which policy.

This is where the request's `references` and `relations` meet the schema's keys. What comes out is settled: no later
stage asks about patterns, defaults or nullability again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from airflow_subset_provider.core import names
from airflow_subset_provider.core.errors import Fault
from airflow_subset_provider.core.schema import Column, ForeignKey, Schema, TableName
from airflow_subset_provider.core.spec import Policy, RelationSpec, Spec


class Relation(Struct, frozen=True):
    """One foreign key in use.

    Attributes:
        follow: filters flow down through it.
        policy: what holds for a reference whose row is not kept; settled: `null` only where a column can be nulled.
        nulls: the columns that become NULL when it is nulled (semantics: References, 5).
        reachable: its parent is in scope and not skipped: a reference can be kept at all.
        note: why the policy is not the one asked for; else "".
    """

    key: ForeignKey
    follow: bool
    policy: Policy
    nulls: tuple[str, ...]
    reachable: bool
    note: str = ""


def virtual_keys(schema: Schema, spec: Spec) -> tuple[list[ForeignKey], list[Fault]]:
    """The foreign keys the user declares through `relations[...]["to"]`, and what is wrong with them.

    One that the schema has already is not declared twice: the copy must not change when the database gets the key.
    """
    keys: list[ForeignKey] = []
    faults: list[Fault] = []
    known = {_meaning(k) for k in schema.foreign_keys}
    for text, relation in spec.relations.items():
        if relation.to is None:
            continue
        for found in _declared(schema, text, relation):
            if isinstance(found, Fault):
                faults.append(found)
            elif _meaning(found) not in known:
                known.add(_meaning(found))
                keys.append(found)
    return keys, faults


def _meaning(key: ForeignKey) -> tuple[Any, ...]:
    return key.child, key.columns, key.parent, key.parent_columns, key.when


def _declared(schema: Schema, text: str, relation: RelationSpec) -> Iterator[ForeignKey | Fault]:
    where = f"relations[{text!r}]"
    child = names.find_columns(schema, text, where)
    if isinstance(child, Fault):
        yield child
        return
    table, columns = child
    if relation.type is not None and schema[table].column(relation.type) is None:
        near = names.nearest(relation.type, [c.name for c in schema[table].columns])
        yield Fault(f"no column {relation.type!r} in {table}", where, near)
        return
    parents = relation.to if isinstance(relation.to, dict) else {"": relation.to or ""}
    for value, target in parents.items():
        parent = names.find_columns(schema, target, where)
        if isinstance(parent, Fault):
            yield parent
            continue
        key = ForeignKey(
            name=text + (f"[{value}]" if relation.type else ""),
            child=table,
            columns=columns,
            parent=parent[0],
            parent_columns=parent[1],
            validated=False,
            virtual=True,
            when=((relation.type, value),) if relation.type else (),
        )
        yield from _checked(schema, key, where)


def _checked(schema: Schema, key: ForeignKey, where: str) -> Iterator[ForeignKey | Fault]:
    child, parent = schema[key.child], schema[key.parent]
    if len(key.columns) != len(key.parent_columns):
        yield Fault(f"{key.label} pairs {len(key.columns)} with {len(key.parent_columns)} columns", where)
        return
    if not any(set(k.columns) == set(key.parent_columns) for k in parent.keys):
        unique = " or ".join(f"({', '.join(k.columns)})" for k in parent.keys) or "nothing in it is"
        columns = ", ".join(key.parent_columns)
        yield Fault(f"{key.parent}({columns}) is not unique", where, f"Reference a unique key: {unique}.")
        return
    for a, b in zip(key.columns, key.parent_columns, strict=True):
        left, right = child.column(a), parent.column(b)
        if left and right and family(left.type) != family(right.type):
            yield Fault(
                f"types do not agree: {key.child}.{a} is {left.type}, {key.parent}.{b} is {right.type}",
                where,
                "Reference a column of the same type.",
            )
            return
    yield key


INTEGERS = ("smallint", "integer", "bigint", "tinyint", "mediumint", "int")
TEXTS = ("character varying", "character", "text", "varchar", "char", "bpchar", "citext")


def family(type_: str) -> str:
    """Types of one family compare; others do not, or not safely."""
    base = type_.split(" CHARACTER SET ")[0].split("(")[0].removesuffix(" unsigned").strip().lower()
    base = "citext" if base.endswith(".citext") else base
    return "integer" if base in INTEGERS else "text" if base in TEXTS else base


def settle(
    schema: Schema, spec: Spec, keys: tuple[ForeignKey, ...], skipped: Callable[[TableName], bool]
) -> tuple[Relation, ...]:
    """Every key as this run uses it, in the order given.

    Args:
        skipped: whether a table in scope has the rule `skip`.
    """
    referenced = {(k.parent, c) for k in keys for c in k.parent_columns}
    columns: dict[tuple[TableName, str], int] = {}
    for key in keys:
        for column in key.columns:
            columns[key.child, column] = columns.get((key.child, column), 0) + 1
    relations = []
    for key in keys:
        asked = [spec.relations[p] for p in names.matching(spec.relations, names.key_spellings(key))]
        follow = next((a.follow for a in asked if a.follow is not None), True)
        wanted = next((a.references for a in asked if a.references is not None), spec.references)
        reachable = key.parent in schema and not skipped(key.parent)
        nulls = _nulls(schema, key, referenced, columns)
        policy, note = _policy(wanted, reachable, nulls)
        relations.append(Relation(key, follow and reachable, policy, nulls, reachable, note))
    return tuple(relations)


def _policy(asked: Policy, reachable: bool, nulls: tuple[str, ...]) -> tuple[Policy, str]:
    """A reference that can never be kept follows `null`, whatever was asked (semantics: References)."""
    if reachable and asked is not Policy.NULL:
        return asked, ""
    if nulls:
        return Policy.NULL, "" if reachable else "its parent is not copied: set to NULL"
    return Policy.DROP, "it cannot be NULL: rows are left out" + ("" if reachable else ", as its parent is not copied")


def _nulls(
    schema: Schema,
    key: ForeignKey,
    referenced: set[tuple[TableName, str]],
    columns: dict[tuple[TableName, str], int],
) -> tuple[str, ...]:
    """The columns to null: nullable ones of this key alone, else all its nullable ones.

    A column that a foreign key references is not nulled: that would cut rows off that are kept.
    """

    def can(column: Column | None) -> bool:
        return column is not None and column.nullable and not column.generated

    table = schema[key.child]
    nullable = [c for c in key.columns if can(table.column(c)) and (key.child, c) not in referenced]
    return tuple(c for c in nullable if columns[key.child, c] == 1) or tuple(nullable)


def unmatched_patterns(spec: Spec, keys: tuple[ForeignKey, ...]) -> list[Fault]:
    """Faults for the patterns in `relations` that match no foreign key."""
    spellings = [s for k in keys for s in names.key_spellings(k)]
    return [
        Fault("matches no foreign key", f"relations[{p!r}]", names.nearest(p, spellings))
        for p, relation in spec.relations.items()
        if relation.to is None and not names.matching([p], spellings)
    ]
