"""A copy that nobody sees before your own masking has run on it.

The subset goes to a vault, a database that only this DAG's connection opens. There your SQL replaces what must not
leave production; a check of every masked column makes sure of it; and only then the vault is copied, whole, to where
people work. DAGs that wait for `copy_asset("shop_staging")` start after that last copy.

The masks are plain SQL of yours: this package has no masking of its own. They run on the vault, so production's values
do reach it: protect it as you protect production.
"""

from airflow.providers.common.sql.operators.sql import SQLCheckOperator, SQLExecuteQueryOperator
from airflow.sdk import DAG, TaskGroup

from airflow_subset_provider import SubsetOperator

CATALOG = "shop.catalog.json"

MASKS = {
    "customer": """
        UPDATE customer SET first_name = 'Customer', last_name = customer_id::text, company = NULL, phone = NULL,
            birth_date = date_trunc('year', birth_date), email = 'customer' || customer_id || '@example.com'
    """,
    "address": "UPDATE address SET street = 'Street ' || address_id",
}

with DAG(
    "masked_ready",
    schedule="0 3 * * *",
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["subset", "example"],
) as dag:
    to_vault = SubsetOperator(
        task_id="to_vault",
        source_conn_id="shop_production",
        target_conn_id="shop_vault",
        filters={"customer": "country_code = 'NZ'"},
        others="referenced",
        catalog=CATALOG,
        create_schema=True,
    )
    with TaskGroup("mask") as mask:
        for table, sql in MASKS.items():
            SQLExecuteQueryOperator(task_id=table, conn_id="shop_vault", sql=sql)
    nothing_left = SQLCheckOperator(
        task_id="nothing_left",
        conn_id="shop_vault",
        sql="""
            SELECT NOT EXISTS (
                SELECT FROM customer
                WHERE first_name <> 'Customer' OR last_name <> customer_id::text OR company IS NOT NULL
                    OR phone IS NOT NULL OR birth_date <> date_trunc('year', birth_date)
                    OR email NOT LIKE 'customer%@example.com'
            ) AND NOT EXISTS (SELECT FROM address WHERE street NOT LIKE 'Street %')
        """,
    )
    publish = SubsetOperator(
        task_id="publish",
        source_conn_id="shop_vault",
        target_conn_id="shop_staging",
        others="whole",  # all that is in the vault
        catalog=CATALOG,
        create_schema=True,
    )
    to_vault >> mask >> nothing_left >> publish
