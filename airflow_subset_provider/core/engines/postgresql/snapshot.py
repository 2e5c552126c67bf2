"""One state of a database for several sessions: a transaction that exports its snapshot, others that import it.

A snapshot can be imported while the transaction that exported it is open, by sessions of the same server and database
(PostgreSQL manual, 9.28.5 and SET TRANSACTION); what was imported stays valid when the exporter ends. Both work on a
standby since PostgreSQL 10. Everything is said inside the transactions, so that a pooler in transaction mode, which
hands out another server connection after each, changes nothing; behind one that spreads sessions over several
servers, the import fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg import errors as pg
from psycopg.rows import TupleRow

from airflow_subset_provider.core.engines.postgresql.session import raw, translated
from airflow_subset_provider.core.errors import Fault, SnapshotError

READING = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
# A server or a role may end transactions that idle, or (from version 17) that are old; every user may say otherwise.
UNLIMITED = """
SELECT set_config(name, '0', true) FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')
"""
# No such snapshot (22023 up to version 16, 42704 from then on), its process is gone, another database's.
GONE = (pg.InvalidParameterValue, pg.UndefinedObject, pg.ObjectNotInPrerequisiteState, pg.FeatureNotSupported)


@contextmanager
def held(connection: psycopg.Connection[TupleRow], label: str) -> Iterator[str]:
    """A transaction that exports its snapshot, until the context ends; the snapshot's name."""
    with translated(label):
        connection.execute(raw(f"BEGIN; {READING}"))
        try:
            connection.execute(raw(UNLIMITED))
            ((name,),) = connection.execute("SELECT pg_export_snapshot()").fetchall()
        except BaseException:
            _end(connection)
            raise
    try:
        yield str(name)
    finally:
        _end(connection)


def take(connection: psycopg.Connection[TupleRow], name: str, label: str) -> None:
    """Import a snapshot into the transaction just begun.

    Raises:
        SnapshotError: there is no such snapshot any more.
    """
    quoted = name.replace("'", "''")
    try:
        connection.execute(raw(f"{READING}; SET TRANSACTION SNAPSHOT '{quoted}'"))
    except GONE as error:
        raise SnapshotError(
            Fault(
                f"the snapshot {name} is gone: the session that held it has ended ({error.diag.message_primary})",
                label,
                "Run again from the start: rows of another state would not fit the ones already copied.",
            )
        ) from None


def _end(connection: psycopg.Connection[TupleRow]) -> None:
    """Nothing was written: that the connection is lost makes no difference any more."""
    with suppress(psycopg.Error):
        connection.execute("ROLLBACK")
