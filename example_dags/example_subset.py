"""One customer with everything that belongs to them, copied from production to a debugging database."""

from airflow.sdk import DAG, Param

from airflow_subset_provider import SubsetOperator

with DAG("example_subset", schedule=None, params={"customer_id": Param(42, type="integer")}):
    SubsetOperator(
        task_id="copy_customer",
        source_conn_id="shop_production",
        target_conn_id="shop_debugging",
        filters={"customer": "customer_id = {{ params.customer_id }}"},
        others="referenced",  # of the other tables only what this customer's rows point at
        catalog="shop.catalog.json",  # airflow-subset reflect --source-conn shop_production -o shop.catalog.json
        create_schema=True,
    )
