"""What a subset contains, in plain Python sets over fully fetched tables: the contract once more, without any SQL.

Property tests hold the engine against this file, so it is written from the contract's text alone, shares no code with
the engine but the data types of a request and a schema, and never tries to be fast. Every part quotes the sentence it
restates. The database evaluates the filters; a row is its table and its number there, so that equal rows of a table
without a key stay apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from msgspec.structs import replace

from airflow_subset_provider.core.schema import ForeignKey, Schema, Table, TableName
from airflow_subset_provider.core.spec import Policy, RelationSpec, Rule, Spec

Values = Mapping[str, Any]
Rows = Mapping[TableName, Sequence[Values]]
Answers = Mapping[TableName, set[int]]
"""For each filtered table the numbers of the rows that satisfy its WHERE clause and its sample."""
Matches = Callable[[ForeignKey], Mapping[tuple[Any, ...], Iterable[tuple[Any, ...]]]]
"""For a foreign key the values of its references, each with all values of the parent that the server holds equal."""


class Row(NamedTuple):
    """One row; number -1 stands for the rows of a table out of scope."""

    table: TableName
    number: int


@dataclass(frozen=True)
class Subset:
    """What the target must hold, and how each row came there."""

    rules: Mapping[TableName, Rule]
    kept: Mapping[TableName, Counter[tuple[Any, ...]]]  # values after nulling, without generated columns
    started: set[Row]  # kept rows that are relevant or whole
    referred: set[Row]  # kept rows that are there only because a kept row references them
    dropped: set[Row]  # relevant and whole rows that are not kept
    banned: set[Row]
    nulled: Counter[ForeignKey]


def subset(schema: Schema, spec: Spec, rows: Rows, answers: Answers, matches: Matches | None = None) -> Subset:
    """Everything the contract says about one run.

    Args:
        matches: where values can be equal that are not the same (text by a case-insensitive collation).
    """
    return _Run(schema, spec, rows, answers, matches).result()


class _Run:
    def __init__(self, schema: Schema, spec: Spec, rows: Rows, answers: Answers, matches: Matches | None) -> None:
        self.schema, self.spec, self.rows, self.answers, self.matches = schema, spec, rows, answers, matches
        # "Foreign keys are the declared ones plus the user's virtual ones"; two constraints that say the same are one.
        keys = [*virtual_keys(schema, spec), *reversed(schema.foreign_keys)]
        same = {(key.child, key.columns, key.parent, key.parent_columns, key.when): key for key in keys}
        # "`referential_integrity=False`: … no reference is looked at"
        self.keys = list(same.values()) if spec.referential_integrity else []
        self.keys_of: dict[TableName, list[ForeignKey]] = defaultdict(list)
        for key in self.keys:
            self.keys_of[key.child].append(key)
        self.rules = self._rules()
        self.above = {t.name: self._reachable(t.name, self._flows) for t in schema.tables}
        self.component = {t.name: self._component(t.name) for t in schema.tables}
        self.policies = {key: self._policy(key) for key in self.keys}
        self.references: dict[Row, list[tuple[ForeignKey, tuple[Row, ...]]]] = defaultdict(list)
        self.referencing: dict[Row, list[Row]] = defaultdict(list)
        for key in self.keys:
            self._find_references(key)

    def result(self) -> Subset:
        relevant = self._relevant()
        start = relevant | {row for row in self._all_rows() if self.rules[row.table] is Rule.WHOLE}
        kept, banned = self._kept(start)
        contents: dict[TableName, Counter[tuple[Any, ...]]] = {t.name: Counter() for t in self.schema.tables}
        nulled: Counter[ForeignKey] = Counter()
        for row in kept:
            contents[row.table][self._after_nulling(row, kept, nulled)] += 1
        return Subset(self.rules, contents, kept & start, kept - start, start - kept, banned, nulled)

    def _all_rows(self) -> Iterator[Row]:
        return (Row(t.name, number) for t in self.schema.tables for number in range(len(self.rows[t.name])))

    # "Words" ----------------------------------------------------------------------------------------------------

    def _find_references(self, key: ForeignKey) -> None:
        # "one row's non-NULL foreign key value. A composite key with any NULL column is no reference. A value that
        # matches no row *in the source* is no reference either"
        parents: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for number, values in enumerate(self.rows.get(key.parent, ())):
            parents[tuple(values[c] for c in key.parent_columns)].append(Row(key.parent, number))
        equal = self.matches(key) if self.matches and key.parent in self.schema else {v: [v] for v in parents}
        for number, values in enumerate(self.rows[key.child]):
            wanted = tuple(values[c] for c in key.columns)
            if None in wanted or any(str(values[column]) != value for column, value in key.when):
                continue
            # "Of columns that are not unique, a reference means every row that has its value"
            found = tuple(row for value in equal.get(wanted, ()) for row in parents[value])
            if key.parent not in self.schema:
                found = (Row(key.parent, -1),)
            if found:
                self.references[Row(key.child, number)].append((key, found))
                for parent in found:
                    self.referencing[parent].append(Row(key.child, number))

    def _reachable(self, start: TableName, through: Callable[[ForeignKey], bool]) -> set[TableName]:
        # "P is above C when C reaches P by following foreign keys from child to parent"
        found: set[TableName] = set()
        todo = [start]
        while todo:
            child = todo.pop()
            more = {key.parent for key in self.keys_of[child] if through(key)} - found
            found |= more
            todo += more
        return found

    def _component(self, table: TableName) -> frozenset[TableName]:
        # "a strongly connected component of the foreign-key graph: one table, or the tables of a cycle"
        above = self._reachable(table, self._in_scope)
        return frozenset({table} | {other for other in above if table in self._reachable(other, self._in_scope)})

    def _in_scope(self, key: ForeignKey) -> bool:
        return key.parent in self.schema

    # "Rules for a table" ----------------------------------------------------------------------------------------

    def _rules(self) -> dict[TableName, Rule]:
        # "`tables={"pattern": rule}` overrides the rule of the tables it matches (shell patterns, most specific wins)";
        # a filter names its table exactly, which is more specific than any pattern.
        overrides: dict[TableName, Rule] = {}
        for table in self.schema.tables:
            found = most_specific(self.spec.tables, (table.name.name, str(table.name)))
            if found and table.name not in self.answers:
                overrides[table.name] = self.spec.tables[found[0]]
        # "`relevant`: filtered tables and everything below them. `whole`, `referenced` and `skip` stop the filters"
        reached = set(self.answers)
        while more := {
            key.child
            for key in self.keys
            if key.parent in reached and self._is_followed(key) and key.child not in reached
            if overrides.get(key.child, Rule.RELEVANT) is Rule.RELEVANT
        }:
            reached |= more
        others = Rule(self.spec.others.value)
        default = {t.name: Rule.RELEVANT if t.name in reached else others for t in self.schema.tables}
        return default | overrides

    def _settings(self, key: ForeignKey) -> list[RelationSpec]:
        # "patterns match `table.column`, `schema.table.column`, with commas …, or the constraint's name"
        columns = ",".join(key.columns)
        spellings = (f"{key.child.name}.{columns}", f"{key.child}.{columns}", key.name, *key.also)
        return [self.spec.relations[pattern] for pattern in most_specific(self.spec.relations, spellings)]

    def _is_followed(self, key: ForeignKey) -> bool:
        # "with `follow` off, the filters do not flow down through it"
        said = [setting.follow for setting in self._settings(key) if setting.follow is not None]
        return self._in_scope(key) and (said[0] if said else True)

    def _flows(self, key: ForeignKey) -> bool:
        # "through followed foreign keys and `relevant` tables"
        return self._is_followed(key) and self.rules[key.child] is self.rules[key.parent] is Rule.RELEVANT

    # "Relevant rows" --------------------------------------------------------------------------------------------

    def _relevant(self) -> set[Row]:
        # Both sentences only ever add rows: look at all in any order, and again at those a new one may have helped.
        omega = {t.name: self._omega(t.name) for t in self.schema.tables}
        relevant: set[Row] = set()
        todo = list(self._all_rows())
        while todo:
            row = todo.pop()
            if row in relevant or not self._satisfies_own_filter(row):
                continue
            if self._is_seed(row, omega[row.table], relevant) or self._inside_a_cycle(row, relevant):
                relevant.add(row)
                todo += self.referencing[row]
        return relevant

    def _omega(self, table: TableName) -> set[TableName]:
        # "Ω(C): the filtered tables that lie above component C and outside it"
        above = {name for member in self.component[table] for name in self.above[member]}
        return (above - self.component[table]) & self.answers.keys()

    def _satisfies_own_filter(self, row: Row) -> bool:
        # "satisfies T's own filter (if any)"; only tables of this rule have relevant rows.
        answers = self.answers.get(row.table)
        return self.rules[row.table] is Rule.RELEVANT and (answers is None or row.number in answers)

    def _is_seed(self, row: Row, omega: set[TableName], relevant: set[Row]) -> bool:
        # "if Ω(C) is empty: T is filtered; otherwise: for *every* filtered table ρ in Ω(C) there is *some* followed
        # foreign key of T to a table P outside C, with P = ρ or P below ρ, whose referenced row is relevant"
        if not omega:
            return row.table in self.answers
        outside = {to.table for to in self._relevant_parents(row, relevant)} - self.component[row.table]
        return all(any(parent == root or root in self.above[parent] for parent in outside) for root in omega)

    def _inside_a_cycle(self, row: Row, relevant: set[Row]) -> bool:
        # "a followed foreign key inside C (a self-reference included) references a relevant row"
        return any(to.table in self.component[row.table] for to in self._relevant_parents(row, relevant))

    def _relevant_parents(self, row: Row, relevant: set[Row]) -> list[Row]:
        return [to for key, all_ in self.references[row] if self._flows(key) for to in all_ if to in relevant]

    # "References: what a kept row points at" --------------------------------------------------------------------

    def _policy(self, key: ForeignKey) -> Policy:
        # "`references="include"` unless the user says otherwise for the run or for one key"
        said = [setting.references for setting in self._settings(key) if setting.references is not None]
        policy = said[0] if said else self.spec.references
        # "a reference into a `skip` table, or to a table out of scope, can never be kept: it follows `null`"
        if not self._in_scope(key) or self.rules[key.parent] is Rule.SKIP:
            policy = Policy.NULL
        # "a key with no nullable column falls back to `drop`"
        return Policy.DROP if policy is Policy.NULL and not self._nullable(key) else policy

    def _kept(self, start: set[Row]) -> tuple[set[Row], set[Row]]:
        banned: set[Row] = set()
        while True:
            core = start - banned  # 1
            self._leave_out(core)  # 2
            kept = self._with_included(core, banned)  # 3
            # 4. "Ban each row added in 3 that has a `drop` (or not nullable `null`) reference outside the set,
            new = {row for row in kept - core if self._misses(row, kept)}
            # and each row with an `include` reference to a banned row and no nullable column in that key."
            new |= {
                row
                for row in kept
                for key, to in self.references[row]
                if self.policies[key] is Policy.INCLUDE
                and not (banned | new).isdisjoint(to)
                and not self._nullable(key)
            }
            if not new:
                return kept, banned
            banned |= new  # "start again at 1"

    def _leave_out(self, core: set[Row]) -> None:
        # 2. "Leave out every row with a reference under `drop` … to a row outside the set; repeat"
        todo = list(core)
        while todo:
            row = todo.pop()
            if row in core and self._misses(row, core):
                core.remove(row)
                todo += self.referencing[row]

    def _misses(self, row: Row, kept: set[Row]) -> bool:
        return any(self.policies[key] is Policy.DROP and kept.isdisjoint(to) for key, to in self.references[row])

    def _with_included(self, core: set[Row], banned: set[Row]) -> set[Row]:
        # 3. "Add every row that an `include` reference of the set points to, unless banned; repeat"
        kept, todo = set(core), list(core)
        while todo:
            references = [to for key, to in self.references[todo.pop()] if self.policies[key] is Policy.INCLUDE]
            included = {row for to in references for row in to}
            todo += included - kept - banned
            kept |= included - banned
        return kept

    def _after_nulling(self, row: Row, kept: set[Row], nulled: Counter[ForeignKey]) -> tuple[Any, ...]:
        # 5. "Set every reference that still points outside the set to NULL", all decided on the row's original values.
        values = self.rows[row.table][row.number]
        lost = {key for key, to in self.references[row] if kept.isdisjoint(to)}
        nulled.update(lost)
        columns = {column for key in lost for column in self._nulled_columns(key)}
        return tuple(None if c.name in columns else values[c.name] for c in self.schema[row.table].copied)

    def _nulled_columns(self, key: ForeignKey) -> set[str]:
        # "its nullable columns that belong to no other foreign key of the table, or, if there are none, all its
        # nullable columns"
        shared = {c for other in self.keys if other is not key and other.child == key.child for c in other.columns}
        return self._nullable(key) - shared or self._nullable(key)

    def _nullable(self, key: ForeignKey) -> set[str]:
        # A column in a key that other rows may reference counts as not nullable: nulling it would cut them off.
        referenced = {c for other in self.keys if other.parent == key.child for c in other.parent_columns}
        columns = self.schema[key.child].columns
        return {c.name for c in columns if c.nullable and not c.generated} & set(key.columns) - referenced


def most_specific(patterns: Iterable[str], spellings: tuple[str, ...]) -> list[str]:
    """The patterns that match, the most specific first: exact names, then by the number of literal characters."""
    found = [p for p in patterns if p in spellings or any(fnmatchcase(s, p) for s in spellings)]
    found.reverse()  # of equally specific ones the last
    return sorted(found, key=lambda p: (p in spellings, sum(c not in "*?[]" for c in p)), reverse=True)


def virtual_keys(schema: Schema, spec: Spec) -> Iterator[ForeignKey]:
    """The foreign keys the request declares; a polymorphic one is a reference only where its type column says so."""
    for pattern, relation in spec.relations.items():
        if relation.to is None:
            continue
        child, columns = _columns(schema, pattern)
        targets = relation.to if isinstance(relation.to, dict) else {"": relation.to}
        for value, target in targets.items():
            parent, parent_columns = _columns(schema, target)
            key = ForeignKey("", child.name, columns, parent.name, parent_columns, validated=False, virtual=True)
            yield replace(key, when=((relation.type, value),)) if relation.type else key


def _columns(schema: Schema, text: str) -> tuple[Table, tuple[str, ...]]:
    for table in schema.tables:
        for spelling in (str(table.name), table.name.name):
            if text == spelling:
                return table, table.primary_key
            if text.startswith(f"{spelling}."):
                return table, tuple(c.strip() for c in text[len(spelling) + 1 :].split(","))
    raise KeyError(text)
