"""What a subset contains, in plain Python sets over fully fetched tables: the contract once more, without any SQL.

Property tests hold the engine against this file, so it is written from the contract's text alone, shares no code with
the engine but the data types of a request and a schema, and never tries to be fast. Every part quotes the sentence it
restates. The database evaluates the filters; rows come in as `(table, number)` with their values, so equal rows of a
table without a key stay apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from airflow_subset_provider.core.schema import ForeignKey, Schema, Table, TableName
from airflow_subset_provider.core.spec import Others, Policy, RelationSpec, Rule, Spec

Values = Mapping[str, Any]
Rows = Mapping[TableName, Sequence[Values]]
Answers = Mapping[TableName, set[int]]
"""For each filtered table the numbers of the rows that satisfy its WHERE and its sample."""


class Row(NamedTuple):
    """One row, by its place in its table; number -1 stands for any row of a table out of scope."""

    table: TableName
    number: int


class Reference(NamedTuple):
    """One row's non-NULL value of one foreign key, with the row it points at."""

    key: ForeignKey
    to: Row


@dataclass(frozen=True)
class Subset:
    """What the target must hold: per table the kept rows (values after nulling), and how they came to be kept."""

    rules: Mapping[TableName, Rule]
    kept: Mapping[TableName, Counter[tuple[Any, ...]]]
    started: set[Row]  # the kept rows that are relevant or whole
    referred: set[Row]  # the kept rows that are there only because a kept row references them
    nulled: Counter[ForeignKey]
    dropped: int  # relevant and whole rows that are not kept
    banned: int


def subset(schema: Schema, spec: Spec, rows: Rows, answers: Answers) -> Subset:
    """All rows of a run's result."""
    return _Run(schema, spec, rows, answers).result()


