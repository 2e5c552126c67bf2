"""A recursive walk over rows of several tables: the one shape behind every cycle.

`WITH RECURSIVE walk(tag, k0_0, …)`: each reached node is a tag (which kind of node) and the node's own columns, typed
and NULL for every other tag, so no value is cast and indexes stay usable. UNION, not UNION ALL, ends the walk where
data goes in circles. Postgres allows one reference to the walk in the recursive term, so all steps go into one
LATERAL; MySQL and MariaDB allow several recursive members (PostgreSQL manual 7.8.2.1; MySQL manual 15.2.20).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from airflow_subset_provider.core.engines.base import Flavour
from airflow_subset_provider.core.schema import Column
from airflow_subset_provider.core.sql import Condition, Rows, equal


class Step(Struct, frozen=True):
    """From nodes of one tag to nodes of another.

    Attributes:
        rows: SELECT of the next node's columns from the table that is read, wherever the walk is.
        on: a column of the node, and what of the table equals it.
    """

    start: int
    end: int
    rows: sa.Select[Any]
    on: tuple[tuple[str, sa.ColumnElement[Any]], ...]

    @property
    def columns(self) -> frozenset[str]:
        """The node's columns that it hangs on."""
        return frozenset(name for name, _ in self.on)


class Node:
    """One tag's columns of a walk, by the names of the columns they were taken from."""

    def __init__(self, walk: Rows, tag: int, columns: Sequence[Column], flavour: Flavour) -> None:
        """Look at `walk` as nodes of `tag`."""
        self.walk = walk
        self.is_tag: Condition = walk.c.tag == sa.literal_column(str(tag))
        self.c: Mapping[str, sa.ColumnElement[Any]] = {
            column.name: flavour.unwalked(walk.c[f"k{tag}_{i}"], column) for i, column in enumerate(columns)
        }

    def columns(self, names: Sequence[str]) -> list[sa.ColumnElement[Any]]:
        """Some of them, each labelled by its name."""
        return [self.c[name].label(name) for name in names]


class Walk:
    """A recursive CTE under construction.

    Args:
        tags: the columns of each tag's nodes, by tag.
        flavour: says whether all steps must go into one LATERAL; and where it takes fewer members than there are
            steps, all go into one member, which reads its next rows from a union of all tables' edges.
    """

    def __init__(self, name: str, tags: Mapping[int, Sequence[Column]], flavour: Flavour) -> None:
        """Nothing is built until `cte`."""
        self._name, self._tags, self._flavour = name, tags, flavour

    def node(self, walk: Rows, tag: int) -> Node:
        """The walk's nodes of one tag."""
        return Node(walk, tag, self._tags[tag], self._flavour)

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
        if self._flavour.lateral:
            return walk.union(self._all_in_one(walk, steps))
        few = len(steps) <= self._flavour.most_members
        return walk.union(*(self._members(walk, steps) if few else self._over_edges(walk, steps)))

    def _over_edges(self, walk: sa.CTE, steps: Sequence[Step]) -> list[sa.Select[Any]]:
        """One member for all steps (a few, where nodes of one tag are left by several keys), without a table's index.

        An edge has, beside what it starts from and leads to, one column for each column of a node that any edge hangs
        on; all but its own are NULL, in the walk as well, so that one null-safe comparison of all columns joins all
        kinds.
        """
        ways: dict[int, list[frozenset[str]]] = {}
        groups: dict[int, list[Step]] = {}
        for step in steps:
            known = ways.setdefault(step.start, [])
            if step.columns not in known:
                known.append(step.columns)
            groups.setdefault(known.index(step.columns), []).append(step)
        return [self._by_edges(walk, n, group) for n, group in groups.items()]

    def _by_edges(self, walk: sa.CTE, number: int, steps: Sequence[Step]) -> sa.Select[Any]:
        used = dict.fromkeys((step.start, name) for step in steps for name in sorted(step.columns))
        places = {pair: f"on_{n}" for n, pair in enumerate(used)}
        edges = sa.union_all(*(self._edge(step, places) for step in steps)).cte(f"{self._name}_edges_{number}")
        same = [
            self.node(walk, tag).c[name].is_not_distinct_from(edges.c[place]) for (tag, name), place in places.items()
        ]
        nodes = [edges.c[c.key] for c in walk.c]
        return sa.select(*nodes).select_from(walk.join(edges, sa.and_(walk.c.tag == edges.c.start, *same)))

    def _edge(self, step: Step, places: Mapping[tuple[int, str], str]) -> sa.Select[Any]:
        on = dict(step.on)
        columns = {(tag, c.name): c for tag, own in self._tags.items() for c in own}
        hung = [
            self._flavour.walked(on[name] if tag == step.start else None, columns[tag, name]).label(place)
            for (tag, name), place in places.items()
        ]
        here = [value.is_not(None) for value in on.values()]
        return self._tagged(step.end, step.rows.where(*here)).add_columns(
            sa.literal_column(str(step.start)).label("start"), *hung
        )

    def _members(self, walk: sa.CTE, steps: Sequence[Step]) -> list[sa.Select[Any]]:
        return [self._driven(walk, self._step(walk, step)) for step in steps]

    def _driven(self, walk: sa.CTE, member: sa.Select[Any]) -> sa.Select[Any]:
        """The walk first, its next rows by index: without statistics, MariaDB reads the whole table at every step."""
        rows = next(rows for rows in member.get_final_froms() if rows is not walk)
        joined = member.select_from(walk.join(rows, sa.true()))
        return joined.prefix_with("STRAIGHT_JOIN", dialect="mysql")

    def _all_in_one(self, walk: sa.CTE, steps: Sequence[Step]) -> sa.Select[Any]:
        members = [self._step(walk, step).correlate(walk) for step in steps]
        either = members[0] if len(members) == 1 else sa.union_all(*members)
        lateral = either.lateral(f"{self._name}_step")
        return sa.select(*lateral.c).select_from(walk.join(lateral, sa.true()))

    def _step(self, walk: sa.CTE, step: Step) -> sa.Select[Any]:
        node = self.node(walk, step.start)
        same = [equal(value, node.c[name]) for name, value in step.on]
        return self._tagged(step.end, step.rows.where(*same, node.is_tag))

    def _tagged(self, tag: int, rows: sa.Select[Any]) -> sa.Select[Any]:
        """The same rows as `tag, k0_0, …`."""
        own = dict(zip((f"k{tag}_{i}" for i in range(len(self._tags[tag]))), rows.exported_columns, strict=True))
        picked = [
            self._flavour.walked(own.get(f"k{t}_{i}"), column).label(f"k{t}_{i}")
            for t, columns in self._tags.items()
            for i, column in enumerate(columns)
        ]
        return rows.with_only_columns(sa.literal_column(str(tag)).label("tag"), *picked, maintain_column_froms=True)
