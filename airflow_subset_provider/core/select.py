"""From plan to SQL: one self-contained SELECT on the source for each table's rows.

Semi-joins along the foreign keys lead from a table to the filters; every relevant ancestor is one CTE of its key
columns, so a statement grows with the number of ancestors, not of paths. Alternatives (a row connected by any of its
keys) are disjoint UNION ALL branches, because OR between EXISTS keeps a server from using semi-joins or indexes;
where there would be too many branches, the keys are left-joined instead. No DISTINCT over whole rows: tables without
a primary key stay exact. A strongly connected component is one recursive walk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from math import prod
from typing import Any

import sqlalchemy as sa

from airflow_subset_provider.core import sql
from airflow_subset_provider.core.engines.base import Flavour
from airflow_subset_provider.core.errors import Fault, RequestError
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.plan import Plan, Sample
from airflow_subset_provider.core.relations import Relation
from airflow_subset_provider.core.schema import Column, Table, TableName
from airflow_subset_provider.core.spec import Rule
from airflow_subset_provider.core.walk import Node, Step, Walk

MOST_BRANCHES = 6
# CTEs of a statement, each counted at every place that reads it, where a server writes it out there. MySQL 9.7 takes 97
# and refuses 112 (error 4169); MariaDB 10.11 plans 193 for a second, 453 for ten, and 489 until its memory ends.
MOST_EXPANSIONS = 80
REFUSED = 400

Selection = sa.Select[Any] | sa.CompoundSelect[Any]


Named = TableName | str  # what a CTE is of: a table, or a component's walk
Part = Callable[[sa.FromClause], Sequence[sql.Condition]]


def extract(plan: Plan, table: TableName, flavour: Flavour, part: Part | None = None) -> Selection:
    """The SELECT of all rows a table gets before references are looked at: relevant or whole; none for other rules.

    Args:
        part: conditions on the table's own rows that leave a part of them; for tables in no cycle.

    Raises:
        RequestError: the server would choke on it.
    """
    columns = plan.schema[table].copied
    rows = some_columns(plan, table, [c.name for c in columns], flavour, part)
    return sql.sent(rows, columns, flavour.sent)


def some_columns(
    plan: Plan, table: TableName, names: Sequence[str], flavour: Flavour, part: Part | None = None
) -> Selection:
    """Some columns of the same rows, as the table has them.

    Raises:
        RequestError: as `extract` does.
    """
    parts = {table: part} if part else {}
    made = Extract(plan, flavour, parts=parts)
    rows = made.rows(table, names)
    if not made.shared or flavour.shares_ctes:
        return rows
    if made.expansions > REFUSED and not one_filter(plan, table):
        raise RequestError(_too_deep(table, made.expansions))
    deep = made.expansions > MOST_EXPANSIONS and one_filter(plan, table)
    again = Descent(plan, flavour, parts=parts) if deep else Extract(plan, flavour, made.shared, parts)
    return again.rows(table, names)


class Extract:
    """One statement under construction: its CTEs are made once each.

    Args:
        parts: conditions that leave a part of a table's rows.
        held: ancestors whose CTEs the server must be kept from writing out at every place that reads them.
    """

    def __init__(
        self,
        plan: Plan,
        flavour: Flavour,
        held: frozenset[TableName] = frozenset(),
        parts: Mapping[TableName, Part] | None = None,
    ) -> None:
        """Start an empty statement."""
        self._held = held
        self._parts = parts or {}
        self._reads: Counter[tuple[Named, Named]] = Counter()
        self._reading: list[Named] = [""]
        self.plan = plan
        self.flavour = flavour
        self.tables = sql.Tables(plan.schema)
        self.names = sql.Names(plan.schema)
        self._keys: dict[TableName, sa.CTE] = {}
        self._walks: dict[str, tuple[Walk, sa.CTE] | None] = {}

    def rows(self, table: TableName, columns: Sequence[str]) -> Selection:
        """SELECT these columns of the table's relevant rows (all rows, for the rule `whole`)."""
        match self.plan.rule(table):
            case Rule.WHOLE:
                return self.tables.select(table, columns).where(*self._part(table))
            case Rule.RELEVANT:
                component = self.plan.graph.component_of[table]
                if self.plan.inside(component):
                    return self._rows_in_cycle(component, table, columns)
                seeds = self._seeds(table, columns)
                return self._nothing(table, columns) if seeds is None else seeds
        return self._nothing(table, columns)

    def _nothing(self, table: TableName, columns: Sequence[str]) -> sa.Select[Any]:
        return self.tables.select(table, columns).where(sa.literal_column("1") == sa.literal_column("0"))

    # -- a table's own filter, and the ways to the filters above it

    def own(self, table: TableName) -> list[sql.Condition]:
        """The table's own filter and sample."""
        plan = self.plan.tables[table]
        filters = [] if plan.filter is None else [sql.clause(plan.filter)]
        if plan.sample is not None:
            filters = [*filters, self._sample(self.plan.schema[table], plan.sample, filters)]
        return [*filters, *self._part(table)]

    def _part(self, table: TableName) -> Sequence[sql.Condition]:
        return self._parts[table](self.tables[table]) if table in self._parts else ()

    def _sample(self, table: Table, sample: Sample, filters: list[sql.Condition]) -> sql.Condition:
        rows = self.tables[table.name]
        key = [rows.c[c] for c in table.identity]
        if sample.percent is not None:
            return self.flavour.share(key, sample.percent, sample.seed)
        first = self.tables.select(table.name, table.identity).where(*filters).order_by(*key).limit(sample.count)
        # MySQL takes no LIMIT directly inside IN (manual 15.2.15.12): one more level.
        return sa.tuple_(*key).in_(sa.select(first.subquery(self.names.new("subset_sample"))))

    def _clauses(self, table: TableName) -> list[tuple[Relation, ...]] | None:
        """AND over these of OR over each one's relations; None when no row can be a seed."""
        component = self.plan.graph.component_of[table]
        above = sorted(self.plan.filters_above(component))
        if not above:
            return [] if self.plan.tables[table].filtered else None
        ways = {self.plan.ways(table, filtered) for filtered in above}
        if () in ways:
            return None
        minimal = [w for w in ways if not any(set(other) < set(w) for other in ways)]
        return sorted(minimal, key=lambda relations: (len(relations), [r.key.label for r in relations]))

    def _seeds(self, table: TableName, columns: Sequence[str]) -> Selection | None:
        """SELECT the table's seeds; None when there can be none (semantics: Relevant rows, 1)."""
        clauses = self._clauses(table)
        if clauses is None:
            return None
        if prod(map(len, clauses)) > MOST_BRANCHES:
            return self._joined(table, columns, clauses)
        return sql.any_of(
            [
                self.tables.select(table, columns).where(
                    *self.own(table), *(self._holds(r, yes) for r, yes in branch.items())
                )
                for branch in _branches(clauses)
            ]
        )

    def _holds(self, relation: Relation, yes: bool) -> sql.Condition:
        child, parent = self.tables[relation.key.child], self.keys(relation.key.parent)
        found = sql.exists(parent, sql.match(relation.key, child, parent), child)
        return found if yes else ~found

    def _joined(self, table: TableName, columns: Sequence[str], clauses: list[tuple[Relation, ...]]) -> sa.Select[Any]:
        """The same by left joins: each relation's parent key is unique, so no row is multiplied."""
        wanted = [*columns, *(c for clause in clauses for r in clause for c in _needs(r))]
        own = self.tables.select(table, dict.fromkeys(wanted)).where(*self.own(table)).subquery(sql.quoted(table.name))
        joined: sa.FromClause = own
        found: dict[Relation, sql.Condition] = {}
        for relation in dict.fromkeys(r for clause in clauses for r in clause):
            parent = self._unique_keys(relation)
            joined = joined.outerjoin(parent, sa.and_(*sql.match(relation.key, own, parent)))
            found[relation] = sql.has_value(parent.c[relation.key.parent_columns[0]])
        conditions = [sa.or_(*(found[r] for r in clause)) for clause in clauses]
        return sa.select(*(own.c[c] for c in columns)).select_from(joined).where(*conditions)

    def _unique_keys(self, relation: Relation) -> sa.FromClause:
        key = relation.key
        keys, alias = self.keys(key.parent), self.names.new(f"via_{'_'.join(key.columns)}")
        if self.plan.schema[key.parent].tells_apart(key.parent_columns):
            return keys.alias(alias)
        return sa.select(*(keys.c[c] for c in key.parent_columns)).distinct().subquery(alias)

    # -- ancestors

    def keys(self, table: TableName) -> sa.CTE:
        """The relevant rows of a table as a CTE of the columns that others reference it by."""
        with self._read(table):
            if table not in self._keys:
                walked = self._keys_in_walk(table)
                rows = self.rows(table, self._tracked(table, identity=False)) if walked is None else walked
                self._keys[table] = self._cte(table, rows)
        return self._keys[table]

    @contextmanager
    def _read(self, what: Named) -> Iterator[None]:
        """Count that the CTE under construction reads another one, which is constructed inside if it is new."""
        self._reads[self._reading[-1], what] += 1
        self._reading.append(what)
        try:
            yield
        finally:
            self._reading.pop()

    @property
    def shared(self) -> frozenset[TableName]:
        """The ancestors that are read in several places."""
        uses: Counter[TableName] = Counter()
        for (_, what), n in self._reads.items():
            if isinstance(what, TableName):
                uses[what] += n
        return frozenset(table for table, n in uses.items() if n > 1)

    @property
    def expansions(self) -> int:
        """CTEs in the statement once each is written out at every place that reads it."""
        sizes: dict[Named, int] = {}

        def size(what: Named) -> int:
            if what not in sizes:
                sizes[what] = 1 + sum(n * size(read) for (reader, read), n in self._reads.items() if reader == what)
            return sizes[what]

        return size("")

    def _cte(self, table: TableName, rows: Selection) -> sa.CTE:
        name = self.names.new(f"subset_{table.name}")
        if table not in self._held:
            return rows.cte(name)
        # A recursive CTE is worked out once, however often it is read; this one's recursion has no rows.
        first, *others = _selects(rows)
        start = first.cte(name, recursive=True)
        return start.union_all(*others, sa.select(*start.c).where(sa.false()))

    def _keys_in_walk(self, table: TableName) -> sa.Select[Any] | None:
        component = self.plan.graph.component_of[table]
        if not self.plan.inside(component):
            return None
        made = self._walk(component)
        if made is None:
            return None
        node = self._node(made, component, table)
        return sa.select(*node.columns(self._tracked(table))).where(node.is_tag)

    def _tracked(self, table: TableName, identity: bool = True) -> list[str]:
        """The columns a row is known by: its identity (if asked for) and all keys that filters flow through."""
        own = self.plan.schema[table].identity if identity else ()
        followed = [
            c
            for r in self.plan.relations_to.get(table, ())
            if r.follow and self.plan.rule(r.key.child) is Rule.RELEVANT
            for c in r.key.parent_columns
        ]
        return list(dict.fromkeys([*own, *followed]))

    # -- cycles

    def _rows_in_cycle(self, component: Component, table: TableName, columns: Sequence[str]) -> sa.Select[Any]:
        made, rows = self._walk(component), self.tables[table]
        statement = self.tables.select(table, columns)
        identity = self.plan.schema[table].identity
        if not identity:
            return statement.where(*self.own(table), sa.or_(sa.false(), *self._is_relevant(made, component, table)))
        if made is None:
            return self._nothing(table, columns)
        node = self._node(made, component, table)
        same = [node.c[c] == rows.c[c] for c in identity]
        return statement.where(sql.exists(node.walk, [node.is_tag, *same], rows))

    def _is_relevant(
        self, made: tuple[Walk, sa.CTE] | None, component: Component, table: TableName
    ) -> Iterable[sql.Condition]:
        """For rows with no identity: the definition itself (semantics: Relevant rows, 1 and 2)."""
        clauses, rows = self._clauses(table), self.tables[table]
        if clauses is not None:
            yield sa.and_(sa.true(), *(sa.or_(*(self._holds(r, True) for r in clause)) for clause in clauses))
        for relation in self.plan.inside(component):
            if made is not None and relation.key.child == table:
                node = self._node(made, component, relation.key.parent)
                pairs = zip(relation.key.columns, relation.key.parent_columns, strict=True)
                same = [node.c[b] == rows.c[a] for a, b in pairs]
                yield sql.exists(node.walk, [node.is_tag, *same, *sql.when(relation.key, rows)], rows)

    def _node(self, made: tuple[Walk, sa.CTE], component: Component, table: TableName) -> Node:
        walk, cte = made
        return walk.node(cte, component.tables.index(table))

    def _walk(self, component: Component) -> tuple[Walk, sa.CTE] | None:
        """The component's relevant rows as a walk from its seeds down; None when nothing can be a seed."""
        with self._read(component.id):
            if component.id not in self._walks:
                self._walks[component.id] = self._new_walk(component)
        return self._walks[component.id]

    def _new_walk(self, component: Component) -> tuple[Walk, sa.CTE] | None:
        tags = {
            tag: [self._column(table, c) for c in self._tracked(table)]
            for tag, table in enumerate(component.tables)
            if self.plan.rule(table) is Rule.RELEVANT and self._tracked(table)
        }
        seeds = [
            (tag, branch)
            for tag in tags
            for branch in _selects(self._seeds(component.tables[tag], [c.name for c in tags[tag]]))
        ]
        if not seeds:
            return None
        walk = Walk(self.names.new(f"subset_cycle_{component.tables[0].name}"), tags, self.flavour)
        inside = (r for r in self.plan.inside(component) if component.tables.index(r.key.child) in tags)
        steps = [self._step(component, relation, tags) for relation in inside]
        return walk, walk.cte(seeds, steps)

    def _step(self, component: Component, relation: Relation, tags: dict[int, list[Column]]) -> Step:
        """Down one key: from a relevant parent's node to the child rows that reference it."""
        key = relation.key
        end = component.tables.index(key.child)
        rows = self.tables[key.child]

        children = self.tables.select(key.child, [c.name for c in tags[end]])
        children = children.where(*sql.when(key, rows), *self.own(key.child))
        on = tuple((b, rows.c[a]) for a, b in zip(key.columns, key.parent_columns, strict=True))
        return Step(component.tables.index(key.parent), end, children, on)

    def _column(self, table: TableName, name: str) -> Column:
        return next(c for c in self.plan.schema[table].columns if c.name == name)


