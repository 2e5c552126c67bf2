"""Opening the two ends of a Postgres copy with the settings that make them safe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from airflow_subset_provider.core.engines.base import Endpoint, Engine, Flavour
from airflow_subset_provider.core.engines.postgresql.session import (
    DURABLE,
    PostgresFlavour,
    prepare_session,
    translated,
)
from airflow_subset_provider.core.engines.postgresql.source import PostgresSource
from airflow_subset_provider.core.engines.postgresql.target import PostgresTarget

READ_ONLY = """
SET default_transaction_read_only = on; SET default_transaction_isolation = 'repeatable read'; SET row_security = off
"""


class PostgresEngine(Engine):
    """PostgreSQL 13 and later."""

    name: ClassVar[str] = "postgresql"
    family: ClassVar[str] = "postgresql"
    flavour: ClassVar[Flavour] = PostgresFlavour()

    @contextmanager
    def source(self, endpoint: Endpoint, purpose: str) -> Iterator[PostgresSource]:
        """Read-only, every transaction one snapshot; a policy that would hide rows is an error, not a smaller copy."""
        with translated(endpoint.label):
            connection = endpoint.connect()
            connection.autocommit = True
            prepare_session(connection)
            connection.execute("SELECT set_config('application_name', %s, false)", [purpose[:63]])
            connection.execute(READ_ONLY)
        try:
            yield PostgresSource(connection, endpoint.label)
        finally:
            connection.close()

    @contextmanager
    def target(self, endpoint: Endpoint, purpose: str) -> Iterator[PostgresTarget]:
        """Read committed: after a wait for another's lock, a statement sees what the other wrote."""
        with translated(endpoint.label):
            connection = endpoint.connect()
            connection.autocommit = True
            prepare_session(connection)
            connection.execute(DURABLE)
            connection.execute("SELECT set_config('application_name', %s, false)", [purpose[:63]])
        try:
            yield PostgresTarget(connection, endpoint.label)
        finally:
            connection.close()
