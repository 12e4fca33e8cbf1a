"""Implicit ALS by Spark MLlib, adjusted to the objective of the local one.

Both minimise the sum over all pairs of c_ui (p_ui - x_u y_i)^2 plus a penalty (Hu, Koren and Volinsky, 2008), where p
is 1 for observed pairs and 0 for others. They differ in two places:

- Confidence. Ours is c = alpha log(1 + weight) for observed pairs, MLlib's c = 1 + alpha' rating. So MLlib gets
  alpha' = 1 and the rating alpha log(1 + weight) - 1, bounded slightly above 0: the confidence of an observed pair is
  never below that of an unobserved one.
- Penalty. Ours is lambda for each vector. MLlib scales it with the number of the vector's pairs, n (ALS-WR: Zhou,
  Wilkinson, Schreiber and Pan, 2008). With lambda' = lambda (users + items) / (2 pairs) the coefficients of all vectors
  add up to the same: sum of lambda' n_u + sum of lambda' n_i = 2 pairs lambda' = lambda (users + items). Vectors with
  many pairs are shrunk more than ours, those with few pairs less.
"""

# pyright: reportMissingImports=false
# pyspark comes with the extra 'spark' only.

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from recsys_assets.core.engine import AlsParams, Factors

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_LEAST_RATING = 1e-6
_MOST_BLOCKS = 10
"""MLlib's default; a small cluster has fewer partitions, and fewer blocks suit it better."""


def factorize(pairs: DataFrame, params: AlsParams) -> Factors:
    """Factors by ``pyspark.ml.recommendation.ALS``; see :meth:`Engine.factorize`.

    MLlib sums a row's pairs in the order in which they arrive over the network, so the last bits of a vector may differ
    between runs.
    """
    from pyspark import StorageLevel
    from pyspark.ml.recommendation import ALS
    from pyspark.sql import functions as sf

    persisted = pairs.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        users, items, pair_count = _distinct(persisted, "user_id"), _distinct(persisted, "item_id"), persisted.count()
        if not pair_count:
            no_vectors = pa.array([], pa.list_(pa.float32()))
            return Factors(
                pa.table({"user_id": users, "factors": no_vectors}), pa.table({"item_id": items, "factors": no_vectors})
            )
        confidence = params.alpha * sf.log1p("weight") - 1.0
        ratings = (
            persisted.join(_numbered(persisted, users, "user_id", "user"), "user_id")
            .join(_numbered(persisted, items, "item_id", "item"), "item_id")
            .select("user", "item", sf.greatest(confidence, sf.lit(_LEAST_RATING)).alias("rating"))
        )
        blocks = min(_MOST_BLOCKS, int(persisted.sparkSession.conf.get("spark.sql.shuffle.partitions", "200")))
        model = ALS(
            rank=params.factors,
            maxIter=params.iterations,
            regParam=params.regularization * (len(users) + len(items)) / (2 * pair_count),
            implicitPrefs=True,
            alpha=1.0,
            nonnegative=False,
            seed=params.seed,
            numUserBlocks=blocks,
            numItemBlocks=blocks,
            checkpointInterval=-1,
            userCol="user",
            itemCol="item",
            ratingCol="rating",
        ).fit(ratings)
        return Factors(_vectors(model.userFactors, users, "user_id"), _vectors(model.itemFactors, items, "item_id"))
    finally:
        persisted.unpersist()


def _distinct(pairs: DataFrame, key: str) -> pa.Array:
    """The distinct ids, sorted. MLlib gets their positions, because it takes 32-bit integers only."""
    return pairs.select(key).distinct().toArrow()[key].combine_chunks().sort()


def _numbered(pairs: DataFrame, ids: pa.Array, key: str, number: str) -> DataFrame:
    places = pa.array(np.arange(len(ids), dtype=np.int32))
    return pairs.sparkSession.createDataFrame(pa.table({key: ids, number: places}))


def _vectors(factors: DataFrame, ids: pa.Array, key: str) -> pa.Table:
    by_id = factors.toArrow().sort_by("id")
    return pa.table({key: ids.take(by_id["id"]), "factors": by_id["features"].cast(pa.list_(pa.float32()))})
