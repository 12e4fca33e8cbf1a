"""Which earlier evaluations count with the one of a day."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_assets.core.contracts import RANKER_EVALUATION
from recsys_assets.core.evaluation.pooled_gain import Gain
from recsys_assets.core.evaluation.window import disjoint_windows
from recsys_assets.model_registry.past_gains import gains_before
from recsys_assets.storage.lineage import DATA_FILE, Input, Lineage
from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.objects import ObjectStore, sha256_bytes
from recsys_assets.storage.partition_store import PartitionStore, partition_key
from recsys_assets_tests.core.gate.evaluations import evaluation_of

HORIZON = 7


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return LocalStore(tmp_path / "store")


def put(store: ObjectStore, day: str, evaluation: pa.Table) -> Input:
    path = Path(store.uri()).parent / DATA_FILE
    pq.write_table(evaluation, path)
    asset = RANKER_EVALUATION.name
    PartitionStore(store).write(asset, day, path, Lineage(asset, day, evaluation.num_rows, "1"))
    return Input(asset, day, sha256_bytes(path.read_bytes()))


def evaluation(value: float, users: int = 100) -> pa.Table:
    return evaluation_of(users, ranker=(value, value - 0.01, value + 0.01))


def days_before(store: ObjectStore, day: str) -> list[str]:
    return [read.day for read in gains_before(store, day, HORIZON)[1]]


def test_the_gains_of_the_windows_that_end_before_this_one_begins(store: ObjectStore) -> None:
    """The window of day 22 is (15, 22]: that of 15 ends before it, those of 16 to 22 do not, and 8 is before 15's."""
    read = {day: put(store, day, evaluation(value)) for day, value in [("2015-05-08", 0.1), ("2015-05-15", 0.2)]}
    for day in ("2015-05-16", "2015-05-22", "2015-05-30"):
        put(store, day, evaluation(0.9))
    gains, inputs = gains_before(store, "2015-05-22", HORIZON)
    assert gains == [Gain(0.1, 0.1 - 0.01, 0.1 + 0.01, 100), Gain(0.2, 0.2 - 0.01, 0.2 + 0.01, 100)]
    assert inputs == [read["2015-05-08"], read["2015-05-15"]]
    assert gains_before(store, "2015-05-14", HORIZON) == ([], [])


def test_windows_that_overlap_count_once_and_the_newest_is_taken(store: ObjectStore) -> None:
    for day in ("2015-05-07", "2015-05-08", "2015-05-09", "2015-05-14", "2015-05-15"):
        put(store, day, evaluation(0.1))
    assert days_before(store, "2015-05-22") == ["2015-05-08", "2015-05-15"]
    assert days_before(store, "2015-05-21") == ["2015-05-07", "2015-05-14"]


def test_three_windows_are_enough(store: ObjectStore) -> None:
    for week in range(6):
        put(store, (date(2015, 5, 1) + timedelta(weeks=week)).isoformat(), evaluation(0.1))
    assert days_before(store, "2015-06-12") == ["2015-05-22", "2015-05-29", "2015-06-05"]


def test_a_window_without_a_ranker_or_without_users_has_no_gain_but_was_read(store: ObjectStore) -> None:
    put(store, "2015-05-01", evaluation_of())
    put(store, "2015-05-08", evaluation(0.1, users=0))
    put(store, "2015-05-15", evaluation(0.2))
    gains, inputs = gains_before(store, "2015-05-22", HORIZON)
    assert [gain.value for gain in gains] == [0.2]
    assert [read.day for read in inputs] == ["2015-05-01", "2015-05-08", "2015-05-15"]


def test_an_evaluation_that_is_not_what_its_record_says_is_left_out(store: ObjectStore) -> None:
    """Storing it was interrupted. The window before it does not take its place."""
    for day in ("2015-05-07", "2015-05-08", "2015-05-15"):
        put(store, day, evaluation(0.1))
    store.put(partition_key(RANKER_EVALUATION.name, "2015-05-15", DATA_FILE), b"half")
    assert days_before(store, "2015-05-22") == ["2015-05-08"]


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
