"""Draw the pictures of ``docs/``: Dagster's and MLflow's pages over a small sample with every day built.

Needs Chromium, and Playwright only here::

    VIRTUAL_ENV=.venv uv run --no-project --with playwright docs/screenshot.py
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import dagster as dg
from playwright.sync_api import ViewportSize, sync_playwright

from recsys_assets.definitions import build_definitions
from recsys_assets.launch import Service, free_port, wait_until_ready
from recsys_assets.materialize import Materializer
from recsys_assets.progress import Progress
from recsys_assets.sample.generate import SampleConfig, generate
from recsys_assets.settings import load_settings

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs"
EXPERIMENTS = ROOT / "docs" / "experiments"
SAMPLE = SampleConfig(events=20_000, days=12, seed=3)
SETTINGS = {"horizon_days": 3, "factors": 16, "tuning_trials": 2, "min_evaluated_users": 5}
VIEW: ViewportSize = {"width": 1600, "height": 1250}
SCALE = 1.2
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
        port = free_port(0)
        command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port)]
        with Service("Dagster UI", command, f"http://127.0.0.1:{port}", home / "ui.log") as ui:
            wait_until_ready(ui, "/server_info")
            take(ui.url)
            take_asset(ui.url, "data_report", last)
            take_asset(ui.url, "model_comparison", last)
            take_asset(ui.url, "ranker_params", last)
        take_page((home / f"store/assets/backtest_report/dt={last}/report.html").as_uri(), "backtest_report", 1_150)
        port = free_port(0)
        os.environ["RECSYS_MLFLOW_PORT"] = str(port)
        command = [sys.executable, "-m", "recsys_assets.mlflow_ui"]
        with Service("MLflow", command, f"http://127.0.0.1:{port}", home / "mlflow.log") as mlflow:
            wait_until_ready(mlflow, "/health")
            take_page(f"{mlflow.url}/#/experiments/1/runs?compareRunsMode=CHART", "mlflow", 900)


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


def take(url: str) -> None:
    """Open the lineage with all groups expanded and write the picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=VIEW, device_scale_factor=SCALE, color_scheme="light")
        page.set_default_timeout(180_000)  # a page of a busy machine takes its time
        page.add_init_script("localStorage.setItem('dagster-nav-collapsed', 'true')")
        page.goto(f"{url}/asset-groups")
        page.get_by_text("serving", exact=True).last.wait_for()
        page.keyboard.press("Alt+e")
        page.wait_for_url("**expanded=**")
        # Loaded anew, the page does not keep the zoom that fitted the closed groups.
        page.reload()
        page.get_by_text("rejected_events").first.wait_for()
        page.locator("button:has([aria-label=panel_show_right])").last.click()
        page.wait_for_timeout(1_000)
        page.mouse.dblclick(VIEW["width"] * 0.7, VIEW["height"] * 0.85)  # on the ground between the nodes: fit
        page.wait_for_timeout(6_000)  # states arrive by and by
        page.screenshot(path=PICTURES / "lineage.png")
        browser.close()


def take_asset(url: str, asset: str, day: str) -> None:
    """Open a partition of an asset, small pictures and all, and write the picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1240, "height": 1190}, color_scheme="light")
        page.set_default_timeout(180_000)  # a page of a busy machine takes its time
        page.add_init_script("localStorage.setItem('dagster-nav-collapsed', 'true')")
        page.goto(f"{url}/assets/{asset}?view=partitions&partition={day}")
        page.get_by_text("[Show Markdown]").first.wait_for()
        skip = page.get_by_text("Skip", exact=True)  # an invitation that a new installation shows
        if skip.count():
            skip.click()
        page.wait_for_timeout(2_000)
        page.screenshot(path=PICTURES / f"{asset}.png")
        browser.close()


def take_page(url: str, name: str, height: int) -> None:
    """Open any page and write the picture of what one sees first."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1240, "height": height}, color_scheme="light")
        page.goto(url)
        page.wait_for_timeout(8_000)  # charts arrive by and by
        page.screenshot(path=PICTURES / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
