"""MySQL and MariaDB: reflection from information_schema, LOAD DATA streams, foreign keys proven by counting."""

from airflow_subset_provider.core.engines.mysql.engine import MariaDbEngine, MySqlEngine

__all__ = ["MariaDbEngine", "MySqlEngine"]
