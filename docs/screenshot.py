"""Draw ``docs/lineage.png`` and ``docs/data_report.png``: the Dagster UI over a small sample with every day built.

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

from playwright.sync_api import ViewportSize, sync_playwright

from recsys_assets.launch import Service, free_port, wait_until_ready
from recsys_assets.materialize import Materializer
from recsys_assets.progress import Progress
from recsys_assets.sample.generate import SampleConfig, generate
from recsys_assets.settings import load_settings

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "lineage.png"
REPORT = ROOT / "docs" / "data_report.png"
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
        port = free_port(0)
        command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port)]
        with Service("Dagster UI", command, f"http://127.0.0.1:{port}", home / "ui.log") as ui:
            wait_until_ready(ui, "/server_info")
            take(ui.url)
            take_report(ui.url, (SAMPLE.start + timedelta(days=SAMPLE.days - 1)).isoformat())


def build(home: Path) -> None:
    """Materialize every day of the sample, oldest first."""
    generate(SAMPLE, home / "landing")
    with Materializer(*load_settings(), Progress()) as materializer:
        materializer.catch_up_history()
        materializer.refresh((SAMPLE.start + timedelta(days=n)).isoformat() for n in range(SAMPLE.days))


def take(url: str) -> None:
    """Open the lineage with all groups expanded and write the picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=VIEW, device_scale_factor=SCALE, color_scheme="light")
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
        page.screenshot(path=PICTURE)
        browser.close()


def take_report(url: str, day: str) -> None:
    """Open the report of a day, small pictures and all, and write the picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1240, "height": 1190}, color_scheme="light")
        page.add_init_script("localStorage.setItem('dagster-nav-collapsed', 'true')")
        page.goto(f"{url}/assets/data_report?view=partitions&partition={day}")
        page.get_by_text("[Show Markdown]").first.wait_for()
        skip = page.get_by_text("Skip", exact=True)  # an invitation that a new installation shows
        if skip.count():
            skip.click()
        page.wait_for_timeout(2_000)
        page.screenshot(path=REPORT)
        browser.close()


if __name__ == "__main__":
    main()
