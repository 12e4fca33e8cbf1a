"""What the rules of the final lists cost and gain, on the users and the window that the contenders are judged on."""

from __future__ import annotations

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.bootstrap import intervals
from recsys_assets.core.evaluation.compare import FINAL_LISTS, evaluation_table, measured
from recsys_assets.core.evaluation.evaluator import Lists
from recsys_assets.core.evaluation.metrics import Floats, Ints
from recsys_assets.core.evaluation.pooled_gain import DECISIVE_K
from recsys_assets.core.evaluation.window import Window
from recsys_assets.core.lists.reranking import SAME_CATEGORY, SAME_ROOT, categories_of


def with_listed(
    evaluation: pa.Table,
    window: Window,
    made_of: str,
    before: Frame,
    listed: Frame,
    item_features: Frame,
    seed: int = 0,
    ks: tuple[int, ...] = (10, 20),
) -> pa.Table:
    """The evaluation with the final lists beside the contenders.

    Args:
        evaluation: table of contract RANKER_EVALUATION, of the same window and seed.
        window: what the contenders were judged by.
        made_of: the contender whose lists they were made of.
        before: its lists: user_id, item_id, rank.
        listed: what the rules made of them, likewise; the same frame where there are none.
        item_features: frame of contract ITEM_FEATURES as of the day of the lists.
        seed: of the bootstrap.
        ks: lengths of the lists.

    Returns:
        The table with the model ``final``: every metric; ``ndcg_gain``, paired, over ``made_of`` (what the rules cost
        is below zero); and, for both, ``diversity`` (see :func:`diversity`) where any category is known.
    """
    evaluator, users = window.evaluator, len(window.evaluator.targets)
    longest = max(*ks, DECISIVE_K)
    theirs = evaluator.read(before, longest)
    ours = theirs if listed is before else evaluator.read(listed, longest)
    columns = {
        (FINAL_LISTS, metric, k): column for k in ks for metric, column in measured(ours, evaluator.targets, k).items()
    }
    then = measured(theirs, evaluator.targets, DECISIVE_K)["ndcg"]
    columns[FINAL_LISTS, "ndcg_gain", DECISIVE_K] = measured(ours, evaluator.targets, DECISIVE_K)["ndcg"] - then
    known = categories_of(item_features).filter(~nw.col("category_id").is_null())
    categories = known.collect(backend="polars").to_arrow()
    if len(categories):
        for model, read in ((FINAL_LISTS, ours), (made_of, theirs)):
            columns[model, "diversity", DECISIVE_K] = diversity(read, categories, users, DECISIVE_K)
    bounds = intervals(np.stack([*columns.values()], axis=1), seed=seed)
    plain = [(FINAL_LISTS, "coverage", k, ours.coverage(k, window.catalogue_size)) for k in ks]
    rows = evaluation_table([(*key, bound) for key, bound in zip(columns, bounds, strict=True)], plain, users)
    return pa.concat_tables([evaluation, rows]).sort_by([(name, "ascending") for name in ("model", "metric", "k")])


def diversity(read: Lists, categories: pa.Table, users: int, k: int) -> Floats:
    """Intra-list diversity@k of each user: 1 less the mean similarity of two items of the list.

    Two items of one category have similarity 1, of two categories below one root 0.5, others none.

    Args:
        read: lists as a judge read them.
        categories: item_id, category_id and root_id (strings) of the items that have a category.
        users: how many users were judged.
        k: length of the list.

    Returns:
        Array [users]; NaN for a list of fewer than two items.
    """
    top = read.places <= k
    owners = read.owners[top]
    at = pc.call_function("index_in", [read.items.filter(pa.array(top))], pc.SetLookupOptions(categories["item_id"]))

    def alike(name: str) -> Floats:
        """Pairs of a user's items that have this in common."""
        codes = _codes(pc.call_function("take", [categories[name], at]))
        wide = codes.max(initial=0) + 1
        cells, sizes = np.unique(owners[codes >= 0] * wide + codes[codes >= 0], return_counts=True)
        return np.bincount(cells // wide, weights=sizes * (sizes - 1) / 2, minlength=users).astype(np.float64)

    lengths = np.bincount(owners, minlength=users)
    pairs = lengths * (lengths - 1) / 2
    same = SAME_ROOT * alike("root_id") + (SAME_CATEGORY - SAME_ROOT) * alike("category_id")
    return np.where(pairs > 0, 1 - same / np.maximum(pairs, 1), np.nan)


def _codes(column: pa.ChunkedArray) -> Ints:
    """0, 1, … for the distinct values, -1 for null."""
    indices = column.combine_chunks().dictionary_encode().indices
    return indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
