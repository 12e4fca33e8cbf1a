"""What a file at fault, a stray day and vanished files mean for the graph."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from recsys_assets.ingest.accepted import Accepted, AcceptedFile, FileKind, Quarantined
from recsys_assets.ingest.quarantine import acknowledged, lacking, lost_share, sentence, set_aside, stray_days

DAYS = tuple(f"2025-01-{day:02}" for day in range(1, 11))
NEWEST = DAYS[-1]


def file(name: str, size: int, *days: str, kind: FileKind = "events", fingerprint: str = "f") -> AcceptedFile:
    return AcceptedFile(kind, name, size, fingerprint, f"digest of {name} {fingerprint}", days)


def accepted(*aside: tuple[str, Quarantined]) -> Accepted:
    """Ten days of 1,000 bytes, in one file, and 500 bytes of properties."""
    files = [file("events.csv", 10_000, *DAYS), file("items.csv", 500, DAYS[0], kind="properties")]
    return Accepted(files={one.name: one for one in files}, quarantined=dict(aside))


def bad(name: str, size: int, kind: FileKind = "events") -> tuple[str, Quarantined]:
    return name, set_aside(file(name, size, kind=kind), "cannot be read", None)


@pytest.mark.parametrize(
    ("aside", "share"),
    [
        ([], 0.0),
        ([bad("events-x.csv", 1_000)], 0.5),  # as much as the newest day has, and nobody knows of which day it is
        ([bad("events-2025-01-10.csv", 250)], 0.2),
        ([bad("events_20250105.csv", 1_000)], 1 / 11),  # of an old day: a share of all days
        ([bad("events-2025-01-11.csv", 9_000)], 0.0),  # of a day that is not there yet
        ([bad("events-2025-01-01-to-2025-01-31.csv", 1_000)], 0.5),  # of a day that the name does not say
        ([bad("items-2.csv", 500, "properties")], 0.5),
        ([bad("tree.csv", 10, "categories")], 1.0),
        ([bad("served/impressions-1.jsonl.gz", 10_000, "impressions")], 0.0),
        ([bad("events-x.csv", 1_000), bad("events-y.csv", 2_000)], 0.75),
    ],
)
def test_the_missing_share_is_that_of_the_day_or_of_all(aside: list[tuple[str, Quarantined]], share: float) -> None:
    found = lacking(accepted(*aside), NEWEST, 0.05)
    assert found.share == pytest.approx(share)
    assert found.held is (share > 0.05)


def test_a_last_good_version_stays_and_only_what_the_file_grew_by_is_missing() -> None:
    known = file("events-1.csv", 1_000, NEWEST, fingerprint="old")
    grown = set_aside(file("events-1.csv", 1_100, fingerprint="new"), "cut off", known)
    assert (grown.days, grown.missing) == ((NEWEST,), 100)
    assert set_aside(file("events-1.csv", 900, fingerprint="new"), "cut off", known).missing == 0
    described_otherwise = set_aside(file("events-1.csv", 1_000, fingerprint="old"), "column 'user' is missing", known)
    assert described_otherwise.missing == 1_000, "the data set's description no longer fits bytes that were good"


def test_a_release_waits_above_the_share_that_is_stated_and_not_for_what_a_person_goes_on_without() -> None:
    record = accepted(bad("events-x.csv", 1_000))
    assert [lacking(record, NEWEST, most).held for most in (0.0, 0.49, 0.5, 1.0)] == [True, True, False, False]
    assert lacking(accepted(bad("events-0.csv", 0)), NEWEST, 0.0).held, "0: nothing may be missing"
    agreed = acknowledged(record, ["events-x.csv"])
    found = lacking(agreed, NEWEST, 0.0)
    assert (found.held, found.share, found.facts()) == (
        False, 0.0, [{"file": "events-x.csv", "reason": "cannot be read (acknowledged)"}]
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"not set aside: events\.csv; set aside are: events-x\.csv"):
        acknowledged(record, ["events.csv"])
    changed = agreed.with_quarantined(["events-x.csv"], dict([bad("events-x.csv", 1_001)]))
    assert lacking(changed, NEWEST, 0.05).held, "another content is another file"
    assert lacking(replace(agreed, quarantined={}), NEWEST, 0.0).files == {}


def test_many_names_are_told_as_a_few_and_a_number() -> None:
    assert sentence({}) == "none"
    assert sentence({"b": "late", "a": "cut off"}) == "a (cut off), b (late)"
    assert sentence({f"{n:05}": "" for n in range(2_021)}).endswith("00019 (), and 2,001 more")


def daily(count: int, step: int = 1, rows: int = 40) -> dict[str, int]:
    return {(date(2025, 1, 1) + timedelta(days=step * n)).isoformat(): rows for n in range(count)}


def later(after: int, rows: int, base: dict[str, int]) -> dict[str, int]:
    newest = date.fromisoformat(max(base))
    return {**base, (newest + timedelta(days=after)).isoformat(): rows}


@pytest.mark.parametrize(
    ("rows", "stray"),
    [
        (later(142, 1, daily(9)), 1),
        (later(3, 1, later(142, 1, daily(9))), 2),  # several of them, and together they are still few
        (later(400, 1, later(142, 1, daily(9))), 2),
        (later(1, 3, later(142, 1, daily(9))), 0),  # a tenth of a day is believed
        (later(142, 4, daily(9)), 0),  # the first day after a holiday
        (later(7, 1, daily(30)), 0),  # a week is no gap
        (later(8, 1, daily(30)), 1),
        (later(1, 1, daily(30)), 0),  # the newest day has just begun
        (later(35, 1, daily(10, step=7)), 0),  # weekly data
        (later(36, 1, daily(10, step=7)), 1),
        (later(142, 1, daily(2)), 0),  # two days say nothing about the usual
        (daily(1), 0),
        ({}, 0),
        ({**later(142, 1, daily(9)), "2025-01-05": 0}, 1),
        (later(142, 1, daily(9, rows=10)), 0),  # one event is not few where ten are a day
    ],
)
def test_only_days_far_from_all_others_and_nearly_empty_are_stray(rows: dict[str, int], stray: int) -> None:
    assert list(stray_days(rows)) == sorted(rows)[len(rows) - stray :]
    if stray:
        assert stray_days(rows, tuple(sorted(rows)[-stray:])) == {}, "a person may say otherwise"


@pytest.mark.parametrize(
    ("after", "share"),
    [
        ({"events": {"a": 60, "b": 40}}, 0.0),
        ({"events": {"a": 60}}, 0.4),
        ({"events": {"a": 60, "c": 400}}, 0.4),  # other days make up for nothing
        ({"events": {"a": 90, "b": 30}}, 0.1),
        ({}, 1.0),
    ],
)
def test_the_lost_share_counts_rows_day_by_day(after: dict[FileKind, dict[str, int]], share: float) -> None:
    before: dict[FileKind, dict[str, int]] = {"events": {"a": 60, "b": 40}, "properties": {"a": 10}}
    assert lost_share(before, {"properties": {"a": 10}, **after}) == pytest.approx(share)
    assert lost_share({"events": {}}, {}) == 0.0
