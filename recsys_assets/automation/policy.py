"""The automation policy of the as-of assets, and the sensor that evaluates it.

The conditions read the store and the event log and keep no state between two ticks. So runs of ``make run``, the UI or
a backfill count like runs that automation requested, and a restart loses nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import dagster as dg
from dagster_aws.s3 import S3Resource

from recsys_assets.automation.event_log import EventLog, store_tag
from recsys_assets.automation.pause import paused
from recsys_assets.ingest.accepted import read_accepted
from recsys_assets.partitions import training_days
from recsys_assets.resources.naming import Names
from recsys_assets.resources.store import StoreResource
from recsys_assets.settings import Settings

EXAMPLES = "ranking_examples"

# Dagster types what a condition is evaluated with, but does not export all of those types.
Context = dg.AutomationContext[Any]
Result = dg.AutomationResult[Any]
Subset = Any
View = Any


def as_of_policy(settings: Settings) -> dg.AutomationCondition[Any]:
    """The policy of all as-of assets: one as-of day at a time, the whole chain of that day as one run.

    - ``DueDay``: the newest day with events, or before it the oldest day that its ranker still lacks. Dagster's own
      "latest time window" goes by the clock, but the data may end years ago. Late data rebuild an old day's marts, but
      of the as-of days only the newest: an as-of day in the past records what was known then.
    - ``Changed``, or a dependency is requested in the same tick: there was no attempt at that day yet, or an input has
      another content than at the last attempt. A failed attempt counts: the day runs again when its data were
      repaired, and not before. Equal bytes, written again, start nothing.
    - ``UpstreamIsWhole``: nothing that the chain of that day reads is being written, has failed or has failed a
      blocking check. The answer is the same for all assets, so that a day is not split into several runs. "All checks
      have passed" would be wrong: a day without events may never have been built, and windows reach beyond the data.
    - ``StoppedByGate``: a dependency that is not in the same run failed, or failed a blocking check.
    """
    requested = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.will_be_requested())
    due = DueDay(settings) & (Changed(settings) | requested)
    return (due & UpstreamIsWhole(settings) & ~StoppedByGate(settings)).with_label("newest_as_of_day")


def automation_sensor(settings: Settings) -> dg.AutomationConditionSensorDefinition:
    """Evaluates the policy."""
    names = Names.of(settings)
    return dg.AutomationConditionSensorDefinition(
        names("as_of_automation"),
        target=_as_of(names),
        # Our own conditions can only be evaluated in the process that has our code.
        use_user_code_server=True,
        run_tags=store_tag(settings.storage_uri),
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests what is as of the newest day when something that it was made of has changed.",
    )


@dataclass(frozen=True)
class Due:
    """An as-of day to build: the newest, or an earlier one whose examples the ranker of the newest day learns from."""

    day: str
    newest: str

    @property
    def examples_only(self) -> bool:
        """Whether only the examples of that day are needed."""
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
    """True for one day: the oldest training day that the newest day's ranker lacks, then the newest day with events."""

    def evaluate(self, context: Context) -> Result:
        """See the class."""
        view = context.asset_graph_view
        due = due_day(view, self._settings)
        if due is None or (due.examples_only and context.key not in _up_to_examples(view, self._settings)):
            return _true_for(context, [])
        return _true_for(context, [due.day])


class UpstreamIsWhole(_Condition):
    """True where everything that the chain of the day reads is written, checked and not being written again."""

    async def evaluate(self, context: Context) -> Result:  # pyright: ignore[reportIncompatibleMethodOverride]
        """See the class."""
        view = context.asset_graph_view
        due, whole = due_day(view, self._settings), _cached(view, self._settings, "whole")
        if due is None or context.candidate_subset.is_empty:
            return _true_for(context, [])
        if due not in whole:
            whole[due] = await _is_whole(view, due, self._settings)
        return _true_for(context, [due.day] if whole[due] else [])


class Changed(_Condition):
    """True where there was no attempt yet, or an input has another content than at the last attempt."""

    def evaluate(self, context: Context) -> Result:
        """See the class."""
        days = context.candidate_subset.expensively_compute_partition_keys()
        answers = _answers_of(context.asset_graph_view, self._settings)
        for day in days:
            if (context.key, day) not in answers:
                answers[context.key, day] = self._is_true_for(context, day)
        return _true_for(context, [day for day in days if answers[context.key, day]])

    def _is_true_for(self, context: Context, day: str) -> bool:
        view = context.asset_graph_view
        log = event_log(view, self._settings)
        attempt = log.last_attempt(context.key, day)
        if attempt is None:
            return True
        partition = _subset(view, context.key, [day])
        upstream = {
            parent: partition.compute_mapped_subset(parent, direction="up")
            for parent in _parents(view, context.key, self._settings)
        }
        return any(
            log.changed_since(attempt, parent, sorted(days.expensively_compute_partition_keys()))
            for parent, days in upstream.items()
        )


class StoppedByGate(_Condition):
    """True where an as-of dependency, not requested in this tick, failed or failed a blocking check."""

    async def evaluate(self, context: Context) -> Result:  # pyright: ignore[reportIncompatibleMethodOverride]
        """See the class."""
        view, stopped = context.asset_graph_view, context.get_empty_subset()
        if not context.candidate_subset.is_empty:
            for parent in _parents(view, context.key, self._settings, "as_of"):
                read = context.candidate_subset.compute_mapped_subset(parent, direction="up")
                if (requested := context.request_subsets_by_key.get(parent)) is not None:
                    read = read.compute_difference(requested)
                failed = await _failed(view, self._settings, parent, read)
                stopped = stopped.compute_union(failed.compute_mapped_subset(context.key, direction="down"))
        return dg.AutomationResult(context, context.candidate_subset.compute_intersection(stopped))


