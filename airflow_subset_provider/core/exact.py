"""What a run would copy, counted and not copied: the run's own steps, on a ledger of keys instead of a target."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from msgspec.structs import replace

from airflow_subset_provider.core import select
from airflow_subset_provider.core.bans import Settlement
from airflow_subset_provider.core.engines.base import Source
from airflow_subset_provider.core.integrity import Integrity
from airflow_subset_provider.core.ledger import Ledger, keys_only, tracked
from airflow_subset_provider.core.plan import Plan
from airflow_subset_provider.core.schema import TableName
from airflow_subset_provider.core.spec import Rule
from airflow_subset_provider.core.stats import Stats


def count(plan: Plan, source: Source) -> dict[TableName, Stats]:
    """The rows of every copied table, in one snapshot of the source.

    Reads the key columns of all rows that would be copied, and of nothing else; of tables that no foreign key is on,
    the server counts the rows itself.
    """
    with tempfile.TemporaryDirectory(prefix="subset-ledger-") as folder, source.snapshot():
        ledger = Ledger(keys_only(plan), Path(folder) / "keys.sqlite")
        with closing(ledger):
            return _counted(plan, ledger, source)


def _counted(plan: Plan, ledger: Ledger, source: Source) -> dict[TableName, Stats]:
    stats = dict.fromkeys(plan.copied, Stats())
    integrity = Integrity(ledger.plan, source, ledger)
    for component in plan.extracts:
        for table in component.tables:
            if plan.rule(table) in (Rule.RELEVANT, Rule.WHOLE):
                stats[table] = Stats(extracted=_extracted(table, ledger, source))
        for table, rows in integrity.drop(component).items():
            if table in stats:
                stats[table] = replace(stats[table], dropped=rows)
    for table, referred, dropped in _closed(integrity):
        was = stats[table]
        stats[table] = replace(was, referred=was.referred + referred, dropped=was.dropped + dropped)
    return {t: replace(done, nulled=integrity.null(t)) for t, done in stats.items()}


def _extracted(table: TableName, ledger: Ledger, source: Source) -> int:
    statement = select.extract(ledger.plan, table, source)
    if tracked(ledger.plan, table):
        return ledger.load(source, statement, ledger.plan.schema[table]).rows
    return int(source.value(sa.select(sa.func.count()).select_from(statement.subquery("subset_kept"))))


def _closed(integrity: Integrity) -> list[tuple[TableName, int, int]]:
    """Table, rows referred, rows dropped."""
    plan = integrity.plan
    if plan.may_ban:
        settlement = Settlement(integrity)
        settlement.run()
        tables = {**settlement.fetched, **settlement.dropped}
        fetched = {t: settlement.fetched[t].rows for t in settlement.fetched}
        return [(t, fetched.get(t, 0), settlement.dropped.get(t, 0)) for t in tables if t in plan.copied]
    return [(t, moved.rows, 0) for c in plan.closures for t, moved in integrity.close(c).items() if t in plan.copied]
