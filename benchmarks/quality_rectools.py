"""The two-stage model of RecTools on the purchases of a gift shop, beside which released lists are judged in pairs.

Its own classes throughout: ``CandidateRankingModel`` with EASE, ALS, item-kNN, recent popularity and, where repeats
count, repeat purchase as generators, and ``CatBoostReranker`` on their scores and on features of recency. A purchase
weighs by its age in every generator: without that, all of them lose on this shop. The second stage learns from the last
weeks before the cut-off. Nothing is fitted to what comes after it.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from catboost import CatBoostRanker
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender
from rectools import Columns
from rectools.dataset import Dataset
from rectools.model_selection import TimeRangeSplitter
from rectools.models import EASEModel, ImplicitALSWrapperModel, ImplicitItemKNNWrapperModel, PopularModel
from rectools.models.base import ModelBase
from rectools.models.ranking import (
    CandidateFeatureCollector,
    CandidateGenerator,
    CandidateRankingModel,
    CatBoostReranker,
    PerUserNegativeSampler,
)

from recsys_assets.core.ids import Ints

HALF_LIFE, RECENT = 90, 30
"""Days in which the weight of a purchase halves, and days of recent popularity."""
CANDIDATES, NEGATIVES, DEPTH, SEED = 100, 30, 100, 0
_WINDOWS = (30, 90, 365)
_DAY = np.timedelta64(1, "D")


class Repeated(ModelBase[Any]):
    """What a user bought, by the weight of the purchases."""

    def _fit(self, dataset: Dataset, *args: Any, **kwargs: Any) -> None:
        """Nothing is learned."""

    def _recommend_u2i(
        self, user_ids: Ints, dataset: Dataset, k: int, filter_viewed: bool, sorted_item_ids_to_recommend: Ints | None
    ) -> tuple[Ints, Ints, Ints]:
        bought = dataset.get_user_item_matrix()[user_ids].tocoo()
        order = np.lexsort((bought.col, -bought.data, bought.row))
        rows = bought.row[order]
        kept = order[np.arange(len(rows)) - np.searchsorted(rows, rows) < k]
        return user_ids[bought.row[kept]], bought.col[kept], bought.data[kept]


class Recency(CandidateFeatureCollector):
    """Features of users, items and pairs by when they were bought."""

    def _get_user_features(self, users: Any, dataset: Dataset, fold_info: dict[str, Any] | None) -> pd.DataFrame:
        ages = _ages(dataset).groupby(Columns.User)
        return pd.DataFrame(
            {
                "user_last": ages["age"].min(),
                "user_first": ages["age"].max(),
                "user_items": ages[Columns.Item].nunique(),
                "user_days": ages["age"].nunique(),
            }
        ).reset_index()

    def _get_item_features(self, items: Any, dataset: Dataset, fold_info: dict[str, Any] | None) -> pd.DataFrame:
        ages = _ages(dataset)
        by_item = ages.groupby(Columns.Item)["age"]
        found = pd.DataFrame({"item_last": by_item.min(), "item_first": by_item.max()})
        for days in _WINDOWS:
            recent = ages[ages["age"] <= days].groupby(Columns.Item)[Columns.User].nunique()
            found[f"item_users_{days}"] = recent.reindex(found.index).fillna(0)
        return found.reset_index()

    def _get_user_item_features(
        self, useritem: pd.DataFrame, dataset: Dataset, fold_info: dict[str, Any] | None
    ) -> pd.DataFrame:
        ages = _ages(dataset).groupby(Columns.UserItem)
        return pd.DataFrame(
            {
                "pair_last": ages["age"].min(),
                "pair_first": ages["age"].max(),
                "pair_days": ages["age"].nunique(),
                "pair_weight": ages[Columns.Weight].sum(),
            }
        ).reset_index()


def two_stage(train: pl.DataFrame, cut: date, days: int, repeats: bool) -> pl.DataFrame:
    """Lists of all users of ``train``.

    Args:
        train: user_id, item_id and ts of the purchases before the cut-off.
        cut: the cut-off.
        days: of the time after it that is asked for; the second stage learns from as many before it.
        repeats: whether what a user bought before may be recommended.

    Returns:
        user_id, item_id, rank.
    """
    bought = train.select("user_id", "item_id", day=pl.col("ts").dt.date()).unique().sort("user_id", "item_id", "day")
    age = (pl.lit(cut) - pl.col("day")).dt.total_days()
    frame = bought.with_columns(weight=0.5 ** (age / HALF_LIFE)).rename({"day": "datetime"}).to_pandas()
    dataset = Dataset.construct(frame.assign(datetime=pd.to_datetime(frame["datetime"])))
    models = [
        EASEModel(regularization=100.0),
        ImplicitALSWrapperModel(AlternatingLeastSquares(64, alpha=10.0, random_state=SEED, num_threads=1)),
        ImplicitItemKNNWrapperModel(BM25Recommender(K=100)),
        PopularModel(period=timedelta(days=RECENT)),
        *([Repeated()] if repeats else []),
    ]
    ranker = CatBoostRanker(
        loss_function="YetiRank",
        iterations=300,
        random_seed=SEED,
        thread_count=1,
        verbose=False,
        allow_writing_files=False,
    )
    model = CandidateRankingModel(
        [CandidateGenerator(one, CANDIDATES, keep_ranks=True, keep_scores=True) for one in models],
        TimeRangeSplitter(f"{days}D", filter_already_seen=not repeats),
        CatBoostReranker(ranker),
        PerUserNegativeSampler(NEGATIVES, random_state=SEED),
        Recency(),
    )
    model.fit(dataset)
    users = dataset.user_id_map.external_ids
    found = model.recommend(users, dataset, k=DEPTH, filter_viewed=not repeats)
    return pl.DataFrame({name: found[name].to_list() for name in (Columns.User, Columns.Item, Columns.Rank)})


def _ages(dataset: Dataset) -> pd.DataFrame:
    """Interactions with their age in days, by the newest of all."""
    rows = dataset.get_raw_interactions()
    rows["age"] = (rows[Columns.Datetime].max() - rows[Columns.Datetime]) / _DAY
    return rows
