"""Quality of the recommendations of the platform's own generators and ranker on several data sets.

    python -m benchmarks.quality [--only NAME] [--work FOLDER]

Each set writes its section of docs/benchmarks.md; the last lines printed have one figure per split, system and
metric. Real data are read from ../shared/data beside the checkout; a missing set is skipped with a note. Everything is
selected on training data only.
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
    """The evaluation on one data set.

    Attributes:
        data: its folder; None if the data are generated.
        run: evaluates; takes the folder, a working folder and the progress to report to.
    """

    data: Path | None
    run: Callable[..., list[Line]]


SETS: Mapping[str, Quality] = {
    "gowalla": Quality(DATA / "gowalla", quality_gowalla.run),
    "online_retail_cuts": Quality(DATA / "online-retail", quality_temporal.run),
    "sample": Quality(None, partial(quality_backtests.run, "sample")),
    "online_retail": Quality(DATA / "online-retail", partial(quality_backtests.run, "online_retail")),
    "movielens": Quality(DATA / "ml-100k", partial(quality_backtests.run, "movielens")),
    **{name: Quality(DATA / name, partial(quality_sessions.run, name)) for name in quality_sessions.TITLES},
}


def main() -> None:
    """Evaluate on the selected data sets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--only", choices=SETS)
    parser.add_argument("--work", type=Path, help="keep the built assets here, so that a second call only evaluates")
    arguments = parser.parse_args()
    progress, lines = Progress(), list[Line]()
    with tempfile.TemporaryDirectory(prefix="quality-") as scratch:
        for name in [arguments.only] if arguments.only else SETS:
            quality = SETS[name]
            if quality.data is not None and not quality.data.is_dir():
                progress.note(f"{name}: left out, {quality.data} is missing")
                continue
            lines += quality.run(quality.data, (arguments.work or Path(scratch)) / name, progress)
    print("\n".join(map(str, lines)))


if __name__ == "__main__":
    main()
