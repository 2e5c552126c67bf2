"""`bank`: a source that never rests, and a target for it."""

from __future__ import annotations

import pytest

from sandbox.postgresql import PostgresEndpoint
from tests.cli.conftest import cli
from tests.consistency.bank import Bank
from tests.databases import CreateDatabase

__all__ = ["bank", "cli"]


@pytest.fixture
def bank(source_server: PostgresEndpoint, target_server: PostgresEndpoint, fresh_database: CreateDatabase) -> Bank:
    return Bank(source_server, target_server, fresh_database)
