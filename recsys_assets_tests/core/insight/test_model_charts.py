"""Charts of models and searches: images of equal bytes for equal data, whatever the data."""

import io
import math
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from recsys_assets.core.insight.model_charts import Bar, bar_chart, bar_panels, search_chart
from recsys_assets.core.tuning.study import COMPLETE, PRUNED, Record

TRIALS = [
    Record(trial=n, params={}, value=n % 3 / 10, state=PRUNED if n % 4 == 1 else COMPLETE, facts={}) for n in range(9)
]
BARS = {"a $x$": Bar(0.2, 0.1, 0.3), "served: ranker": Bar(0.1)}
CHARTS: dict[str, Callable[[], bytes]] = {
    "one bar": lambda: bar_chart("Importance", {"recency": 1.0}),
    "bars": lambda: bar_chart("Importance, %", {f"feature {n} with a $ and a <long> name": n for n in range(30)}),
    "search": lambda: search_chart("NDCG@10", TRIALS),
    "all pruned": lambda: search_chart("NDCG@10", [trial for trial in TRIALS if trial.state == PRUNED]),
    "panels": lambda: bar_panels("Experiments", {"ndcg": BARS, "seconds": {"a $x$": Bar(math.nan)}}, "served: ranker"),
    "many panels": lambda: bar_panels("Experiments", {f"metric {n}": BARS for n in range(7)}, "served: ranker"),
}


@pytest.mark.parametrize("name", CHARTS)
def test_equal_data_give_equal_images(name: str):
    png = CHARTS[name]()
    assert png == CHARTS[name]()
    image = Image.open(io.BytesIO(png)).convert("L")
    assert image.width <= 1100
    assert image.getextrema() == (pytest.approx(20, abs=40), 255), "dark ink on white"
    rightmost = image.crop((image.width - 2, 0, image.width, image.height))
    assert np.asarray(rightmost).min() > 200, "nothing is cut off at the right"


def test_only_the_largest_bars_are_drawn():
    values = {f"feature {n}": float(n) for n in range(50)}
    largest = dict(sorted(values.items(), key=lambda item: -item[1])[:20])
    assert bar_chart("Importance", values) == bar_chart("Importance", largest)
