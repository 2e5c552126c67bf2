"""Referred rows that cannot be kept: the fixpoint of semantics.md, References, 4.

Needed only where policies are mixed (or a table is skipped), so that a row fetched under `include` may have a
reference that must be dropped. Everything happens in one transaction of the target: the state before any fetching is
a savepoint, every round rolls back to it, takes the rows banned so far out, closes again and looks for more. Bans are
found transitively within a round, which comes to the same as one at a time: sets only shrink from round to round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from airflow_subset_provider.core import sql
from airflow_subset_provider.core.engines.base import Moved, Store
from airflow_subset_provider.core.errors import Fault, SubsetError
from airflow_subset_provider.core.graph import Component
from airflow_subset_provider.core.integrity import Integrity
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.relations import Relation
from airflow_subset_provider.core.schema import Column, TableName
from airflow_subset_provider.core.spec import Policy, Rule
from airflow_subset_provider.core.sql import Condition

Keys = dict[TableName, set[tuple[str, ...]]]  # a text may be None: one of several keys need not be there


class _Again(Exception):
    """Rolls the savepoint back."""


class Settlement:
    """All components closed together, without the rows that cannot be kept."""

    def __init__(self, integrity: Integrity, closures: Sequence[Component] | None = None) -> None:
        """Work by the rules of `integrity`, in its target's transaction under way.

        Args:
            closures: the components that may miss rows, children first; None: as the plan says.
        """
        self._integrity = integrity
        self._closures = integrity.plan.closures if closures is None else closures
        self._plan: Plan = integrity.plan
        self._target: Store = integrity.target
        self._banned: Keys = {}
        self.dropped: dict[TableName, int] = {}
        self.fetched: dict[TableName, Moved] = {}

    def run(self) -> None:
        """Fetch, ban and start again until nothing is banned any more.

        Raises:
            SubsetError: rows that were banned come back.
        """
        while True:
            try:
                with self._target.savepoint():
                    self._round()
                    return
            except _Again:
                continue

    def _round(self) -> None:
        self.dropped, self.fetched = {}, {}
        self._write_banned()
        for component in self._plan.graph.components:
            for table in component.tables:
                self._count_dropped({table: self._leave_out(table)})
            self._count_dropped(self._integrity.drop(component))
        for component in self._closures:
            for table, moved in self._integrity.close(component).items():
                self.fetched[table] = self.fetched.get(table, Moved()) + moved
        found = self._new_bans()
        if found:
            self._refuse_to_circle(found)
            for table, keys in found.items():
                self._banned.setdefault(table, set()).update(keys)
            raise _Again

    def _refuse_to_circle(self, found: Keys) -> None:
        """Each round must ban something new, or it would never end."""
        if all(keys <= self._banned.get(table, set()) for table, keys in found.items()):
            tables = ", ".join(str(table) for table in sorted(found))
            what = "rows that cannot be kept come back: keys that source and target compare differently"
            raise SubsetError(Fault(what, f"table {tables}", "Compare the collations of the keys on both ends."))

    def _count_dropped(self, rows: dict[TableName, int]) -> None:
        for table, n in rows.items():
            self.dropped[table] = self.dropped.get(table, 0) + n

    # -- banned rows, by all the columns that other rows reference them by

    def _key(self, table: TableName) -> list[Column]:
        columns = (c for r in self._plan.relations_to.get(table, ()) if r.reachable for c in r.key.parent_columns)
        found = [self._plan.schema[table].column(c) for c in dict.fromkeys(columns)]
        return [c for c in found if c is not None]

    def _can_be_referenced(self, table: TableName, rows: sql.Rows) -> list[Condition]:
        """At least one of these; a row with a NULL in each of its keys cannot be told from another such row."""
        keys = dict.fromkeys(r.key.parent_columns for r in self._plan.relations_to.get(table, ()) if r.reachable)
        return [sa.and_(*(sql.has_value(rows.c[c]) for c in columns)) for columns in keys]

    def _tables(self) -> Iterable[TableName]:
        return (t for t in self._plan.copied if self._key(t))

    def _write_banned(self) -> None:
        self._integrity.banned = {
            t: self._target.keep(f"subset_banned_{n}", self._key(t), [sorted(self._banned[t], key=str)])
            for n, t in enumerate(self._tables())
            if t in self._banned
        }

    def _leave_out(self, table: TableName) -> int:
        """Delete the table's banned rows, and those with a reference to a banned row that cannot be NULL."""
        rows, banned = self._integrity.here[table], self._integrity.banned
        gone = 0
        if table in banned:
            same = [rows.c[c.name].is_not_distinct_from(banned[table].c[c.name]) for c in self._key(table)]
            gone += self._target.delete(table, [sql.exists(banned[table], same, rows)])
        for relation in self._rigid(table):
            if relation.key.parent in banned:
                parent = banned[relation.key.parent]
                gone += self._target.delete(table, [sql.exists(parent, sql.match(relation.key, rows, parent), rows)])
        return gone

    def _rigid(self, table: TableName) -> list[Relation]:
        """Relations of the table under `include` that cannot be nulled."""
        if self._plan.rule(table) is Rule.SKIP:
            return []
        return [r for r in self._plan.relations_of.get(table, ()) if r.policy is Policy.INCLUDE and not r.nulls]

    # -- new bans

    def _new_bans(self) -> Keys:
        """Rows with a `drop` reference outside the set, and rows that cannot do without a banned one."""
        tables = list(self._tables())
        fresh = {t: self._target.keep(f"subset_fresh_{n}", self._key(t), []) for n, t in enumerate(tables)}
        while sum(self._ban(table, fresh) for table in tables):
            pass
        texts = {t: [self._target.as_text(rows.c[c.name], c.type) for c in self._key(t)] for t, rows in fresh.items()}
        found = {t: set(self._target.rows(sa.select(*texts[t]).select_from(rows))) for t, rows in fresh.items()}
        return {t: keys for t, keys in found.items() if keys}

    def _ban(self, table: TableName, fresh: dict[TableName, sa.TableClause]) -> int:
        """Add the table's rows that must go, as far as is known now, to its fresh bans; how many were added."""
        rows, integrity = self._integrity.here[table], self._integrity
        reasons = []
        for n, relation in enumerate(self._plan.relations_of.get(table, ())):
            to_fresh = fresh.get(relation.key.parent)
            strict = relation.policy is Policy.DROP
            if strict:
                reasons.append(sa.and_(*integrity.cut(relation, n)))
            if (strict or relation in self._rigid(table)) and to_fresh is not None:
                to_fresh = self._target.reading(to_fresh)
                reasons.append(sql.exists(to_fresh, sql.match(relation.key, rows, to_fresh), rows))
            if relation in self._rigid(table) and relation.key.parent in integrity.banned:
                banned = self._target.reading(integrity.banned[relation.key.parent])
                reasons.append(sql.exists(banned, sql.match(relation.key, rows, banned), rows))
        if not reasons:
            return 0
        key = [c.name for c in self._key(table)]
        noted = self._target.reading(fresh[table])
        known = [rows.c[c].is_not_distinct_from(noted.c[c]) for c in key]
        wanted = integrity.here.select(table, key).where(
            sa.or_(*reasons), sa.or_(*self._can_be_referenced(table, rows)), ~sql.exists(noted, known, rows)
        )
        return self._target.execute(sa.insert(fresh[table]).from_select(key, wanted.distinct()))
