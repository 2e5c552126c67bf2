"""The foreign-key graph: which table must come before which, and where the cycles are.

Nodes are tables in scope, edges run from parent to child (the direction rows flow in). The condensation has one
node per strongly connected component; a table that references itself is a cyclic component of its own.

DAG files are parsed again and again, and importing networkx takes longer than the rest of a parse: so the components
are worked out once, when a schema is reflected, and travel with it in the catalog.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import count

from msgspec import Struct
from msgspec.structs import replace

from airflow_subset_provider.core.schema import ForeignKey, Schema, TableName

NAMED = 3  # tables in a short title


class Component(Struct, frozen=True):
    """One strongly connected component.

    Attributes:
        id: unique, stable, of letters, digits, `_` and `-` only: usable in a task id.
        tables: its tables, sorted by name.
        inside: the foreign keys between its tables, self-references included; empty when it is no cycle.
    """

    id: str
    tables: tuple[TableName, ...]
    inside: tuple[ForeignKey, ...] = ()

    @property
    def cyclic(self) -> bool:
        """Whether rows of it can reference each other in a circle."""
        return bool(self.inside)

    @property
    def title(self) -> str:
        """Its tables' real names, for people."""
        return " + ".join(str(t) for t in self.tables)

    @property
    def short_title(self) -> str:
        """The same for where room is short: a cycle may have hundreds of tables, a name 129 characters."""
        more = len(self.tables) - NAMED
        return f"{replace(self, tables=self.tables[:NAMED]).title} and {more} more" if more > 0 else self.title


class Graph(Struct, frozen=True, dict=True):
    """The condensation of a schema's foreign-key graph.

    Attributes:
        components: parents first (a topological order, ties by name).
        edges: pairs of component ids, parent then child; no self-loops, no duplicates.
    """

    components: tuple[Component, ...]
    edges: frozenset[tuple[str, str]]

    @cached_property
    def component_of(self) -> dict[TableName, Component]:
        """The component each table is in."""
        return {t: c for c in self.components for t in c.tables}


def build(schema: Schema, keys: Iterable[ForeignKey]) -> Graph:
    """Condense the graph of these foreign keys over all tables of the schema.

    Args:
        schema: the tables.
        keys: the foreign keys to draw, virtual ones included; those to tables out of scope are left out.

    Returns:
        The condensation, in O(tables + keys) but for the sorting of ties.
    """
    inner = [k for k in keys if k.parent in schema]
    members = schema.components if _in_order(schema.components, inner) else _condense(schema, inner)
    ids = _ids(members)
    home = _places(members)
    inside: dict[int, list[ForeignKey]] = {}
    for key in inner:
        if home[key.child] == home[key.parent]:
            inside.setdefault(home[key.child], []).append(key)
    components = tuple(Component(ids[i], tables, tuple(inside.get(i, ()))) for i, tables in enumerate(members))
    edges = {(ids[home[k.parent]], ids[home[k.child]]) for k in inner if home[k.parent] != home[k.child]}
    return Graph(components, frozenset(edges))


def condensed(schema: Schema) -> Schema:
    """The same schema with the components of its own foreign keys."""
    return replace(schema, components=_condense(schema, [k for k in schema.foreign_keys if k.parent in schema]))


def _condense(schema: Schema, inner: Iterable[ForeignKey]) -> tuple[tuple[TableName, ...], ...]:
    """The strongly connected components, parents first, ties by name."""
    import networkx as nx

    tables: nx.DiGraph[TableName] = nx.DiGraph()
    tables.add_nodes_from(t.name for t in schema.tables)
    tables.add_edges_from((k.parent, k.child) for k in inner)
    found = nx.condensation(tables)
    members = {n: tuple(sorted(found.nodes[n]["members"])) for n in found}
    return tuple(members[n] for n in nx.lexicographical_topological_sort(found, key=members.__getitem__))


def _in_order(members: Sequence[tuple[TableName, ...]], inner: Iterable[ForeignKey]) -> bool:
    """Whether these components of the declared keys are those of all keys: no virtual one runs back and joins some."""
    home = _places(members)
    return bool(home) and all(home[k.parent] <= home[k.child] for k in inner)


def _places(members: Sequence[tuple[TableName, ...]]) -> dict[TableName, int]:
    return {t: i for i, tables in enumerate(members) for t in tables}


def _ids(components: Sequence[tuple[TableName, ...]]) -> list[str]:
    """Task-id-safe names: the first table's name, with its schema where two would be the same, then numbered."""
    several = len({t.schema for tables in components for t in tables}) > 1
    ids: dict[str, None] = {}
    for tables in components:
        first = tables[0]
        more = f"_and_{len(tables) - 1}_more" if len(tables) > 1 else ""
        slug = _slug(f"{first.schema}__{first.name}" if several else first.name) + more
        numbered = (slug if n == 1 else f"{slug}-{n}" for n in count(1))
        ids[next(s for s in numbered if s not in ids)] = None
    return list(ids)


def _slug(text: str) -> str:
    """Letters, digits, `_` and `-` only, as Airflow's task ids ask, at most 150 characters."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)[:150] or "_"
