"""Pictures for the metadata of materializations: what people would rather look at than read."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any
from urllib.parse import quote

import dagster as dg

from recsys_assets.core.insight.charts import Picture
from recsys_assets.core.tuning.study import COMPLETE, PRUNED, Record

_INK, _BAR, _BESIDE = "#1f2937", "#4f43dd", "#9ca3af"


def bars(title: str, values: Mapping[str, float], most: int = 20) -> dg.MarkdownMetadataValue:
    """A horizontal bar chart, largest first, as an inline PNG."""
    if not values:
        return dg.MetadataValue.md("nothing to draw yet")
    encoded = base64.b64encode(bar_chart(title, values, most)).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{encoded})")


def bar_chart(title: str, values: Mapping[str, float], most: int = 20) -> bytes:
    """The same as a PNG file; at least one value."""
    # Importing matplotlib takes most of a second; only steps that draw pay for it.
    from matplotlib.figure import Figure

    shown = sorted(values.items(), key=lambda item: item[1])[-most:]
    figure = Figure(figsize=(6, 0.6 + 0.28 * len(shown)), dpi=110, layout="constrained")
    axes = figure.subplots()
    drawn = axes.barh([name for name, _ in shown], [value for _, value in shown], color=_BAR)
    axes.bar_label(drawn, fmt="%.3g", padding=3, color=_INK, fontsize=8)
    axes.set_title(title, color=_INK, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=_INK)
    axes.margins(x=0.12)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def search_shown(
    measure: str, trials: Sequence[Record], words: Mapping[str, Sequence[str]] | None = None
) -> dict[str, dg.MetadataValue[Any]]:
    """A search: its trials as a table, and how the best value grew as an inline PNG.

    Args:
        measure: what was raised.
        trials: in order; none where nothing was searched.
        words: what the numbers 0, 1, … of a parameter stand for, by its name.
    """

    def shown(name: str, params: Mapping[str, float]) -> str:
        if name not in params:
            return ""
        return words[name][int(params[name])] if words and name in words else f"{params[name]:.4g}"

    if not trials:
        return {"trials": dg.MetadataValue.int(0)}
    names = sorted({name for one in trials for name in one.params})
    records = [
        dg.TableRecord(
            {
                "trial": one.trial,
                "state": one.state,
                measure: round(one.value, 5),
                **{name: shown(name, one.params) for name in names},
            }
        )
        for one in trials
    ]
    columns = [dg.TableColumn("trial", "int"), dg.TableColumn("state"), dg.TableColumn(measure, "float")]
    columns += [dg.TableColumn(name) for name in names]
    encoded = base64.b64encode(search_chart(measure, trials)).decode()
    return {
        "trials": dg.MetadataValue.table(records, dg.TableSchema(columns)),
        "search": dg.MetadataValue.md(f"![{measure} of the trials](data:image/png;base64,{encoded})"),
    }


def search_chart(measure: str, trials: Sequence[Record]) -> bytes:
    """Value of each trial and the best so far, as a PNG file; at least one trial."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 2.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    for state, mark in ((COMPLETE, "o"), (PRUNED, "x")):
        of_state = [(one.trial + 1, one.value) for one in trials if one.state == state]
        if of_state:
            axes.scatter(*zip(*of_state, strict=True), marker=mark, color=_BAR, s=24, label=state)
    best = accumulate((one.value if one.state == COMPLETE else -math.inf for one in trials), max)
    axes.step([one.trial + 1 for one in trials], list(best), where="post", color=_INK, linewidth=1, label="best so far")
    axes.set_title(f"{measure} of the trials", color=_INK, fontsize=10, loc="left")
    axes.set_xlabel("trial", color=_INK, fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=_INK)
    axes.legend(fontsize=8, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


@dataclass(frozen=True)
class Bar:
    """A value with an interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        bounds = "" if self.low is None or self.high is None else f" [{self.low:.4f}, {self.high:.4f}]"
        return f"{self.value:.4f}{bounds}" if bounds else f"{self.value:.3g}"


def side_by_side(title: str, panels: Mapping[str, Mapping[str, Bar]], beside: str) -> bytes:
    """Panels of horizontal bars with intervals, as a PNG file: in all of them the same names in the same order.

    Args:
        title: above all panels.
        panels: what each shows, by name.
        beside: the name with which the others are compared: in grey, below them.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    known = {name for bars_of in panels.values() for name in bars_of}
    names = sorted(known, key=lambda name: (name == beside, name), reverse=True)  # bars are drawn upwards
    colors = [_BESIDE if name == beside else _BAR for name in names]
    across = min(3, len(panels))  # as wide as the window in which the UI shows it
    down = -(-len(panels) // across)
    size = (3.1 * across, 0.6 + down * (0.6 + 0.26 * len(names)))
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    figure.suptitle(title, color=_INK, fontsize=11, x=0.01, ha="left")
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (panel, values) in zip(grid.flat, panels.items(), strict=False):
        shown = [values.get(name, Bar(float("nan"))) for name in names]
        spread = [
            [0.0 if one.low is None else max(0.0, one.value - one.low) for one in shown],
            [0.0 if one.high is None else max(0.0, one.high - one.value) for one in shown],
        ]
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.barh(names, [one.value for one in shown], color=colors, xerr=spread, ecolor=_INK, capsize=2)
        axes.set_title(panel, color=_INK, fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8, colors=_INK)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def report(drawn: Sequence[Picture]) -> dict[str, dg.MarkdownMetadataValue]:
    """Hand-made charts: all of them in full in the first entry, and the gist of each in one of its own.

    The UI shows markdown of up to 1,000 characters in place, and more behind a link.
    """
    return {
        "report": dg.MetadataValue.md("\n\n".join(_image(one.name, one.canvas.alone(one.height)) for one in drawn)),
        **{one.name: small_picture(one.name, one.sparkline) for one in drawn},
    }


def small_picture(name: str, svg: str) -> dg.MarkdownMetadataValue:
    """One picture, of at most a few hundred characters, that the UI shows in place."""
    return dg.MetadataValue.md(_image(name, svg))


def _image(name: str, svg: str) -> str:
    # Not base64, which is a third longer; within <> a markdown address may hold blanks and brackets.
    return f"![{name}](<data:image/svg+xml,{quote(svg, safe=_PLAIN)}>)"


_PLAIN = " !$&'()*+,/:;=?@[]{}|\""
