"""Every night: 2 % of the customers with everything that belongs to them, from production to staging.

A mail says how it went. DAGs in other files, such as `after_the_refresh`, start when the copy is proven. The report of
each night goes where the Airflow variable `subset_reports` says: a folder, or a URL such as `s3://aws_default@reports`.
"""

from datetime import datetime, timedelta

from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from airflow.sdk import DAG

from airflow_subset_provider import SubsetOperator

TEAM = "data-team@example.com"


def mail(subject: str, text: str) -> SmtpNotifier:
    # The connection smtp_default. Any other notifier (Slack, PagerDuty, ...) goes in the same place.
    return SmtpNotifier(from_email="airflow@example.com", to=TEAM, subject=subject, html_content=text)


with DAG(
    "nightly_staging",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,  # two runs on one target exclude each other anyway; this one would fail instead of waiting
    doc_md=__doc__,
    tags=["subset", "example"],
    on_success_callback=mail("Staging is fresh", "{{ dag.dag_id }}, {{ run_id }}: the copy is there, and proven."),
    on_failure_callback=mail(
        "Staging was NOT refreshed",
        "{{ dag.dag_id }}, {{ run_id }}: {{ reason }}. What is wrong stands in the log of the task that failed.",
    ),
) as dag:
    SubsetOperator(
        task_id="refresh",
        source_conn_id="shop_production",
        target_conn_id="shop_staging",
        sample={"customer": "2%"},  # the same customers every night
        others="referenced",
        tables={"exchange_rate": "whole"},  # small, and nothing references it
        catalog="shop.catalog.json",
        create_schema=True,
        chunk_rows=5_000_000,  # larger tables in parts, so that several workers share one
        report="{{ var.value.subset_reports }}/{{ dag_run.run_after | ds }}",
        retries=2,
        retry_delay=timedelta(minutes=5),
        execution_timeout=timedelta(hours=2),
    )
