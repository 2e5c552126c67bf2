"""The Airflow layer: a task group that lays out a plan, and thin operators around the core's steps."""
