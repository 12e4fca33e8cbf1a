"""Which columns a ranker was trained with and misses now."""

from __future__ import annotations

import pyarrow as pa

from recsys_assets.core.ranking.presence import missing_columns, shares_present


def test_the_share_of_rows_with_a_value() -> None:
    rows = pa.table({"a": [1.0, None, 0.0], "b": pa.array([None] * 3, pa.float32()), "c": [1, 2, 3], "d": [1, 1, 1]})
    assert shares_present(rows, ["c", "a", "b"]) == {"c": 1.0, "a": 0.666667, "b": 0.0}
    assert shares_present(rows.slice(0, 0), ["a"]) == {}


def test_what_was_informative_and_is_almost_gone_is_missing() -> None:
    trained = {"gone": 0.4, "absent": 0.02, "almost": 0.4, "rarer": 0.4, "never": 0.0, "rare": 0.01, "more": 0.02}
    now = {"gone": 0.0, "almost": 0.0199, "rarer": 0.021, "never": 0.0, "rare": 0.0, "more": 0.9, "new": 1.0}
    assert missing_columns(trained, now) == {"gone": (0.4, 0.0), "absent": (0.02, 0.0), "almost": (0.4, 0.0199)}
    assert missing_columns({}, now) == {}
