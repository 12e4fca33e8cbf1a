"""Purchases of a gift shop, three cut-offs: what do customers buy in the four weeks after, repeats counted or not.

The whole graph runs as of the day before each cut-off, once with a data set whose customers may be recommended what
they bought before (``keep``) and once without (``new``). ../shared/tools/evaluate.py scores the released lists of all
customers with a purchase before the cut-off; customers without a list score 0. The two-stage model of RecTools is run
on the same purchases, so that the released lists are judged against it in pairs.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import polars as pl

from benchmarks.home import make_home
from benchmarks.quality_rectools import two_stage
from benchmarks.report import Line, table, write_section
from recsys_assets.cli.materialize import Materializer
from recsys_assets.cli.progress import Progress
from recsys_assets.core.dataset import Dataset
from recsys_assets.settings import Settings, load_settings
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.uri import open_store

CUTS = (date(2011, 9, 1), date(2011, 10, 1), date(2011, 11, 1))
AS_OF = tuple((cut - timedelta(days=1)).isoformat() for cut in CUTS)
DAYS, K, HALF_LIFE, YEAR = 28, 10, 180, 365
REFERENCES: Mapping[str, Mapping[str, tuple[float, float, float]]] = {
    "keep": {
        "repeat purchase": (0.359, 0.315, 0.331),
        "RecTools two-stage, measured elsewhere": (0.356, 0.314, 0.353),
        "ALS (implicit)": (0.309, 0.268, 0.311),
    },
    "new": {
        "RecTools two-stage, measured elsewhere": (0.100, 0.100, 0.126),
        "EASE": (0.094, 0.097, 0.103),
        "ALS": (0.094, 0.093, 0.100),
    },
}
"""NDCG at 10 of others at the three cut-offs, as measured with the same evaluator on the same files."""


def run(data: Path, work: Path, progress: Progress) -> list[Line]:
    """Run the graph in both modes, evaluate its lists, write the section."""
    evaluator = _evaluator(data.parents[1] / "tools")
    purchases = pl.read_parquet(next(data.glob("*.parquet"))).filter(pl.col("qty") > 0)
    purchases = purchases.select(user_id="user", item_id="item", ts="ts")
    lines, parts = list[Line](), list[str]()
    for mode in ("keep", "new"):
        lists = _lists(data, work / mode, mode, progress)
        peers = {cut: _two_stage(work / mode, purchases, cut, mode, progress) for cut in CUTS}
        found = [_score(evaluator, purchases, lists[cut], cut, mode, peers[cut]) for cut in CUTS]
        peer = [_score(evaluator, purchases, peers[cut], cut, mode) for cut in CUTS]
        lines += [
            Line(f"online_retail-{mode}-{cut:%m-%d}", system, {"recall@10": one["recall"], "ndcg@10": one["ndcg"]})
            for system, scores in (("released", found), ("rectools_two_stage", peer))
            for cut, one in zip(CUTS, scores, strict=True)
        ]
        rows = [[name, *(f"{value:.3f}" for value in values)] for name, values in REFERENCES[mode].items()]
        rows.append(["RecTools two-stage, run here", *map(_ndcg, peer)])
        rows.append(["released lists", *map(_ndcg, found)])
        rows.append(["released lists, recall", *(f"{one['recall']:.3f}" for one in found)])
        rows.append(["released lists, over RecTools two-stage as run here, paired", *map(_gain, found)])
        if mode == "keep":
            repeated = [
                _score(evaluator, purchases, lists[cut], cut, mode, _repeated(_before(purchases, cut), cut))
                for cut in CUTS
            ]
            rows.append(["released lists, over repeat purchase as below, paired", *map(_gain, repeated)])
        parts.append(f"`{mode}`:\n\n{table(['NDCG@10', *(f'{cut:%Y-%m-%d}' for cut in CUTS)], rows)}")
    about = (
        "Repeat purchase of the paired row orders items by the days on which a customer bought them, each weighed by a "
        f"half-life of {HALF_LIFE} days, and of equals the one first that customers bought on more days of the last "
        f"{YEAR}, without which it loses .02. RecTools' two-stage model is run here by its own classes, with "
        "purchases weighed by age and features of recency (`benchmarks/quality_rectools.py`); no parameter of it was "
        "chosen by targets. Other rows of others were measured elsewhere, so that they cannot be paired. "
        f"Targets are the distinct items of the {DAYS} days from the cut-off on; customers with a purchase before it. "
        "In `new`, items bought before are neither targets nor listed. No parameter was fitted to a target; but that "
        "rankers lean on the fused order, and that 'repeat' weighs 20 in the fusion (best of ten weights on windows "
        "before the first cut-off and on generated data), was decided when test figures of other ways were known."
    )
    write_section(
        "quality-temporal",
        "Quality: Online Retail, three cut-offs",
        "python -m benchmarks.quality --only online_retail_cuts",
        ("polars", "implicit", "catboost", "optuna", "dagster"),
        "\n\n".join([about, *parts]),
    )
    return lines


def graph_of(data: Path, work: Path, mode: str) -> tuple[Settings, Dataset]:
    """Settings and data set of the graph of a mode."""
    work.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(work)
    make_home(work)
    preset = (files("recsys_assets") / "presets" / "online_retail.toml").read_text()
    described = work / "dataset.toml"
    described.write_text(preset.replace("repeats = true", f"repeats = {str(mode == 'keep').lower()}"))
    everybody = (CUTS[-1] - date(2009, 12, 1)).days
    return load_settings(
        dataset=str(described),
        landing_uri=str(data),
        storage_uri=str(work / "store"),
        active_days=everybody,
        activity_days=everybody,
    )


def _lists(data: Path, work: Path, mode: str, progress: Progress) -> dict[date, pl.DataFrame]:
    """The released recommendations as of the day before each cut-off."""
    settings, dataset = graph_of(data, work, mode)
    store = PartitionStore(open_store(settings.storage_uri))
    with Materializer(settings, dataset, progress, dg.DagsterInstance.get()) as materializer:
        materializer.catch_up_history()
        for day in AS_OF:
            if day not in store.days("recommendations"):
                materializer.build_training_windows(day)
                materializer.refresh([day])
    return {
        cut: pl.read_parquet([uri for _, uri in store.uris("recommendations", [day])])
        for cut, day in zip(CUTS, AS_OF, strict=True)
    }


def _two_stage(work: Path, purchases: pl.DataFrame, cut: date, mode: str, progress: Progress) -> pl.DataFrame:
    """The lists of RecTools; they are kept beside the built assets."""
    kept = work / f"two_stage-{cut}.parquet"
    if not kept.exists():
        work.mkdir(parents=True, exist_ok=True)
        with progress.step(f"{mode}: RecTools two-stage, {cut}"):
            two_stage(_before(purchases, cut), cut, DAYS, mode == "keep").write_parquet(kept)
    return pl.read_parquet(kept)


def _before(purchases: pl.DataFrame, cut: date) -> pl.DataFrame:
    return purchases.filter(pl.col("ts") < cut)


def _score(
    evaluator: ModuleType,
    purchases: pl.DataFrame,
    lists: pl.DataFrame,
    cut: date,
    mode: str,
    against: pl.DataFrame | None = None,
) -> dict[str, Any]:
    test = purchases.filter(pl.col("ts").is_between(cut, cut + timedelta(days=DAYS), closed="left"))
    found: dict[str, Any] = evaluator.Split(_before(purchases, cut), test, mode).score(lists, K, against=against)[
        "hist"
    ]
    return found


def _ndcg(one: dict[str, Any]) -> str:
    return f"{one['ndcg']:.3f} ± {_half(one['ndcg_ci']):.3f}"


def _gain(one: dict[str, Any]) -> str:
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(one["ndcg_diff"], *one["ndcg_diff_ci"])


def _repeated(train: pl.DataFrame, cut: date) -> pl.DataFrame:
    """What each customer bought, the more often and the later the higher; of one day, the more popular the higher."""
    days = train.select("user_id", "item_id", day=pl.col("ts").dt.date()).unique()
    age = (pl.lit(cut) - pl.col("day")).dt.total_days()
    scores = days.group_by("user_id", "item_id").agg(score=(0.5 ** (age / HALF_LIFE)).sum())
    popular = days.filter(age <= YEAR).group_by("item_id").agg(days=pl.len().cast(pl.Float64))
    known = scores.join(popular, on="item_id", how="left").with_columns(pl.col("days").fill_null(0.0))
    order = pl.struct(-pl.col("score"), -pl.col("days"), "item_id").rank("ordinal").over("user_id")
    return known.select("user_id", "item_id", rank=order)


def _half(interval: list[float]) -> float:
    return (interval[1] - interval[0]) / 2


def _evaluator(path: Path) -> ModuleType:
    sys.path.insert(0, str(path))
    return importlib.import_module("evaluate")
