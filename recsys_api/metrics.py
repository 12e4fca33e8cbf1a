"""What the application counts, as Prometheus metrics.

Labels are bounded: names that clients make up count as ``other``. Each application has a registry of its own. Where
``PROMETHEUS_MULTIPROC_DIR`` is set, all worker processes write into files of that folder and each shows the counts of
them all; the folder must be emptied before the workers start (``python -m recsys_api`` does).
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as PrometheusCounter
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from recsys_api.metrics_folder import begun_files, forget_dead_workers

OTHER, NONE = "other", "none"
"""Labels of names that are not known, and of names that are not given."""
Part = Literal[
    "requests",
    "releases",
    "events",
    "events_full",
    "events_busy",
    "export",
    "trim",
    "live",
    "items",
    "erasure",
    "traces",
]

T = TypeVar("T")
_RELEASE = "recsys_release_info"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_SHARES = tuple(tenths / 10 for tenths in range(11))
_MOST_WAITING = 50
"""Requests, or answers, that are counted together at most. More of them cost each hardly less, and hold up those that
are asked meanwhile: 1000 took 2 ms, which was the slowest percentile of all answers."""
_MOST_NAMES = 200
"""Most names of sources that the releases of a process bring; those of one release are far fewer."""


class _Counts:
    """A counter whose children are found by their labels at the cost of one look-up."""

    def __init__(self, counter: PrometheusCounter) -> None:
        self._counter = counter
        self._children: dict[tuple[str, ...], PrometheusCounter] = {}

    def add(self, *labels: str, amount: float = 1) -> None:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._counter.labels(*labels)
        child.inc(amount)

    def add_all(self, amounts: Mapping[tuple[str, ...], float]) -> None:
        for labels, amount in amounts.items():
            self.add(*labels, amount=amount)


class _Answer(NamedTuple):
    mode: str
    sources: Sequence[str]
    k: int
    fallbacks: Mapping[str, int]
    cold: bool
    offline: int


class Metrics(Collector):
    """The metrics of one application; ``docs/api.md`` has the table.

    Args:
        folder: of the files that all workers share; empty for a process by itself.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = Path(folder) if folder else None
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._registry = CollectorRegistry()
        self._sources: set[str] = set()
        self._durations: dict[tuple[str, str, str], Histogram] = {}
        self._new_requests: deque[tuple[str, str, int, float]] = deque()
        self._new_answers: deque[_Answer] = deque()
        self._showing = threading.Lock()
        self._due = False
        route = ("route", "method", "status")
        self._requests = self._counts("http_requests_total", "Requests.", *route)
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Time to answer, the body included.",
            route,
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._items = self._counts(
            "recsys_recommended_items_total", "Items in answers, by what put them there.", "source"
        )
        self._answers = self._counts("recsys_answers_total", "Answers with recommendations, by their mode.", "mode")
        self._offline = Histogram(
            "recsys_offline_share",
            "Share of the items of an answer that were put there by the lists of last night.",
            buckets=_SHARES,
            registry=self._registry,
        )
        self._cold = self._counter("recsys_cold_users_total", "Answers to users or visits of whom nothing was known.")
        self._empty = self._counter("recsys_empty_answers_total", "Answers without any item.")
        self._short = self._counter("recsys_short_answers_total", "Answers with fewer items than asked for, but some.")
        self._fallback = self._counts(
            "recsys_fallback_items_total", "Items that stand in for personal ones, by reason.", "reason"
        )
        shown = ("placement", "source")
        self._impressions = self._counts("recsys_impressions_total", "Impressions that were posted.", *shown)
        self._clicks = self._counts(
            "recsys_clicks_total",
            "Posted events that follow from an answer: those that name it and are no signal.",
            *shown,
        )
        self._accepted = self._counts("recsys_events_accepted_total", "Posted events that were new.", "type")
        self._duplicates = self._counts("recsys_events_duplicate_total", "Posted events that were known.", "type")
        self._changes = self._counts("recsys_item_changes_total", "Accepted changes of items, by field.", "field")
        self._errors = self._counts("recsys_errors_total", "What went wrong, by part.", "part")
        self._loads = self._counter("recsys_release_loads_total", "Releases that were loaded.")
        self._failures = self._counter(
            "recsys_release_reload_failures_total", "Looks at the pointer after which no newer release could be loaded."
        )
        self._damages = self._counter(
            "recsys_release_damaged_files_total", "Files of served releases that were damaged after they were loaded."
        )
        self._instead = self._gauge(
            "recsys_release_instead",
            "Workers that serve a release in place of a damaged one.",
            "livesum",
        )
        self._closed = self._counts(
            "recsys_connections_closed_total", "Connections that were closed or refused, by reason.", "reason"
        )
        self._cpu = self._counter("process_cpu_seconds_total", "User and system CPU time, seconds.")
        self._cpu_seen = 0.0
        self._memory = self._gauge("process_resident_memory_bytes", "Resident memory.", "livesum")
        self._workers = self._gauge("recsys_workers", "Worker processes.", "livesum")
        self._age = self._gauge(
            "recsys_release_age_seconds", "Time since the end of the release's last day.", "livemax"
        )
        self._queued = self._gauge("recsys_events_queued", "Events that wait to become durable.", "livesum")
        self._unexported = self._gauge("recsys_events_unexported", "Stored events in no landing file yet.", "livemax")
        self._release = Gauge(
            _RELEASE,
            "Workers that serve a release.",
            ("release_id", "as_of"),
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._released: tuple[str, str] | None = None
        live = ("recsys_live_impressions", "recsys_live_precision", "recsys_live_recall")
        about = (
            "Impressions of the last day.",
            "Share of the impressions of the last day from which an event followed.",
            "Share of the targets of the last day, of users to whom anything was shown, that followed from them.",
        )
        # All workers read the same events, so one of them speaks for all: the last that looked.
        self._live = [self._shared(name, text, "placement") for name, text in zip(live, about, strict=True)]
        self._targets = self._shared(
            "recsys_live_targets", "Targets of the last day, of users to whom anything was shown."
        )

    def _counter(self, name: str, about: str) -> PrometheusCounter:
        return PrometheusCounter(name, about, registry=self._registry)

    def _counts(self, name: str, about: str, *labels: str) -> _Counts:
        return _Counts(PrometheusCounter(name, about, labels, registry=self._registry))

    def _gauge(self, name: str, about: str, mode: Literal["livesum", "livemax"]) -> Gauge:
        return Gauge(name, about, registry=self._registry, multiprocess_mode=mode)

    def _shared(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(name, about, labels, registry=self._registry, multiprocess_mode="livemostrecent")

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered.

        Args:
            route: template of its path.
            method: one of HTTP's.
            status: of the answer.
            seconds: until the answer was sent.
        """
        self._new_requests.append((route, method, status, seconds))
        if self.folder and not self._due:
            self._show_soon()
        elif len(self._new_requests) >= _MOST_WAITING:
            self._show()

    def _show_soon(self) -> None:
        """Show what is new once the event loop has done what it does now: other workers look without asking."""
        self._due = True
        try:
            asyncio.get_running_loop().call_soon(self._show)
        except RuntimeError:  # no loop runs
            self._show()

    def _show(self) -> None:
        """Count what is new: many together take a fraction of the time that each by itself would."""
        with self._showing:
            self._due = False
            requests = Counter[tuple[str, ...]]()
            for route, method, status, seconds in _taken(self._new_requests):
                labels = (route, method, str(status))
                requests[labels] += 1
                histogram = self._durations.get(labels)
                if histogram is None:
                    histogram = self._durations[labels] = self._seconds.labels(*labels)
                histogram.observe(seconds)
            self._requests.add_all(requests)
            answers = list(_taken(self._new_answers))
            if answers:
                self._show_answers(answers)

    def _show_answers(self, answers: Sequence[_Answer]) -> None:
        self._answers.add_all(Counter((answer.mode,) for answer in answers))
        items = Counter(chain.from_iterable(answer.sources for answer in answers))
        self._items.add_all(_summed(((self._source(source),), count) for source, count in items.items()))
        stand_ins = ((reason, count) for answer in answers for reason, count in answer.fallbacks.items())
        self._fallback.add_all(_summed(((reason,), count) for reason, count in stand_ins))
        for answer in answers:
            if answer.sources:
                self._offline.observe(answer.offline / len(answer.sources))
        self._cold.inc(sum(answer.cold for answer in answers))
        self._empty.inc(sum(not answer.sources for answer in answers))
        self._short.inc(sum(0 < len(answer.sources) < answer.k for answer in answers))

    def answer(
        self, mode: str, sources: Sequence[str], k: int, fallbacks: Mapping[str, int], *, cold: bool, offline: int
    ) -> None:
        """Count an answer with recommendations.

        Args:
            mode: which parts it is made of.
            sources: of its items.
            k: items that were asked for.
            fallbacks: reason to number of items.
            cold: whether nothing was known of the visitor.
            offline: number of items that were put there by the lists of last night.
        """
        self._new_answers.append(_Answer(mode, sources, k, fallbacks, cold, offline))
        if len(self._new_answers) >= _MOST_WAITING:  # a request may have many
            self._show()

    def _source(self, name: str) -> str:
        if name not in self._sources:
            if len(self._sources) >= _MOST_NAMES:
                return OTHER
            self._sources.add(name)
        return name

    def event(self, event_type: str, *, new: bool) -> None:
        """Count a posted event, which is new or was known; the type is one of the data set, or ``other``."""
        (self._accepted if new else self._duplicates).add(event_type)

    def impression(self, placement: str, source: str) -> None:
        """Count an impression; both names are known ones, ``other`` or ``none``."""
        self._impressions.add(placement, source)

    def click(self, placement: str, source: str) -> None:
        """Count an event that follows from an answer; both names are known ones, ``other`` or ``none``."""
        self._clicks.add(placement, source)

    def item_changes(self, fields: Iterable[str]) -> None:
        """Count accepted changes of items by their fields."""
        for field in fields:
            self._changes.add(field)

    def error(self, part: Part) -> None:
        """Count an error of a part of the application."""
        self._errors.add(part)

    def reload(self, loaded: bool) -> None:
        """Count an attempt to load a release."""
        if loaded:
            self._loads.inc()
        else:
            self._failures.inc()
            self.error("releases")

    def connection_closed(self, reason: str) -> None:
        """Count a connection that was closed or refused, by one of the reasons of ``recsys_api.connections``."""
        self._closed.add(reason)

    def damage(self) -> None:
        """Count a file of the served release that was found damaged after it was loaded."""
        self._damages.inc()
        self.error("releases")

    def process(self, cpu_seconds: float, memory: int) -> None:
        """State what this process uses.

        Args:
            cpu_seconds: since it started.
            memory: resident, bytes.
        """
        self._cpu.inc(max(0.0, cpu_seconds - self._cpu_seen))
        self._cpu_seen = max(self._cpu_seen, cpu_seconds)
        self._memory.set(memory)
        self._workers.set(1)

    def release(self, release_id: str, as_of: str, age_seconds: float, *, instead: bool) -> None:
        """State what is served, and whether it is in place of the current release."""
        self._instead.set(instead)
        if self._released != (release_id, as_of):
            if self._released:
                # Labels cannot be taken away from files that workers share: those at 0 are left out.
                self._release.labels(*self._released).set(0)
            self._release.labels(release_id, as_of).set(1)
            self._released = (release_id, as_of)
        self._age.set(age_seconds)

    def backlog(self, queued: int, unexported: int) -> None:
        """State how many events wait."""
        self._queued.set(queued)
        self._unexported.set(unexported)

    def feedback(self, placement: str, impressions: int, precision: float, recall: float) -> None:
        """State what followed from what was shown; the placement is a known one, ``other`` or ``none``."""
        for gauge, value in zip(self._live, (impressions, precision, recall), strict=True):
            gauge.labels(placement).set(value)

    def targets(self, count: int) -> None:
        """State how many targets recall is a share of."""
        self._targets.set(count)

    def collect(self) -> Iterator[Metric]:
        """All metrics, of all workers."""
        self._show()
        if self.folder:
            forget_dead_workers(self.folder)
            families = MultiProcessCollector.merge(begun_files(self.folder))
        else:
            families = self._registry.collect()
        for family in sorted(families, key=lambda family: family.name):
            family.samples = [
                sample
                for sample in family.samples
                if not sample.name.endswith("_created") and (sample.name != _RELEASE or sample.value)
            ]
            yield family

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self)


def _taken(new: deque[T]) -> Iterator[T]:
    """Takes what has come together; others may add to it meanwhile."""
    with suppress(IndexError):
        while True:
            yield new.popleft()


def _summed(amounts: Iterable[tuple[tuple[str, ...], int]]) -> Counter[tuple[str, ...]]:
    sums = Counter[tuple[str, ...]]()
    for labels, amount in amounts:
        sums[labels] += amount
    return sums


def known(name: str | None, names: Collection[str]) -> str:
    """A name that a client gave, as a label.

    Args:
        name: what the client gave.
        names: those that exist.
    """
    return NONE if name is None else name if name in names else OTHER
