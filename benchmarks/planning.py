"""A plan and its task group for about a thousand tables: seconds and memory of a DAG parse from a catalog file."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from airflow_subset_provider.core import graph
from airflow_subset_provider.core.schema import Column, ForeignKey, Key, Schema, Table, TableName
from benchmarks.kit import child


def main(catalog: str = "") -> None:
    """Print what building costs; without a catalog file, for a made-up schema of 1,000 tables and 1,700 keys."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(catalog) if catalog else Path(folder) / "big.catalog.json"
        if not catalog:
            path.write_text(made_up().to_json())
        result = child("benchmarks.planning", catalog=str(path.resolve()))
        shown = _command_line(path, result["table"])
    print(
        f"planning: {result['tables']} tables, {result['tasks']} tasks: plan {result['plan']:.2f} s, "
        f"plan and task group {result['group']:.2f} s, "
        f"peak {result['peak_mib']:.0f} MiB, of which Airflow itself {result['airflow_mib']:.0f} MiB"
    )

    print(f"  airflow-subset plan from the catalog: {shown:.2f} s, of which starting and importing {_start():.2f} s")


def _command_line(catalog: Path, table: str) -> float:
    """Seconds of the whole command, from a shell's point of view."""
    return _seconds("plan", "--catalog", str(catalog), "--filter", f"{table}: id <= 3")


def _start() -> float:
    return _seconds("schema")


def _seconds(*arguments: str) -> float:
    command = [sys.executable, "-c", "from airflow_subset_provider.cli import main; main()", *arguments]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SUBSET_")}
    started = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=clean)
    return time.monotonic() - started


def made_up(tables: int = 1000, keys: int = 1700) -> Schema:
    """Deterministic, of GitLab's size: most keys point at a few hubs; some cycles."""
    chance = random.Random(1)
    names = [TableName("public", f"table_{n:04}") for n in range(tables)]
    columns = {name: [Column("id", "bigint", nullable=False)] for name in names}
    found = []
    for n in range(keys):
        child, parent = chance.choice(names), names[min(chance.randrange(tables), chance.randrange(tables))]
        column = f"fk_{n}"
        columns[child].append(Column(column, "bigint"))
        found.append(ForeignKey(f"fk_{n}", child, (column,), parent, ("id",)))
    made = tuple(Table(name, tuple(columns[name]), (Key("pk", ("id",), True),), rows=100) for name in names)
    return graph.condensed(Schema("postgresql", ("public",), made, tuple(found)))


def _measure(catalog: str) -> dict[str, Any]:
    from airflow.sdk import DAG

    from airflow_subset_provider import SubsetOperator
    from airflow_subset_provider.core.plan import build
    from airflow_subset_provider.core.spec import Spec

    airflow_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.monotonic()
    schema = Schema.from_json(Path(catalog).read_text())
    table = max(schema.tables, key=lambda t: sum(k.parent == t.name for k in schema.foreign_keys)).name
    build(Spec.of(filters={str(table): "id <= 3"}), schema)
    planned = time.monotonic()
    with DAG("bench") as dag:
        SubsetOperator(
            task_id="subset",
            source_conn_id="source",
            target_conn_id="target",
            filters={str(table): "id <= 3"},
            schemas=schema.schemas,
            catalog=catalog,
        )
    return {
        "table": str(table),
        "tables": len(schema.tables),
        "tasks": len(dag.tasks),
        "plan": planned - started,
        "group": time.monotonic() - planned,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "airflow_mib": airflow_mib,
    }


if __name__ == "__main__":
    import json

    print(json.dumps(_measure(**json.loads(sys.argv[1]))))
