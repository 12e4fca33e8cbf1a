"""``recsys as-of DAY [DAY ...]``: makes as-of days of the past, oldest first, with the examples that each lacks.

For a backtest: the days that it is to look at, and then the job ``backtest`` for the last of them.
"""

from __future__ import annotations

import argparse
import sys

from recsys_assets.cli.home import enter_home
from recsys_assets.cli.progress import Progress
from recsys_assets.settings import load_settings
from recsys_assets.storage.lineage import check_day


def main(arguments: list[str] | None = None) -> int:
    """Entry point; 1 if a day, a setting or a run is at fault."""
    parser = argparse.ArgumentParser(prog="recsys as-of", description=__doc__)
    parser.add_argument("days", nargs="+", metavar="DAY", help="as YYYY-MM-DD")
    days: list[str] = parser.parse_args(arguments).days
    progress = Progress()
    try:
        days = [check_day(day) for day in days]
        settings, dataset = load_settings()
        # Not at the top: the graph is built when it is imported, and faults of settings are to be told in one line.
        from recsys_assets.automation.runs import MaterializeError
        from recsys_assets.cli.materialize import Materializer
    except (ValueError, OSError) as error:
        progress.note(f"failed: {error}")
        return 1
    enter_home(settings.storage_uri)
    try:
        with Materializer(settings, dataset, progress) as materializer:
            materializer.expect_files()
            materializer.build_as_of(days)
    except (MaterializeError, ValueError, OSError) as error:
        progress.note(f"failed: {error}")
        return 1
    except KeyboardInterrupt:
        progress.note("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
