"""The commands that write to no database: reflect, plan, sql, diff, schema; and how the ends are named."""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, query

FILTER = ("--filter", "customer: id <= 10")


@pytest.fixture
def catalog(cli: Cli, shop_source: str, tmp_path: Path) -> Path:
    path = tmp_path / "shop.catalog.json"
    done = cli("reflect", "--source", shop_source, "-o", path)
    assert (done.code, done.out) == (0, "")
    assert re.fullmatch(rf"{path}: 6 tables, 4 foreign keys, fingerprint [0-9a-f]{{16}}\n", done.err)
    return path


def test_reflect_to_stdout(cli: Cli, shop_source: str, catalog: Path) -> None:
    assert cli("reflect", "--source", shop_source, "--schema", "public").out == catalog.read_text()


def test_a_catalog_is_replaced_at_once(cli: Cli, shop_source: str, catalog: Path, tmp_path: Path) -> None:
    """A DAG may be parsed meanwhile. What else is at the file's place stays what it is."""
    made, link, inode = catalog.read_text(), tmp_path / "link.json", catalog.stat().st_ino
    assert catalog.stat().st_mode & 0o777 == 0o666 & ~_umask()
    catalog.chmod(0o640)
    link.symlink_to(catalog)
    catalog.write_text("the old one")
    with catalog.open() as parsed:
        assert cli("reflect", "--source", shop_source, "-o", link).code == 0
        assert parsed.read() == "the old one"
    assert (link.is_symlink(), catalog.read_text(), catalog.stat().st_mode & 0o777) == (True, made, 0o640)
    assert catalog.stat().st_ino != inode
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.json", catalog.name]


