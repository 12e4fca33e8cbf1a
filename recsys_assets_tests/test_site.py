"""The documentation builds as a site without a warning, and its pages fetch nothing from other hosts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))
FETCHED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]+)\"|<link\b[^>]*\bhref=\"([^\"]+)\"")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_every_document_is_a_page_that_the_search_finds(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    assert {entry["location"].partition(".html")[0] for entry in index["docs"]} == set(PAGES)


def test_pages_fetch_nothing_from_other_hosts(site: Path) -> None:
    pages = list(site.glob("*.html"))
    assert len(pages) > len(PAGES), "and the page for what is not there"
    for page in pages:
        fetched = [one or other for one, other in FETCHED.findall(page.read_text())]
        assert fetched, page.name
        assert [address for address in fetched if re.match(r"(https?:)?//", address)] == [], page.name


def test_diagrams_are_drawn(site: Path) -> None:
    page = (site / "architecture.html").read_text()
    assert "<svg" in page.split("Dagster asset graph: each asset")[0]
    assert '<pre class="mermaid">' not in page
