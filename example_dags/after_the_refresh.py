"""Starts whenever staging has a fresh copy, whichever DAG made it: here, a smoke test and a test account.

It knows nothing of `nightly_staging` but the connection id of its target. The copy's asset is updated when the copy is
proven, never before.
"""

from airflow.providers.common.sql.operators.sql import SQLCheckOperator, SQLExecuteQueryOperator
from airflow.sdk import DAG, task

from airflow_subset_provider import copy_asset

STAGING = copy_asset("shop_staging")

with DAG("after_the_refresh", schedule=STAGING, doc_md=__doc__, tags=["subset", "example"]) as dag:

    @task
    def what_came(*, triggering_asset_events=None):
        for events in (triggering_asset_events or {}).values():
            for event in events:
                if "rows" not in event.extra:
                    continue  # made by hand, in Airflow's UI
                print(f"{event.extra['rows']:,} rows from {event.extra['source']}, schema {event.extra['fingerprint']}")

    smoke_test = SQLCheckOperator(
        task_id="smoke_test",
        conn_id="shop_staging",
        sql='SELECT count(*) > 0 FROM "order" JOIN order_line USING (order_id)',
    )
    test_account = SQLExecuteQueryOperator(
        task_id="test_account",
        conn_id="shop_staging",
        sql="""
            UPDATE customer SET email = 'tester@example.com'
            WHERE customer_id = (SELECT min(customer_id) FROM customer)
        """,
    )
    what_came() >> smoke_test >> test_account
