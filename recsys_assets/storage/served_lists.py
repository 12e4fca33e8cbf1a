"""The lists that a release holds and the API serves; publishing, checks and the API all use this declaration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ServedList:
    """A set of ranked lists, built from the asset of the same name.

    Attributes:
        name: of the asset, and of the files in the release.
        key: column whose values are looked up.
        key_type: type of the key: that of the data set's user or item ids, or a string.
        item: column of the items in the lists.
        source: the rows of this source are released; None releases all rows.
        named_by: column of the source that items are released with, where it is not that of the asset.
        may_be_empty: whether a release without any of these lists can be served.
    """

    name: str
    key: str
    key_type: Literal["user", "item", "string"]
    item: str = "item_id"
    source: str | None = None
    named_by: str = "source"
    may_be_empty: bool = False


FALLBACK_FACT = "fallback_segment"
"""The fact of a manifest that names the segment of ``top_popular`` for users who are not known."""
DEFAULT_FALLBACK = "all"
"""That segment where a release names none."""

TRENDING, POPULAR = "trending", "popular"
"""The segment of ``top_popular`` that is a source of its own, and the source of the items of all other segments."""

SERVED_LISTS = (
    ServedList("recommendations", "user_id", "user", named_by="generator"),
    ServedList(
        "similar_items",
        "item_id",
        "item",
        item="similar_item_id",
        source="fused",
        named_by="generator",
        may_be_empty=True,
    ),
    ServedList("top_popular", "segment", "string"),
    ServedList("user_histories", "user_id", "user", may_be_empty=True),
)

SERVED_MODELS = ("session_model", "cf_ensemble")
"""Fitted models that a release holds as ``<name>.arrow`` where the graph has them, for requests with fresh clicks."""
END_FACT = "as_of_end"
"""The fact of a manifest that holds the instant at which its day ends, ISO 8601 in UTC."""
HORIZON_FACT = "horizon_days"
"""The fact of a manifest that holds the days after its own within which a target counts for its lists."""
RULES_FACT = "rules"
"""The fact of a manifest with ``repeats``, ``exclude_purchased`` and ``exclude_unavailable``: what is recommended."""
TRENDING_FACT = "trending_half_life_days"
"""The fact of a manifest that holds the days in which the weight of an event halves for what is trending."""
MODEL_WEIGHTS_FACT = "cf_ensemble_weights"
"""The fact of a manifest that holds the weights of the models of ``cf_ensemble`` by name."""


def model_file(name: str) -> str:
    """The file of a served model in a release."""
    return f"{name}.arrow"
