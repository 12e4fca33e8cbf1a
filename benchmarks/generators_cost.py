"""What each generator costs in the step that finds candidates: with every generator, and with each one left out.

    python -m benchmarks.generators_cost [--events N] [--work FOLDER] [--users SHARE]

The generator of sample data makes 60 days, the longest window that the retrieval of a day reads: with 1.2 million
events, the default, they are as busy as those of RetailRocket. The product builds the history and the candidates of a
day. Candidates are then found again for a share of the users, drawn by a hash, as the product finds them. What the
assets of a generator's own cost at RetailRocket's size is in the section of benchmarks.retailrocket.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import dagster as dg
import narwhals as nw
import numpy as np
import pyarrow as pa

from benchmarks.generators_left_out import ALL, SUSPECTS, TOGETHER, memory, params_of
from benchmarks.home import make_home
from benchmarks.quality_apart import Scan, cf_ensemble_of, session_inputs
from benchmarks.quality_backtests import scan_of
from benchmarks.report import table, write_section
from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.candidates import history_days
from recsys_assets.automation.runs import InProcessRunner
from recsys_assets.cli.materialize import Materializer
from recsys_assets.cli.progress import Progress
from recsys_assets.core.engine import Frame
from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.ranking.split import held_out
from recsys_assets.core.retrieval.candidates import candidates, split_inputs
from recsys_assets.core.retrieval.protocol import CandidateInputs, CandidateParams, active_users
from recsys_assets.definitions import build_definitions
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.jobs import examples_of
from recsys_assets.partitions import daily
from recsys_assets.resources.naming import Names
from recsys_assets.sample.config import REAL_EVENTS, SampleConfig
from recsys_assets.sample.generate import generate
from recsys_assets.settings import load_settings
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.uri import open_store

REAL_DAYS, DAYS = 138, 60
SIZE = REAL_EVENTS * DAYS // REAL_DAYS
REPEATS = 3


def main() -> None:
    """Build, measure, write the section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generators_cost", description=__doc__)
    parser.add_argument("--events", type=int, default=SIZE, help="of the 60 days")
    parser.add_argument("--work", type=Path, help="keep here what was built, so that a second call only measures")
    parser.add_argument("--users", type=float, default=0.1, help="share of the users to find candidates for")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="generators-cost-") as scratch:
        text = run((asked.work or Path(scratch)) / "cost", asked.events, asked.users)
    write_section(
        "generators-cost",
        "What each generator costs in the step that finds candidates",
        f"python -m benchmarks.generators_cost --events {asked.events} --users {asked.users:g}",
        ("polars", "dagster"),
        text,
    )


def run(work: Path, events: int, share: float) -> str:
    """Build what is not there yet, measure, and describe it."""
    landing = work / "landing"
    if not landing.exists():
        generate(SampleConfig(events=events, days=DAYS), landing)
    os.environ["DAGSTER_HOME"] = str(work)
    make_home(work)
    settings, dataset = load_settings(
        dataset="retailrocket", landing_uri=str(landing), storage_uri=str(work / "store"), generators="all"
    )
    with Materializer(settings, dataset, Progress(), dg.DagsterInstance.get()) as materializer:
        newest = materializer.catch_up_history()
        stored = PartitionStore(open_store(settings.storage_uri)).days("candidates")
        if not stored:
            definitions = build_definitions(settings, dataset)
            selection = examples_of(Names.of(settings)) | dg.AssetSelection.assets("candidates")
            wanted = sorted(key.to_user_string() for key in selection.resolve(definitions.resolve_asset_graph()))
            InProcessRunner(definitions, dg.DagsterInstance.get(), settings.storage_uri).rebuild(newest, wanted, {})
    day = max(stored, default=newest)
    graph = GraphBuilder(settings, dataset, daily(settings, dataset), BUILT_IN)
    scan, params = scan_of(settings, dataset, day), params_of(settings, day)
    inputs, users, everybody = _inputs(scan, graph, params, day, share)
    variants = {ALL: (), **{name: (name,) for name in BUILT_IN.names if name in params.quotas}, TOGETHER: SUSPECTS}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    _find(graph, inputs, day, params)  # what is loaded once is no generator's
    for _ in range(REPEATS):  # in turn, so that what else the machine does meets all alike
        for name, left_out in variants.items():
            seconds[name].append(_find(graph, inputs, day, _without(params, left_out)))
    size = (
        f"{DAYS} days with {events:,} events ({events / SIZE:.0%} of RetailRocket's density), as of {day}; candidates"
    )
    return f"{size}\nfor {users:,} of {everybody:,} active users.\n{describe(seconds)}"


def _without(params: CandidateParams, names: Collection[str]) -> CandidateParams:
    return replace(params, quotas={name: one for name, one in params.quotas.items() if name not in names})


def _inputs(
    scan: Scan, graph: GraphBuilder, params: CandidateParams, day: str, share: float
) -> tuple[CandidateInputs, int, int]:
    """What candidates are found from, in memory, with the activity of a share of the active users only."""
    engine, settings = PolarsEngine(), graph.settings
    activity = scan("user_activity", history_days(params))
    active = scan("user_activity", settings.active_days).select("user_id").unique().sort("user_id")
    ids = active.collect(backend="polars").to_arrow()["user_id"]
    chosen = ids.filter(pa.array(held_out(ids.to_pylist(), share, 0)))
    some = engine.from_arrow(pa.table({"user_id": chosen}))

    def of_users(frame: Frame) -> Frame:
        return memory(frame.join(some, on="user_id", how="semi"))

    clicks, session_model = session_inputs(scan, settings)
    inputs = CandidateInputs(
        clicks=of_users(clicks.filter(~nw.col("user_id").is_null())),
        session_model=session_model,
        user_activity=of_users(activity),
        item_activity=memory(scan("item_activity", max(settings.popular_days, settings.trending_days))),
        cf_ensemble=cf_ensemble_of(scan, graph, params, day),
        item_features=memory(scan("item_features", 1)),
        top_popular=memory(scan("top_popular", 1)),
        covisited_items=memory(scan("covisited_items", 1)),
        item_factors=memory(scan("item_factors", 1)),
    )
    return inputs, len(chosen), len(ids)


def _find(graph: GraphBuilder, inputs: CandidateInputs, day: str, params: CandidateParams) -> float:
    """CPU seconds of finding the candidates of a day."""
    engine, as_of = PolarsEngine(), date.fromisoformat(day)
    began = time.process_time()
    for part, _ in split_inputs(engine, inputs, active_users(inputs.user_activity, as_of, params)):
        candidates(engine, part, as_of, graph.end(day), params, BUILT_IN).collect(backend="polars")
    return time.process_time() - began


def describe(seconds: Mapping[str, list[float]]) -> str:
    """The table."""
    whole = np.array(seconds[ALL])
    rows = [[ALL, f"{np.median(whole):.2f}", ""]]
    for name, one in seconds.items():
        if name != ALL:
            saved = whole - np.array(one)
            spread = f"{np.median(saved):+.2f} ({saved.min():+.2f} to {saved.max():+.2f})"
            rows.append([name, spread, f"{np.median(saved) / np.median(whole):+.0%}"])
    return f"""The row `{ALL}` is what finding them takes with every generator, inputs in memory; each row below it
is what the step saves without the generator: median, least and most of {REPEATS} repetitions in turn.

{table(["generator", "CPU s", "share of the step"], rows)}"""


if __name__ == "__main__":
    main()
