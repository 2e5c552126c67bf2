"""The demo's DAG: the customers of one country, from the demo shop's production database to its staging database.

`make demo` runs it; `make demo UI=1` shows it in Airflow.
"""

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_subset_provider import SubsetOperator

with DAG("demo_subset", schedule=None, max_active_runs=1, doc_md=__doc__, tags=["subset"]) as dag:
    start = EmptyOperator(task_id="start")
    subset = SubsetOperator(
        task_id="shop",
        source_conn_id="shop_production",
        target_conn_id="shop_staging",
        filters={"customer": "country_code = 'NZ'"},
        others="referenced",
        tables={"exchange_rate": "whole"},  # small, and nothing references it
        catalog="shop.catalog.json",
        create_schema=True,
        retries=1,
    )
    end = EmptyOperator(task_id="end")
    start >> subset >> end
