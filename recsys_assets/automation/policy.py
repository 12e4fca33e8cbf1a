"""The automation policy of everything that is as of a day, and the sensor that evaluates it.

The conditions look at the store and the event log, and keep no state between two ticks: what ``make run``, the UI or a
backfill did counts like what automation asked for, and a restart in the middle loses nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg
from dagster_aws.s3 import S3Resource

from recsys_assets.assets.builder import GRAIN
from recsys_assets.automation.event_log import EventLog, store_tag
from recsys_assets.automation.staleness import training_days
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings

SECONDS = 30
EXAMPLES = dg.AssetKey("ranking_examples")
AS_OF = dg.AssetSelection.tag(GRAIN, "as_of")

# Dagster types what a condition is evaluated with, but does not export all of those types.
Context = dg.AutomationContext[Any]
Result = dg.AutomationResult[Any]
Subset = Any
View = Any


def as_of_policy(settings: Settings) -> dg.AutomationCondition[Any]:
    """The policy of all as-of assets: one as-of day at a time, the whole chain of that day as one run.

    - ``DueDay``: the newest day with events, or before it the oldest day that its ranker still lacks. Dagster's own
      "latest time window" goes by the clock, and data may end years ago. Late data make an old day's marts again,
      but of the as-of days only the newest: what was known at an old day's end is history.
    - ``Changed``, or a dependency is requested in this very tick: the asset was never tried for that day, or something
      that it reads has another content than at the last try. A try that failed is a try: the day goes again when its
      data were repaired, and not before. Equal bytes, written again, start nothing.
    - ``UpstreamIsWhole``: nothing that the chain of that day reads is being written, has failed or has failed a
      blocking check. It is one answer for all assets, so that a day is not torn into several runs. There is no "all
      checks have passed": a day without events may never have been built, and windows reach over the edge of the data.
    - ``StoppedByGate``: a dependency that is not in the same run failed, or failed a blocking check, so what it holds
      goes nowhere.
    """
    requested = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.will_be_requested())
    due = DueDay(settings) & (Changed(settings) | requested)
    return (due & UpstreamIsWhole(settings) & ~StoppedByGate(settings)).with_label("newest_as_of_day")


def automation_sensor(settings: Settings) -> dg.AutomationConditionSensorDefinition:
    """Evaluates the policy."""
    return dg.AutomationConditionSensorDefinition(
        "as_of_automation",
        target=AS_OF,
        # Conditions of our own can only be evaluated where our code is.
        use_user_code_server=True,
        run_tags=store_tag(settings.storage_uri),
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests what is as of the newest day when something that it was made of has changed.",
    )


@dataclass(frozen=True)
class Due:
    """An as-of day that is wanted, for itself or for what its examples teach the ranker of the newest day."""

    day: str
    newest: str

    @property
    def examples_only(self) -> bool:
        """Whether only the examples of that day are wanted."""
        return self.day != self.newest


class _Condition(dg.AutomationCondition[Any]):
    """A condition that keeps no state between two ticks and shows its docstring in the UI."""

    def __init__(self, settings: Settings):
        self._settings = settings

    @property
    def requires_cursor(self) -> bool:
        """Nothing of the last tick is needed."""
        return False

    @property
    def description(self) -> str:
        """When it is true."""
        return self.__doc__ or ""


class DueDay(_Condition):
    """True for one day: the oldest that the ranker of the newest day lacks, then the newest day with events."""

    def evaluate(self, context: Context) -> Result:
        """See the class."""
        due = due_day(context.asset_graph_view, self._settings)
        wanted = due is not None and (not due.examples_only or context.key in _up_to_examples(context.asset_graph_view))
        return _true_for(context, [due.day] if due and wanted else [])


class UpstreamIsWhole(_Condition):
    """True where all that the chain of the day reads is written, checked and not being written again."""

    async def evaluate(self, context: Context) -> Result:  # pyright: ignore[reportIncompatibleMethodOverride]
        """See the class."""
        view = context.asset_graph_view
        due, whole = due_day(view, self._settings), _remembered(view, "whole")
        if due is None or context.candidate_subset.is_empty:
            return _true_for(context, [])
        if due not in whole:
            whole[due] = await _is_whole(view, due, self._settings)
        return _true_for(context, [due.day] if whole[due] else [])


class Changed(_Condition):
    """True where the asset was never tried, or something that it reads has another content than at the last try."""

    def evaluate(self, context: Context) -> Result:
        """See the class."""
        days = context.candidate_subset.expensively_compute_partition_keys()
        return _true_for(context, [day for day in days if self._is_true_for(context, day)])

    def _is_true_for(self, context: Context, day: str) -> bool:
        view = context.asset_graph_view
        log = event_log(view, self._settings)
        tried = log.last_attempt(context.key, day)
        if tried is None:
            return True
        asked = _subset(view, context.key, [day])
        read = {parent: asked.compute_mapped_subset(parent, direction="up") for parent in _parents(view, context.key)}
        return any(
            log.changed_since(tried, parent, sorted(days.expensively_compute_partition_keys()))
            for parent, days in read.items()
        )


class StoppedByGate(_Condition):
    """True where an as-of dependency, not requested in this tick, failed or failed a blocking check."""

    async def evaluate(self, context: Context) -> Result:  # pyright: ignore[reportIncompatibleMethodOverride]
        """See the class."""
        view, stopped = context.asset_graph_view, context.get_empty_subset()
        if not context.candidate_subset.is_empty:
            for parent in _parents(view, context.key, "as_of"):
                read = context.candidate_subset.compute_mapped_subset(parent, direction="up")
                if (requested := context.request_subsets_by_key.get(parent)) is not None:
                    read = read.compute_difference(requested)
                failed = await _failed(view, event_log(view, self._settings), parent, read)
                stopped = stopped.compute_union(failed.compute_mapped_subset(context.key, direction="down"))
        return dg.AutomationResult(context, context.candidate_subset.compute_intersection(stopped))


def due_day(view: View, settings: Settings) -> Due | None:
    """Which as-of day is wanted now.

    Args:
        view: of the asset graph in this tick.
        settings: the store, and horizon and windows of the ranker.
    """
    known = _remembered(view, "due")
    if "due" not in known:
        known["due"] = _due_day(view, settings)
    return known["due"]


def event_log(view: View, settings: Settings) -> EventLog:
    """The event log, as far as it is about the store of the settings."""
    return _remembered(view, "log").setdefault(0, EventLog(view.instance, settings.storage_uri))


def _due_day(view: View, settings: Settings) -> Due | None:
    log, partitions = event_log(view, settings), view.asset_graph.get(EXAMPLES).partitions_def
    stored = StoreResource(uri=settings.storage_uri, s3=S3Resource()).partitions()
    days = [day for day in stored.days("clean_events") if partitions.has_partition_key(day)]

    def has_events(day: str) -> bool:
        events = stored.read_lineage("clean_events", day)
        return events is not None and events.rows > 0

    newest = next(filter(has_events, reversed(days)), None)
    if newest is None:
        return None
    first = next(filter(has_events, days), newest)
    lacking = [day for day in training_days(settings, newest, first) if log.last_attempt(EXAMPLES, day) is None]
    return Due(lacking[0] if lacking else newest, newest)


async def _is_whole(view: View, due: Due, settings: Settings) -> bool:
    """Whether all that the chains of a day and of the newest one read is whole, and no run of theirs is on."""
    days, log = sorted({due.day, due.newest}), event_log(view, settings)
    for key in sorted(AS_OF.resolve(view.asset_graph)):
        own = _subset(view, key, sorted({*days, *training_days(settings, due.newest)}))
        if not (await view.compute_run_in_progress_subset(key=key, from_subset=own)).compute_intersection(own).is_empty:
            return False
        for parent in _parents(view, key, "day"):
            read = _subset(view, key, days).compute_mapped_subset(parent, direction="up")
            busy = await view.compute_run_in_progress_subset(key=parent, from_subset=read)
            if not busy.compute_intersection(read).is_empty:
                return False
            if not (await _failed(view, log, parent, read)).is_empty:
                return False
    return True


async def _failed(view: View, log: EventLog, key: dg.AssetKey, among: Subset) -> Subset:
    """The partitions whose last run ended before they were written, or that failed a blocking check when they were."""
    failed = (await view.compute_execution_failed_subset(key=key, from_subset=among)).compute_intersection(among)
    ours = log.tried(key, failed.expensively_compute_partition_keys())
    known = _remembered(view, "checks")
    if key not in known:
        checks = [check for check in view.asset_graph.get(key).check_keys if view.asset_graph.get(check).blocking]
        known[key] = log.failed_days(checks)
    return _subset(view, key, [*ours, *(known[key] & set(among.expensively_compute_partition_keys()))])


def _parents(view: View, key: dg.AssetKey, grain: str | None = None) -> list[dg.AssetKey]:
    """What an asset reads, of one grain or of any but the landing zone's."""
    nodes = {parent: view.asset_graph.get(parent).tags.get(GRAIN) for parent in view.asset_graph.get(key).parent_keys}
    return sorted(parent for parent, found in nodes.items() if found is not None and grain in (None, found))


def _up_to_examples(view: View) -> set[dg.AssetKey]:
    return set(dg.AssetSelection.assets(EXAMPLES).upstream().resolve(view.asset_graph))


def _subset(view: View, key: dg.AssetKey, days: Sequence[str]) -> Subset:
    return view.get_subset_from_partition_keys(key, view.asset_graph.get(key).partitions_def, set(days))


def _true_for(context: Context, days: Sequence[str]) -> Result:
    if not days:
        return dg.AutomationResult(context, context.get_empty_subset())
    wanted = _subset(context.asset_graph_view, context.key, days)
    return dg.AutomationResult(context, context.candidate_subset.compute_intersection(wanted))


_answers: WeakKeyDictionary[Any, dict[str, dict[Any, Any]]] = WeakKeyDictionary()


def _remembered(view: View, question: str) -> dict[Any, Any]:
    """Answers that are the same for all assets of a tick, which has a view of its own."""
    return _answers.setdefault(view, {}).setdefault(question, {})