class Descent(Extract):
    """One statement under construction whose ancestors, all below one filter, are one walk.

    MySQL and MariaDB write a CTE out at every place that reads it, nested ones at every place of every place: a dozen
    levels of tables that reference each other by several keys each, and MySQL refuses the statement (error 4169),
    MariaDB's planner takes gigabytes. Below a single filter a row is relevant exactly when followed keys lead from it
    to a row that answers the filter (semantics: AND over one filter, OR over paths): as inside a cycle.
    """

    def rows(self, table: TableName, columns: Sequence[str]) -> Selection:
        """SELECT these columns of the table's relevant rows."""
        if self.plan.tables[table].filtered:  # the one filter: nothing else is above it
            return self.tables.select(table, columns).where(*self.own(table))
        region = _region(self.plan, table)
        walk, cte = self._descent(region)
        rows, node = self.tables[table], walk.node(cte, region.tables.index(table))
        same = [node.c[c] == rows.c[c] for c in self.plan.schema[table].identity]
        same = same or [node.c[c].is_not_distinct_from(rows.c[c]) for c in self._references(table)]
        statement = self.tables.select(table, columns).where(*self.own(table))
        return statement.where(sql.exists(node.walk, [node.is_tag, *same], rows))

    def _known_by(self, table: TableName) -> list[str]:
        own = [] if self.plan.schema[table].identity else self._references(table)
        return list(dict.fromkeys([*self._tracked(table), *own]))

    def _references(self, table: TableName) -> list[str]:
        """What makes a row relevant, and so stands for a row that no key tells apart."""
        return list(dict.fromkeys(c for r in self.plan.carriers(table) for c in _needs(r)))

    def _descent(self, region: Component) -> tuple[Walk, sa.CTE]:
        tags = {tag: [self._column(t, c) for c in self._known_by(t)] for tag, t in enumerate(region.tables)}
        seeds = [
            (tag, self.tables.select(t, [c.name for c in tags[tag]]).where(*self.own(t)))
            for tag, t in enumerate(region.tables)
            if self.plan.tables[t].filtered
        ]
        walk = Walk(self.names.new("subset_descent"), tags, self.flavour)
        steps = [self._step(region, relation, tags) for relation in self.plan.inside(region)]
        return walk, walk.cte(seeds, steps)


