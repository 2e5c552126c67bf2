"""What to copy and how: knows nothing of Airflow."""