Answers = dict[tuple[dg.AssetKey, str], bool]
_answers: dict[tuple[str, str], tuple[int, Answers]] = {}
"""By log and store, what :class:`Changed` found out since an event: most ticks come when nothing happened."""


def _answers_of(view: View, settings: Settings) -> Answers:
    """What was found out since the newest event before this tick."""
    cache = _cached(view, settings, "answers")
    if "known" not in cache:
        instance = view.instance
        log = (instance.run_storage.get_run_storage_id(), settings.storage_uri)
        newest = instance.event_log_storage.get_maximum_record_id() or 0
        if log not in _answers or _answers[log][0] != newest:
            _answers[log] = (newest, {})
        cache["known"] = _answers[log][1]
    return cache["known"]


def due_day(view: View, settings: Settings) -> Due | None:
    """The as-of day to build now; None if there are no events.

    Args:
        view: of the asset graph in this tick.
        settings: the store, and horizon and windows of the ranker.
    """
    cache = _cached(view, settings, "due")
    if "due" not in cache:
        cache["due"] = _due_day(view, settings)
    return cache["due"]


def event_log(view: View, settings: Settings) -> EventLog:
    """The event log, restricted to the store of the settings."""
    return _cached(view, settings, "log").setdefault(0, EventLog(view.instance, settings.storage_uri))


def _due_day(view: View, settings: Settings) -> Due | None:
    log, examples = event_log(view, settings), Names.of(settings).key(EXAMPLES)
    partitions = view.asset_graph.get(examples).partitions_def
    store = StoreResource(uri=settings.storage_uri, s3=S3Resource())
    stored, held = store.partitions(), read_accepted(store.open()).held
    days = [day for day in stored.days("clean_events") if partitions.has_partition_key(day) and day not in held]

    def has_events(day: str) -> bool:
        events = stored.read_lineage("clean_events", day)
        return events is not None and events.rows > 0

    newest = next(filter(has_events, reversed(days)), None)
    if newest is None:
        return None
    first = next(filter(has_events, days), newest)
    lacking = [day for day in training_days(settings, newest, first) if log.last_attempt(examples, day) is None]
    return Due(lacking[0] if lacking else newest, newest)


async def _is_whole(view: View, due: Due, settings: Settings) -> bool:
    """Whether all that the chains of a day and of the newest day read is whole and at rest, and nobody is erased."""
    names = Names.of(settings)
    if paused(view.instance, names):
        return False
    days = sorted({due.day, due.newest})
    for key in sorted(_as_of(names).resolve(view.asset_graph)):
        own = _subset(view, key, sorted({*days, *training_days(settings, due.newest)}))
        if not (await view.compute_run_in_progress_subset(key=key, from_subset=own)).compute_intersection(own).is_empty:
            return False
        for parent in _parents(view, key, settings, "day"):
            upstream = _subset(view, key, days).compute_mapped_subset(parent, direction="up")
            busy = await view.compute_run_in_progress_subset(key=parent, from_subset=upstream)
            if not busy.compute_intersection(upstream).is_empty:
                return False
            if not (await _failed(view, settings, parent, upstream)).is_empty:
                return False
    return True


async def _failed(view: View, settings: Settings, key: dg.AssetKey, among: Subset) -> Subset:
    """The partitions whose last run ended before they were written, or that failed a blocking check when they were."""
    log = event_log(view, settings)
    failed = (await view.compute_execution_failed_subset(key=key, from_subset=among)).compute_intersection(among)
    unwritten = log.attempted(key, failed.expensively_compute_partition_keys())
    failed_checks = _cached(view, settings, "checks")
    if key not in failed_checks:
        checks = [check for check in view.asset_graph.get(key).check_keys if view.asset_graph.get(check).blocking]
        failed_checks[key] = log.failed_days(checks)
    return _subset(view, key, [*unwritten, *(failed_checks[key] & set(among.expensively_compute_partition_keys()))])


def _as_of(names: Names) -> dg.AssetSelection:
    return dg.AssetSelection.tag(names.grain, "as_of")


def _parents(view: View, key: dg.AssetKey, settings: Settings, grain: str | None = None) -> list[dg.AssetKey]:
    """The upstream assets of one grain, or of any grain; files of the landing zone have none."""
    graph, tag = view.asset_graph, Names.of(settings).grain
    grains = {parent: graph.get(parent).tags.get(tag) for parent in graph.get(key).parent_keys}
    return sorted(parent for parent, of in grains.items() if of is not None and grain in (None, of))


def _up_to_examples(view: View, settings: Settings) -> set[dg.AssetKey]:
    return set(Names.of(settings).assets(EXAMPLES).upstream().resolve(view.asset_graph))


def _subset(view: View, key: dg.AssetKey, days: Sequence[str]) -> Subset:
    return view.get_subset_from_partition_keys(key, view.asset_graph.get(key).partitions_def, set(days))


def _true_for(context: Context, days: Sequence[str]) -> Result:
    if not days:
        return dg.AutomationResult(context, context.get_empty_subset())
    subset = _subset(context.asset_graph_view, context.key, days)
    return dg.AutomationResult(context, context.candidate_subset.compute_intersection(subset))


_caches: WeakKeyDictionary[Any, dict[tuple[str, str], dict[Any, Any]]] = WeakKeyDictionary()


def _cached(view: View, settings: Settings, question: str) -> dict[Any, Any]:
    """A cache of answers that are the same for all assets of a graph in a tick; each tick has a view of its own."""
    return _caches.setdefault(view, {}).setdefault((settings.storage_uri, question), {})
