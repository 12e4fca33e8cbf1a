"""Implicit ALS on one machine, shared by the engines that run on one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_assets.core.engine import AlsParams, Factors, Frame
from recsys_assets.core.ids import positions


def factorize(pairs: Frame, params: AlsParams) -> Factors:
    """Factors by the library ``implicit``; see :meth:`Engine.factorize`.

    Rows and columns of the matrix are positions among the sorted ids, so ids of any size and type work. Each row of a
    half step is solved by one thread, and BLAS has one thread, so equal input gives equal bytes.
    """
    chosen = pairs.select("user_id", "item_id", "weight")
    table = chosen.sort("user_id", "item_id").collect(backend="polars").to_arrow()
    user_ids, rows = positions(table["user_id"])
    item_ids, cols = positions(table["item_id"])
    if not table.num_rows:
        empty = np.empty((0, params.factors), np.float32)
        return Factors(_table("user_id", user_ids, empty), _table("item_id", item_ids, empty))
    confidence = np.log1p(table["weight"].to_numpy()).astype(np.float32)
    matrix = csr_matrix((confidence, (rows, cols)), shape=(len(user_ids), len(item_ids)), dtype=np.float32)
    # Imported here: it takes half a second, which loading the graph must not.
    from implicit.cpu.als import AlternatingLeastSquares

    with threadpool_limits(limits=1, user_api="blas"):
        model = AlternatingLeastSquares(
            factors=params.factors,
            iterations=params.iterations,
            regularization=params.regularization,
            alpha=params.alpha,
            random_state=params.seed,
            num_threads=params.num_threads,
        )
        model.fit(matrix, show_progress=False)
    return Factors(
        _table("user_id", user_ids, np.asarray(model.user_factors, np.float32)),
        _table("item_id", item_ids, np.asarray(model.item_factors, np.float32)),
    )


def _table(key: str, ids: pa.Array, vectors: npt.NDArray[np.float32]) -> pa.Table:
    offsets = pa.array(np.arange(len(ids) + 1, dtype=np.int32) * vectors.shape[1])
    lists = pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(vectors).reshape(-1), pa.float32()))
    return pa.table({key: ids, "factors": lists})
