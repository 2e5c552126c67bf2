"""Storage engines that a target's table may not have: a run empties tables, fills them and deletes from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from airflow_subset_provider.core.engines.mysql.session import MySqlSession
from airflow_subset_provider.core.errors import Fault
from airflow_subset_provider.core.schema import Table

ELSEWHERE = "its rows are those of other tables, files or servers, which a run would empty"
UNFIT = {
    "ARCHIVE": "it lets no row be deleted or changed",  # MySQL manual 18.5, error 1031
    "BLACKHOLE": "it keeps no row",
    "CONNECT": ELSEWHERE,
    "FEDERATED": ELSEWHERE,
    "MRG_MYISAM": ELSEWHERE,
    "S3": "it can only be read",
    "SPIDER": ELSEWHERE,
}
# Where these are so, a table without transactions cannot be changed beside others (MySQL manual 19.1.3.7, error 1785).
GTID = {"enforce_gtid_consistency": "ON", "log_bin": "ON"}


def faults(session: MySqlSession, tables: Sequence[Table]) -> Iterator[Fault]:
    """Why rows cannot go into tables of these engines."""
    others = [t for t in tables if t.engine not in ("", "InnoDB")]
    plain = _without_transactions(session) if others else set()
    for table in others:
        why = UNFIT.get(table.engine.upper())
        if why is None and table.engine in plain:
            why = "it has no transactions, on which this server insists (enforce_gtid_consistency)"
        if why is not None:
            where = f"{session.label}, {table.name}"
            yield Fault(f"storage engine {table.engine}: {why}", where, "Make it in the target with ENGINE = InnoDB.")


def _without_transactions(session: MySqlSession) -> set[str]:
    """The engines that this server, for that, does not let take part in a run; MariaDB knows no such rule."""
    if dict(session.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN {tuple(GTID)}")) != GTID:
        return set()
    found = session.rows("SELECT ENGINE FROM information_schema.ENGINES WHERE TRANSACTIONS = 'NO'")
    return {engine for (engine,) in found}
