"""Where a benchmark's Dagster keeps what it writes, and ``make run`` on folders of a benchmark."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from recsys_assets.cli.services import Service, free_port

_UP = "new files in"
"""What `make run` says when it has built everything and waits."""
_PROJECTS = Path(__file__).resolve().parent.parent / "dagster.yaml"


def make_home(folder: Path) -> None:
    """Make a folder the home of an instance like that of ``make run``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dagster.yaml").write_text(_PROJECTS.read_text().replace(".dagster", str(folder / ".dagster")))


@contextmanager
def make_run(folder: Path, dataset: str, **stated: str) -> Generator[Service]:
    """``make run``, from when it has built everything and waits for new files; its address is that of the API.

    Args:
        folder: holds the landing zone; gets the store, the home of Dagster and ``run.log``.
        dataset: preset, or path of a ``dataset.toml``.
        stated: further variables.

    Raises:
        RuntimeError: it ended before that.
    """
    make_home(folder / "home")
    port, log = free_port(0), folder / "run.log"
    environment = {
        "DAGSTER_HOME": str(folder / "home"),
        "RECSYS_DATASET": dataset,
        "RECSYS_LANDING_URI": str(folder / "landing"),
        "RECSYS_STORAGE_URI": str(folder / "store"),
        "RECSYS_MLFLOW_TRACKING_URI": "off",
        "RECSYS_API_PORT": str(port),
        "RECSYS_UI_PORT": str(free_port(0)),
        "PYTHONUNBUFFERED": "1",
        **stated,
    }
    command = [sys.executable, "-m", "recsys_assets.cli", "run"]
    with Service("make run", command, f"http://127.0.0.1:{port}", log, environment) as service:
        while _UP not in log.read_text():
            if service.exit_code is not None:
                raise RuntimeError(f"make run ended with code {service.exit_code}: {log.read_text()[-2_000:]}")
            time.sleep(1)
        yield service
