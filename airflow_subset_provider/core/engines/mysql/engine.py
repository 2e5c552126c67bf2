"""Opening the two ends of a MySQL or MariaDB copy with the settings that make them safe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from airflow_subset_provider.core.engines.base import Endpoint, Engine, Flavour
from airflow_subset_provider.core.engines.mysql.session import MariaDbFlavour, MySqlFlavour
from airflow_subset_provider.core.engines.mysql.source import MySqlSource
from airflow_subset_provider.core.engines.mysql.target import MySqlTarget


class MySqlEngine(Engine):
    """MySQL 8.0.19 and later, and MariaDB 10.6 and later: each session recognises its server."""

    name: ClassVar[str] = "mysql"
    family: ClassVar[str] = "mysql"
    flavour: ClassVar[Flavour] = MySqlFlavour()

    @contextmanager
    def source(self, endpoint: Endpoint, purpose: str) -> Iterator[MySqlSource]:
        """Read-only: the server refuses every statement that would write."""
        session = MySqlSource(endpoint, purpose)
        try:
            yield session
        finally:
            session.close()

    @contextmanager
    def target(self, endpoint: Endpoint, purpose: str) -> Iterator[MySqlTarget]:
        """Read committed, foreign keys not checked: a run proves them itself."""
        session = MySqlTarget(endpoint, purpose)
        try:
            yield session
        finally:
            session.close()


class MariaDbEngine(MySqlEngine):
    """The same under MariaDB's name."""

    name: ClassVar[str] = "mariadb"
    flavour: ClassVar[Flavour] = MariaDbFlavour()
