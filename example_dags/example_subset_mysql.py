"""One customer with everything that belongs to them, from a production MySQL or MariaDB to a debugging one.

Both are Airflow connections of type MySQL whose *Schema* is the database: the source's user needs SELECT on it, the
target's may have another name. TLS, sockets and the rights of the two users: docs/mysql.md.
"""

from airflow.sdk import DAG, Param

from airflow_subset_provider import SubsetOperator

with DAG(
    "example_subset_mysql", schedule=None, max_active_runs=1, params={"customer_id": Param(42, type="integer")}
) as dag:
    SubsetOperator(
        task_id="copy_customer",
        source_conn_id="mysql_production",
        target_conn_id="mysql_debugging",
        filters={"customer": "customer_id = {{ params.customer_id }}"},
        others="referenced",  # of the other tables only what this customer's rows point at
        tables={"exchange_rate": "whole"},  # small, and nothing references it
        # airflow-subset reflect --source-conn mysql_production -o shop_mysql.catalog.json
        catalog="shop_mysql.catalog.json",
        create_schema=True,  # tables and triggers, where the target's database is empty
        retries=2,  # a lost connection or a deadlock is worth another try; a bad filter fails at once
    )
