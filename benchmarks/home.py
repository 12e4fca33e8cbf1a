"""Where a benchmark's Dagster keeps what it writes."""

from __future__ import annotations

from pathlib import Path

_PROJECTS = Path(__file__).resolve().parent.parent / "dagster.yaml"


def make_home(folder: Path) -> None:
    """Make a folder the home of an instance like that of ``make run``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dagster.yaml").write_text(_PROJECTS.read_text().replace(".dagster", str(folder / ".dagster")))
