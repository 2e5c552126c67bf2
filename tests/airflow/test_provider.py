"""What Airflow sees of the package: the provider, its configuration, the example DAGs, the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

import airflow_subset_provider
from airflow_subset_provider.core.schema import Schema
from airflow_subset_provider.provider_info import get_provider_info
from tests.airflow.conftest import Database, dag_bag, is_airflow_3_1

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "example_dags"
SCRIPT = str(Path(sys.executable).with_name("airflow-subset"))


def _run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, env={**os.environ, **environment}, cwd=ROOT
    )


def test_airflow_lists_the_provider(airflow_home: Path) -> None:
    listed = json.loads(_run("airflow", "providers", "list", "--output", "json").stdout)
    (found,) = [p for p in listed if p["package_name"] == "airflow-subset-provider"]
    assert found["version"] == airflow_subset_provider.__version__


def test_airflow_knows_the_configuration(airflow_home: Path) -> None:
    listed = _run("airflow", "config", "list", "--include-descriptions", "--defaults", "--section", "subset").stdout
    for option in get_provider_info()["config"]["subset"]["options"]:
        assert option in listed


def test_the_provider_info_imports_nothing() -> None:
    code = "import sys, airflow_subset_provider.provider_info; print({'airflow', 'sqlalchemy'} & {*sys.modules})"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "set()\n"


def test_example_dags_parse_without_connections(airflow_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_subset_provider.operators.prepare import PrepareOperator

    for name in [n for n in os.environ if n.startswith("AIRFLOW_CONN_")]:
        monkeypatch.delenv(name)
    bag = dag_bag(EXAMPLES)
    assert bag.import_errors == {}
    assert {
        "debug_a_customer",
        "example_subset_mysql",
        "demo_subset",
        "nightly_staging",
        "after_the_refresh",
        "tenants",
        "masked_ready",
    } <= set(bag.dags)
    copying = [dag for dag in bag.dags.values() if any(isinstance(t, PrepareOperator) for t in dag.tasks)]
    assert {dag.dag_id: dag.max_active_runs for dag in copying if dag.max_active_runs != 1} == {}


def test_the_demos_catalog_is_the_demos_schema(source_server: object, target_server: object, tmp_path: Path) -> None:
    from airflow_subset_provider.core.run import Endpoint, reflect
    from sandbox.demo import database
    from sandbox.postgresql import PostgresEndpoint

    assert isinstance(source_server, PostgresEndpoint)
    name = f"subset_demo_{os.getpid()}"
    database.create_schema(source_server, name)
    try:
        live = reflect(Endpoint("postgresql", Database(source_server, name).connect, "demo"))
    finally:
        source_server.drop_database(name)
    kept = Schema.from_json((EXAMPLES / "shop.catalog.json").read_text())
    assert live.fingerprint == kept.fingerprint


def test_the_command_line_knows_airflows_connections(shop: tuple[Database, Database], tmp_path: Path) -> None:
    path = tmp_path / "shop.catalog.json"
    subprocess.run([SCRIPT, "reflect", "--source-conn", "source", "-o", str(path)], check=True, capture_output=True)
    assert len(Schema.from_json(path.read_text()).tables) == 7


def _printed(command: list[str]) -> tuple[str, str]:
    """What a command that succeeds writes to stdout and stderr."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_the_command_line_finds_connections_of_airflows_database(shop: tuple[Database, Database]) -> None:
    _printed([sys.executable, "-m", "airflow", "connections", "add", "kept", "--conn-uri", shop[0].url])
    assert len(Schema.from_json(_printed([SCRIPT, "reflect", "--source-conn", "kept"])[0]).tables) == 7


@pytest.mark.skipif(is_airflow_3_1(), reason="Airflow 3.1 looks into no provider for commands")
class TestAirflowsCommandLine:
    """`airflow subset reflect`."""

    SUBSET: ClassVar = [sys.executable, "-m", "airflow", "subset"]

    def test_it_is_described(self, airflow_home: Path) -> None:
        said = _printed([*self.SUBSET, "--help"])[0]
        assert "reflect   Write a database's schema as a catalog file" in said

    def test_it_does_what_airflow_subset_does(self, shop: tuple[Database, Database], tmp_path: Path) -> None:
        shop[0].run("CREATE SCHEMA sales CREATE TABLE invoice (id int PRIMARY KEY)")
        both = ["--schema", "sales", "--schema", "public"]
        ours = _printed([SCRIPT, "reflect", "--source-conn", "source", *both])
        theirs = _printed([*self.SUBSET, "reflect", "source", *both])
        assert theirs[0] == ours[0]
        assert ours[1] in theirs[1]
        path = tmp_path / "shop.catalog.json"
        assert _printed([*self.SUBSET, "reflect", "source", "-o", str(path)])[0] == ""
        assert Schema.from_json(theirs[0]).schemas == ("public", "sales")
        assert Schema.from_json(path.read_text()).schemas == ("public",)

    def test_a_fault_is_told_as_airflow_subset_tells_it(self, airflow_home: Path) -> None:
        done = _run("airflow", "subset", "reflect", "nowhere")
        assert (done.returncode, done.stdout) == (5, "")
        assert "error: connection 'nowhere': no such connection here" in done.stderr
        assert "Traceback" not in done.stderr

    def test_every_option_of_reflect_is_there(self) -> None:
        from airflow_subset_provider import airflow_cli
        from airflow_subset_provider.cli import app

        command = next(c for c in app.registered_commands if c.callback and c.callback.__name__ == "reflect")
        assert command.callback
        (group,) = airflow_cli.commands()
        (reflect,) = group.subcommands
        names = {arg.flags[-1].removeprefix("--") for arg in reflect.args}
        wanted = {n.removesuffix("s") for n in command.callback.__annotations__} - {"source", "source_conn"}
        assert names == wanted | {"conn_id"}

    def test_other_commands_of_airflow_do_not_wait_for_it(self) -> None:
        code = (
            "import sys, airflow.cli.cli_config, airflow_subset_provider; before = {*sys.modules};"
            "from airflow_subset_provider import airflow_cli; airflow_cli.commands(); print({*sys.modules} - before)"
        )
        printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert printed == "{'airflow_subset_provider.airflow_cli'}\n"
