"""The feedback report as charts, a table and one HTML page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from recsys_assets.core.insight.drawing import (
    GRID,
    INK,
    PALE,
    SECOND,
    STRONG,
    WARN,
    Chart,
    compact,
    new_figure,
    percent,
    shorten,
    styled,
    to_svg,
)
from recsys_assets.core.insight.figures import Figures
from recsys_assets.core.insight.report_page import Card, Table, images, report_page
from recsys_assets.core.insight.sparkline import sparkline, sparkline_rows

MOST_GROUPS = 40
"""Rows of the table; the figures of the page hold all of them."""
HEAD = (
    "placement", "source", "release", "users", "impressions", "clicked", "click-through rate", "95 % interval",
    "precision", "with a target", "targets", "recall",
)  # fmt: skip
_MOST_BARS, _LINES = 16, (STRONG, SECOND, WARN, PALE)


def feedback_page(figures: Figures, dataset: str, charts: Sequence[Chart]) -> bytes:
    """The page with its charts; equal figures give equal bytes."""
    first, last = figures["days"]
    return report_page(
        f"{dataset}: what followed from what was shown, as of {figures['day']}",
        f"Impressions of {first} to {last}: what can follow from them within {figures['hours']} hours has happened. "
        f"{figures['not_final']:,} newer ones are not counted yet. Precision: share of the items at the first "
        f"{figures['k']} places that were clicked. Recall: share of the {figures['targets']:,} targets, of users to "
        "whom anything was shown, that follow from an impression.",
        _cards(figures),
        images(charts),
        [Table("By placement, source and release", HEAD, group_rows(figures)[:MOST_GROUPS])],
        figures,
    )


def group_rows(figures: Figures) -> list[tuple[str, ...]]:
    """The groups as people read them, all impressions first; see :data:`HEAD`."""
    every = figures["all"]
    rows: list[Figures] = [{"placement": "all", "source": "all", "release_id": "all", **every}] if every else []
    return [
        (
            row["placement"],
            row["source"],
            row["release_id"],
            *(f"{row[name]:,}" for name in ("users", "impressions", "clicked")),
            percent(row["click_through_rate"]),
            f"{percent(row['low'])} to {percent(row['high'])}",
            _share(row["precision"]),
            f"{row['reached']:,}",
            f"{row['targets']:,}",
            _share(row["recall"]),
        )
        for row in (*rows, *figures["groups"])
    ]


def feedback_charts(figures: Figures) -> list[Chart]:
    """The charts that these figures call for; none where nothing was shown."""
    charts = [click_through(figures)] if figures["sources"] else []
    return [*charts, clicks_by_position(figures)] if figures["positions"] else charts


@styled
def click_through(figures: Figures) -> Chart:
    """The click-through rate of each placement and source, with its interval."""
    groups = figures["sources"][:_MOST_BARS]
    every = figures["all"]
    title = f"{every['clicked']:,} of {every['impressions']:,} items that were shown were clicked"
    subtitle = "Click-through rate by placement and source, the largest first; lines: 95 % intervals over users"
    figure, (axes,) = new_figure(title, subtitle, 60 + 24 * len(groups))
    names = [shorten(f"{row['placement']} · {row['source']}", 40) for row in groups]
    rates = [100 * row["click_through_rate"] for row in groups]
    errors = [
        [100 * max(0.0, row["click_through_rate"] - row["low"]) for row in groups],
        [100 * max(0.0, row["high"] - row["click_through_rate"]) for row in groups],
    ]
    places = range(len(groups))[::-1]
    axes.barh(places, rates, color=STRONG, xerr=errors, ecolor=INK, capsize=2)
    labels = [f"{name} ({compact(row['impressions'])})" for name, row in zip(names, groups, strict=True)]
    axes.set_yticks(places, labels)
    axes.set_xlabel("clicks per hundred impressions")
    axes.grid(axis="x", color=GRID)
    rows = [
        (name, row["click_through_rate"], percent(row["click_through_rate"]))
        for name, row in zip(names, groups, strict=True)
    ]
    return Chart("click_through", title, to_svg(figure), sparkline_rows(title, rows))


@styled
def clicks_by_position(figures: Figures) -> Chart:
    """Clicks per hundred impressions at each place of the list, of the placements with the most impressions."""
    from matplotlib.ticker import MaxNLocator

    by_placement: dict[str, list[Figures]] = defaultdict(list)
    for row in figures["positions"]:
        by_placement[row["placement"]].append(row)
    largest = sorted(by_placement, key=lambda name: (-sum(row["impressions"] for row in by_placement[name]), name))
    title = "How much the place in the list decides: clicks by position"
    figure, (axes,) = new_figure(title, "Clicks per hundred impressions at each place, by placement", 240)
    for name, color in zip(largest, _LINES, strict=False):
        rows = by_placement[name]
        rates = [100 * row["clicked"] / row["impressions"] for row in rows]
        axes.plot([row["position"] for row in rows], rates, color=color, marker="o", markersize=4, label=name)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("position")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=GRID)
    axes.legend(loc="upper right")
    rows = by_placement[largest[0]]
    bars = [row["clicked"] / row["impressions"] for row in rows]
    small = sparkline(title, bars, ends=(f"{rows[0]['position']}", f"{rows[-1]['position']}"))
    return Chart("clicks_by_position", title, to_svg(figure), small)


def _cards(figures: Figures) -> list[Card]:
    every = figures["all"]
    if every is None:
        return [Card("impressions", "0", f"{figures['not_final']:,} not final yet")]
    between = f"{percent(every['low'])} to {percent(every['high'])}"
    return [
        Card("impressions", f"{every['impressions']:,}", f"of {every['users']:,} users"),
        Card("click-through rate", percent(every["click_through_rate"]), between),
        Card(f"precision at {figures['k']}", _share(every["precision"]), "shown items that were clicked"),
        Card("recall", _share(every["recall"]), f"of {figures['targets']:,} targets"),
        Card("disliked", f"{figures['dislikes']:,}", "items"),
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else percent(value)
