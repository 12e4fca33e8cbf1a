"""The folder where Dagster keeps runs and history: one for each store.

History is by asset and day, and says nothing of the store that a day is in. On one instance for two data sets, days of
one would show under the assets of the other.
"""

from __future__ import annotations

import os
import re
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import yaml

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "DAGSTER_HOME"
_CONFIG = "dagster.yaml"


def enter_home(storage_uri: str) -> str:
    """Have this process and those that it starts use the instance of a store; its folder."""
    os.environ[VARIABLE] = str(dagster_home(ROOT, storage_uri))
    return os.environ[VARIABLE]


def dagster_home(root: Path, storage_uri: str) -> Path:
    """The home of a store's instance, made if it is not there: what DAGSTER_HOME says, else a folder for the store.

    Args:
        root: has the ``dagster.yaml`` of the project.
        storage_uri: of the store, as the settings have it.
    """
    if stated := os.environ.get(VARIABLE):
        return Path(stated)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", storage_uri.rstrip("/").rpartition("/")[2]) or "store"
    home = root / ".dagster" / f"{name}-{sha256(storage_uri.encode()).hexdigest()[:8]}"
    home.mkdir(parents=True, exist_ok=True)
    config = cast("dict[str, Any]", yaml.safe_load((root / _CONFIG).read_text("utf-8")))
    for part in config.values():
        places = part.get("config", {})
        if "base_dir" in places:
            places["base_dir"] = str(home / Path(places["base_dir"]).relative_to(".dagster"))
    text = yaml.safe_dump(config, sort_keys=False)
    if not (home / _CONFIG).is_file() or (home / _CONFIG).read_text("utf-8") != text:
        # Two first commands at once: each finds a whole file.
        with tempfile.NamedTemporaryFile("w", dir=home, prefix=".", delete=False, encoding="utf-8") as file:
            file.write(text)
        Path(file.name).replace(home / _CONFIG)
    return home
