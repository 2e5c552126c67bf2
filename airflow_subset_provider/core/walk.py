"""A recursive walk over rows of several tables: the one shape behind every cycle.

`WITH RECURSIVE walk(tag, k0_0, …)`: each reached node is a tag (which kind of node) and the node's own columns, typed
and NULL for every other tag, so no value is cast and indexes stay usable. UNION, not UNION ALL, ends the walk where
data goes in circles. Postgres allows one reference to the walk in the recursive term, so all steps go into one
LATERAL; MySQL and MariaDB allow several recursive members (PostgreSQL manual 7.8.2.1; MySQL manual 15.2.20).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from airflow_subset_provider.core.schema import Column
from airflow_subset_provider.core.sql import Condition, Rows


@dataclass(frozen=True)
class Step:
    """From nodes of one tag to nodes of another.

    Attributes:
        rows: for the walk as a FROM clause, the SELECT of the next node's columns with its join condition to the walk.
    """

    start: int
    end: int
    rows: Callable[[Node], sa.Select[Any]]


class Node:
    """One tag's columns of a walk, by the names of the columns they were taken from."""

    def __init__(self, walk: Rows, tag: int, columns: Sequence[Column]) -> None:
        """Look at `walk` as nodes of `tag`."""
        self.walk = walk
        self.is_tag: Condition = walk.c.tag == sa.literal_column(str(tag))
        self._names = {column.name: f"k{tag}_{i}" for i, column in enumerate(columns)}

    @property
    def c(self) -> Mapping[str, sa.ColumnElement[Any]]:
        """The node's columns."""
        return {name: self.walk.c[own] for name, own in self._names.items()}

    def columns(self, names: Sequence[str]) -> list[sa.ColumnElement[Any]]:
        """Some of them, each labelled by its name."""
        return [self.c[name].label(name) for name in names]


class Walk:
    """A recursive CTE under construction.

    Args:
        tags: the columns of each tag's nodes, by tag.
        typed: an expression made to have exactly a column's type; with None, a NULL of that type.
        lateral: whether all steps must go into one LATERAL.
    """

    def __init__(
        self,
        name: str,
        tags: Mapping[int, Sequence[Column]],
        typed: Callable[[sa.ColumnElement[Any] | None, Column], sa.ColumnElement[Any]],
        lateral: bool,
    ) -> None:
        """Nothing is built until `cte`."""
        self._name, self._tags, self._typed, self._lateral = name, tags, typed, lateral

    def node(self, walk: Rows, tag: int) -> Node:
        """The walk's nodes of one tag."""
        return Node(walk, tag, self._tags[tag])

    def cte(self, seeds: Sequence[tuple[int, sa.Select[Any]]], steps: Sequence[Step]) -> sa.CTE:
        """The whole walk.

        Args:
            seeds: tag and SELECT of that tag's columns, in their order; at least one.
        """
        first = [self._tagged(tag, rows) for tag, rows in seeds]
        start = first[0] if len(first) == 1 else sa.select(sa.union_all(*first).cte(f"{self._name}_seeds"))
        walk = start.cte(self._name, recursive=bool(steps))
        if not steps:
            return walk
        return walk.union(*([self._all_in_one(walk, steps)] if self._lateral else self._members(walk, steps)))

    def _members(self, walk: sa.CTE, steps: Sequence[Step]) -> list[sa.Select[Any]]:
        return [self._step(walk, step).select_from(walk) for step in steps]

    def _all_in_one(self, walk: sa.CTE, steps: Sequence[Step]) -> sa.Select[Any]:
        members = [self._step(walk, step).correlate(walk) for step in steps]
        either = members[0] if len(members) == 1 else sa.union_all(*members)
        lateral = either.lateral(f"{self._name}_step")
        return sa.select(*lateral.c).select_from(walk.join(lateral, sa.true()))

    def _step(self, walk: sa.CTE, step: Step) -> sa.Select[Any]:
        node = self.node(walk, step.start)
        return self._tagged(step.end, step.rows(node).where(node.is_tag))

    def _tagged(self, tag: int, rows: sa.Select[Any]) -> sa.Select[Any]:
        """The same rows as `tag, k0_0, …`."""
        own = dict(zip((f"k{tag}_{i}" for i in range(len(self._tags[tag]))), rows.exported_columns, strict=True))
        picked = [
            self._typed(own.get(f"k{t}_{i}"), column).label(f"k{t}_{i}")
            for t, columns in self._tags.items()
            for i, column in enumerate(columns)
        ]
        return rows.with_only_columns(sa.literal_column(str(tag)).label("tag"), *picked, maintain_column_froms=True)
