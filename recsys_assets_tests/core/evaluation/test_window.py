"""Windows that share no label."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from recsys_assets.core.evaluation.window import disjoint_windows


@given(st.sets(st.dates(date(2015, 1, 1), date(2015, 4, 1))), st.integers(1, 40))
def test_windows_share_no_day_hold_the_newest_and_leave_no_room_for_another(days: set[date], horizon: int) -> None:
    names = [day.isoformat() for day in days]
    picked = disjoint_windows(names, horizon)
    assert picked == sorted(set(picked) & set(names))
    assert picked[-1:] == sorted(names)[-1:]
    ends = [date.fromisoformat(day) for day in picked]
    assert all((later - earlier).days >= horizon for earlier, later in pairwise(ends))
    # From the newest on, each is the newest that fits.
    for day in days - set(ends):
        assert any(0 < (end - day).days < horizon for end in ends)
