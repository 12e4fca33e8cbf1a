"""``python -m recsys_assets.sample --out DIR``: write a sample and print what is in it.

With ``--regime NAME`` it is a small data set of another kind of demand, such as news, and its ``dataset.toml``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from recsys_assets.sample.config import SampleConfig
from recsys_assets.sample.generate import generate
from recsys_assets.sample.regimes.write import NAMES, write_regime


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
    parser.add_argument("--regime", choices=NAMES, help="a small data set of that kind; only --seed applies to it")
    arguments = parser.parse_args()
    if arguments.regime:
        stated = [
            name
            for name in ("events", "days", "start", "compress")
            if getattr(arguments, name) != parser.get_default(name)
        ]
        if stated:
            parser.error(f"--regime has its own size: leave out {', '.join(f'--{name}' for name in stated)}")
        _tell(write_regime(arguments.regime, arguments.out, arguments.seed))
        return
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

    _tell(generate(config, arguments.out, progress, compress=arguments.compress))


def _tell(counts: Mapping[str, int]) -> None:
    sys.stdout.writelines(f"{name}: {count:,}\n" for name, count in counts.items())


if __name__ == "__main__":
    main()
