"""From connection id to endpoint, on real connections; and what is said about those that cannot be used."""

from __future__ import annotations

import json

import pytest

from airflow_subset_provider import connections
from airflow_subset_provider.core.errors import EndpointError, RetryableError
from airflow_subset_provider.core.run import reflect
from tests.airflow.conftest import Database

Shop = tuple[Database, Database]


def test_a_connection_is_opened_when_asked(shop: Shop) -> None:
    endpoint = connections.endpoint("source")
    assert (endpoint.engine, endpoint.label) == ("postgresql", "source")
    with endpoint.connect() as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (shop[0].name,)
    assert shop[0].server.password not in repr(endpoint)


def test_extras_count(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    params = shop[0].server.params(shop[0].name)
    extra = {"cursor": "dictcursor", "options": "-c statement_timeout=4321ms", "sslmode": "prefer"}
    shape = {"conn_type": "postgres", "login": params["user"], "schema": params["dbname"], "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_FANCY", json.dumps(shape | {k: params[k] for k in ("host", "port", "password")}))
    endpoint = connections.endpoint("fancy")
    with endpoint.connect() as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("4321ms",)
    assert reflect(endpoint).tables


def test_an_unknown_connection(shop: Shop) -> None:
    with pytest.raises(EndpointError, match=r"connection 'nowhere': no such connection.*AIRFLOW_CONN_NOWHERE"):
        connections.endpoint("nowhere")


def test_an_unsupported_type(monkeypatch: pytest.MonkeyPatch, airflow_home: object) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WEB", "http://user:geheim@example.com")
    with pytest.raises(EndpointError, match=r"its type is 'http'.*mysql, postgres, postgresql") as caught:
        connections.endpoint("web")
    assert "geheim" not in str(caught.value)


def test_a_server_that_is_not_there_may_come_back(monkeypatch: pytest.MonkeyPatch, airflow_home: object) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GONE", "postgresql://user:geheim@127.0.0.1:1/database")
    with pytest.raises(RetryableError, match="gone") as caught:
        reflect(connections.endpoint("gone"))
    assert "geheim" not in str(caught.value)


def test_the_password_is_masked_in_logs(
    shop: Shop, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    from airflow.sdk.log import redact

    connections.endpoint("source")
    assert shop[0].server.password not in str(redact(f"the password is {shop[0].server.password}"))
    assert shop[0].server.password not in caplog.text + "".join(capfd.readouterr())
