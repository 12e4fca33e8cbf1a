"""Write ``dashboards/*.json`` for Grafana to provision: ``python docker/grafana/write_dashboards.py``."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from boards.pipeline import pipeline
from boards.serving import serving

FOLDER = Path(__file__).resolve().parent / "dashboards"


def built() -> dict[str, Dashboard]:
    """The dashboards by the names of their files."""
    return {"serving.json": serving(), "pipeline.json": pipeline()}


def encoded(dashboard: Dashboard) -> str:
    """The JSON of a dashboard, as it is committed."""
    return json.dumps(dashboard, cls=JSONEncoder, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, dashboard in built().items():
        (FOLDER / name).write_text(encoded(dashboard), "utf-8")