def test_an_output_that_is_no_file(cli: Cli, tmp_path: Path) -> None:
    """A pipe, as /dev/stdout may be one."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_text)
        assert cli("schema", "-o", pipe).code == 0
        assert read.result() == cli("schema").out
    assert cli("schema", "-o", tmp_path / "nowhere" / "schema.json").err.startswith(
        f"error: {tmp_path}/nowhere/schema.js"
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_plan_from_a_catalog_alone(cli: Cli, catalog: Path) -> None:
    done = cli("plan", "--catalog", catalog, *FILTER, "--table", "audit_*: skip")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert max(map(len, lines[:-1])) <= 100
    table = {line.split()[1]: line for line in lines[2:] if line[:2].strip().isdigit()}
    assert "whole" in table["product"]
    assert "skip" in table["audit_log"]
    assert "tables['audit_*']" in table["audit_log"]
    assert re.search(r"2↻\s+customer\s+relevant\s+~100\s+\?\s+filter: id <= 10", done.out)
    assert "by customer_id → customer" in done.out
    assert "customer(referrer_id) -> customer  referrer_id may be NULL" in done.out
    assert lines[-1].startswith("6 tables: 3 relevant, 2 whole, 1 skip. ")


def test_plan_with_the_planners_estimates(cli: Cli, shop_source: str) -> None:
    done = cli("plan", "--source", shop_source, *FILTER, "--format", "json", "--others", "referenced", "--suggest")
    shape = json.loads(done.out)
    rows = {t["table"].removeprefix("public."): t["rows"] for t in shape["tables"]}
    assert (shape["preview_version"], shape["exact"]) == (1, False)
    assert 350 < rows["orders"]["own"] < 450
    assert rows["product"] == {"own": 0, "referred": 50, "exact": False}
    assert rows["audit_log"] == {"own": 0, "referred": 0, "exact": False}
    assert {s["kind"] for s in shape["suggestions"]} == {"index", "foreign key"}
    reasons = {t["table"]: t["reason"] for t in shape["tables"]}
    assert reasons["public.product"] == "referenced by item(product_id)"


@pytest.mark.parametrize("more", [(), ("--exact",)])
def test_plan_says_which_filter_is_wrong(cli: Cli, shop_source: str, more: tuple[str, ...]) -> None:
    filters = ("--filter", "customer: id = 'abc'", "--filter", "orders: idd = 1")
    done = cli("plan", "--source", shop_source, *filters, *more)
    assert done.code == 1
    wrong = [line for line in done.err.splitlines() if line.startswith("error")]
    assert [re.search(r"filters\[.*?\]", line)[0] for line in wrong] == [
        "filters['public.customer']",
        "filters['public.orders']",
    ]


def test_plan_exactly(cli: Cli, shop_source: str) -> None:
    filters = ("--filter", "customer: id IN (40, 41)", "--others", "referenced")
    done = cli("plan", "--source", shop_source, *filters, "--exact", "--format", "json")
    rows = {t["table"].removeprefix("public."): t["rows"] for t in json.loads(done.out)["tables"]}
    kept = {t: r["own"] + r["referred"] for t, r in rows.items()}
    reached = "WITH RECURSIVE c AS (SELECT id, referrer_id FROM customer WHERE id IN (40, 41) UNION "
    upwards = (
        f"{reached} SELECT p.id, p.referrer_id FROM c JOIN customer p ON p.id = c.referrer_id) SELECT count(*) FROM c"
    )
    orders = "SELECT count(*) FROM orders WHERE customer_id IN (40, 41)"
    assert kept["customer"] == query(shop_source, upwards)[0][0]
    assert kept["orders"] == query(shop_source, orders)[0][0]
    assert (kept["shipment"], kept["audit_log"]) == (0, 0)
    assert all(r["exact"] for r in rows.values())
    assert "counted now" in cli("plan", "--source", shop_source, *filters, "--exact").out


def test_pictures(cli: Cli, catalog: Path, tmp_path: Path) -> None:
    options = ("plan", "--catalog", catalog, *FILTER, "--table", "audit_log: skip", "--format")
    mermaid = cli(*options, "mermaid").out
    assert mermaid.startswith('flowchart LR\n  t0["audit_log"]:::skip\n  t1["customer"]:::filtered\n')
    assert "classDef whole" in mermaid
    dot = cli(*options, "dot").out
    assert '"public.customer" -> "public.orders" [tooltip="customer_id"];' in dot
    assert dot.count("{") == dot.count("}")
    svg = tmp_path / "graph.svg"
    assert cli(*options, "svg", "-o", svg).out == ""
    root = ET.fromstring(svg.read_text())
    assert len(root.findall(".//{http://www.w3.org/2000/svg}g/{http://www.w3.org/2000/svg}text")) == 6
    assert re.findall(r"(?:href|src|url)\s*[=(]", svg.read_text()) == []


def test_sql_of_all_tables_and_of_one(cli: Cli, catalog: Path, shop_source: str) -> None:
    options = ("--catalog", catalog, *FILTER, "--others", "referenced")
    everything = cli("sql", *options).out
    assert re.findall(r"^-- (\S+): relevant", everything, re.MULTILINE) == [
        "public.customer",
        "public.orders",
        "public.item",
    ]
    one = cli("sql", "orders", *options).out
    assert one.startswith("-- public.orders: relevant, below a filter: orders(customer_id) → customer\nWITH RECURSIVE")
    assert len(query(shop_source, one)) == 400


def test_sql_of_a_table_that_has_none(cli: Cli, catalog: Path) -> None:
    options = ("--catalog", catalog, *FILTER, "--others", "referenced")
    assert "has no SELECT of its own: referenced" in cli("sql", "product", *options).err
    assert "no table 'prodct'" in cli("sql", "prodct", *options).err


def test_diff(cli: Cli, catalog: Path, tmp_path: Path) -> None:
    same = cli("diff", catalog, catalog)
    assert (same.code, same.out) == (0, "no difference\n")
    other = tmp_path / "other.json"
    other.write_text(catalog.read_text().replace('"note"', '"remark"'))
    changed = cli("diff", catalog, other)
    assert changed.code == 1
    assert changed.out.splitlines() == [
        "public.shipment.remark: column added (text)",
        "public.shipment.note: column dropped",
    ]
    other.write_text("{}")
    assert "is not a catalog of this version" in cli("diff", catalog, other).err


def test_a_source_from_the_environment(cli: Cli, shop_source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBSET_SOURCE", shop_source)
    assert cli("plan", *FILTER).code == 0


def test_no_source_at_all(cli: Cli) -> None:
    done = cli("validate", *FILTER)
    assert done.code == 2
    assert "SUBSET_SOURCE" in done.err
    assert "--catalog" in cli("plan", *FILTER).err
    assert "'NAME: VALUE'" in cli("plan", "--filter", "customer").err.replace("\n", " ").replace("│ ", "")


def test_a_password_is_never_printed(cli: Cli, shop_source: str, catalog: Path) -> None:
    password = re.search(r"://[^:]+:([^@]+)@", shop_source)
    assert password
    wrong = shop_source.replace(password[1], "wr0ng-s3cret")
    for url in (wrong, shop_source + "_gone", shop_source.replace("postgresql", "oracle"), "x" + shop_source + "://["):
        done = cli("plan", "--source", url, *FILTER)
        assert done.code != 0
        for secret in (password[1], "wr0ng-s3cret", "s3cret"):
            assert secret not in done.out + done.err
    assert "s3cret" not in catalog.read_text()
    for raw in ("wr0ng@s3cret", "wr0ng@/:s3cret", "/s3cret:wr0ng@"):
        for kind in ("postgresql", "mysql"):
            done = cli("plan", "--source", f"{kind}://me:{raw}@127.0.0.1:1/shop", *FILTER)
            assert done.code != 0
            assert not re.search("s3cret|wr0ng", done.out + done.err)


def test_a_large_table_must_be_named(cli: Cli, catalog: Path) -> None:
    options = ("plan", "--catalog", catalog, "--filter", "shipment: id < 3", "--whole-limit", 5000)
    done = cli(*options)
    assert done.code == 1
    assert "public.item would be copied whole, and has about 12,000 rows (whole_limit is 5,000)" in done.err
    assert cli(*options, "--table", "item: whole").code == 0
    assert cli(*options, "--table", "it*: referenced").code == 0


def test_settings_of_foreign_keys(cli: Cli, shop_source: str, catalog: Path) -> None:
    nofollow = ("--relation", "orders.customer_id: nofollow")
    virtual = ("--relation", "shipment.customer_id: to customer.id drop")
    done = cli("plan", "--catalog", catalog, *FILTER, *nofollow, *virtual, "--format", "json")
    rules = {t["table"].removeprefix("public."): t["rule"] for t in json.loads(done.out)["tables"]}
    assert (rules["orders"], rules["shipment"]) == ("whole", "relevant")
    exactly = ("plan", "--filter", "customer: id = 40", "--source", shop_source, "--exact", "--format", "json")
    for settings, referred in (((), 5), (("--relation", "customer.referrer_id: null"), 0)):
        tables = json.loads(cli(*exactly, *settings).out)["tables"]
        rows = next(t["rows"] for t in tables if t["table"] == "public.customer")
        assert rows == {"own": 1, "referred": referred, "exact": True}
    for wrong in ("orders.customer_id: sometimes", "orders.customer_id: to", "orders.customer_id"):
        assert cli("plan", "--catalog", catalog, *FILTER, "--relation", wrong).code == 2
