"""References of kept rows, settled inside the target: what dangles is dropped, fetched or set to NULL.

The target itself says what is missing: an anti-join per foreign key. `drop` runs with each table's extract, parents
first; `include` runs after all extracts, children first, and fetches exactly the missing keys from the source, a
component's cycle by one recursive walk upwards; `null` runs last (semantics: References, 2, 3 and 5).

MySQL and MariaDB let a key reference columns that are not unique: it means every row with its value, and some of them
may be here for another reason. Then all that are referenced are asked for, and those fetched that are not here.

A value that matches no row in the source is no reference. Only keys that the source has not validated can hold such
values ("loose" keys), so only for them is the source asked which of the dangling values exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from airflow_subset_provider.core import sql
from airflow_subset_provider.core.engines.base import Moved, Source, Store
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.relations import Relation
from airflow_subset_provider.core.schema import Column, ForeignKey, TableName
from airflow_subset_provider.core.spec import Policy, Rule
from airflow_subset_provider.core.walk import Step, Walk


def is_loose(key: ForeignKey) -> bool:
    """Whether the source may hold values of it that match no row."""
    return key.virtual or not key.validated or bool(key.only_on)


def read_by_drop(plan: Plan, component: Component) -> set[TableName]:
    """The parents whose rows in the target decide what `drop` leaves out of the component."""
    return {r.key.parent for t in component.tables for r in _strict(plan, t)}


def _strict(plan: Plan, table: TableName) -> list[Relation]:
    kept = plan.rule(table) is not Rule.SKIP
    return [r for r in plan.relations_of.get(table, ()) if kept and r.policy is Policy.DROP]


class Integrity:
    """The reference rules of one plan, at work on one target.

    Args:
        banned: per table, a temporary table of keys that must not be fetched, with their columns.
    """

    def __init__(self, plan: Plan, source: Source, target: Store) -> None:
        """Statements run in the target's transaction under way."""
        self.plan = plan
        self.source = source
        self.target = target
        self.here = target.tables
        self.there = sql.Tables(plan.schema)
        self.banned: dict[TableName, sa.TableClause] = {}

    # -- what dangles

    def dangling(self, relation: Relation) -> list[sql.Condition]:
        """For the child's rows in the target: it is a reference, and its row is not here."""
        key = relation.key
        child = self.here[key.child]
        if not relation.reachable:
            return sql.is_reference(key, child)
        parent = self._beside(key)
        return [*sql.is_reference(key, child), ~sql.exists(parent, sql.match(key, child, parent), child)]

    def _beside(self, key: ForeignKey) -> sa.FromClause:
        """The parent in the target, under another name where it is the child as well."""
        parent = self.here[key.parent]
        return parent.alias(self.free("parent")) if key.on_itself else parent

    def free(self, name: str) -> str:
        """A name like this that no table has: SQLAlchemy would mix up the two."""
        return sql.Names(self.plan.schema).new(name)

    def count_dangling(self, relation: Relation) -> int:
        """Rows of the target whose reference is not kept."""
        child = self.here[relation.key.child]
        return int(self.target.value(sa.select(sa.func.count()).select_from(child).where(*self.dangling(relation))))

    def missing(self, relation: Relation) -> Iterator[list[tuple[str, ...]]]:
        """The distinct values whose rows are not all here, in pages, as texts; without banned ones.

        Of references to columns that are not unique, all: the target cannot tell how many rows a value has.
        """
        key, conditions = relation.key, self.dangling(relation)
        if self._means_many(relation):
            conditions = sql.is_reference(key, self.here[key.child])
        if key.parent in self.banned:
            child, banned = self.here[key.child], self.banned[key.parent]
            conditions.append(~sql.exists(banned, sql.match(key, child, banned), child))
        return self._values(key, conditions)

    def _means_many(self, relation: Relation) -> bool:
        """Whether a value of it can mean several rows, of which some may be missing."""
        return not self.plan.means_one(relation) and self.plan.may_miss(relation)

    def _values(self, key: ForeignKey, conditions: list[sql.Condition]) -> Iterator[list[tuple[str, ...]]]:
        """The key's distinct values in the child's rows that satisfy the conditions, in pages, as texts."""
        child = self.here[key.child]
        columns = [
            self.target.as_text(child.c[a], self._type(key.parent, b)).label(a)
            for a, b in zip(key.columns, key.parent_columns, strict=True)
        ]
        # Grouped by the values, not distinct by their texts: keys that the server holds equal may be written
        # differently. In their order, a page's keys lie side by side in the indexes of both ends: five million of them
        # took half the time that they took as a hash table gives them.
        values = [child.c[a] for a in key.columns]
        found = sa.select(*columns).select_from(child).where(*conditions).group_by(*values).order_by(*values)
        return self.target.pages(found)

    def cut(self, relation: Relation, slot: int = 0) -> list[sql.Condition]:
        """Like `dangling`, but for values that match a row in the source only: for a loose key, the source is asked.

        Args:
            slot: tells apart the temporary tables of relations that one statement uses together.
        """
        conditions = self.dangling(relation)
        key = relation.key
        if not is_loose(key) or key.parent not in self.plan.schema:
            return conditions
        columns = self._columns(key.parent, key.parent_columns)
        known = self.target.keep(f"subset_known_{slot}", columns, self._in_source(relation))
        child = self.here[key.child]
        return [*conditions, sql.exists(known, sql.match(key, child, known), child)]

    def only_in_source(self, relation: Relation) -> bool:
        """Whether the source has none of the values that dangle: then they dangle there, too."""
        return not any(self._in_source(relation))

    def _in_source(self, relation: Relation) -> Iterator[list[tuple[str, ...]]]:
        """Those of the dangling values that match a row in the source, in pages, spelled as they are here."""
        key = relation.key
        columns = self._columns(key.parent, key.parent_columns)
        rows = self.there[key.parent]
        for page in self._values(key, self.dangling(relation)):
            wanted = self.source.keys(columns, page, self.free("wanted"))
            texts = [self.source.comparable(wanted.c[c.name], c.type) for c in columns]
            same = [rows.c[c.name] == wanted.c[c.name] for c in columns]
            yield self.source.rows(sa.select(*texts).select_from(wanted).where(sql.exists(rows, same, wanted)))

    # -- drop

    def drop(self, component: Component) -> dict[TableName, int]:
        """Leave out rows with a `drop` reference that is not kept, until nothing changes (semantics: References, 2).

        Returns:
            Rows left out of each table.
        """
        strict = [r for t in component.tables for r in _strict(self.plan, t)]
        dropped = dict.fromkeys(component.tables, 0)
        if component.cyclic:
            for table, rows in self._drop_chains(component, strict):
                dropped[table] += rows
        while True:
            before = sum(dropped.values())
            for relation in strict:
                dropped[relation.key.child] += self.target.delete(relation.key.child, self.cut(relation))
            if not component.cyclic or sum(dropped.values()) == before:
                return dropped

    def _drop_chains(self, component: Component, strict: Sequence[Relation]) -> Iterator[tuple[TableName, int]]:
        """Rows that fall one after the other along a cycle, all at once: a chain would take as many rounds.

        Where a reference means several rows, it does not fall with one of them: those chains take their rounds.
        """
        inside = [r for r in strict if r.key.parent in component.tables and r.reachable and self.plan.means_one(r)]
        tags = {
            tag: self._columns(table, self._node_key(table, inside))
            for tag, table in enumerate(component.tables)
            if self.plan.schema[table].identity and any(table in (r.key.child, r.key.parent) for r in inside)
        }
        inside = [r for r in inside if {component.tables.index(t) for t in (r.key.child, r.key.parent)} <= set(tags)]
        if not inside:
            return
        walk = Walk(self.free("subset_doomed"), tags, self.target)
        seeds = [
            (tag, self.here.select(r.key.child, [c.name for c in tags[tag]]).where(*self.cut(r)))
            for r in strict
            if (tag := component.tables.index(r.key.child)) in tags and not is_loose(r.key)
        ]
        if not seeds:
            return
        cte = walk.cte(seeds, [self._downward(component, r, tags) for r in inside])
        doomed = self.target.stage("subset_doomed_rows", sa.select(*cte.c))
        for tag in tags:
            table = component.tables[tag]
            rows, node = self.here[table], walk.node(doomed, tag)
            same = [node.c[c] == rows.c[c] for c in self.plan.schema[table].identity]
            yield table, self.target.delete(table, [sql.exists(doomed, [node.is_tag, *same], rows)])

    def _node_key(self, table: TableName, inside: Iterable[Relation]) -> tuple[str, ...]:
        referenced = (c for r in inside if r.key.parent == table for c in r.key.parent_columns)
        return tuple(dict.fromkeys([*self.plan.schema[table].identity, *referenced]))

    def _downward(self, component: Component, relation: Relation, tags: dict[int, list[Column]]) -> Step:
        key = relation.key
        end = component.tables.index(key.child)
        rows = self.here[key.child]

        children = self.here.select(key.child, [c.name for c in tags[end]]).where(*sql.when(key, rows))
        on = tuple((b, rows.c[a]) for a, b in zip(key.columns, key.parent_columns, strict=True))
        return Step(component.tables.index(key.parent), end, children, on)

    # -- include

    def close(self, component: Component) -> dict[TableName, Moved]:
        """Fetch the rows of the component that kept rows reference, and on upwards inside it (References, 3).

        The component's children must be closed before it.

        Returns:
            What was fetched into each table.
        """
        wanted = [r for r in self.plan.into(component) if self._includes(r)]
        climbs = [r for r in wanted if r.key.child in component.tables]
        fetched = dict.fromkeys(component.tables, Moved())
        while True:
            before = sum(m.rows for m in fetched.values())
            for relation in wanted:
                for table, moved in self._fetch(component, relation, climbs):
                    fetched[table] += moved
            if not climbs or sum(m.rows for m in fetched.values()) == before:
                return fetched

    def _includes(self, relation: Relation) -> bool:
        return relation.policy is Policy.INCLUDE and self.plan.rule(relation.key.child) is not Rule.SKIP

    def _fetch(
        self, component: Component, relation: Relation, climbs: Sequence[Relation]
    ) -> Iterator[tuple[TableName, Moved]]:
        parent = self.plan.schema[relation.key.parent]
        for page in self.missing(relation):
            if self._means_many(relation):
                yield parent.name, self._fetch_groups(relation.key, page)
            elif not climbs:
                yield parent.name, self.target.load(self.source, self._by_key(relation.key, page), parent)
            elif self.banned or len(climbs) > self.source.most_members:
                yield parent.name, self._fetch_page(relation.key, page, relation.key.parent_columns)
            else:
                yield from self._fetch_upwards(component, relation.key, page, climbs)

    def _fetch_groups(self, key: ForeignKey, page: list[tuple[str, ...]]) -> Moved:
        """All rows with these values. Where they cannot be told apart, those already here make way for all."""
        parent = self.plan.schema[key.parent]
        if parent.identity:
            return self._fetch_page(key, page, parent.identity)
        columns, here = self._columns(key.parent, key.parent_columns), self.here[key.parent]
        wanted = self.target.keep("subset_groups", columns, [page])
        same = [here.c[c.name] == wanted.c[c.name] for c in columns]
        gone = self.target.delete(key.parent, [sql.exists(wanted, same, here)])
        return self.target.load(self.source, self._by_key(key, page), parent) + Moved(-gone)

    def _fetch_page(self, key: ForeignKey, page: list[tuple[str, ...]], known_by: tuple[str, ...]) -> Moved:
        """The parent's rows with these key values, but for those that are here: `known_by` names one."""
        rows = self._by_key(key, page, known_by)
        return self.target.load_missing(self.source, rows, self.plan.schema[key.parent], known_by)

    def _by_key(self, key: ForeignKey, page: list[tuple[str, ...]], known_by: tuple[str, ...] = ()) -> sa.Select[Any]:
        """SELECT the parent's rows with these key values, on the source."""
        return self.rows_by_key(key.parent, self._columns(key.parent, key.parent_columns), page, known_by)

    def rows_by_key(
        self, table: TableName, key: Sequence[Column], page: list[tuple[str, ...]], known_by: tuple[str, ...] = ()
    ) -> sa.Select[Any]:
        """SELECT a table's rows with these values of some key, on the source."""
        wanted = self.source.keys(key, page, self.free("wanted"))
        rows = self.there[table]
        same = [wanted.c[c.name] == rows.c[c.name] for c in key]
        return self._every(table, known_by).where(sql.exists(wanted, same, rows))

    def _every(self, table: TableName, known_by: tuple[str, ...] = ()) -> sa.Select[Any]:
        """SELECT a table's copied columns, on the source, and those by which `load_missing` knows the row."""
        columns = self.plan.schema[table].storing(known_by).copied
        rows = self.there.select(table, [c.name for c in columns])
        return sql.sent(rows, columns, self.source.sent)  # type: ignore[return-value]

    def _fetch_upwards(
        self, component: Component, key: ForeignKey, page: list[tuple[str, ...]], climbs: Sequence[Relation]
    ) -> Iterator[tuple[TableName, Moved]]:
        """The page's rows and all they reference inside the component, on the source; rows already here stay.

        A node of the walk is a referenced key value, so each step reads one table by one key.
        """
        keys = [key, *(r.key for r in climbs)]
        nodes = list(dict.fromkeys((k.parent, k.parent_columns) for k in keys))
        tags = {tag: self._room_for(keys, *node) for tag, node in enumerate(nodes)}
        walk = Walk(self.free("subset_upwards"), tags, self.source)
        wanted = self.source.keys(tags[0], page, self.free("wanted"))
        steps = [
            self._upward(nodes, tag, r.key)
            for tag, (table, _) in enumerate(nodes)
            for r in climbs
            if r.key.child == table
        ]
        cte = walk.cte([(0, sa.select(*(wanted.c[c.name] for c in tags[0])))], steps)
        for tag, (table, columns) in enumerate(nodes):
            rows, node = self.there[table], walk.node(cte, tag)
            same = [node.c[c] == rows.c[c] for c in columns]
            known_by = self._told_apart(table, columns)
            found = self._every(table, known_by).where(sql.exists(cte, [node.is_tag, *same], rows))
            yield table, self.target.load_missing(self.source, found, self.plan.schema[table], known_by)

    def _told_apart(self, table: TableName, columns: tuple[str, ...]) -> tuple[str, ...]:
        """These columns, or where they are not unique those that are."""
        known = self.plan.schema[table]
        return columns if known.tells_apart(columns) else known.identity or columns

    def _room_for(self, keys: Sequence[ForeignKey], table: TableName, names: tuple[str, ...]) -> list[Column]:
        """A key's columns, as wide as what references it: cut to fit, a value would match a row it does not mean."""
        here = [k for k in keys if (k.parent, k.parent_columns) == (table, names)]
        columns = zip(self._columns(table, names), *(self._columns(k.child, k.columns) for k in here), strict=True)
        return [self.source.widest(own, others) for own, *others in columns]

    def _upward(self, nodes: list[tuple[TableName, tuple[str, ...]]], tag: int, key: ForeignKey) -> Step:
        table, columns = nodes[tag]
        rows = self.there[table]

        parents = self.there.select(table, key.columns).where(*sql.is_reference(key, rows))
        on = tuple((c, rows.c[c]) for c in columns)
        return Step(tag, nodes.index((key.parent, key.parent_columns)), parents, on)

    # -- null

    def null(self, table: TableName) -> int:
        """Set references that point outside the copy to NULL, all of a row at once (semantics: References, 5).

        Returns:
            Rows changed.
        """
        cuts = {r: sa.and_(*self.cut(r, n)) for n, r in enumerate(self.nullable(table))}
        if not cuts:
            return 0
        return self.target.set_null(table, [(condition, relation.nulls) for relation, condition in cuts.items()])

    def nullable(self, table: TableName) -> list[Relation]:
        """The table's relations whose references may have to be set to NULL."""
        if self.plan.rule(table) is Rule.SKIP:
            return []
        found = [r for r in self.plan.relations_of.get(table, ()) if r.nulls]
        return [r for r in found if r.policy is Policy.NULL or (self.plan.may_ban and r.policy is Policy.INCLUDE)]

    # -- columns

    def _columns(self, table: TableName, names: Sequence[str]) -> list[Column]:
        found = [self.plan.schema[table].column(name) for name in names]
        return [c for c in found if c is not None]

    def _type(self, table: TableName, name: str) -> str:
        column = self.plan.schema[table].column(name) if table in self.plan.schema else None
        return column.type if column else ""
