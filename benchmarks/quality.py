"""How good the recommendations are, on several data sets, by the platform's own generators and ranker.

    python -m benchmarks.quality [--only NAME] [--work FOLDER]

Each set writes its section of docs/benchmarks.md; the last lines printed give one figure per split, system and metric.
Real data is read from ../shared/data beside the checkout; a set that is not there is left out and said so. Whatever is
chosen is chosen on training data alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import quality_backtests, quality_gowalla, quality_sessions, quality_temporal
from benchmarks.report import Line
from recsys_assets.cli.progress import Progress

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Quality:
    """One data set to be judged on.

    Attributes:
        data: its folder; None where the generator makes it.
        run: judges, given the folder, a folder for work and where progress is told.
    """

    data: Path | None
    run: Callable[..., list[Line]]


SETS: Mapping[str, Quality] = {
    "gowalla": Quality(DATA / "gowalla", quality_gowalla.run),
    "online_retail_cuts": Quality(DATA / "online-retail", quality_temporal.run),
    "sample": Quality(None, partial(quality_backtests.run, "sample")),
    "online_retail": Quality(DATA / "online-retail", partial(quality_backtests.run, "online_retail")),
    "movielens": Quality(DATA / "ml-100k", partial(quality_backtests.run, "movielens")),
    "diginetica": Quality(DATA / "diginetica", quality_sessions.run),
}


def main() -> None:
    """Judge on the sets asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--only", choices=SETS)
    parser.add_argument("--work", type=Path, help="keep here what was built, so that a second call only judges")
    asked = parser.parse_args()
    progress, lines = Progress(), list[Line]()
    with tempfile.TemporaryDirectory(prefix="quality-") as scratch:
        for name in [asked.only] if asked.only else SETS:
            one = SETS[name]
            if one.data is not None and not one.data.is_dir():
                progress.note(f"{name}: left out, {one.data} is not there")
                continue
            lines += one.run(one.data, (asked.work or Path(scratch)) / name, progress)
    print("\n".join(map(str, lines)))


if __name__ == "__main__":
    main()
