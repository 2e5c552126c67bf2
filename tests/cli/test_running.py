"""run, verify, repair: the commands that have to do with a target, and every exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from airflow_subset_provider.core import plan as planning
from airflow_subset_provider.core.run import Endpoint, Run, reflect
from airflow_subset_provider.core.spec import Spec
from tests.cli.conftest import Cli, Shop, query

REQUEST = ("--filter", "customer: id IN (40, 41)", "--others", "referenced")
KEYS = "SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace"


def test_run_and_verify(cli: Cli, shop: Shop) -> None:
    exact = json.loads(cli("plan", "--source", shop.source, *REQUEST, "--exact", "--format", "json").out)
    done = cli("run", *shop.ends, *REQUEST)
    assert done.code == 0, done.err
    assert shop.counts() == {
        t["table"].removeprefix("public."): t["rows"]["own"] + t["rows"]["referred"] for t in exact["tables"]
    }
    assert "0 dangling references, 4 of 4 foreign keys proven by the server" in done.out
    lines = done.err.splitlines()
    assert lines[0] == "prepare: checking both ends, emptying the target"
    assert any(re.match(r"  public.orders: \d+ rows", line) for line in lines)
    verified = cli("verify", *shop.ends, *REQUEST)
    assert (verified.code, verified.err) == (0, "")
    assert "the copy holds together" in verified.out
    assert [valid for _, valid in query(shop.target, KEYS)] == [True] * 4


def test_verify_finds_what_is_wrong(cli: Cli, shop: Shop) -> None:
    assert cli("run", "-q", *shop.ends, *REQUEST).code == 0
    query(shop.target, "ALTER TABLE item DROP CONSTRAINT item_order_id_fkey")
    query(shop.target, "DELETE FROM item; DELETE FROM orders; INSERT INTO item SELECT 9999, 1, min(id) FROM product")
    done = cli("verify", *shop.ends, *REQUEST)
    assert done.code == 4
    assert "public.item(order_id) -> public.orders: 1 rows reference rows that are not there" in done.err
    assert "public.item(order_id) -> public.orders: the target has no such foreign key" in done.err
    assert re.search(r"public.orders: has 0 rows, the run left \d+", done.err)


def test_several_jobs_make_the_same_copy(cli: Cli, shop: Shop) -> None:
    request = ("--filter", "customer: id <= 30", "--replace-existing")
    assert cli("run", "-q", *shop.ends, *request).code == 0
    serial = {t: sorted(query(shop.target, f'SELECT * FROM "{t}"')) for t in shop.counts()}
    done = cli("run", "-q", *shop.ends, *request, "--jobs", 3)
    assert (done.code, done.err) == (0, "")
    assert {t: sorted(query(shop.target, f'SELECT * FROM "{t}"')) for t in shop.counts()} == serial


def test_a_run_by_an_older_catalog(cli: Cli, shop: Shop, tmp_path: Path) -> None:
    catalog, report = tmp_path / "shop.json", tmp_path / "report.json"
    cli("reflect", "--source", shop.source, "-o", catalog)
    shape = json.loads(catalog.read_text())
    (orders,) = (t for t in shape["tables"] if t["name"] == ["public", "product"])
    dropped = orders["columns"].pop()["name"]  # as if the source had it since
    catalog.write_text(json.dumps(shape))
    query(shop.target, f"ALTER TABLE product DROP COLUMN {dropped}")
    request = ("run", "-q", *shop.ends, *REQUEST, "--catalog", catalog, "--report", report)
    stopped = cli(*request)
    assert stopped.code == 6
    assert f"public.product.{dropped}: column added" in stopped.err
    done = cli(*request, "--on-drift", "warn")
    assert done.code == 0, done.err
    assert f"public.product.{dropped}: column added" in str(json.loads(report.read_text())["warnings"])


def test_tables_in_parts_make_the_same_copy(cli: Cli, shop: Shop) -> None:
    query(shop.source, "ANALYZE")
    request = ("--filter", "customer: id <= 30", "--replace-existing")
    assert cli("run", "-q", *shop.ends, *request).code == 0
    whole = {t: sorted(query(shop.target, f'SELECT * FROM "{t}"'), key=str) for t in shop.counts()}
    done = cli("run", "-v", *shop.ends, *request, "--jobs", 3, "--chunk-rows", 20)
    assert done.code == 0, done.err
    parts = query(shop.target, "SELECT table_name, count(*) FROM airflow_subset.chunks GROUP BY 1")
    assert dict(parts)["orders"] > 1
    assert {t: sorted(query(shop.target, f'SELECT * FROM "{t}"'), key=str) for t in shop.counts()} == whole


@pytest.mark.parametrize("suffix", [".yaml", ".toml"])
def test_a_spec_file(cli: Cli, shop: Shop, tmp_path: Path, suffix: str) -> None:
    cli("reflect", "--source", shop.source, "-o", tmp_path / "shop.json")
    spec = tmp_path / f"spec{suffix}"
    spec.write_text(
        "catalog: shop.json\nfilters: {customer: id = 40}\nothers: referenced\nreplace_existing: true\n"
        "relations:\n  customer.referrer_id: {references: 'null'}\n  shipment.customer_id: {to: customer}\n"
        if suffix == ".yaml"
        else 'catalog = "shop.json"\nothers = "referenced"\nreplace_existing = true\n[filters]\ncustomer = "id = 40"\n'
        '[relations]\n"customer.referrer_id" = {references = "null"}\n"shipment.customer_id" = {to = "customer"}\n'
    )
    query(shop.target, "INSERT INTO audit_log VALUES ('somebody else''s')")
    done = cli("run", "-q", *shop.ends, "--spec", spec)
    assert done.code == 0, done.err
    counts = shop.counts()
    assert counts["shipment"] == 3 * counts["customer"]
    assert query(shop.target, "SELECT referrer_id FROM customer WHERE id = 40") == [(None,)]
    overruled = cli("plan", "--spec", spec, "--filter", "customer: id = 41", "--format", "json")
    filters = {t["table"]: t["filter"] for t in json.loads(overruled.out)["tables"] if t["filter"]}
    assert filters == {"public.customer": "id = 41"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("filtres: {}", "filtres: unknown setting. Did you mean filters"),
        ("others: some", "others: Input should be 'whole', 'referenced' or 'skip'"),
        ("filters: [", "cannot be read: "),
        ("- filters", "holds no settings"),
        ("filters: {customer: ''}", "filters.customer"),
    ],
)
def test_a_broken_spec_file(cli: Cli, tmp_path: Path, text: str, fault: str) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(text)
    done = cli("plan", "--spec", spec, "--catalog", tmp_path / "none.json")
    assert done.code == 1
    assert fault in done.err


def test_reports_in_folders_and_object_stores(cli: Cli, shop: Shop, tmp_path: Path) -> None:
    folder, file = tmp_path / "new" / "folder", tmp_path / "other" / "copy.md"
    done = cli("run", "-q", *shop.ends, *REQUEST, "--report", folder, "--report", f"file://{file}")
    assert done.code == 0, done.err
    assert sorted(p.name for p in folder.iterdir()) == ["report.html", "report.json", "report.md"]
    assert file.read_text() == (folder / "report.md").read_text()


@pytest.mark.parametrize("place", ["nope://bucket/report.html", "report.pdf"])
def test_a_report_that_can_go_nowhere_stops_the_run_before_it_starts(cli: Cli, shop: Shop, place: str) -> None:
    done = cli("run", *shop.ends, *REQUEST, "--report", place)
    assert done.code == 1
    assert place in done.err
    assert "prepare" not in done.err


def test_reports(cli: Cli, shop: Shop, tmp_path: Path) -> None:
    paths = [tmp_path / f"report{suffix}" for suffix in (".html", ".md", ".json")]
    files = [o for path in paths for o in ("--report", path)]
    done = cli("run", "-q", *shop.ends, *REQUEST, "--references", "null", "--table", "audit*: skip", *files)
    assert done.code == 0, done.err
    html, markdown, shape = paths[0].read_text(), paths[1].read_text(), json.loads(paths[2].read_text())
    assert shape["report_version"] == 1
    assert shape["guarantee"].startswith("One point in time")
    assert "<svg" in html
    assert "public.orders(customer_id)" in html
    assert "customer(referrer_id) -&gt; public.customer" in html
    assert "referrer_id may be NULL" in html
    outside = [u for u in re.findall(r"(?:https?:)?//[\w.]+", html) if u != "http://www.w3.org"]
    assert outside == []
    assert re.findall(r"<(?:script|link|img|iframe)\b|@import|url\(", html) == []
    assert "| `public.customer` | relevant |" in markdown
    assert cli("run", *shop.ends, *REQUEST, "--report", "report.pdf").code == 1


def test_repair_after_a_crash(cli: Cli, shop: Shop) -> None:
    before = query(shop.target, KEYS)
    ends = [Endpoint("postgresql", lambda url=url: psycopg.connect(url), "end") for url in (shop.source, shop.target)]
    run = Run(planning.build(Spec.of(filters={"customer": "id <= 10"}), reflect(ends[0])), *ends, key="dead")
    run.prepare()
    run.extract(next(c for c in run.plan.extracts if "orders" in c.id))
    assert query(shop.target, KEYS) == []
    looked = cli("repair", "--target", shop.target, "--dry-run")
    assert looked.out.splitlines()[0] == "lock of run 'dead'"
    assert looked.out.count(": to do") == 4
    assert cli("verify", *shop.ends, "--filter", "customer: id <= 10").code == 4
    done = cli("repair", "--target", shop.target)
    assert done.code == 0
    how = dict(re.findall(r"foreign key (\w+): (\w+)", done.out))
    assert how.pop("orders_customer_id_fkey") == "unvalidated"
    assert set(how.values()) == {"validated"}
    assert {name for name, _ in query(shop.target, KEYS)} == {name for name, _ in before}
    assert cli("repair", "--target", shop.target).out == "nothing is suspended\n"
    assert cli("run", "-q", *shop.ends, *REQUEST).code == 0
    assert query(shop.target, KEYS) == before


# -- exit codes


def shell(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SUBSET_")}
    command = [sys.executable, "-c", "from airflow_subset_provider.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**clean, **environment})


def test_exit_codes(cli: Cli, shop: Shop, tmp_path: Path) -> None:
    catalog = str(tmp_path / "shop.json")
    ends = {"SUBSET_SOURCE": shop.source, "SUBSET_TARGET": shop.target}
    assert shell("reflect", "-o", catalog, **ends).returncode == 0
    assert shell("plan", "--catalog", catalog, "--filter", "customr: id = 1").returncode == 1
    assert shell("plan", "--catalog", str(tmp_path / "none.json")).returncode == 1
    assert shell("plan", "--nonsense").returncode == 2
    assert shell("plan", "--source", "postgresql://127.0.0.1:1/shop", "--filter", "a: b").returncode == 3
    query(shop.target, "DROP TABLE item")
    assert shell("verify", "--catalog", catalog, *REQUEST, **ends).returncode == 4
    same = shell("run", *REQUEST, **{**ends, "SUBSET_TARGET": shop.source})
    assert (same.returncode, "are the same database" in same.stderr) == (5, True)
    old = tmp_path / "old.json"
    old.write_text(Path(catalog).read_text().replace('"note"', '"remark"'))
    assert shell("run", "--catalog", str(old), *REQUEST, **ends).returncode == 6


def test_the_lock_of_another_run(cli: Cli, shop: Shop) -> None:
    ends = [Endpoint("postgresql", lambda url=url: psycopg.connect(url), "end") for url in (shop.source, shop.target)]
    plan = planning.build(Spec.of(filters={"customer": "id <= 10"}), reflect(ends[0]))
    Run(plan, *ends, key="dag/run/group").prepare()
    held = cli("run", *shop.ends, *REQUEST)
    assert (held.code, "run 'dag/run/group' is writing this target" in held.err) == (3, True)
    assert cli("repair", "--target", shop.target).code == 0
    assert cli("run", "-q", *shop.ends, *REQUEST).code == 0
