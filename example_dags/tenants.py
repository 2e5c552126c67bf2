"""Each tenant's rows to a database of their own: one SubsetOperator for each, side by side.

The pool `shop_production` bounds how many tasks read production at a time, whatever the number of tenants:
`airflow pools set shop_production 4 "tasks that read production"`.
"""

from airflow.sdk import DAG

from airflow_subset_provider import SubsetOperator

# Tenant -> country. Ids and clauses come from this file, so that a tenant is added by a commit.
TENANTS = {"aotearoa": "NZ", "schweiz": "CH"}

with DAG(
    "tenants", schedule="@weekly", catchup=False, max_active_runs=1, doc_md=__doc__, tags=["subset", "example"]
) as dag:
    for tenant, country in TENANTS.items():
        SubsetOperator(
            task_id=tenant,
            source_conn_id="shop_production",
            target_conn_id=f"shop_{tenant}",
            filters={"customer": f"country_code = '{country}'"},
            others="referenced",
            catalog="shop.catalog.json",
            create_schema=True,
            pool="shop_production",
            priority_weight=2 if tenant == "aotearoa" else 1,  # whose tasks go first when the pool is full
        )
