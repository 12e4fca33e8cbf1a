"""Reads each part of the figures at its own interval, and serves the latest ones to scrapes.

A scrape reads nothing: it takes milliseconds however large the history or the store is. A part that cannot be read
shows nothing rather than what was so once, counts an error, and stops no other part.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PREFIX = "recsys_pipeline_"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """Figures that are read together.

    Attributes:
        name: the value of the label ``part``.
        seconds: between two reads.
        read: reads them.
    """

    name: str
    seconds: float
    read: Callable[[], Iterable[Metric]]


def gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    """A gauge of the pipeline without values."""
    return GaugeMetricFamily(PREFIX + name, about, labels=labels)


class PipelineCollector(Collector):
    """The figures of all parts as they were last read.

    Args:
        parts: what to read.
        clock: seconds of Unix time.
    """

    def __init__(self, parts: Sequence[Part], clock: Callable[[], float] = time.time) -> None:
        self._parts, self._clock = parts, clock
        self._shown: dict[str, list[Metric]] = {}
        self._due = {part.name: 0.0 for part in parts}
        self._read_at: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._errors = Counter({part.name: 0 for part in parts})

    def refresh(self) -> float:
        """Read the parts that are due; returns in how many seconds the next one is. One thread calls this."""
        for part in self._parts:
            if self._due[part.name] <= self._clock():
                self._read(part)
        return max(0.0, min(self._due.values()) - self._clock())

    def _read(self, part: Part) -> None:
        began = self._clock()
        try:
            self._shown[part.name] = list(part.read())
            self._read_at[part.name] = self._clock()
        except Exception as error:  # whatever it is, the other parts have to be seen
            self._shown.pop(part.name, None)
            self._errors[part.name] += 1
            logger.warning("%s could not be read: %s: %s", part.name, type(error).__name__, error)
        self._took[part.name] = self._clock() - began
        self._due[part.name] = self._clock() + part.seconds

    def collect(self) -> Iterator[Metric]:
        """What was last read, and how reading went."""
        for families in list(self._shown.values()):
            yield from families
        read_at = gauge("read_timestamp_seconds", "When figures were last read.", "part")
        took = gauge("read_duration_seconds", "How long the last read took.", "part")
        for family, values in ((read_at, self._read_at), (took, self._took)):
            for name, value in list(values.items()):
                family.add_metric([name], value)
            yield family
        errors = CounterMetricFamily(f"{PREFIX}read_errors", "Reads that failed.", labels=("part",))
        for name, count in list(self._errors.items()):
            errors.add_metric([name], count)
        yield errors
