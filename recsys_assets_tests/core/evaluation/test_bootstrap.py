import numpy as np
import pytest

from recsys_assets.core.evaluation import bootstrap
from recsys_assets.core.evaluation.bootstrap import intervals, paired_difference


def test_intervals_cover_the_true_mean_about_95_times_of_100():
    rng = np.random.default_rng(0)
    values = rng.exponential(1.0, (150, 200))  # 200 samples of 150 users, true mean 1
    found = intervals(values, resamples=400, level=0.95)
    covered = sum(interval.low <= 1.0 <= interval.high for interval in found)
    assert 178 <= covered <= 198
    assert all(interval.low <= interval.mean <= interval.high for interval in found)


def test_pairing_sees_a_small_difference_that_single_intervals_do_not():
    rng = np.random.default_rng(1)
    theirs = rng.random(300)
    ours = theirs + 0.01 + rng.normal(0, 0.02, 300)
    single = intervals(np.stack([ours, theirs], axis=1), level=0.95)
    paired = paired_difference(ours, theirs, level=0.95)
    assert single[0].low < single[1].high
    assert paired.low > 0
    assert paired.mean == pytest.approx((ours - theirs).mean())
    mirrored = paired_difference(theirs, ours, level=0.95)
    assert (mirrored.low, mirrored.high) == pytest.approx((-paired.high, -paired.low))


def test_a_higher_level_gives_a_wider_interval():
    values = np.random.default_rng(3).random((80, 1))
    bounds = [intervals(values, level=level)[0] for level in (0.8, 0.9, 0.99)]
    assert bounds[0].low > bounds[1].low > bounds[2].low
    assert bounds[0].high < bounds[1].high < bounds[2].high
    assert len({interval.mean for interval in bounds}) == 1


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch):
    values = np.random.default_rng(2).random((50, 3))
    whole = intervals(values, resamples=100, seed=5, level=0.95)
    monkeypatch.setattr(bootstrap, "_CELLS", 170)
    for ours, theirs in zip(intervals(values, resamples=100, seed=5, level=0.95), whole, strict=True):
        assert (ours.mean, ours.low, ours.high) == pytest.approx((theirs.mean, theirs.low, theirs.high), abs=1e-12)
    assert intervals(values, resamples=100, seed=6, level=0.95) != whole


def test_ratios_gaps_and_nothing():
    values = np.array([[1.0, np.nan, 2.0], [0.0, np.nan, np.nan], [3.0, np.nan, 4.0]])
    divisors = np.array([[2.0, 1.0, 1.0], [4.0, 1.0, 1.0], [4.0, 1.0, 1.0]])
    share, nothing, gap = intervals(values, divisors, resamples=50, level=0.95)
    assert share.mean == pytest.approx(4 / 10)
    assert np.isnan([nothing.mean, nothing.low, nothing.high]).all()
    assert gap.mean == 3
    (empty,) = intervals(np.empty((0, 1)), level=0.95)
    assert np.isnan([empty.mean, empty.low, empty.high]).all()
