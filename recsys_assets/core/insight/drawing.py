"""How every chart is drawn: one style on matplotlib, and files whose bytes depend on the data alone."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import quote

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1c1e26", "#5f6475", "#e4e6ec"
STRONG, PALE, SECOND, WARN = "#4f43dd", "#b4bbf3", "#c98a1b", "#c2410c"
"""Indigo against amber or rust: told apart with every common colour blindness, and in print by their lightness."""

WIDTH = 640
"""Width of a chart in points, which a browser shows as pixels."""

_MARGIN = 16
_STYLE: dict[Any, Any] = {
    "font.size": 11,
    "font.sans-serif": ["DejaVu Sans", "Verdana"],  # the first comes with matplotlib, the second is as wide
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10.5,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "ytick.major.size": 0,
    "grid.color": GRID,
    "legend.frameon": False,
    "legend.fontsize": 10.5,
    "legend.labelcolor": MUTED,
    "svg.fonttype": "none",  # text stays text: it can be searched, and files stay small
    "svg.hashsalt": "recsys",  # identifiers within a file would be random otherwise
}

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Chart:
    """A drawn chart.

    Args:
        name: of what it shows.
        title: its main statement, as text.
        svg: the whole chart.
        sparkline: the gist of it as an SVG of a few hundred characters.
    """

    name: str
    title: str
    svg: str
    sparkline: str


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Draw in the style of this module, whatever the configuration of matplotlib on the machine."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        # Importing matplotlib takes most of a second; only steps that draw pay for it.
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            return draw(*args, **kwargs)

    return drawn


def new_figure(title: str, subtitle: str, height: float, rows: int = 1, **subplots: Any) -> tuple[Figure, list[Axes]]:
    """A figure with a heading, and axes below one another.

    Args:
        title: the main statement; wrapped.
        subtitle: what the axes show, and in which unit; wrapped.
        height: of all axes with their labels, in points.
        rows: how many axes.
        subplots: further arguments of ``Figure.subplots``.
    """
    from matplotlib.figure import Figure

    large, small = _wrap(title, 72), _wrap(subtitle, 98)
    top = 14 + 19 * len(large) + 15 * len(small)
    whole = top + height
    figure = Figure(figsize=(WIDTH / 72, whole / 72), layout="constrained")
    left = _MARGIN / WIDTH
    figure.text(left, 1 - 11 / whole, "\n".join(large), fontsize=14, fontweight="bold", va="top", linespacing=1.15)
    y = 1 - (15 + 19 * len(large)) / whole
    figure.text(left, y, "\n".join(small), fontsize=11, color=MUTED, va="top", linespacing=1.15)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(left, 6 / whole, 1 - 2 * left, (height - 12) / whole), h_pad=0.04, w_pad=0)
    axes = figure.subplots(rows, 1, squeeze=False, **subplots)
    return figure, list(axes[:, 0])


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text.replace(" %", "\N{NO-BREAK SPACE}%"), width)


def to_svg(figure: Figure) -> str:
    """The figure as SVG: equal data give equal text."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    lines = buffer.getvalue().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("<svg"))
    lines[start] = lines[start].replace('pt"', '"')  # a point of matplotlib is a pixel of the page
    return "\n".join(line.strip() for line in lines[start:])


def to_png(figure: Figure) -> bytes:
    """The figure as PNG: equal data give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def data_uri(svg: str) -> str:
    """An SVG as an address that holds all of it; not base64, which is a third longer."""
    return f"data:image/svg+xml,{quote(svg, safe=_PLAIN)}"


# What may stand unquoted both within <> in markdown and within an attribute of HTML.
_PLAIN = " !$&'()*+,/:;=?@[]{}|"


def date_axis(axes: Axes, days: Sequence[str]) -> None:
    """Label some of the days on an axis of :func:`day_number`."""
    ticks = evenly(day_number(days[0]), day_number(days[-1]))
    axes.set_xticks(ticks, [day_label(date.fromordinal(tick).isoformat()) for tick in ticks])


def evenly(first: int, last: int, most: int = 6) -> list[int]:
    """At most so many numbers at even distances, descending from ``last``."""
    return list(range(last, first - 1, -max(1, -(-(last - first) // (most - 1)))))


def day_number(day: str) -> int:
    """Where a day (``YYYY-MM-DD``) stands on an axis."""
    return date.fromisoformat(day).toordinal()


def day_label(day: str) -> str:
    """A day as people write it: 3 May."""
    when = date.fromisoformat(day)
    return f"{when.day} {_MONTHS[when.month - 1]}"


# Not by strftime, whose words follow the locale of the machine.
_MONTHS = ("Jan", "Feb", "March", "April", "May", "June", "July", "Aug", "Sept", "Oct", "Nov", "Dec")


def compact(number: float) -> str:
    """A number as people write it on an axis: 950, 1.2k, 34k, 5.6M."""
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= unit:
            scaled = f"{number / unit:.1f}" if abs(number) < 10 * unit else f"{number / unit:.0f}"
            return scaled.removesuffix(".0") + suffix
    return f"{number:.0f}" if number == round(number) or abs(number) >= 100 else f"{number:.1f}"


def percent(share: float) -> str:
    """A share as people write it: 0.3 %, 12 %."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %" if value >= 0.1 else "< 0.1 %"


def shorten(text: str, most: int) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
