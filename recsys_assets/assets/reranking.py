"""The re-ranking policy of the settings, and how the UI shows its cost."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.charts import sparkline_metadata
from recsys_assets.core.evaluation.compare import FINAL_LISTS
from recsys_assets.core.evaluation.pooled_gain import DECISIVE_K
from recsys_assets.core.insight.sparkline import sparkline_rows
from recsys_assets.core.lists.new_items import NewItemQuota
from recsys_assets.core.lists.reranking import RerankingPolicy


def reranking_policy(graph: GraphBuilder) -> RerankingPolicy:
    """The policy of the settings. A purchase is the deepest event type that counts as a target."""
    settings = graph.settings
    return RerankingPolicy(
        exclude_purchased=settings.exclude_purchased,
        purchased_from=max(event.weight for event in graph.dataset.event_types.values() if event.target),
        category_cap=settings.category_cap,
        diversity=settings.diversity,
        new=NewItemQuota(settings.new_item_quota, settings.new_item_days),
    )


def policy_text(policy: RerankingPolicy) -> str:
    """The policy in words, for the UI."""
    parts = [
        "items that the user bought are left out" if policy.exclude_purchased else "",
        f"at most {policy.category_cap} of a category" if policy.category_cap else "",
        f"varied by {policy.diversity:g}" if policy.diversity else "",
        f"{policy.new.quota:.0%} for new items" if policy.new.any else "",
    ]
    return "; ".join(part for part in parts if part) or "none"


def policy_cost(evaluation: pa.Table, winner: str, policy: RerankingPolicy) -> dict[str, Any]:
    """Cost of the policy in NDCG and its gain in diversity, as metadata: figures and a chart. Empty without one."""
    rows = [row for row in evaluation.to_pylist() if row["k"] == DECISIVE_K and row["value"] is not None]
    by_key = {(row["model"], row["metric"]): row for row in rows}
    gain = by_key.get((FINAL_LISTS, "ndcg_gain"))
    if not policy.any or gain is None:
        return {}
    bars = [
        (f"{name} {word}", by_key[model, metric]["value"], f"{by_key[model, metric]['value']:.4f}")
        for metric, name in (("ndcg", "NDCG@10"), ("diversity", "diversity"))
        for model, word in ((winner, "before"), (FINAL_LISTS, "after"))
        if (model, metric) in by_key
    ]
    title = f"Re-ranking: NDCG@10 {gain['value']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]"
    return {
        "reranking": policy_text(policy),
        "reranking_cost": sparkline_metadata("reranking_cost", sparkline_rows(title, bars)),
        **{f"reranking_ndcg_{end}": gain[end] for end in ("value", "low", "high")},
        **{
            f"diversity_at_10_{model}": by_key[model, "diversity"]["value"]
            for model in (winner, FINAL_LISTS)
            if (model, "diversity") in by_key
        },
    }
