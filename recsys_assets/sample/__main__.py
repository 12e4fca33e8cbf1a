"""``python -m recsys_assets.sample --out DIR``: write a sample and print what is in it."""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

from recsys_assets.sample.config import SampleConfig
from recsys_assets.sample.generate import generate


def main() -> None:
    """Parse the arguments, generate, print the counts."""
    default = SampleConfig()
    parser = argparse.ArgumentParser(prog="python -m recsys_assets.sample", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory for the four files")
    parser.add_argument("--events", type=int, default=default.events)
    parser.add_argument("--days", type=int, default=default.days)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--start", type=date.fromisoformat, default=default.start, help="first day, YYYY-MM-DD")
    parser.add_argument("--compress", action="store_true", help="write .csv.gz")
    arguments = parser.parse_args()
    try:
        config = SampleConfig(arguments.events, arguments.days, arguments.seed, arguments.start)
    except ValueError as error:
        parser.error(str(error))
    shown = -1

    def progress(name: str, done: int, total: int) -> None:
        nonlocal shown
        percent = 10 * (10 * done // total)
        if percent != shown:
            shown = percent
            sys.stderr.write(f"{name}: {percent} %\n")

    counts = generate(config, arguments.out, progress, compress=arguments.compress)
    sys.stdout.writelines(f"{name}: {count:,}\n" for name, count in counts.items())


if __name__ == "__main__":
    main()
