"""The days of a data set, as Dagster sees them."""

from __future__ import annotations

from datetime import timedelta

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
