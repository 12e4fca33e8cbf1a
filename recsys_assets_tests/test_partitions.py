"""The days of a data set, as Dagster sees them."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from recsys_assets.partitions import daily
from recsys_assets.settings import load_settings


@pytest.mark.parametrize("dataset", ["retailrocket", "movielens", "online_retail"])
def test_first_and_last_day_of_the_data_are_partitions(dataset: str) -> None:
    """Also where the day starts at another hour than midnight."""
    settings, spec = load_settings(dataset=dataset)
    assert settings.end_date is not None
    days = daily(settings, spec).get_partition_keys()
    assert days[0] == settings.first_day.isoformat()
    assert days[-1] == (settings.end_date - timedelta(days=1)).isoformat()


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"start_date": date(2015, 5, 2)}, "RECSYS_START_DATE 2015-05-02 is before start_date 2015-05-03 of data set"),
        ({"end_date": date(2015, 9, 19)}, "RECSYS_END_DATE 2015-09-19 is after end_date 2015-09-18 of data set"),
    ],
)
def test_days_that_the_data_set_rejects_are_refused(stated: dict[str, date], message: str) -> None:
    """They would be empty days, and their rows rejected one by one."""
    settings, spec = load_settings(dataset="retailrocket", **stated)
    with pytest.raises(ValueError, match=message):
        daily(settings, spec)
