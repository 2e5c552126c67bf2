"""One customer with everything that belongs to them, copied from production to a debugging database.

Trigger it in Airflow's UI: the form asks for the customer. A filter is SQL and its template is filled in as text, so
what goes into it must not be able to be SQL: Airflow holds a param against its type, minimum and format before the run
starts, be it from the form, the API or the command line. Never put `dag_run.conf`, which nobody checks, into a filter.
"""

from airflow.sdk import DAG, Param

from airflow_subset_provider import SubsetOperator

with DAG(
    "debug_a_customer",
    schedule=None,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["subset", "example"],
    params={
        "customer_id": Param(42, type="integer", minimum=1, title="Customer", description="The customer's id"),
        "orders_since": Param("2020-01-01", type="string", format="date", title="Orders since"),
    },
) as dag:
    SubsetOperator(
        task_id="copy_customer",
        source_conn_id="shop_production",
        target_conn_id="shop_debugging",
        filters={
            "customer": "customer_id = {{ params.customer_id }}",
            "order": "ordered_at >= '{{ params.orders_since }}'",
        },
        others="referenced",  # of the other tables only what this customer's rows point at
        catalog="shop.catalog.json",  # airflow-subset reflect --source-conn shop_production -o shop.catalog.json
        create_schema=True,
    )
