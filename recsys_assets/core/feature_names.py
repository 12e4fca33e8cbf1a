"""Names and meanings of the features of candidates."""

from __future__ import annotations

MODEL_NAMES = ("ials", "graph_filter", "low_pass", "ease", "rp3beta", "item_knn")
"""Models of the matrix of users and items; :mod:`recsys_assets.core.models.cf_models` fits them."""

FEATURES = {
    "ui_events": "events of this user with this item in the activity window",
    "ui_days": "days on which this user touched this item",
    "ui_targets": "target events of this user with this item",
    "ui_weight": "weight of this user's events with this item",
    "ui_top_weight": "deepest step this user took with this item",
    "ui_fresh_weight": "the same weight, the older the less",
    "ui_hours_since": "hours from this user's last event with this item to the end of D",
    "ui_days_since_first": "days from this user's first event with this item to D, within the activity window",
    **{f"ui_{name}": f"score by {name}, standardized over the items of this user" for name in MODEL_NAMES},
    "user_events": "events of this user in the activity window",
    "user_items": "distinct items of this user",
    "user_targets": "target events of this user",
    "user_conversion": "targets per event of this user, smoothed",
    "user_hours_since": "hours from this user's last event to the end of D",
    "user_days_since_first": "days from this user's first event to D, within the activity window",
    "user_last_items": "distinct items that this user touched last on the day of the last event",
    "user_category_share": "share of this user's weight that lies in the item's category",
    "item_events": "events with this item in the popularity window",
    "item_targets": "target events with this item in the popularity window",
    "item_users": "user days with this item in the popularity window",
    "item_recent_users": "user days with this item in the trending window",
    "item_conversion": "targets per event of this item, smoothed",
    "item_trend": "share of the item's weight that fell into the trending window",
    "item_hours_since": "hours from the item's last event to the end of D",
    "item_days_known": "days since the item was first seen",
    "item_available": "1 if the item is available as far as is known, else 0",
    "item_price": "last known price",
    "item_price_ratio": "that price over the mean price, by weight, of what this user touched",
    "item_depth": "depth of the item's category",
    "item_category_is_last": "1 if the item's category is that of the item this user touched last, else 0",
}
"""Features of a candidate, all as of the end of day D, beside the generators' scores and ranks. Single precision: it is
what the ranker sees, and candidates are by far the largest frame."""
