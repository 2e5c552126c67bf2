"""The files of docs/deployment.md: valid, consistent in themselves, and with settings that Airflow has."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from airflow_subset_provider.provider_info import get_provider_info

DEPLOY = Path(__file__).parents[1] / "docs" / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
VALUES = yaml.safe_load((DEPLOY / "values.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
# Of the Celery provider, which the tests' environment does not have; tests/airflow/test_celery.py uses them.
CELERY = {("celery", "broker_url"), ("celery", "result_backend"), ("celery", "worker_concurrency")}
COMMANDS = {"api-server", "celery worker", "dag-processor", "db migrate", "scheduler"}


def _airflow_services() -> dict[str, dict[str, Any]]:
    return {name: s for name, s in COMPOSE["services"].items() if "build" in s}


def _settings() -> Iterator[tuple[str, str]]:
    """Every [section] option that one of the files sets."""
    for service in _airflow_services().values():
        for variable in service["environment"]:
            if variable.startswith("AIRFLOW__"):
                section, option = variable.removeprefix("AIRFLOW__").split("__")
                yield section.lower(), option.lower()
    for section, options in VALUES["config"].items():
        yield from ((section, option) for option in options)


@pytest.mark.parametrize("setting", sorted(set(_settings())), ids="/".join)
def test_airflow_has_the_setting(setting: tuple[str, str]) -> None:
    from airflow.configuration import conf

    section, option = setting
    assert setting in CELERY or option in conf.configuration_description[section]["options"]


def test_compose_holds_together() -> None:
    services = COMPOSE["services"]
    assert {s["command"] for s in _airflow_services().values()} == COMMANDS
    for name, service in services.items():
        for needed, state in service.get("depends_on", {}).items():
            assert needed in services, name
            assert state["condition"] != "service_healthy" or "healthcheck" in services[needed]
        for volume in service.get("volumes", ()):
            assert volume.startswith("./") or volume.split(":")[0] in COMPOSE["volumes"]
    urls = [v for s in _airflow_services().values() for v in s["environment"].values() if "://" in v]
    plain = [re.sub(r"\$\{[^}]*\}", "secret", url).removeprefix("db+") for url in urls]
    assert {urlsplit(url).hostname for url in plain} == {"metadata", "redis", "api-server"}


def test_what_all_components_must_agree_on() -> None:
    """Where it is not set, each makes one up: tasks are refused, logs answer 403, connections cannot be read."""
    shared = {("api", "secret_key"), ("api_auth", "jwt_secret"), ("core", "fernet_key")}
    names = {f"AIRFLOW__{section}__{option}".upper() for section, option in shared}
    for service in _airflow_services().values():
        assert names <= set(service["environment"])


def test_every_secret_is_named_to_the_reader() -> None:
    head = (DEPLOY / "compose.yaml").read_text().split("x-airflow")[0]
    wanted = set(re.findall(r"\$\{(\w+):\?\}", (DEPLOY / "compose.yaml").read_text()))
    assert {name for name in wanted if f"{name}=" not in head} == set()


def test_connections_are_for_workers_alone() -> None:
    with_connections = {
        name for name, s in _airflow_services().items() if any(v.startswith("AIRFLOW_CONN_") for v in s["environment"])
    }
    assert with_connections == {"worker"}


def test_no_secret_is_written_down() -> None:
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY|CONN", name):
                assert "${" in value, name
    assert all(set(entry) == {"envName", "secretName", "secretKey"} for entry in VALUES["secret"])


def test_one_airflow_everywhere() -> None:
    lock = (DEPLOY.parents[1] / "requirements" / "lock.txt").read_text()
    version = re.search(r"^apache-airflow==(\S+)", lock, re.MULTILINE)
    assert version
    assert f"FROM apache/airflow:{version[1]}-python" in DOCKERFILE
    assert VALUES["airflowVersion"] == VALUES["images"]["airflow"]["tag"] == version[1]
    celery = (DEPLOY.parents[1] / "requirements" / "celery.in").read_text()
    for requirement in re.findall(r"'([^']*celery[^']*)'", DOCKERFILE):
        assert requirement in celery


def test_every_setting_is_documented() -> None:
    table = (DEPLOY.parent / "deployment.md").read_text().split("## Settings")[1].split("###")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", table, re.MULTILINE))
    options = get_provider_info()["config"]["subset"]["options"]
    assert told == {"catalog_cache": "`$AIRFLOW_HOME/subset_catalogs`"} | {
        name: option["default"] for name, option in options.items() if option["default"] is not None
    }


def test_where_the_catalog_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_subset_provider.catalog_cache import location

    monkeypatch.setenv("AIRFLOW_HOME", "/home")
    assert re.fullmatch(r"/home/subset_catalogs/shop_production-[0-9a-f]{12}\.json", str(location("shop_production")))


def test_the_image_is_built_from_what_is_copied(tmp_path: Path) -> None:
    root = DEPLOY.parents[1]
    build = next(s for s in _airflow_services().values())["build"]
    assert (DEPLOY / build["context"]).resolve() == root
    assert (root / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    for line in re.findall(r"^COPY --chown=\S+ (.*)$", DOCKERFILE, re.MULTILINE):
        *names, to = line.split()
        place = tmp_path / to.lstrip("/")
        for name in names:
            if (root / name).is_dir():
                shutil.copytree(root / name, place)
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, place)
    source = re.search(r'pip install \S+ "apache-airflow==\$\{AIRFLOW_VERSION\}" (/\S+)', DOCKERFILE)
    assert source
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=tmp_path / source[1].lstrip("/"), check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {"airflow_subset_provider/cli/look.py", "airflow_subset_provider/core/templates/report.html.j2"} <= packed


def test_what_a_secret_may_be_made_of() -> None:
    head = (DEPLOY / "compose.yaml").read_text().split("x-airflow")[0]
    assert "letters and digits alone" in head
