"""Cost and gain of the re-ranking policy, on the same users and window as the contenders."""

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
from recsys_assets.core.gate.rule import CONFIDENCE
from recsys_assets.core.lists.reranking import SAME_CATEGORY, SAME_ROOT, categories_of


def with_final_lists(
    evaluation: pa.Table,
    window: Window,
    winner: str,
    ranked: Frame,
    final: Frame,
    item_features: Frame,
    seed: int = 0,
    ks: tuple[int, ...] = (10, 20),
) -> pa.Table:
    """The evaluation with the final lists beside the contenders.

    Args:
        evaluation: table of contract RANKER_EVALUATION, of the same window and seed.
        window: that of the evaluation.
        winner: the contender whose lists the policy is applied to.
        ranked: its lists: user_id, item_id, rank.
        final: the same after the policy; the same frame if there is none.
        item_features: frame of contract ITEM_FEATURES as of the day of the lists.
        seed: of the bootstrap.
        ks: lengths of the lists.

    Returns:
        The table with rows of the model ``FINAL_LISTS``: every metric; ``ndcg_gain``, paired, over the winner (negative
        where the policy costs relevance); and, for both, ``diversity`` (see :func:`diversity`) if any item has a
        category.
    """
    evaluator, users = window.evaluator, len(window.evaluator.targets)
    longest = max(*ks, DECISIVE_K)
    before = evaluator.read(ranked, longest)
    after = before if final is ranked else evaluator.read(final, longest)
    columns = {
        (FINAL_LISTS, metric, k): column for k in ks for metric, column in measured(after, evaluator.targets, k).items()
    }
    ndcg_after, ndcg_before = (measured(lists, evaluator.targets, DECISIVE_K)["ndcg"] for lists in (after, before))
    columns[FINAL_LISTS, "ndcg_gain", DECISIVE_K] = ndcg_after - ndcg_before
    categorized = categories_of(item_features).filter(~nw.col("category_id").is_null())
    categories = categorized.collect(backend="polars").to_arrow()
    if len(categories):
        for model, lists in ((FINAL_LISTS, after), (winner, before)):
            columns[model, "diversity", DECISIVE_K] = diversity(lists, categories, users, DECISIVE_K)
    bounds = intervals(np.stack([*columns.values()], axis=1), seed=seed, level=CONFIDENCE)
    plain = [(FINAL_LISTS, "coverage", k, after.coverage(k, window.catalogue_size)) for k in ks]
    rows = evaluation_table([(*key, bound) for key, bound in zip(columns, bounds, strict=True)], plain, users)
    return pa.concat_tables([evaluation, rows]).sort_by([(name, "ascending") for name in ("model", "metric", "k")])


def diversity(lists: Lists, categories: pa.Table, users: int, k: int) -> Floats:
    """Intra-list diversity@k of each user: 1 minus the mean similarity of two items of the list.

    Two items of one category have similarity 1, of two categories below one root 0.5, others none.

    Args:
        lists: as :meth:`~recsys_assets.core.evaluation.evaluator.Evaluator.read` returns them.
        categories: item_id, category_id and root_id (strings) of the items that have a category.
        users: number of users evaluated.
        k: length of the list.

    Returns:
        Array [users]; NaN for a list of fewer than two items.
    """
    top = lists.places <= k
    owners = lists.owners[top]
    at = pc.call_function("index_in", [lists.items.filter(pa.array(top))], pc.SetLookupOptions(categories["item_id"]))

    def pairs_that_share(name: str) -> Floats:
        """Pairs of a user's items with the same value of this column."""
        codes = _codes(pc.call_function("take", [categories[name], at]))
        wide = codes.max(initial=0) + 1
        cells, sizes = np.unique(owners[codes >= 0] * wide + codes[codes >= 0], return_counts=True)
        return np.bincount(cells // wide, weights=sizes * (sizes - 1) / 2, minlength=users).astype(np.float64)

    lengths = np.bincount(owners, minlength=users)
    pairs = lengths * (lengths - 1) / 2
    same = SAME_ROOT * pairs_that_share("root_id") + (SAME_CATEGORY - SAME_ROOT) * pairs_that_share("category_id")
    return np.where(pairs > 0, 1 - same / np.maximum(pairs, 1), np.nan)


def _codes(column: pa.ChunkedArray) -> Ints:
    """0, 1, … for the distinct values, -1 for null."""
    indices = column.combine_chunks().dictionary_encode().indices
    return indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
