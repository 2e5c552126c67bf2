"""What docs/deployment.md tells to put into `airflow_local_settings.py`, in an Airflow that starts with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.airflow.conftest import ROOT, documented_settings

# The code that stands for a component of Airflow: it has the component's arguments and starts Airflow up.
COMPONENT = """
import sys
sys.argv = ["airflow", *sys.argv[1:]]
import airflow
print("airflow_subset_provider.preload" in sys.modules, "psycopg" in sys.modules, "MySQLdb" in sys.modules)
"""
FORKING = """
import os
if (child := os.fork()) == 0:
    hooks = [f"airflow.providers.{name}.hooks.{name}" in sys.modules for name in ("postgres", "mysql")]
    print("a fork:", "airflow_subset_provider.operators.steps" in sys.modules, *hooks, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
HIDDEN = "import sys\nsys.modules['MySQLdb'] = None\n"  # as where the driver is not installed


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "airflow_local_settings.py").write_text(documented_settings())
    return tmp_path


def _started(home: Path, *arguments: str, before: str = "", after: str = "") -> str:
    command = [sys.executable, "-c", before + COMPONENT + after, *arguments]
    environment = {**os.environ, "AIRFLOW_HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("arguments", [("scheduler",), ("celery", "worker")])
def test_what_forks_tasks_has_their_code(home: Path, arguments: tuple[str, ...]) -> None:
    assert _started(home, *arguments).startswith("True True")


@pytest.mark.parametrize("arguments", [(), ("api-server",), ("dags", "list")])
def test_nothing_else_has_it(home: Path, arguments: tuple[str, ...]) -> None:
    assert _started(home, *arguments) == "False False False"


def test_a_driver_that_is_not_there_is_done_without(home: Path) -> None:
    assert _started(home, "scheduler", before=HIDDEN).startswith("True True")


def test_a_fork_has_what_hangs_on_airflow(home: Path) -> None:
    """Airflow is still starting up when it reads its local settings."""
    assert _started(home, "scheduler", after=FORKING) == "a fork: True True True"
    assert _started(home, "api-server", after=FORKING) == "a fork: False False False"


def test_nothing_of_airflow_is_imported() -> None:
    code = "import sys, airflow_subset_provider.preload; print(any(m.split('.')[0] == 'airflow' for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
