"""The rules of the final lists as the settings state them, and how the UI tells what they cost."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from recsys_assets.assets.builder import GraphBuilder
from recsys_assets.assets.charts import sparkline_metadata
from recsys_assets.core.evaluation.compare import FINAL_LISTS
from recsys_assets.core.evaluation.pooled_gain import DECISIVE_K
from recsys_assets.core.insight.sparkline import sparkline_rows
from recsys_assets.core.lists.new_items import NewItems
from recsys_assets.core.lists.reranking import RerankingPolicy


def rules_of(graph: GraphBuilder) -> RerankingPolicy:
    """What lists have to keep to. To buy is the deepest step that recommendations should bring about."""
    settings = graph.settings
    return RerankingPolicy(
        exclude_purchased=settings.exclude_purchased,
        purchased_from=max(event.weight for event in graph.dataset.event_types.values() if event.target),
        category_cap=settings.category_cap,
        diversity=settings.diversity,
        new=NewItems(settings.new_item_quota, settings.new_item_days),
    )


def in_words(rules: RerankingPolicy) -> str:
    """The rules for people."""
    parts = [
        "items that the user bought are left out" if rules.exclude_purchased else "",
        f"at most {rules.category_cap} of a category" if rules.category_cap else "",
        f"varied by {rules.diversity:g}" if rules.diversity else "",
        f"{rules.new.quota:.0%} for new items" if rules.new.any else "",
    ]
    return "; ".join(part for part in parts if part) or "none"


def cost(evaluation: pa.Table, made_of: str, rules: RerankingPolicy) -> dict[str, Any]:
    """What the rules cost in NDCG and gain in diversity, as metadata: figures and a chart. Empty without rules."""
    rows = [row for row in evaluation.to_pylist() if row["k"] == DECISIVE_K and row["value"] is not None]
    found = {(row["model"], row["metric"]): row for row in rows}
    gain = found.get((FINAL_LISTS, "ndcg_gain"))
    if not rules.any or gain is None:
        return {}
    bars = [
        (f"{name} {word}", found[model, metric]["value"], f"{found[model, metric]['value']:.4f}")
        for metric, name in (("ndcg", "NDCG@10"), ("diversity", "diversity"))
        for model, word in ((made_of, "before"), (FINAL_LISTS, "after"))
        if (model, metric) in found
    ]
    title = f"Rules: NDCG@10 {gain['value']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]"
    return {
        "rules": in_words(rules),
        "rules_cost": sparkline_metadata("rules_cost", sparkline_rows(title, bars)),
        **{f"rules_ndcg_{end}": gain[end] for end in ("value", "low", "high")},
        **{
            f"diversity_at_10_{model}": found[model, "diversity"]["value"]
            for model in (made_of, FINAL_LISTS)
            if (model, "diversity") in found
        },
    }
