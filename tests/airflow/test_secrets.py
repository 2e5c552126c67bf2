"""A filter that holds a secret: what Airflow masks shows nowhere, neither where tasks share a process nor where not."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_subset_provider.operators.reporting import FILES, PAGE, unpacked
from tests.airflow.conftest import HEADER, DagFile, Database
from tests.airflow.server import airflow

Write = Callable[..., DagFile]
Shop = tuple[Database, Database]

SECRET = "Sesame-4711-open"
# No visit answers its filter: the report quotes it.
COPY = """
SubsetOperator(
    task_id="copy", source_conn_id="source", target_conn_id="target", create_schema=True, others="referenced",
    report={report!r}, filters={{
        "customer": "id = 7 AND name NOT IN ('{{{{ var.value.api_secret }}}}', '{{{{ conn.source.password }}}}')",
        "visit": "page = '{{{{ var.value.api_secret }}}}'",
        "Order": "id > {{{{ 3 - 3 }}}}",
    }},
)
"""


@pytest.fixture(autouse=True)
def _variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_API_SECRET", SECRET)


def test_it_is_in_no_xcom_and_in_no_report(shop: Shop, dag_file: Write, tmp_path: Path) -> None:
    outcome = dag_file(COPY.format(report=str(tmp_path))).run()
    assert outcome.state == "success"
    assert shop[1].counts()["customer"] == 1
    assert shop[1].counts()["visit"] == 0
    assert outcome.xcom("copy.prepare", "prepared")["filters"] == {"customer": None, "visit": None, "Order": "id > 0"}
    assert outcome.xcom("copy.prepare")["filters"]["visit"] == "page = '***'"
    told = [outcome.xcom(task, key) for task in outcome.tasks for key in ("return_value", "prepared")]
    files = {path.suffix: path.read_text() for path in tmp_path.iterdir()}
    page = unpacked(outcome.xcom("copy.finish", PAGE))
    for shown in (page, *files.values()):
        assert "***" in shown.replace("\\*", "*")  # stars are no markup in Markdown
    assert "no row answers its filter, page = '***'" in repr(told)
    for secret in (SECRET, shop[0].server.password):
        assert secret not in repr(told) + page + "".join(files.values())


# What `repr` escapes, which is how a fault quotes a clause; and what ends a string, so that a server quotes a piece.
ODD = (r"Ses\ame-4711-open", "O'Br\"ien-4711-open", "Sesame\n4711-open", "Sésame-'4711'\t-open")
REFUSED = """
SubsetOperator(
    task_id="copy", source_conn_id="source", target_conn_id="target", create_schema=True, others="referenced",
    on_failure_callback=lambda context: print("HEARD", context["exception"], repr(context["exception"])),
    filters={{"customer": "{} = '{{{{ var.value.api_secret }}}}'", "visit": "id = = '{{{{ var.value.api_secret }}}}'"}},
)
"""


def shows(text: str, secret: str) -> set[str]:
    """The pieces of the secret, as it is or escaped, that the text shows."""
    forms = {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1]}
    return {piece for piece in (*forms, *re.findall(r"[\w-]{4,}", secret)) if piece in text}


@pytest.mark.parametrize("secret", ODD)
def test_it_is_not_in_what_is_said_of_a_clause_that_is_refused(
    secret: str, shop: Shop, dag_file: Write, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_API_SECRET", secret)
    outcome = dag_file(REFUSED.format("nmae")).run()
    assert outcome.of_state("failed") == {"copy.prepare"}
    printed = "".join(capfd.readouterr())
    assert "HEARD" in printed
    assert "in filter" in printed
    assert "nmae = '***'" in printed
    assert "syntax error at or near ***" in printed
    assert shows(printed, secret) == set()


@pytest.mark.parametrize(
    ("clause", "said"),
    [
        ("{}(id) = 1", "function ***(integer) does not exist"),
        ("customer.{} = 1", "column customer.*** does not exist"),
        ("a.b.c.{} = 1", "cross-database references are not implemented"),
        ("{}" + "x" * 90 + " = 1", "does not exist"),
    ],
)
def test_it_is_not_in_what_a_server_takes_for_a_name(
    clause: str,
    said: str,
    shop: Shop,
    dag_file: Write,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Somebody has forgotten the quotes; Postgres turns names into small letters and cuts them."""
    monkeypatch.setenv("AIRFLOW_VAR_API_SECRET", "Hidden4711Unquoted")
    template = clause.format("{{ var.value.api_secret }}")
    outcome = dag_file(REFUSED.format("x").replace("x = '{{ var.value.api_secret }}'", template)).run()
    assert outcome.of_state("failed") == {"copy.prepare"}
    printed = "".join(capfd.readouterr())
    assert said in printed
    assert "hidden4711" not in printed.lower()


