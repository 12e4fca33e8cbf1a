"""Which days have to be built: the rule that sensors, schedules and ``make run`` share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg

from recsys_assets.ingest.accepted import Accepted
from recsys_assets.resources.naming import Names, asset_name
from recsys_assets.storage.lineage import Input, Lineage
from recsys_assets.storage.partition_store import PartitionStore

EVENTS = "clean_events"
_OTHERS = ("item_properties", "category_tree", "impressions", "attribution")
_READERS = 16


@dataclass(frozen=True)
class History:
    """What was found of the daily assets of some days.

    Attributes:
        outdated: days that were not built from the files that they have now, ascending.
        other_settings: the partitions that were made with other settings, by day. Their days are not among the outdated
            ones: nothing but a person has history built again.
    """

    outdated: list[str]
    other_settings: Mapping[str, list[Lineage]]


Span = tuple[str, str]
"""The first and the last day that the graph has a partition for."""


def marts_of(specs: Iterable[dg.AssetSpec], names: Names) -> tuple[str, ...]:
    """The marts among some assets: those that depend on one day alone and read its events."""
    return tuple(
        sorted(
            asset_name(spec.key)
            for spec in specs
            if spec.tags.get(names.grain) == "day" and names.key(EVENTS) in {dep.asset_key for dep in spec.deps}
        )
    )


def outdated_days(
    accepted: Accepted,
    partitions: PartitionStore,
    marts: Sequence[str],
    span: Span,
    since: int = 0,
    until: str = "",
    retry_queue: Collection[str] = (),
    *,
    reach: int,
) -> list[str]:
    """Days that have to be built, ascending: those of :func:`history_of` that changed lately.

    Args:
        accepted: the files that count.
        partitions: the partitions of the store.
        marts: names of the marts; see :func:`marts_of`.
        span: of the graph.
        since: leave out what did not change after this generation …
        until: … unless it is later than this day, the last one of the graph when that generation was requested …
        retry_queue: … or one of these.
        reach: days before its own whose impressions ``attribution`` reads.
    """

    def is_asked_for(day: str, generation: int) -> bool:
        return generation > since or day > until or day in retry_queue

    return history_of(accepted, partitions, marts, span, is_asked_for, reach=reach).outdated


def history_of(
    accepted: Accepted,
    partitions: PartitionStore,
    marts: Sequence[str],
    span: Span,
    is_asked_for: Callable[[str, int], bool] = lambda _, __: True,
    *,
    reach: int,
) -> History:
    """Which days were not built from the files that they have now, and which were made with other settings.

    The lineage records decide, not the event log.

    Args:
        accepted: as of :func:`outdated_days`.
        partitions: likewise.
        marts: likewise.
        span: likewise.
        is_asked_for: whether to look at a day, of which a change of this generation is the last.
        reach: as of :func:`outdated_days`.
    """
    changed = {
        day: max(accepted.changed.get(shown, 0) for shown in _trailing(day, reach, span[0]))
        for day in sorted(accepted.changed)
    }
    days = [
        day
        for day, generation in changed.items()
        if span[0] <= day <= span[1] and day not in accepted.held and is_asked_for(day, generation)
    ]
    newest = newest_day(accepted, span)
    trees = sorted(file.digest for file in accepted.files.values() if file.kind == "categories")
    daily = (EVENTS, *_OTHERS, *marts)

    def look(day: str) -> tuple[bool, list[Lineage]]:
        records = {name: partitions.read_lineage(name, day) for name in daily}
        other_settings = [record for record in records.values() if record and partitions.changes(record)]
        shown = _trailing(day, reach, span[0])
        current = _is_current(day, accepted, records, marts, trees if day == newest else None) and (
            _follows_impressions(shown, accepted, partitions, records)
        )
        return not current, other_settings

    # On S3 a record takes a round trip, and a first look asks for all days.
    with ThreadPoolExecutor(_READERS) as pool:
        found = list(zip(days, pool.map(look, days), strict=True))
    other_settings = {day: records for day, (_, records) in found if records}
    return History([day for day, (outdated, _) in found if outdated and day not in other_settings], other_settings)


def newest_day(accepted: Accepted, span: Span) -> str | None:
    """The newest day with events that the graph has a partition for."""
    return max((day for day in accepted.event_days() if span[0] <= day <= span[1]), default=None)


def ranges(days: Iterable[str], with_files: Collection[str]) -> list[tuple[str, str]]:
    """Ascending days as ranges (first, last), for one run each.

    A range includes days that no file has rows of, because a run costs more than some empty partitions.

    Args:
        days: ascending.
        with_files: days that files have rows of.
    """
    joined: list[tuple[str, str]] = []
    for day in days:
        if joined and not any(between in with_files for between in _days_between(joined[-1][1], day)):
            joined[-1] = (joined[-1][0], day)
        else:
            joined.append((day, day))
    return joined


def history_tags(first: str, last: str) -> dict[str, str]:
    """The tags by which Dagster runs a range of days as one run."""
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def _is_current(
    day: str,
    accepted: Accepted,
    records: Mapping[str, Lineage | None],
    marts: Sequence[str],
    trees: Sequence[str] | None,
) -> bool:
    """Whether a day was built from the files that it has now, and its marts from those very events."""
    files, properties = accepted.digests("events", day), accepted.digests("properties", day)
    events, snapshots, tree = records[EVENTS], records["item_properties"], records["category_tree"]
    if events is None:
        return not files and not properties and not accepted.digests("impressions", day)
    if events.params.get("files") != files:
        return False
    if snapshots is None or snapshots.params.get("files") != properties:
        return False
    if trees is not None and (tree is None or tree.params.get("files") != trees):
        return False
    built_from = Input(EVENTS, day, events.sha256)
    built = (records[name] for name in marts)
    return all(record is not None and built_from in record.inputs for record in built)


def _follows_impressions(
    days: Sequence[str], accepted: Accepted, partitions: PartitionStore, of_first: Mapping[str, Lineage | None]
) -> bool:
    """Whether the first of some days has the impressions of its files, and its attribution those of all of them."""
    earlier = {shown: partitions.read_lineage("impressions", shown) for shown in days[1:]}
    records = {days[0]: of_first["impressions"], **earlier}
    for shown, record in records.items():
        if (record.params.get("files") if record else []) != accepted.digests("impressions", shown):
            return False
    attribution = of_first["attribution"]
    inputs = attribution.inputs if attribution else ()
    read = {source.day: source.sha256 for source in inputs if source.asset == "impressions"}
    # A day on which nothing was shown may have been made after those that would have read it.
    return all(
        record.sha256 == read.get(shown) or (not record.rows and shown not in read)
        for shown, record in records.items()
        if record
    )


def _trailing(day: str, before: int, first: str) -> list[str]:
    """A day and so many before it, but none before the first one of the graph."""
    days = [(date.fromisoformat(day) - timedelta(days=n)).isoformat() for n in range(before + 1)]
    return [day, *(earlier for earlier in days[1:] if earlier >= first)]


def _days_between(first: str, last: str) -> list[str]:
    """The days after ``first`` and before ``last``."""
    start = date.fromisoformat(first)
    return [(start + timedelta(days=n)).isoformat() for n in range(1, (date.fromisoformat(last) - start).days)]
