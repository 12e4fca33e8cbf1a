import dagster as dg
import pytest

from recsys_assets.checks.partition import volume
from recsys_assets.checks.results import merge_results

WEEK = [1000, 1100, 900, 1050, 950, 300, 400]


@pytest.mark.parametrize(
    ("rows", "passed", "severity"),
    [
        (1000, True, None),
        (500, True, None),
        (300, False, dg.AssetCheckSeverity.WARN),
        (100, False, dg.AssetCheckSeverity.WARN),
        (20, False, dg.AssetCheckSeverity.ERROR),
        (1, False, dg.AssetCheckSeverity.ERROR),
        (0, False, dg.AssetCheckSeverity.WARN),
        (100_000, True, None),
    ],
)
def test_volume_warns_of_quiet_days_and_stops_at_days_unlike_any(
    rows: int, passed: bool, severity: dg.AssetCheckSeverity | None
):
    result = volume(rows, WEEK)
    assert result.passed is passed
    assert severity in (None, result.severity)


def test_volume_does_not_judge_on_too_few_days():
    assert volume(0, WEEK[:6]).passed


def test_bursts_of_a_small_data_set_never_stop_it():
    for rows in (0, 1, 10):
        result = volume(rows, [5, 900, 3, 40, 700, 12, 1])
        assert result.passed or result.severity is dg.AssetCheckSeverity.WARN


def test_a_range_fails_where_one_of_its_days_fails():
    days = [("2015-05-03", volume(1000, WEEK)), ("2015-05-04", volume(5, WEEK)), ("2015-05-05", volume(300, WEEK))]
    (merged,) = merge_results(days)
    assert not merged.passed
    assert merged.severity is dg.AssetCheckSeverity.ERROR
    assert merged.metadata["failed"].value == 2
    assert "2015-05-04" in merged.metadata
    assert "2015-05-03" not in merged.metadata