def _too_deep(table: TableName, expansions: int) -> Fault:
    return Fault(
        f"lies so deep below several filters that the server would have to plan {expansions:,} subqueries at once",
        f"table {table}",
        "Say follow: false for some of the foreign keys above it, give it another rule, or filter one table only.",
    )


def one_filter(plan: Plan, table: TableName) -> bool:
    """Whether a single filter is all that is at the table or above it.

    Or above a cycle that one of its ancestors is in: such a filter holds for all of the cycle's tables, also where keys
    that are not followed keep it from some of them (semantics: Relevant rows, Ω).
    """
    found = plan.filters_at.get(table, frozenset())
    if len(found) != 1:
        return False
    components = {c.tables: c for t in _region(plan, table).tables for c in [plan.graph.component_of[t]]}
    return all(plan.filters_above(component) <= found for component in components.values())


def _region(plan: Plan, table: TableName) -> Component:
    """The table and all relevant ones above it."""
    found, todo = {table}, [table]
    while todo:
        above = {r.key.parent for r in plan.carriers(todo.pop())} - found
        found |= above
        todo += above
    return Component("descent", tuple(sorted(found)))


def _needs(relation: Relation) -> tuple[str, ...]:
    return (*relation.key.columns, *(column for column, _ in relation.key.when))


def _selects(selection: Selection | None) -> list[sa.Select[Any]]:
    if selection is None:
        return []
    return list(selection.selects) if isinstance(selection, sa.CompoundSelect) else [selection]  # type: ignore[arg-type]


def _branches(clauses: list[tuple[Relation, ...]]) -> list[dict[Relation, bool]]:
    """Disjoint ways to satisfy every clause: of each clause the first relation that holds, and all before it do not."""
    branches = []
    for picks in product(*(range(len(clause)) for clause in clauses)):
        branch: dict[Relation, bool] = {}
        facts = [
            (relation, i == pick)
            for clause, pick in zip(clauses, picks, strict=True)
            for i, relation in enumerate(clause[: pick + 1])
        ]
        if all(branch.setdefault(relation, holds) == holds for relation, holds in facts):
            branches.append(branch)
    return branches
