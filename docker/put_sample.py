"""Put the sample into the landing zone, unless it has files already: a one-shot job of compose.yaml.

Reads the settings of the platform. The sample is that of the preset ``retailrocket``.
"""

import sys
import tempfile
from pathlib import Path

from recsys_assets.sample.config import SampleConfig
from recsys_assets.sample.generate import generate
from recsys_assets.settings import load_settings
from recsys_assets.storage.uri import open_store


def put_sample() -> str:
    """Returns what was done, for people."""
    settings, dataset = load_settings()
    landing = open_store(settings.landing_uri)
    if any(landing.list()):
        return f"{settings.landing_uri}: has files, and gets no sample"
    if dataset.name != "retailrocket":
        return f"{settings.landing_uri}: put files of {dataset.name!r} there; the sample is of 'retailrocket'"
    with tempfile.TemporaryDirectory() as folder:
        counts = generate(SampleConfig(), Path(folder), compress=True)
        for path in sorted(Path(folder).iterdir()):
            landing.put(path.name, path)
    return f"{settings.landing_uri}: the sample, {counts['events']:,} events"


if __name__ == "__main__":
    sys.stdout.write(f"{put_sample()}\n")
