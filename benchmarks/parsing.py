"""What a SubsetOperator adds to the parse of a DAG file on a worker, where every task parses the file again.

Each parse is a fresh process in the state of Airflow's task runner: the runner is imported, the DAG file is loaded by
Airflow's own loader, and only that is timed. The DAG with the operator, the same without it and one with an empty DAG
take turns.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.kit import child
from benchmarks.planning import made_up

ALLOWED = 0.050  # seconds above an empty DAG
TABLES, KEYS = 40, 70

EMPTY = "from airflow.sdk import DAG\n\nwith DAG('bench', schedule=None):\n    pass\n"
OPERATOR = """
from airflow.sdk import DAG

from airflow_subset_provider import SubsetOperator

with DAG("bench", schedule=None):
    SubsetOperator(
        task_id="subset", source_conn_id="source", target_conn_id="target", filters={"table_0001": "id < 10"},
        others="referenced", catalog="bench.catalog.json", retries=2,
    )
"""


def main(runs: int = 15) -> bool:
    """Print the medians and their difference; whether it is within what is allowed."""
    seconds: dict[str, list[float]] = {"empty": [], "subset": []}
    with tempfile.TemporaryDirectory() as home:
        os.environ["AIRFLOW_HOME"] = home
        Path(home, "bench.catalog.json").write_text(made_up(TABLES, KEYS).to_json())
        for name, text in (("empty", EMPTY), ("subset", OPERATOR)):
            Path(home, f"{name}.py").write_text(text)
            tasks = child("benchmarks.parsing", file=f"{home}/{name}.py")["tasks"]  # leaves bytecode behind
        for _ in range(runs):
            for name, taken in seconds.items():
                taken.append(child("benchmarks.parsing", file=f"{home}/{name}.py")["seconds"])
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    more = medians["subset"] - medians["empty"]
    print(f"parsing on a worker, {TABLES} tables and {KEYS} keys from a catalog file, {tasks} tasks, {runs} runs each:")
    for name, taken in seconds.items():
        print(
            f"  {name:<8} median {medians[name] * 1000:5.0f} ms   ({min(taken) * 1000:.0f} to {max(taken) * 1000:.0f})"
        )
    print(f"  above an empty DAG: {more * 1000:.0f} ms (allowed: {ALLOWED * 1000:.0f} ms)")
    return more <= ALLOWED


def _measure(file: str) -> dict[str, Any]:
    import airflow.sdk.execution_time.task_runner  # noqa: F401 (what a worker has imported by then)

    try:
        from airflow.dag_processing.dagbag import BundleDagBag
    except ImportError:  # Airflow 3.1
        from airflow.models.dagbag import DagBag as BundleDagBag
    load: Any = BundleDagBag
    started = time.perf_counter()
    bag = load(
        dag_folder=file, bundle_path=Path(file).parent, bundle_name="bench", safe_mode=False, load_op_links=False
    )
    seconds = time.perf_counter() - started
    if bag.import_errors:
        raise SystemExit(str(bag.import_errors))
    return {"seconds": seconds, "tasks": len(bag.dags["bench"].tasks)}


if __name__ == "__main__":
    print(json.dumps(_measure(**json.loads(sys.argv[1]))))
