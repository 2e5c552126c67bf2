"""PostgreSQL: reflection from pg_catalog, COPY streams, suspended constraints."""

from airflow_subset_provider.core.engines.postgresql.engine import PostgresEngine

__all__ = ["PostgresEngine"]