class _Run:
    def __init__(self, schema: Schema, spec: Spec, rows: Rows, answers: Answers) -> None:
        self.schema, self.spec, self.rows, self.answers = schema, spec, rows, answers
        self.keys = [*schema.foreign_keys, *virtual_keys(schema, spec)] if spec.referential_integrity else []
        self.rules = self._rules()
        self.above = {t.name: self._reachable(t.name, self._flows) for t in schema.tables}
        self.component = {t.name: self._component(t.name) for t in schema.tables}
        self.policies = {key: self._policy(key) for key in self.keys}
        self.references: dict[Row, list[Reference]] = defaultdict(list)
        self.referencing: dict[Row, list[Row]] = defaultdict(list)
        for key in self.keys:
            self._follow_values(key)

    def result(self) -> Subset:
        relevant = self._relevant()
        start = relevant | {row for row in self._all_rows() if self.rules[row.table] is Rule.WHOLE}
        kept, banned = self._kept(start)
        nulled: Counter[ForeignKey] = Counter()
        contents: dict[TableName, Counter[tuple[Any, ...]]] = {t.name: Counter() for t in self.schema.tables}
        for row in kept:
            contents[row.table][self._after_nulling(row, kept, nulled)] += 1
        return Subset(self.rules, contents, kept & start, kept - start, nulled, len(start - kept), len(banned))

    # Rules for a table ------------------------------------------------------------------------------------------

    def _rules(self) -> dict[TableName, Rule]:
        """"`tables={"pattern": rule}` overrides the rule of the tables it matches (shell patterns, most specific wins)."

        A filter names its table exactly, so it beats a wildcard. Default: "`relevant`: filtered tables and everything
        below them"; "`whole`, `referenced` and `skip` also stop the filters there".
        """
        rules: dict[TableName, Rule] = {}
        for table in self.schema.tables:
            found = most_specific(self.spec.tables, (table.name.name, str(table.name)))
            if found and table.name not in self.answers:
                rules[table.name] = self.spec.tables[found[0]]
        reached = {name for name in self.answers}
        while more := {
            key.child
            for key in self.keys
            if key.parent in reached and key.child not in reached and self._is_followed(key)
            if rules.get(key.child, Rule.RELEVANT) is Rule.RELEVANT
        }:
            reached |= more
        others = {Others.WHOLE: Rule.WHOLE, Others.REFERENCED: Rule.REFERENCED, Others.SKIP: Rule.SKIP}
        default = {t.name: Rule.RELEVANT if t.name in reached else others[self.spec.others] for t in self.schema.tables}
        return default | rules

    def _is_followed(self, key: ForeignKey) -> bool:
        """"With `follow` off, the filters do not flow down through it.\""""
        return key.parent in self.schema and next(
            (s.follow for s in self._settings(key) if s.follow is not None), True
        )

    def _settings(self, key: ForeignKey) -> list[RelationSpec]:
        """"Patterns match `table.column`, `schema.table.column`, with commas …, or the constraint's name.\""""
        columns = ",".join(key.columns)
        spellings = (f"{key.child.name}.{columns}", f"{key.child}.{columns}", key.name)
        return [self.spec.relations[pattern] for pattern in most_specific(self.spec.relations, spellings)]

    # Relevant rows ----------------------------------------------------------------------------------------------

    def _flows(self, key: ForeignKey) -> bool:
        """"Through followed foreign keys and `relevant` tables.\""""
        return self._is_followed(key) and self.rules[key.child] is self.rules[key.parent] is Rule.RELEVANT

    def _in_scope(self, key: ForeignKey) -> bool:
        return key.parent in self.schema

    def _reachable(self, start: TableName, use: Any) -> set[TableName]:
        """"P is above C when C reaches P by following foreign keys from child to parent.\""""
        found: set[TableName] = set()
        todo = [start]
        while todo:
            table = todo.pop()
            more = {key.parent for key in self.keys if key.child == table and use(key)} - found
            found |= more
            todo += more
        return found

    def _component(self, table: TableName) -> frozenset[TableName]:
        """"A strongly connected component of the foreign-key graph: one table, or the tables of a cycle.\""""
        reachable = self._reachable(table, self._in_scope)
        return frozenset({table} | {other for other in reachable if table in self._reachable(other, self._in_scope)})

    def _omega(self, table: TableName) -> set[TableName]:
        """"Ω(C): the filtered tables that lie above component C and outside it.\""""
        component = self.component[table]
        above = {name for member in component for name in self.above[member]}
        return {name for name in above - component if name in self.answers}

    def _relevant(self) -> set[Row]:
        """Seeds and step 2 only ever add, so the rows can be looked at in any order, again when one they need came."""
        omega = {t.name: self._omega(t.name) for t in self.schema.tables}
        relevant: set[Row] = set()
        todo = [row for row in self._all_rows() if self.rules[row.table] is Rule.RELEVANT and self._answers(row)]
        while todo:
            row = todo.pop()
            if row in relevant:
                continue
            if self._is_seed(row, omega[row.table], relevant) or self._inside_a_cycle(row, relevant):
                relevant.add(row)
                todo += [child for child in self.referencing[row] if self._answers(child)]
        return relevant

    def _answers(self, row: Row) -> bool:
        """"Satisfies T's own filter (if any)", for tables that have `relevant` rows at all."""
        if self.rules[row.table] is not Rule.RELEVANT:
            return False
        return row.table not in self.answers or row.number in self.answers[row.table]

    def _is_seed(self, row: Row, omega: set[TableName], relevant: set[Row]) -> bool:
        """"If Ω(C) is empty: T is filtered; otherwise: for *every* filtered table ρ in Ω(C) there is *some* followed
        foreign key of T to a table P outside C, with P = ρ or P below ρ, whose referenced row is relevant.\""""
        if not omega:
            return row.table in self.answers
        outside = [
            to.table
            for key, to in self.references[row]
            if self._flows(key) and to.table not in self.component[row.table] and to in relevant
        ]
        return all(any(parent == root or root in self.above[parent] for parent in outside) for root in omega)

    def _inside_a_cycle(self, row: Row, relevant: set[Row]) -> bool:
        """"A followed foreign key inside C (a self-reference included) references a relevant row.\""""
        return any(
            self._flows(key) and to.table in self.component[row.table] and to in relevant
            for key, to in self.references[row]
        )

    # References -------------------------------------------------------------------------------------------------

    def _policy(self, key: ForeignKey) -> Policy:
        """"`references="include"` unless the user says otherwise for the run or for one key. A reference into a `skip`
        table, or to a table out of scope, … follows `null` (or `drop` where NOT NULL).\""""
        said = next((s.references for s in self._settings(key) if s.references is not None), self.spec.references)
        never_kept = key.parent not in self.schema or self.rules[key.parent] is Rule.SKIP
        policy = Policy.NULL if never_kept else said
        return Policy.DROP if policy is Policy.NULL and not self._nullable(key) else policy

    def _kept(self, start: set[Row]) -> tuple[set[Row], set[Row]]:
        """The five steps; "if any row was banned, start again at 1"."""
        banned: set[Row] = set()
        while True:
            core = start - banned
            self._leave_out(core)
            kept = core | set(self._included(core, banned))
            # 4. "Ban each row added in 3 that has a `drop` (or not nullable `null`) reference outside the set,
            new = {row for row in kept - core if self._misses(row, kept)}
            # and each row with an `include` reference to a banned row and no nullable column in that key."
            new |= {
                row
                for row in kept
                for key, to in self.references[row]
                if self.policies[key] is Policy.INCLUDE and to in banned | new and not self._nullable(key)
            }
            if not new:
                return kept, banned
            banned |= new

    def _leave_out(self, core: set[Row]) -> None:
        """2. "Leave out every row with a reference under `drop` … to a row outside the set; repeat.\""""
        todo = list(core)
        while todo:
            row = todo.pop()
            if row in core and self._misses(row, core):
                core.remove(row)
                todo += self.referencing[row]

    def _misses(self, row: Row, kept: set[Row]) -> bool:
        return any(self.policies[key] is Policy.DROP and to not in kept for key, to in self.references[row])

    def _included(self, core: set[Row], banned: set[Row]) -> Iterator[Row]:
        """3. "Add every row that an `include` reference of the set points to, unless banned; repeat.\""""
        found = set(core)
        todo = list(core)
        while todo:
            for key, to in self.references[todo.pop()]:
                if self.policies[key] is Policy.INCLUDE and to not in found and to not in banned:
                    found.add(to)
                    todo.append(to)
                    yield to

    def _after_nulling(self, row: Row, kept: set[Row], nulled: Counter[ForeignKey]) -> tuple[Any, ...]:
        """5. "Set every reference that still points outside the set to NULL": all decided on the original values."""
        values = self.rows[row.table][row.number]
        lost = {key for key, to in self.references[row] if to not in kept}
        nulled.update(lost)
        columns = {column for key in lost for column in self._nulled_columns(key)}
        return tuple(None if c.name in columns else values[c.name] for c in self.schema[row.table].copied)

    def _nulled_columns(self, key: ForeignKey) -> set[str]:
        """"Its nullable columns that belong to no other foreign key of the table, or, if there are none, all its
        nullable columns.\""""
        shared = {c for other in self.keys if other is not key and other.child == key.child for c in other.columns}
        return self._nullable(key) - shared or self._nullable(key)

    def _nullable(self, key: ForeignKey) -> set[str]:
        """The key's columns that can become NULL: not generated ones, nor those that kept rows may reference."""
        table = self.schema[key.child]
        referenced = {c for other in self.keys if other.parent == key.child for c in other.parent_columns}
        return {
            c.name
            for c in table.columns
            if c.name in key.columns and c.nullable and not c.generated and c.name not in referenced
        }

    def _follow_values(self, key: ForeignKey) -> None:
        """"One row's non-NULL foreign key value. A composite key with any NULL column is no reference. A value that
        matches no row *in the source* is no reference either.\""""
        targets: dict[tuple[Any, ...], Row] = {}
        for number, values in enumerate(self.rows.get(key.parent, ())):
            targets[tuple(values[c] for c in key.parent_columns)] = Row(key.parent, number)
        for number, values in enumerate(self.rows[key.child]):
            wanted = tuple(values[c] for c in key.columns)
            if None in wanted or any(values[column] != value for column, value in key.when):
                continue
            to = targets.get(wanted) if key.parent in self.schema else Row(key.parent, -1)
            if to:
                row = Row(key.child, number)
                self.references[row].append(Reference(key, to))
                self.referencing[to].append(row)

    def _all_rows(self) -> Iterator[Row]:
        return (Row(name, number) for name in self.rules for number in range(len(self.rows[name])))


def most_specific(patterns: Iterable[str], spellings: tuple[str, ...]) -> list[str]:
    """The patterns that match, the most specific first: exact names, then by the number of literal characters."""
    found = [p for p in patterns if p in spellings or any(fnmatchcase(s, p) for s in spellings)]
    return sorted(found, key=lambda p: (p in spellings, sum(c not in "*?[]" for c in p)), reverse=True)


def virtual_keys(schema: Schema, spec: Spec) -> Iterator[ForeignKey]:
    """The foreign keys that the request declares; a polymorphic one "only where the type column equals the value"."""
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
    """The table and columns of `table.column[,column]`; a bare table means its primary key."""
    for table in schema.tables:
        for spelling in (str(table.name), table.name.name):
            if text == spelling:
                return table, table.primary_key
            if text.startswith(f"{spelling}."):
                return table, tuple(c.strip() for c in text[len(spelling) + 1 :].split(","))
    raise KeyError(text)
