"""Seams of a source that changed during the run, closed from one later state of it.

Without a shared snapshot, two extracts may see two states: a child whose parent came later, or whose parent is gone
since. Everything here reads one state of the source: missing parents are fetched; a row whose parent is gone is
itself out of date (in that state no row references a missing one), so it is read again, or left out where it is gone
too. As all rows read here belong to one state, this ends: each row is replaced at most once.
"""

from __future__ import annotations

from airflow_subset_provider.core import sql
from airflow_subset_provider.core.bans import Settlement
from airflow_subset_provider.core.engines.base import Moved
from airflow_subset_provider.core.integrity import Integrity, is_loose
from airflow_subset_provider.core.relations import Relation
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.spec import Policy, Rule


class Healing:
    """One pass over everything that dangles and should not.

    Attributes:
        fetched: rows fetched into each table.
        gone: rows of each table that were out of date and deleted, to be read again where they still are.
    """

    def __init__(self, integrity: Integrity) -> None:
        """Work by the rules of `integrity`, in its target's transaction and its source's snapshot."""
        self._integrity = integrity
        self._plan = integrity.plan
        self.fetched: dict[TableName, Moved] = {}
        self.gone: dict[TableName, int] = {}

    def run(self) -> None:
        """Drop, fetch and replace until nothing dangles under a key that the source has validated."""
        before: list[tuple[int, int]] = []
        while True:
            self._close()
            now = [self._replace(relation) for relation in self._checked()]
            # Rows that come back as they were, twice, dangle in the source as well: some servers allow it.
            if all(gone == back for gone, back in now) and (now == before or not any(gone for gone, _ in now)):
                return
            before = now

    def _close(self) -> None:
        """Drop and fetch; where a row that is fetched may itself be impossible to keep, both at once."""
        children_first = self._plan.graph.components[::-1]
        if self._plan.may_ban:
            settlement = Settlement(self._integrity, children_first)
            settlement.run()
            self._note(settlement.fetched)
            for table, dropped in settlement.dropped.items():
                self._count(table, dropped)
            return
        for component in self._plan.graph.components:
            for table, dropped in self._integrity.drop(component).items():
                self._count(table, dropped)
        for component in children_first:
            self._note(self._integrity.close(component))

    def _checked(self) -> list[Relation]:
        return [
            r
            for r in self._plan.relations
            if r.policy is Policy.INCLUDE and not is_loose(r.key) and self._plan.rule(r.key.child) is not Rule.SKIP
        ]

    def _note(self, fetched: dict[TableName, Moved]) -> None:
        for table, moved in fetched.items():
            self.fetched[table] = self.fetched.get(table, Moved()) + moved

    def _replace(self, relation: Relation) -> tuple[int, int]:
        """Read the child rows again whose parent is gone; how many they were, and how many came back."""
        integrity, table = self._integrity, self._plan.schema[relation.key.child]
        rows, target = integrity.here[table.name], integrity.target
        identity = [c for c in table.columns if c.name in table.identity]
        if not identity:
            gone, back = target.delete(table.name, integrity.dangling(relation)), 0
        else:
            gone, back = 0, 0
            texts = [target.as_text(rows.c[c.name], c.type).label(c.name) for c in identity]
            stale = integrity.here.select(table.name, texts).where(*integrity.dangling(relation))
            for page in target.pages(stale):
                old = target.keys(identity, page, integrity.free("stale"))
                same = [old.c[c.name] == rows.c[c.name] for c in identity]
                gone += target.delete(table.name, [sql.exists(old, same, rows)])
                now = integrity.rows_by_key(table.name, identity, page)
                moved = target.load(integrity.source, now, table)
                back += moved.rows
                self._note({table.name: moved})
        self._count(table.name, gone)
        return gone, back

    def _count(self, table: TableName, gone: int) -> None:
        self.gone[table] = self.gone.get(table, 0) + gone
