"""Renew docs/images from a real Airflow: `python -m sandbox.demo.screenshots`.

Runs the demo in a whole Airflow and photographs its UI in headless Chromium. Needs what nothing else here does: a
Chromium (on PATH, or CHROMIUM=...), and `pip install playwright pillow`; playwright's own browsers are not used.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console

from sandbox.demo import __main__ as demo
from sandbox.demo import kinds
from sandbox.demo.standalone import Standalone

IMAGES = demo.ROOT / "docs" / "images"
OTHERS = ("debug_a_customer", "after_the_refresh")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")
IN_PARTS = "demo_in_parts"
LARGE = "shop.tables.order_line"
IN_PARTS_FILE = f"""
from airflow.sdk import DAG
from airflow_subset_provider import SubsetOperator

with DAG("{IN_PARTS}", schedule=None):
    SubsetOperator(
        task_id="shop",
        source_conn_id="shop_production",
        target_conn_id="shop_staging",
        filters={{"customer": "country_code <> 'NZ'"}},
        catalog="shop.catalog.json",
        chunk_rows=15_000,
    )
"""
GROUPS = {"demo_subset": ["shop", "shop.tables", "shop.references"], IN_PARTS: ["shop", "shop.tables", LARGE]}
SETTLED = 4000  # milliseconds until the UI has drawn what it fetched


def main() -> int:
    """Take all pictures; the exit code."""
    console = Console(highlight=False)
    with demo._home() as home, demo._servers(console, kinds.named("")) as (source, target, _):
        demo.lay_dag(home, source)
        for name in OTHERS:
            shutil.copy(demo.DAG_FILE.with_name(f"{name}.py"), home / "dags")
        (home / "dags" / f"{IN_PARTS}.py").write_text(IN_PARTS_FILE, encoding="utf-8")
        settings = {"AIRFLOW_CONN_SHOP_DEBUGGING": target.url(demo.DATABASE)}
        with Standalone({**demo.airflow_settings(home, source, target), **settings}, home / "airflow.log") as airflow:
            run = _finished(airflow, "demo_subset", airflow.trigger("demo_subset"))
            with _browser() as browser:
                camera = _Camera(browser, airflow.address)
                camera.take_all(run)
                camera.take_parts(_finished(airflow, IN_PARTS, airflow.trigger(IN_PARTS)))
                camera.take_graph(run)
    return 0


def _finished(airflow: Standalone, dag_id: str, run_id: str) -> str:
    while (state := airflow.call(f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}")["state"]) in ("queued", "running"):
        time.sleep(1)
    if state != "success":
        raise SystemExit(f"{dag_id}: {state}")
    time.sleep(15)  # the DAG that follows it runs meanwhile
    return run_id


@contextmanager
def _browser() -> Iterator[Any]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with import_module("playwright.sync_api").sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*FLAGS])
        yield browser
        browser.close()


class _Camera:
    """A page of the UI, and what to photograph in it."""

    def __init__(self, browser: Any, address: str) -> None:
        self.page = browser.new_page(viewport={"width": 1500, "height": 900}, color_scheme="light")
        self.page.set_default_timeout(120_000)
        self.address = address

    def take_all(self, run: str) -> None:
        """Every picture of the demo's run that is not wider than a page."""
        at = _page_of("demo_subset", run)
        self._open_groups("demo_subset")
        self._shoot("grid", at, (1500, 960))
        self._go(f"{at}/tasks/shop.tables.order")
        self.page.get_by_text("SQL of public.order").click()
        self._shoot("log")
        self._shoot("rendered", f"{at}/tasks/shop.tables.order_line/rendered_templates")
        self._shoot("finish", f"{at}/tasks/shop.finish/details", (1500, 620))
        self._shoot("assets", "/assets", (1500, 620))
        self._shoot("report", f"/subset/report/demo_subset?run_id={quote(run)}&task_id=shop.finish", (1240, 1000))
        self._go("/dags/debug_a_customer")
        self.page.get_by_role("button", name="Trigger").first.click()
        self._shoot("form")

    def take_parts(self, run: str) -> None:
        """A table that several workers share."""
        self._open_groups(IN_PARTS)
        self._shoot("parts", f"{_page_of(IN_PARTS, run)}/tasks/{LARGE}.parts/mapped", (1500, 760))

    def _open_groups(self, dag_id: str) -> None:
        self._go("/")
        self.page.evaluate("([key, groups]) => localStorage.setItem(key, groups)", _kept(dag_id))

    def take_graph(self, run: str) -> None:
        """The last one: the UI shows graphs from then on."""
        self._go(_page_of("demo_subset", run), (3200, 860))
        self.page.get_by_role("button", name="Show Graph").click()
        self.page.get_by_role("button", name="Collapse Details Panel").click()
        self.page.wait_for_timeout(2 * SETTLED)
        self.page.locator(".react-flow__controls-fitview").click()
        self.page.add_style_tag(content=".react-flow__minimap, .react-flow__panel { display: none }")
        self.page.wait_for_timeout(SETTLED)
        whole = self.page.locator(".react-flow")
        _save(whole.screenshot(), IMAGES / "graph.png")
        # Up to `loaded`, at a size that can be read where a page is as wide as a text.
        left, last = whole.bounding_box(), self.page.locator(".react-flow__node", has_text="loaded").last.bounding_box()
        width = last["x"] + last["width"] + 10 - left["x"]
        _save(self.page.screenshot(clip={**left, "width": width}), IMAGES / "graph_tables.png")

    def _go(self, path: str, size: tuple[int, int] = (1500, 900)) -> None:
        self.page.set_viewport_size({"width": size[0], "height": size[1]})
        self.page.goto(self.address + path)
        self.page.wait_for_timeout(SETTLED)

    def _shoot(self, name: str, path: str = "", size: tuple[int, int] = (1500, 900)) -> None:
        if path:
            self._go(path, size)
        else:
            self.page.wait_for_timeout(SETTLED)
        _save(self.page.screenshot(), IMAGES / f"{name}.png")


def _page_of(dag_id: str, run: str) -> str:
    return f"/dags/{dag_id}/runs/{quote(run)}"


def _kept(dag_id: str) -> list[str]:
    """Key and value of what the UI remembers of a DAG."""
    return [f"{dag_id}/open-groups", json.dumps(GROUPS[dag_id])]


def _save(png: bytes, path: Path) -> None:
    """With a palette: a third of the bytes, and nobody sees it in a user interface."""
    image = import_module("PIL.Image").open(BytesIO(png)).convert("RGB")
    image.quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
