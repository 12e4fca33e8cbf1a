"""What each generator gains: the backtests of the quality benchmark, one generator left out at a time.

    python -m benchmarks.generators [--only NAME] [--data FOLDER] [--work FOLDER]

The graph is built once per data set, with every generator. A generator is then left out of the stored candidates: its
columns go, every candidate goes that no other generator proposed, the product's own fusion computes the order again
with the weights of the day, and a ranker with default parameters is trained on the examples without it. So the weights
of the others are not searched again, and no ranker has parameters that were searched with all generators. Each data
set writes its section of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import dagster as dg

from benchmarks import quality_backtests, quality_temporal
from benchmarks.generators_left_out import ALL, SUSPECTS, TOGETHER, Built, K, Measures, measure
from benchmarks.quality import DATA
from benchmarks.report import table, write_section
from recsys_assets.automation.runs import InProcessRunner
from recsys_assets.cli.materialize import Materializer
from recsys_assets.cli.progress import Progress
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.retrieval.protocol import CandidateParams
from recsys_assets.definitions import build_definitions
from recsys_assets.jobs import examples_of
from recsys_assets.resources.naming import Names
from recsys_assets.settings import Settings
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.uri import open_store


@dataclass(frozen=True)
class Backtest:
    """A data set and its as-of days.

    Attributes:
        title: for people.
        folder: with its files; None where the generator makes them.
        graph: settings and data set of the graph, given the folder and one for work.
        days: the as-of days, given the settings and the newest day with events.
    """

    title: str
    folder: str | None
    graph: Callable[[Path | None, Path], tuple[Settings, Dataset]]
    days: Callable[[Settings, str], Sequence[str]]


def _cuts(mode: str, about: str) -> Backtest:
    def graph(data: Path | None, work: Path) -> tuple[Settings, Dataset]:
        if data is None:
            raise ValueError("the cut-offs of Online Retail need its files")
        return quality_temporal.graph_of(data, work, mode)

    title = f"Online Retail, three cut-offs, {about}"
    return Backtest(title, "online-retail", graph, lambda settings, newest: quality_temporal.AS_OF)


def _weeks(name: str, folder: str | None) -> Backtest:
    about, graph, days = quality_backtests.ABOUT[name], quality_backtests.graph_of, quality_backtests.days_of
    return Backtest(about, folder, partial(graph, name), partial(days, name))


BACKTESTS: Mapping[str, Backtest] = {
    "cuts_keep": _cuts("keep", "repeat purchases count"),
    "cuts_new": _cuts("new", "only new items count"),
    "movielens": _weeks("movielens", "ml-100k"),
    "sample": _weeks("sample", None),
    "online_retail": _weeks("online_retail", "online-retail"),
}


MAIN = {
    "fused ndcg": f"fused NDCG@{K}",
    "fused recall": f"fused recall@{K}",
    "ranker ndcg": f"ranker NDCG@{K}",
    "ranker recall": f"ranker recall@{K}",
    "all candidates": "recall of candidates",
}
PURPOSES = {
    "short fused ndcg": f"short histories: fused NDCG@{K}",
    "short ranker ndcg": f"ranker NDCG@{K}",
    "rare candidates": "rare items: recall of candidates",
    "rare ranker listed": f"in the ranker's first {K}",
    "new candidates": "new items: recall of candidates",
    "new fused listed": f"in the fused first {K}",
}
"""Metrics of the two tables, and their heads."""


def build(one: Backtest, data: Path | None, work: Path, windows: int, progress: Progress) -> Built:
    """Make the candidates of the as-of days where they are not there yet, and so many windows to learn rankers from."""
    settings, dataset = one.graph(data, work)
    settings = settings.model_copy(update={"generators": "all"})
    store = PartitionStore(open_store(settings.storage_uri))
    with Materializer(settings, dataset, progress, dg.DagsterInstance.get()) as materializer:
        days = list(one.days(settings, materializer.catch_up_history()))
        definitions = build_definitions(settings, dataset)
        runner = InProcessRunner(definitions, dg.DagsterInstance.get(), settings.storage_uri)
        selection = examples_of(Names.of(settings)) | dg.AssetSelection.assets("candidates")
        wanted = sorted(key.to_user_string() for key in selection.resolve(definitions.resolve_asset_graph()))
        back = [timedelta(days=settings.horizon_days * window) for window in reversed(range(windows + 1))]
        asked = [(date.fromisoformat(day) - ago).isoformat() for day in days for ago in back]
        for day in dict.fromkeys(asked):
            if day >= settings.first_day.isoformat() and day not in store.days("ranking_examples"):
                with progress.step(f"candidates as of {day}"):
                    runner.rebuild(day, wanted, {})
    return settings, dataset, days, windows


def describe(measures: Measures, built: Built) -> str:
    """The tables, and what they say."""
    settings, _, days, _ = built
    results = measures.results()
    suspects = [name for name in SUSPECTS if name in measures.active]
    variants = [ALL, *(name for name in BUILT_IN.names if name in measures.active), *([TOGETHER] * (len(suspects) > 1))]
    inactive = [name for name in BUILT_IN.names if name not in measures.active]
    divisors = {metric: divisor for (variant, metric), (_, divisor) in results.items() if variant == ALL}

    def cell(variant: str, metric: str) -> str:
        one = results[variant, metric][0]
        if variant == ALL:
            return f"{one.mean:.4f}"
        bold = "**" if one.low > 0 or one.high < 0 else ""
        return f"{bold}{one.mean:+.4f}{bold} [{one.low:+.4f}, {one.high:+.4f}]"

    def gains(columns: Mapping[str, str]) -> str:
        known = {metric: head for metric, head in columns.items() if metric in divisors}
        rows = [[variant, *(cell(variant, metric) for metric in known)] for variant in variants]
        return table(["generator", *known.values()], rows)

    rankers = "No ranker was trained."
    if measures.ranked_days:
        rankers = f"Rankers are of {measures.ranked_days} of the days, {divisors['ranker ndcg']:,.0f} lists."
    return f"""{len(days)} as-of days, {days[0]} to {days[-1]}; horizon {settings.horizon_days} days;
{divisors["fused ndcg"]:,.0f} lists. {rankers}
The row `{ALL}` has the level with all generators. Each row below it has the gain of a generator: the figure with all
less the figure with all but that one, paired by user, with the 95 % bootstrap interval over users; bold where it leaves
out 0.{f" `{TOGETHER}`: {', '.join(suspects)} left out at once." if len(suspects) > 1 else ""}
{f"Nothing to propose here: {', '.join(inactive)}." if inactive else ""}

