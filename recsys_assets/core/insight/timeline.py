"""Lines over days: scales, grid, and names at the right end that do not cover one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil, floor, log10

from recsys_assets.core.insight.charts import RIGHT, say
from recsys_assets.core.insight.svg import Canvas

TOP, HEIGHT, START, END = 70.0, 210.0, 66.0, RIGHT - 150
"""Where the lines are, in pixels."""

_NAME_GAP = 14.0


@dataclass(frozen=True)
class Point:
    """A figure of a day, with its interval where it has one."""

    day: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """How a series is drawn: the kind of its line and of its name, and the tone of its interval ('' for none)."""

    line: str = "thin"
    name: str = ""
    band: str = ""


class Timeline:
    """A drawing area over days.

    Args:
        canvas: to draw on.
        days: ``YYYY-MM-DD``, ascending, at least one; each stands where its date puts it.
        values: everything that has to fit.
        say_value: how a value is written.
    """

    def __init__(
        self, canvas: Canvas, days: Sequence[str], values: Sequence[float], say_value: Callable[[float], str]
    ) -> None:
        self._canvas, self._days, self._say = canvas, days, say_value
        self._first = date.fromisoformat(days[0])
        self._span = (date.fromisoformat(days[-1]) - self._first).days
        self._low, self._high, ticks = scale(values)
        for tick in ticks:
            canvas.line([(START, self.y(tick)), (END, self.y(tick))], "grid")
            canvas.text(START - 8, self.y(tick) + 4, say_value(tick), "", "end")

    @property
    def step(self) -> float:
        """Width of what stands for a day."""
        gaps = (
            (date.fromisoformat(later) - date.fromisoformat(day)).days
            for day, later in zip(self._days, self._days[1:], strict=False)
        )
        return min(0.7 * min(gaps, default=1) * (END - START) / max(self._span, 1), 14.0)

    def x(self, day: str) -> float:
        """Where a day is; the only one is in the middle."""
        if not self._span:
            return (START + END) / 2
        return START + 8 + (END - START - 16) * (date.fromisoformat(day) - self._first).days / self._span

    def y(self, value: float) -> float:
        """Where a value is."""
        return TOP + HEIGHT * (self._high - value) / (self._high - self._low)

    def dates(self, y: float) -> None:
        """The first and the last day, below."""
        self._canvas.text(self.x(self._days[0]), y, say(self._days[0]), "", "start" if self._span else "middle")
        if self._span:
            self._canvas.text(self.x(self._days[-1]), y, say(self._days[-1]), "", "end")

    def draw(self, series: Mapping[str, Sequence[Point | None]], lines: Mapping[str, Line]) -> None:
        """A line for each series, those not in ``lines`` thin and below; a day without a figure interrupts it.

        Args:
            series: name to a figure of each day, at least one of them there.
            lines: how those are drawn that are looked for, the most important one last.
        """
        order = [*sorted(series.keys() - lines.keys()), *(name for name in lines if name in series)]
        for name in order:
            tone = lines.get(name, Line()).band
            for run in _runs(series[name]) if tone else ():
                tops = [(self.x(point.day), self.y(point.high)) for point in run if point.high is not None]
                lows = [(self.x(point.day), self.y(point.low)) for point in run if point.low is not None]
                self._canvas.area([*tops, *reversed(lows)], f"band {tone}")
        names: list[tuple[float, str, str]] = []
        for name in order:
            kind = lines.get(name, Line())
            runs = _runs(series[name])
            for run in runs:
                placed = [(self.x(point.day), self.y(point.value)) for point in run]
                self._canvas.line(placed if len(placed) > 1 else _dash(*placed[0]), kind.line)
            last = runs[-1][-1].value
            names.append((self.y(last), f"{name} {self._say(last)}", kind.name))
        self._write(sorted(names))

    def _write(self, names: Sequence[tuple[float, str, str]]) -> None:
        """Names from top to bottom, each pushed below the one above it; too low ones push all of them up."""
        places: list[float] = []
        for y, *_ in names:
            places.append(max(y, places[-1] + _NAME_GAP if places else TOP))
        floor_of_last = max(TOP + HEIGHT, TOP + _NAME_GAP * (len(names) - 1))
        for n in range(len(places) - 1, -1, -1):
            places[n] = min(places[n], floor_of_last - _NAME_GAP * (len(places) - 1 - n))
        for y, (_, text, kind) in zip(places, names, strict=True):
            self._canvas.text(END + 12, y + 4, text, kind)


def scale(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """Round ends around some values, and the ticks between them (three to seven)."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / 4
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return first * step, last * step, [n * step for n in range(first, last + 1)]


def _runs(points: Sequence[Point | None]) -> list[list[Point]]:
    """Stretches without a gap."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [run for run in runs if run]


def _dash(x: float, y: float) -> list[tuple[float, float]]:
    return [(x - 4, y), (x + 4, y)]
