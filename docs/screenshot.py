"""Draw the pictures of ``docs/``: Dagster's and MLflow's pages over a small sample with every day built.

Needs Chromium, and Playwright only here::

    VIRTUAL_ENV=.venv uv run --no-project --with playwright docs/screenshot.py
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import dagster as dg
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from recsys_assets.cli.materialize import Materializer
from recsys_assets.cli.progress import Progress
from recsys_assets.cli.services import Service, free_port, wait_until_ready
from recsys_assets.definitions import build_definitions
from recsys_assets.sample.generate import SampleConfig, generate
from recsys_assets.settings import load_settings

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs"
EXPERIMENTS = ROOT / "docs" / "experiments"
SAMPLE = SampleConfig(events=60_000, days=18, seed=3)
SETTINGS = {
    "horizon_days": 3,
    "factors": 16,
    "tuning_trials": 8,
    "tuning_every_days": SAMPLE.days - 1,  # the last day begins a period, and searches
    "min_evaluated_users": 5,
}
SCALE = 1.3
"""Pixels of the picture per pixel of the page."""


def main() -> None:
    """Build the sample in a temporary folder, show it, take the picture."""
    with tempfile.TemporaryDirectory(prefix="recsys-lineage-") as name:
        home = Path(name)
        for file in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(ROOT / file, home)
        stated = {
            **SETTINGS,
            "landing_uri": home / "landing",
            "storage_uri": home / "store",
            # The graph ends with the sample, so that nothing in it is missing.
            "end_date": SAMPLE.start + timedelta(days=SAMPLE.days),
        }
        os.chdir(home)
        os.environ.update({f"RECSYS_{key.upper()}": str(value) for key, value in stated.items()}, DAGSTER_HOME=name)
        build(home)
        last = (SAMPLE.start + timedelta(days=SAMPLE.days - 1)).isoformat()
        experiment(home, last)
        draw(home, last)


def draw(home: Path, day: str) -> None:
    """Start the servers and write the pictures."""
    with browser() as page:
        port = free_port(0)
        command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port)]
        with Service("Dagster UI", command, f"http://127.0.0.1:{port}", home / "ui.log") as ui:
            wait_until_ready(ui, "/server_info")
            take_lineage(page, ui.url)
            take_asset(page, ui.url, "data_report", day, 1_160)
            take_asset(page, ui.url, "model_comparison", day, 1_000, "comparison")
            take_asset(page, ui.url, "ranker_params", day, 1_000, "search")
        take_report(page, home / f"store/assets/backtest_report/dt={day}/report.html", 1_455)
        port = free_port(0)
        os.environ["RECSYS_MLFLOW_PORT"] = str(port)
        command = [sys.executable, "-m", "recsys_assets.cli.mlflow_ui"]
        with Service("MLflow", command, f"http://127.0.0.1:{port}", home / "mlflow.log") as mlflow:
            wait_until_ready(mlflow, "/ajax-api/2.0/mlflow/experiments/search?max_results=1")
            take_mlflow(page, mlflow.url)


def build(home: Path) -> None:
    """Materialize every day of the sample, oldest first."""
    generate(SAMPLE, home / "landing")
    with Materializer(*load_settings(), Progress()) as materializer:
        materializer.catch_up_history()
        materializer.refresh((SAMPLE.start + timedelta(days=n)).isoformat() for n in range(SAMPLE.days))


def experiment(home: Path, day: str) -> None:
    """Train the experiments of the documentation, put them side by side, and report on all days."""
    shutil.copytree(EXPERIMENTS, home / "landing" / "experiments")
    graph = build_definitions(*load_settings())
    names = sorted(file.stem for file in EXPERIMENTS.glob("*.yaml"))
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("experiments", names)
        keys = [*(("train_experiment", name) for name in names), ("validate_experiments", day), ("backtest", day)]
        for job, key in keys:
            graph.resolve_job_def(job).execute_in_process(instance=instance, partition_key=key)


def take_lineage(page: Page, url: str) -> None:
    """The lineage with all groups expanded, from above to below: the other way it is too tall to be seen at once."""
    page.set_viewport_size({"width": 2000, "height": 1010})
    page.add_init_script("""localStorage.setItem('asset-graph-direction', '"vertical"')""")
    page.goto(f"{url}/asset-groups")
    page.get_by_text("serving", exact=True).last.wait_for()
    page.keyboard.press("Alt+e")
    page.wait_for_url("**expanded=**")
    # Loaded anew, the page does not keep the zoom that fitted the closed groups.
    page.reload()
    page.locator("foreignObject").first.wait_for()
    page.locator("button:has([aria-label=panel_show_right])").last.click()
    page.wait_for_timeout(2_000)
    page.mouse.dblclick(1_000, 980)  # on the ground below the nodes: fit
    page.wait_for_timeout(6_000)  # states arrive by and by
    # The controls lie above nodes; they are the only ones in a column at the right edge.
    page.evaluate(
        """() => {
            for (const one of document.querySelectorAll("button, input[type=range], [class*=slider i]")) {
                const at = one.getBoundingClientRect()
                if (at.left > innerWidth - 70 && at.top > 200) one.closest("div").style.visibility = "hidden"
            }
        }"""
    )
    save(page, "lineage")


def take_asset(page: Page, url: str, asset: str, day: str, height: int, link: str | None = None) -> None:
    """A partition of an asset or, with the name of an entry of its metadata, the picture behind the link there."""
    page.set_viewport_size({"width": 1240, "height": height})
    page.goto(f"{url}/assets/{asset}?view=partitions&partition={day}")
    page.get_by_text("[Show Markdown]").first.wait_for()
    skip = page.get_by_text("Skip", exact=True)  # an invitation that a new installation shows
    if skip.count():
        skip.click()
    page.wait_for_timeout(5_000)  # until nothing is loading
    if link is not None:
        page.locator("tr", has=page.get_by_text(link, exact=True)).get_by_text("[Show Markdown]").click()
        page.wait_for_timeout(2_000)
    # Addresses as they are by default, relative; where this folder was is nobody's business.
    page.evaluate(
        """folder => {
            const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
            while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(folder, "")
        }""",
        f"{Path.cwd()}/",
    )
    save(page, asset)


def take_report(page: Page, path: Path, height: int) -> None:
    """The first cards of the page that ``backtest`` makes."""
    page.set_viewport_size({"width": 1240, "height": height})
    page.goto(path.as_uri())
    save(page, "backtest_report")


def take_mlflow(page: Page, url: str) -> None:
    """The runs of the experiments, compared."""
    page.set_viewport_size({"width": 1400, "height": 1000})
    answer = page.request.post(f"{url}/ajax-api/2.0/mlflow/runs/search", data={"experiment_ids": ["1"]})
    runs = [run["info"] for run in answer.json()["runs"] if run["info"]["run_name"].startswith("experiment ")]
    ids = json.dumps(sorted(run["run_id"] for run in runs))
    page.goto(f"{url}/#/compare-runs?runs={ids}&experiments=[%221%22]")
    page.get_by_label("Close").click()  # an assistant that opens by itself
    page.get_by_label("Toggle sidebar").click()
    page.get_by_label("Metrics - Show diff only").click()
    for part in ("Visualizations", "Parameters"):  # with two runs, the figures say more
        page.get_by_text(part, exact=True).click()
    page.mouse.move(700, 30)
    page.mouse.wheel(0, -10_000)
    page.wait_for_timeout(3_000)
    save(page, "mlflow", 866)  # between two rows


def save(page: Page, name: str, height: int | None = None) -> None:
    """Write the picture, or so much of it, with a palette: a third of the size, and nobody sees the difference."""
    whole = page.viewport_size or {"width": 0, "height": 0}
    shown = page.screenshot(clip={"x": 0, "y": 0, "width": whole["width"], "height": height or whole["height"]})
    with Image.open(BytesIO(shown)) as picture:
        picture.convert("RGB").quantize(256).save(PICTURES / f"{name}.png", optimize=True)


@contextmanager
def browser() -> Generator[Page]:
    """An empty page."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = chromium.new_page(device_scale_factor=SCALE, color_scheme="light")
        page.set_default_timeout(180_000)  # a page of a busy machine takes its time
        page.add_init_script("localStorage.setItem('dagster-nav-collapsed', 'true')")
        yield page
        chromium.close()


if __name__ == "__main__":
    main()
