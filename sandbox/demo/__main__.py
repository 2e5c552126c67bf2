"""`make demo`: a subset of the demo shop, made by Airflow, on private servers.

Starts two servers (Postgres; ENGINE=mysql or ENGINE=mariadb for others), builds the demo database in one, runs the
demo's DAG with `dag.test()` and prints what the other one holds then, and why. With UI=1 it leaves a whole Airflow
running instead, with the DAG triggered. Everything it starts ends with it, and its only traces are in a temporary
directory.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from sandbox.demo import catalog, database, kinds, show
from sandbox.demo.standalone import Standalone
from sandbox.postgresql import find_binaries
from sandbox.process import SandboxError
from sandbox.server import Endpoint

ROOT = Path(__file__).resolve().parents[2]
DAG_ID, GROUP_ID = "demo_subset", "shop"
DAG_FILE = ROOT / "example_dags" / f"{DAG_ID}.py"
DATABASE = "shop"


def main() -> int:
    """Run the demo; the exit code."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        kind = kinds.named(os.environ.get("ENGINE", ""))
        with _home() as home, _servers(console, kind) as (source, target, rows):
            lay_dag(home, source)
            environment = airflow_settings(home, source, target)
            if os.environ.get("UI", "") not in ("", "0"):
                _serve(console, environment, home, rows)
                return 0
            return _run(console, environment, home, target, rows)
    except SandboxError as error:
        console.print(f"[red]{error}[/]")
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130


def _interrupt(*_: object) -> NoReturn:
    """Let SIGTERM end the demo as Ctrl-C does."""
    raise KeyboardInterrupt


@contextmanager
def _home() -> Iterator[Path]:
    """AIRFLOW_HOME, kept if the demo failed, for its logs."""
    home = Path(tempfile.mkdtemp(prefix="subset-demo-"))
    try:
        yield home
    finally:
        if not (home / "failed").exists():
            shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _servers(console: Console, kind: kinds.Kind) -> Iterator[tuple[Endpoint, Endpoint, dict[str, int]]]:
    with console.status(f"Starting two {kind.title} servers ({kind.getting})"):
        kind, source = kinds.started(kind, console.print)
    with source, kind.start() as target:
        with console.status("Building the demo shop"):
            rows = database.build(source, DATABASE)
            target.create_database(DATABASE)
        console.print(f"Source: a demo shop of {len(rows)} tables and {sum(rows.values()):,} rows. Target: empty.")
        yield source, target, rows


def lay_dag(home: Path, source: Endpoint) -> None:
    """The DAG in a folder of its own, with the catalog of this very server beside it: types differ between servers."""
    folder = home / "dags"
    folder.mkdir()
    shutil.copy(DAG_FILE, folder)
    (folder / catalog.FILE).write_text(catalog.text(source, DATABASE), encoding="utf-8")


def airflow_settings(home: Path, source: Endpoint, target: Endpoint) -> dict[str, str]:
    """Airflow's settings; the connections' passwords are known to its processes only."""
    path = [str(find_binaries()), os.environ["PATH"]]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PYTHON"))}
    return {
        **kept,
        "PATH": os.pathsep.join(path),  # create_schema=True needs pg_dump
        "PYTHONPATH": str(ROOT),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_SHOP_PRODUCTION": source.url(DATABASE),
        "AIRFLOW_CONN_SHOP_STAGING": target.url(DATABASE),
    }


# -- on the terminal


def _run(
    console: Console, environment: Mapping[str, str], home: Path, target: Endpoint, rows: Mapping[str, int]
) -> int:
    log, started = home / "airflow.log", time.monotonic()
    with console.status(f"Airflow runs the DAG {DAG_ID} (its log: {log})"):
        result = _test_dag(environment, home, log)
    if result["state"] != "success":
        (home / "failed").touch()
        console.print(f"[red]The DAG run failed: {', '.join(result['failed']) or 'see the log'}.[/]")
        console.print("\n".join(_complaints(log)), markup=False)
        console.print(f"Airflow's log: {log}")
        return 1
    show.report(console, result["report"], rows, time.monotonic() - started)
    kept = {row["table"].partition(".")[2]: row["kept"] for row in result["report"]["tables"]}
    if kept != database.row_counts(target, DATABASE):
        console.print("[red]The target does not hold what the report says.[/]")
        return 1
    return 0


def _test_dag(environment: Mapping[str, str], home: Path, log: Path) -> dict[str, Any]:
    result = home / "result.json"
    dag_file = home / "dags" / DAG_FILE.name
    command = [sys.executable, "-m", "sandbox.demo.run_dag", str(dag_file), GROUP_ID, str(result)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            process.wait()
        finally:
            process.kill()
            process.wait()
    if not result.exists():
        return {"state": "failed", "failed": []}
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def _complaints(log: Path) -> list[str]:
    """The lines with the errors' words."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    marks = ("AirflowFailException:", "Error:", "Exception:")
    return list(dict.fromkeys(line.strip() for line in lines if any(mark in line for mark in marks)))[-10:]


# -- in the browser


def _serve(console: Console, environment: Mapping[str, str], home: Path, rows: Mapping[str, int]) -> None:
    log = home / "airflow.log"
    with Standalone(environment, log) as airflow:
        with console.status(f"Starting Airflow (its log: {log})"):
            run_id = airflow.trigger(DAG_ID)
        address = f"{airflow.address}/dags/{DAG_ID}/runs/{run_id}"
        console.print(f"Airflow: {address}\nNo login is needed. Ctrl-C stops everything.", soft_wrap=True)
        _report_when_done(console, airflow, run_id, rows)
        while True:
            signal.pause()


def _report_when_done(console: Console, airflow: Standalone, run_id: str, rows: Mapping[str, int]) -> None:
    started = time.monotonic()
    with console.status("The DAG is running"):
        state = airflow.finished(DAG_ID, run_id)["state"]
    if state == "failed":
        console.print("[red]The DAG run failed; its log is in the browser.[/]")
        return
    shape = airflow.xcom(DAG_ID, run_id, f"{GROUP_ID}.finish")
    show.report(console, shape, rows, time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())
