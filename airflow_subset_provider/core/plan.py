"""From request and schema to plan: every table's rule and reason, every component's place, every step of the run.

The plan decides everything that can be decided without touching a row. The preview prints it, the operator lays its
tasks out by it and the run executes it, so that none of the three can disagree. It is rebuilt from its two inputs
wherever it is needed (a worker parses the DAG again for every task), so building it is cheap.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from msgspec import Struct, to_builtins

from airflow_subset_provider.core import graph, names, relations
from airflow_subset_provider.core.errors import Fault, RequestError
from airflow_subset_provider.core.graph import Component, Graph
from airflow_subset_provider.core.relations import Relation
from airflow_subset_provider.core.schema import ForeignKey, Schema, TableName
from airflow_subset_provider.core.spec import Policy, Rule, Spec


class Sample(Struct, frozen=True):
    """A sample of a table: either a share of its rows by key hash, or its first rows by key order.

    Attributes:
        percent: 0 to 100, or None.
        count: rows, or None.
    """

    percent: float | None
    count: int | None
    seed: int


class TablePlan(Struct, frozen=True):
    """What happens to one table.

    Attributes:
        reason: why it has its rule, as a person would say it.
        filter: the user's WHERE clause on it, None where there is none.
    """

    name: TableName
    rule: Rule
    reason: str
    filter: str | None = None
    sample: Sample | None = None

    @property
    def filtered(self) -> bool:
        """Whether it has a filter or a sample of its own."""
        return self.filter is not None or self.sample is not None


class Plan(Struct, frozen=True, dict=True):
    """A settled request.

    Attributes:
        tables: every table in scope, in order of the components.
        judged: every foreign key as a run with referential integrity uses it: what is counted at the end of any.
        graph: the condensation of the foreign-key graph, virtual keys included.
    """

    spec: Spec
    schema: Schema
    tables: Mapping[TableName, TablePlan]
    judged: tuple[Relation, ...]
    graph: Graph

    def rule(self, table: TableName) -> Rule:
        """The table's rule; `skip` for one out of scope."""
        return self.tables[table].rule if table in self.tables else Rule.SKIP

    @property
    def relations(self) -> tuple[Relation, ...]:
        """Every foreign key as this run uses it: none with referential integrity off."""
        return self.judged if self.spec.referential_integrity else ()

    @cached_property
    def relations_of(self) -> dict[TableName, tuple[Relation, ...]]:
        """The relations of each table as a child."""
        return _grouped((r.key.child, r) for r in self.relations)

    @cached_property
    def relations_to(self) -> dict[TableName, tuple[Relation, ...]]:
        """The relations of each table as a parent."""
        return _grouped((r.key.parent, r) for r in self.relations)

    @cached_property
    def copied(self) -> tuple[TableName, ...]:
        """Tables that can hold rows after the run, parents first."""
        return tuple(t for t, p in self.tables.items() if p.rule is not Rule.SKIP)

    @cached_property
    def extracts(self) -> tuple[Component, ...]:
        """The components with rows to extract, parents first: those with a relevant or whole table."""
        return tuple(
            c for c in self.graph.components if any(self.rule(t) in (Rule.RELEVANT, Rule.WHOLE) for t in c.tables)
        )

    @cached_property
    def closures(self) -> tuple[Component, ...]:
        """The components that may miss referenced rows, children first."""
        return tuple(
            c for c in reversed(self.graph.components) if any(self.may_miss(relation) for relation in self.into(c))
        )

    def closed_before(self, component: Component) -> tuple[Component, ...]:
        """The closures of its children: rows that they fetch may reference rows of the component."""
        return tuple(c for c in self.closures if (component.id, c.id) in self.graph.edges)

    def into(self, component: Component) -> tuple[Relation, ...]:
        """The relations whose parent is in the component, those inside it included."""
        return tuple(r for t in component.tables for r in self.relations_to.get(t, ()))

    def may_miss(self, relation: Relation) -> bool:
        """Whether a kept row may reference one that the extracts leave out."""
        parent = relation.key.parent
        whole = self.rule(parent) is Rule.WHOLE and parent not in self._losing
        return relation.policy is Policy.INCLUDE and not whole and relation.key.child in self._holding

    def means_one(self, relation: Relation) -> bool:
        """Whether a reference means a single row: MySQL and MariaDB let keys reference columns that are not unique."""
        key = relation.key
        return key.parent not in self.schema or self.schema[key.parent].tells_apart(key.parent_columns)

    @cached_property
    def _holding(self) -> frozenset[TableName]:
        """The tables that can hold a row: those with rows of their own, and whatever they reference, upwards."""
        found = dict.fromkeys(t for t, p in self.tables.items() if p.rule in (Rule.RELEVANT, Rule.WHOLE))
        queue = list(found)
        for table in queue:
            for relation in self.relations_of.get(table, ()):
                parent = relation.key.parent
                if relation.policy is Policy.INCLUDE and parent not in found:
                    found[parent] = None
                    queue.append(parent)
        return frozenset(found)

    @cached_property
    def _losing(self) -> frozenset[TableName]:
        """The tables whose own rows may be left out again because of a reference under `drop`."""
        return frozenset(
            r.key.child for r in self.relations if r.policy is Policy.DROP and self.rule(r.key.child) is not Rule.SKIP
        )

    @cached_property
    def may_ban(self) -> bool:
        """Whether a referred row may itself be impossible to keep (semantics: References, 4)."""
        return any(t in self._losing for c in self.closures for t in c.tables)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know before a row moves."""
        found = [
            f"{r.key.label}: {r.note}" for r in self.relations if r.note and self.rule(r.key.child) is not Rule.SKIP
        ]
        found += [
            f"{t}: storage engine {engine} has no transactions and no foreign keys: rows may change while being read"
            for t in self.copied
            if (engine := self.schema[t].engine) not in ("", "InnoDB")
        ]
        if not self.spec.referential_integrity:
            found.append("referential_integrity is off: foreign keys may not hold in the copy")
        found += [warning for c in self.graph.components if c.cyclic for warning in self._cut_off(c)]
        return tuple(found)

    def _cut_off(self, component: Component) -> Iterator[str]:
        """Tables of a cycle that cannot have seeds, because a filter above reaches the cycle elsewhere."""
        lacking = {
            t: sorted(f for f in self.filters_above(component) if not self.ways(t, f))
            for t in component.tables
            if self.rule(t) is Rule.RELEVANT
        }
        if lacking and all(lacking.values()):
            above = " and ".join(map(str, sorted(self.filters_above(component))))
            yield f"cycle {component.title}: no row is relevant, as no table of it is below all of {above}"
            return
        for table, filters in lacking.items():
            if self.tables[table].filtered and filters:
                yield (
                    f"{table}: its filter only narrows what the cycle {component.title} leads to, as no foreign key of "
                    f"{table} leads to {' and '.join(map(str, filters))}, which is filtered too"
                )

    @cached_property
    def _carriers(self) -> dict[TableName, tuple[Relation, ...]]:
        """Per relevant table, the relations through which filters reach it."""
        return {
            t: tuple(r for r in self.relations_of.get(t, ()) if r.follow and self.rule(r.key.parent) is Rule.RELEVANT)
            for t, p in self.tables.items()
            if p.rule is Rule.RELEVANT
        }

    def carriers(self, table: TableName) -> tuple[Relation, ...]:
        """The followed relations of a relevant table to relevant parents."""
        return self._carriers.get(table, ())

    @cached_property
    def filters_at(self) -> dict[TableName, frozenset[TableName]]:
        """Per relevant table, the filtered tables it is or lies below (through carriers), in O(tables + keys)."""
        found: dict[TableName, frozenset[TableName]] = {}
        for component in self.graph.components:
            tables = [t for t in component.tables if t in self._carriers]
            found |= {t: frozenset([t] if self.tables[t].filtered else ()) for t in tables}
            while more := {t: reached for t in tables if (reached := self._reach(t, found)) != found[t]}:
                found |= more  # once round, or round and round a cycle until it brings nothing new
        return found

    def _reach(self, table: TableName, found: Mapping[TableName, frozenset[TableName]]) -> frozenset[TableName]:
        return found[table].union(*(found[r.key.parent] for r in self.carriers(table)))

    def filters_above(self, component: Component) -> frozenset[TableName]:
        """The filtered tables above the component and outside it (semantics: Relevant rows, Ω)."""
        reached = [self.filters_at[t] for t in component.tables if self.rule(t) is Rule.RELEVANT]
        return frozenset().union(*reached) - set(component.tables)

    def ways(self, table: TableName, filtered: TableName) -> tuple[Relation, ...]:
        """The relations of the table, to tables outside its component, by which the filter on `filtered` reaches it."""
        home = self.graph.component_of[table]
        return tuple(
            r
            for r in self.carriers(table)
            if r.key.parent not in home.tables and filtered in self.filters_at[r.key.parent]
        )

    def inside(self, component: Component) -> tuple[Relation, ...]:
        """The carriers between the component's own tables, self-references included."""
        return tuple(r for t in component.tables for r in self.carriers(t) if r.key.parent in component.tables)

    def to_json(self) -> str:
        """Request and schema, from which the same plan is built again."""
        return json.dumps({"spec": to_builtins(self.spec), "schema": self.schema.to_json()})

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Build the plan that `to_json` was called on.

        Raises:
            ValueError: the text is no plan of this version.
        """
        shape = json.loads(text)
        return build(Spec.of(**shape["spec"]), Schema.from_json(shape["schema"]))


def build(spec: Spec, schema: Schema) -> Plan:
    """Settle a request against a schema.

    Raises:
        RequestError: with every fault found: unknown or ambiguous names, patterns that match nothing, contradictions.
    """
    virtual, faults = relations.virtual_keys(schema, spec)
    keys = (*schema.foreign_keys, *virtual)
    filters, more = _resolved(schema, spec.filters, "filters")
    samples, still_more = _resolved(schema, spec.sample, "sample")
    overrides = _overrides(schema, spec)
    faults += more + still_more + relations.unmatched_patterns(spec, keys) + _unmatched_tables(schema, spec)
    faults += _contradictions(schema, spec, overrides, filters, samples)
    RequestError.raise_for(faults)

    starts = {**filters, **samples}
    pinned = {t: (r, p) for t, (r, p) in overrides.items() if r is not Rule.RELEVANT and t not in starts}
    used = relations.settle(schema, spec, keys, lambda t: t in pinned and pinned[t][0] is Rule.SKIP)
    condensed = graph.build(schema, keys)
    reasons = _reached(starts, used if spec.referential_integrity else (), pinned)
    tables = {
        t: _table(t, spec, reasons, pinned, overrides, filters, samples) for c in condensed.components for t in c.tables
    }
    RequestError.raise_for(_too_large(schema, spec, tables, overrides))
    skipped = {t for t, p in tables.items() if p.rule is Rule.SKIP}
    if skipped - {t for t, (r, _) in pinned.items() if r is Rule.SKIP}:
        used = relations.settle(schema, spec, keys, skipped.__contains__)
    plan = Plan(spec, schema, tables, used, condensed)
    if not plan.extracts:
        raise RequestError(Fault("nothing would be copied", "filters", 'Give a filter, or others="whole".'))
    RequestError.raise_for(_unclear_bans(plan))
    return plan


def _unclear_bans(plan: Plan) -> list[Fault]:
    """Bans go from row to row, and a reference that means several rows holds as long as one of them is kept."""
    return [
        Fault(
            "references columns that are not unique, which cannot be combined with policies that fetch a row and may "
            "leave it out again",
            f"foreign key {r.key.label}",
            "Use the same policy for all foreign keys, or null in place of drop.",
        )
        for r in plan.relations
        if plan.may_ban and not plan.means_one(r) and plan.rule(r.key.child) is not Rule.SKIP
    ]


def _resolved(schema: Schema, asked: Mapping[str, Any], setting: str) -> tuple[dict[TableName, Any], list[Fault]]:
    found: dict[TableName, Any] = {}
    faults = []
    for text, value in asked.items():
        table = names.find_table(schema, text, f"{setting}[{text!r}]")
        if isinstance(table, Fault):
            faults.append(table)
        elif table in found:
            faults.append(Fault(f"{table} is named twice", f"{setting}[{text!r}]", "Join the clauses with AND."))
        else:
            found[table] = value
    return found, faults


def _overrides(schema: Schema, spec: Spec) -> dict[TableName, tuple[Rule, str]]:
    """Per table that a pattern matches, its rule and that pattern."""
    found = {}
    for table in schema.tables:
        patterns = names.matching(spec.tables, (table.name.name, str(table.name)))
        if patterns:
            found[table.name] = (spec.tables[patterns[0]], patterns[0])
    return found


def _unmatched_tables(schema: Schema, spec: Spec) -> list[Fault]:
    spellings = names.table_spellings(schema)
    return [
        Fault("matches no table", f"tables[{p!r}]", names.nearest(p, spellings))
        for p in spec.tables
        if not names.matching([p], spellings)
    ]


def _contradictions(
    schema: Schema,
    spec: Spec,
    overrides: Mapping[TableName, tuple[Rule, str]],
    filters: Mapping[TableName, Any],
    samples: Mapping[TableName, Any],
) -> list[Fault]:
    """A filter names its table exactly, so it beats a wildcard; against another exact name it is a contradiction."""
    faults = []
    for table in {**filters, **samples}:
        rule, pattern = overrides.get(table, (Rule.RELEVANT, ""))
        if rule is not Rule.RELEVANT and not names.is_pattern(pattern):
            faults.append(
                Fault(
                    f"{table} has a filter, so it cannot have the rule {rule.value!r}",
                    f"tables[{pattern!r}]",
                    "Drop the filter or the rule.",
                )
            )
    faults += [
        Fault(f"{t} has no primary or unique key to sample by", f"sample[{str(t)!r}]", "Use a filter instead.")
        for t in samples
        if not schema[t].identity
    ]
    return faults


def _too_large(
    schema: Schema, spec: Spec, tables: Mapping[TableName, TablePlan], named: Iterable[TableName]
) -> list[Fault]:
    """Large tables that would be copied whole though nobody asked for them."""
    return [
        Fault(
            f"{t} would be copied whole, and has about {schema[t].rows:,} rows (whole_limit is {spec.whole_limit:,})",
            f"tables[{str(t)!r}]",
            'Say what you want: "whole", "referenced" or "skip".',
        )
        for t, p in tables.items()
        if p.rule is Rule.WHOLE and schema[t].rows > spec.whole_limit and t not in named
    ]


def _reached(
    starts: Mapping[TableName, Any], used: Iterable[Relation], pinned: Mapping[TableName, Any]
) -> dict[TableName, str]:
    """Every table that a filter reaches, with the reason: the filter itself, or the path down to it."""
    below: dict[TableName, list[ForeignKey]] = {}
    for relation in used:
        if relation.follow:
            below.setdefault(relation.key.parent, []).append(relation.key)
    reasons = dict.fromkeys(starts, "filter")
    paths = {t: t.name for t in starts}
    queue = list(starts)
    for table in queue:
        for key in below.get(table, ()):
            if key.child not in reasons and key.child not in pinned:
                paths[key.child] = f"{key.child.name}({', '.join(key.columns)}) → {paths[table]}"
                reasons[key.child] = f"below a filter: {paths[key.child]}"
                queue.append(key.child)
    return reasons


def _table(
    name: TableName,
    spec: Spec,
    reasons: Mapping[TableName, str],
    pinned: Mapping[TableName, tuple[Rule, str]],
    overrides: Mapping[TableName, tuple[Rule, str]],
    filters: Mapping[TableName, str],
    samples: Mapping[TableName, str | int],
) -> TablePlan:
    if name in pinned:
        rule, pattern = pinned[name]
        return TablePlan(name, rule, f"tables[{pattern!r}]")
    if name in reasons:
        return TablePlan(name, Rule.RELEVANT, reasons[name], filters.get(name), _sample(samples.get(name), spec.seed))
    if name in overrides:
        return TablePlan(name, Rule.RELEVANT, f"tables[{overrides[name][1]!r}], though no filter reaches it")
    return TablePlan(name, Rule(spec.others.value), f"no filter reaches it: others={spec.others.value!r}")


def _sample(asked: str | int | None, seed: int) -> Sample | None:
    if asked is None:
        return None
    if isinstance(asked, int):
        return Sample(None, asked, seed)
    return Sample(float(asked.strip().rstrip("%")), None, seed)


def _grouped(pairs: Iterable[tuple[TableName, Relation]]) -> dict[TableName, tuple[Relation, ...]]:
    found: dict[TableName, list[Relation]] = {}
    for table, relation in pairs:
        found.setdefault(table, []).append(relation)
    return {table: tuple(items) for table, items in found.items()}
