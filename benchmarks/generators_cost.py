"""What each generator costs at RetailRocket's size: the step that finds candidates, with one generator left out.

    python -m benchmarks.generators_cost [--work FOLDER] [--users SHARE]

The generator of sample data makes 60 days as busy as those of RetailRocket (1.2 million events), the longest window
that the retrieval of a day reads. The product builds the history and the candidates of the last day. Candidates are
then found again for a share of the users, drawn by a hash, as the product finds them: with every generator, and with
each one left out in turn. What an asset of a generator's own costs is told by Dagster's event log.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Collection
from dataclasses import replace
from datetime import date
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa

from benchmarks.generators_left_out import SUSPECTS, memory, params_of
from benchmarks.home import make_home
from benchmarks.quality_apart import Scan
from benchmarks.quality_backtests import scan_of
from benchmarks.report import table, write_section
from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.cli.materialize import Materializer
from recsys_assets.cli.progress import Progress
from recsys_assets.core.engine import Frame
from recsys_assets.core.generator_registry import PROPOSERS
from recsys_assets.core.ranking.split import held_out
from recsys_assets.core.retrieval.candidates import candidates, in_parts
from recsys_assets.core.retrieval.protocol import CandidateInputs, CandidateParams
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.partitions import daily
from recsys_assets.sample.config import REAL_EVENTS, SampleConfig
from recsys_assets.sample.generate import generate
from recsys_assets.settings import Settings, load_settings

REAL_DAYS, DAYS = 138, 60
ASSETS_OF = {
    "top_popular": ("popular", "trending", "category"),
    "covisited_items": ("covisit",),
    "covisited_targets": ("view_buy", "buy_buy"),
    "user_factors": ("factors",),
    "collaborative_scores": ("collaborative",),
    "collaborative_items": ("collaborative",),
    "sessions_items": ("sessions",),
}
"""Assets that these generators read; 'top_popular' also serves the API, factors and co-visits also similar items."""
OTHERS = ("item_features", "retrieval_params", "candidates")
REPEATS = 3


def main() -> None:
    """Build, measure, write the section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generators_cost", description=__doc__)
    parser.add_argument("--work", type=Path, help="keep here what was built, so that a second call only measures")
    parser.add_argument("--users", type=float, default=0.1, help="share of the users to find candidates for")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="generators-cost-") as scratch:
        text = run((asked.work or Path(scratch)) / "cost", asked.users)
    write_section(
        "generators-cost",
        "What each generator costs at RetailRocket's size",
        "python -m benchmarks.generators_cost",
        ("polars", "implicit", "dagster"),
        text,
    )


def run(work: Path, share: float) -> str:
    """Build what is not there yet, measure, and describe it."""
    landing = work / "landing"
    if not landing.exists():
        generate(SampleConfig(events=REAL_EVENTS * DAYS // REAL_DAYS, days=DAYS), landing)
    os.environ["DAGSTER_HOME"] = str(work)
    make_home(work)
    settings, dataset = load_settings(dataset="retailrocket", landing_uri=str(landing), storage_uri=str(work / "store"))
    with dg.DagsterInstance.get() as instance, Materializer(settings, dataset, Progress(), instance) as materializer:
        day = materializer.catch_up_history()
        if not (work / "store" / "assets" / "candidates" / f"dt={day}").exists():
            materializer.rebuild(day, [*ASSETS_OF, *OTHERS], {})
        steps = _steps(instance)
    graph = GraphBuilder(settings, dataset, daily(settings, dataset))
    scan, params = scan_of(settings, dataset, day), params_of(settings, day)
    inputs, users, everybody = _inputs(scan, settings, params, share)
    variants = {"all": (), **{name: (name,) for name in params.voices}, "suspects": SUSPECTS}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(REPEATS):  # in turn, so that what else the machine does meets all alike
        for name, left_out in variants.items():
            seconds[name].append(_find(graph, inputs, day, _without(params, left_out)))
    return describe(seconds, steps, users, everybody, day)


def _without(params: CandidateParams, names: Collection[str]) -> CandidateParams:
    return replace(params, voices={name: one for name, one in params.voices.items() if name not in names})


def _steps(instance: dg.DagsterInstance) -> dict[str, float]:
    """Seconds on the clock of the steps of the latest run."""
    run_id = instance.get_runs(limit=1)[0].run_id
    stats = instance.get_run_step_stats(run_id)
    return {one.step_key: one.end_time - one.start_time for one in stats if one.start_time and one.end_time}


def _inputs(scan: Scan, settings: Settings, params: CandidateParams, share: float) -> tuple[CandidateInputs, int, int]:
    """What candidates are found from, in memory, with the activity of a share of the active users only."""
    engine = PolarsEngine()
    activity = scan("user_activity", max(settings.activity_days, settings.active_days))
    active = scan("user_activity", settings.active_days).select("user_id").unique().sort("user_id")
    ids = active.collect(backend="polars").to_arrow()["user_id"]
    chosen = ids.filter(pa.array(held_out(ids.to_pylist(), share, 0)))
    some = engine.from_arrow(pa.table({"user_id": chosen}))

    def of_users(frame: Frame) -> Frame:
        return memory(frame.join(some, on="user_id", how="semi"))

    fitted = [name for name in PROPOSERS if name in params.voices]
    inputs = CandidateInputs(
        user_activity=of_users(activity),
        item_activity=memory(scan("item_activity", max(settings.popular_days, settings.trending_days))),
        user_factors=of_users(scan("user_factors", 1)),
        opinions=of_users(scan("collaborative_scores", 1)),
        proposed={name: of_users(scan(f"{name}_items", 1)) for name in fitted},
        item_features=memory(scan("item_features", 1)),
        top_popular=memory(scan("top_popular", 1)),
        covisited_items=memory(scan("covisited_items", 1)),
        covisited_targets=memory(scan("covisited_targets", 1)),
        item_factors=memory(scan("item_factors", 1)),
    )
    return inputs, len(chosen), len(ids)


def _find(graph: GraphBuilder, inputs: CandidateInputs, day: str, params: CandidateParams) -> float:
    """CPU seconds of finding the candidates of a day."""
    engine, as_of = PolarsEngine(), date.fromisoformat(day)
    began = time.process_time()
    for part in in_parts(engine, inputs, as_of, params):
        candidates(engine, part, as_of, graph.end(day), params).collect(backend="polars")
    return time.process_time() - began


def describe(seconds: dict[str, list[float]], steps: dict[str, float], users: int, everybody: int, day: str) -> str:
    """The tables."""
    whole = np.array(seconds["all"])
    rows = [["all", f"{np.median(whole):.2f}", "", ""]]
    for name, one in seconds.items():
        if name != "all":
            saved = whole - np.array(one)
            own = ", ".join(
                f"{asset} {steps[asset]:.1f}" for asset, of in ASSETS_OF.items() if name in of and asset in steps
            )
            rows.append([name, f"{np.median(saved):+.2f}", f"{np.median(saved) / np.median(whole):.1%}", own])
    return f"""{DAYS} days of RetailRocket's density, as of {day}; {users:,} of {everybody:,} active users; medians of
{REPEATS} repetitions in turn. The row `all` is what finding candidates takes with every generator, inputs in memory;
each row below it is what the step saves without the generator.

{table(["generator", "CPU s of the step", "share", "assets of its own, s on the clock, for everybody"], rows)}"""


if __name__ == "__main__":
    main()