@pytest.mark.parametrize("secret", ODD)
def test_it_is_not_in_what_is_rendered(
    secret: str, shop: Shop, dag_file: Write, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The SQL is formatted, a long field cut, and a filter that no row answers is quoted by the report."""
    monkeypatch.setenv("AIRFLOW_VAR_API_SECRET", secret.replace("'", ""))
    monkeypatch.setenv("AIRFLOW__CORE__MAX_TEMPLATED_FIELD_LENGTH", "120")
    outcome = dag_file(REFUSED.format("name").replace("id = =", "page =")).run()
    assert outcome.state == "success"
    printed = "".join(capfd.readouterr())
    fields = [outcome.rendered(task) for task in ("copy.prepare", "copy.tables.visit", "copy.tables.customer")]
    assert "page = '***'" in printed
    assert "page = '***'" in outcome.xcom("copy.finish")["warnings"][-1]
    assert shows(f"{printed} {fields} {outcome.xcom('copy.finish')}", secret.replace("'", "")) == set()


@pytest.mark.parametrize("secret", ["Sesame-4711-open", r"Ses\ame 4711-open"])
@pytest.mark.parametrize("file", ["", "/{{ var.value.api_secret }}.md"])
def test_it_is_not_in_what_is_said_of_the_reports_place(
    secret: str,
    file: str,
    shop: Shop,
    dag_file: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_API_SECRET", secret)
    dag = dag_file(COPY.format(report=f"{tmp_path}/{{{{ var.value.api_secret }}}}{file}"))
    outcome = dag.run()
    assert outcome.state == "success"
    written = {path.name for path in (tmp_path / secret).iterdir()}
    assert written == ({f"{secret}.md"} if file else {"report.html", "report.json", "report.md"})
    shown = set(outcome.xcom("copy.finish", FILES))
    assert shown == {f"{tmp_path}/***/{name.replace(secret, '***')}" for name in written}
    told = [outcome.xcom(task, key) for task in outcome.tasks for key in ("return_value", "prepared", FILES)]
    assert shows(repr([told, outcome.rendered("copy.prepare")]), secret) == set()
    for path in (tmp_path / secret).iterdir():
        path.unlink()
    (tmp_path / secret).rmdir()
    (tmp_path / secret).write_text("in the way")
    assert dag.run().state == "success"
    printed = "".join(capfd.readouterr())
    assert f"Report: {tmp_path}/***" in printed
    assert f"The copy is proven, but its report could not be written to {tmp_path}/***" in printed
    assert shows(printed, secret) == set()


@pytest.mark.parametrize("place", ["{{ var.value.api_secret }}/x", "/tmp/x.{{ var.value.api_secret }}"])
def test_it_is_not_in_what_is_said_of_a_place_that_is_none(
    place: str, shop: Shop, dag_file: Write, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_API_SECRET", "sesam")
    assert dag_file(COPY.format(report=place)).run().of_state("failed") == {"copy.prepare"}
    printed = "".join(capfd.readouterr())
    assert f"report '{place.replace('{{ var.value.api_secret }}', '***')}': cannot be used" in printed
    assert "sesam" not in printed


@pytest.mark.long
@pytest.mark.timeout(900)
def test_it_is_in_nothing_that_a_real_airflow_keeps(shop: Shop, tmp_path: Path) -> None:
    """Each task in a process of its own, which masks what it has looked up itself."""
    home, dags = tmp_path / "home", tmp_path / "dags"
    home.mkdir()
    dags.mkdir()
    body = textwrap.indent(COPY.format(report=str(tmp_path / "report")), "    ")
    (dags / "copy.py").write_text(f'{HEADER}\nwith DAG("secret", schedule=None):\n{body}')
    bundle = {"classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {"path": str(dags)}}
    with airflow("secret", bundle, shop, home) as server:
        states = server.end_of(server.trigger())
    assert set(states.values()) == {"success"}, states
    assert shop[1].counts()["customer"] == 1
    files = [path for folder in (home, tmp_path / "report") for path in folder.rglob("*") if path.is_file()]
    kept = {path: path.read_bytes() for path in files}
    assert any(b"page = '***'" in content for path, content in kept.items() if path.suffix == ".log")
    for secret in (SECRET, shop[0].server.password):
        assert {str(path) for path, content in kept.items() if secret.encode() in content} == set()