{gains(MAIN)}

What a mean over all hides. Short histories: {divisors["short fused ndcg"]:,.0f} lists, the third of each day with the
fewest items. Of {divisors["all candidates"]:,.0f} targets, {divisors.get("rare candidates", 0):,.0f} are of rare items,
with at most {CandidateParams().new_item_users} user days in the popularity window, and
{divisors.get("new candidates", 0):,.0f} of new ones, which nobody touched in the activity window.

{gains(PURPOSES)}"""


def backtests(program: str, about: str | None) -> Iterator[tuple[str, Built, Progress]]:
    """Read the command line and build the backtests that it asks for: their names, and what was built."""
    parser = argparse.ArgumentParser(prog=program, description=about)
    parser.add_argument("--only", choices=BACKTESTS)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the data sets")
    parser.add_argument("--work", type=Path, help="keep here what was built, so that a second call only measures")
    parser.add_argument("--windows", type=int, default=2, help="that rankers learn from; 0: none")
    asked = parser.parse_args()
    progress = Progress()
    with tempfile.TemporaryDirectory(prefix="generators-") as scratch:
        for name in [asked.only] if asked.only else BACKTESTS:
            folder = BACKTESTS[name].folder
            data = asked.data / folder if folder else None
            if data is not None and not data.is_dir():
                progress.note(f"{name}: left out, {data} is not there")
                continue
            yield (
                name,
                build(BACKTESTS[name], data, (asked.work or Path(scratch)) / name, asked.windows, progress),
                progress,
            )


def main() -> None:
    """Measure the backtests asked for; each writes its section."""
    for name, built, progress in backtests("python -m benchmarks.generators", __doc__):
        write_section(
            f"generators-{name}",
            f"Gain of each generator: {BACKTESTS[name].title}",
            f"python -m benchmarks.generators --only {name} --windows {built[3]}",
            ("polars", "implicit", "catboost", "dagster"),
            describe(measure(name, built, progress), built),
        )


if __name__ == "__main__":
    main()
