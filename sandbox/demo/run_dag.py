"""The demo's child process: runs the demo's DAG with `dag.test()` and leaves what happened in a JSON file.

A process of its own, because Airflow reads its settings when it is first imported and writes its logs to this
process's output.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any


def main(dag_file: str, group_id: str, result_file: str) -> None:
    """Run the DAG of the file."""
    from airflow.utils.db import initdb

    initdb()
    dag = runpy.run_path(dag_file)["dag"]
    run = dag.test()
    tasks = {ti.task_id: ti for ti in run.get_task_instances()}
    result: dict[str, Any] = {
        "state": str(run.state),
        "failed": sorted(task_id for task_id, ti in tasks.items() if ti.state == "failed"),
        "report": tasks[f"{group_id}.finish"].xcom_pull(task_ids=f"{group_id}.finish"),
    }
    Path(result_file).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
