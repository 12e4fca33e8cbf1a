"""The backtest as one HTML page, and its table of days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recsys_assets.core.evaluation.compare import FINAL_LISTS
from recsys_assets.core.gate.rule import INTERVAL_TEXT
from recsys_assets.core.insight.drawing import Chart, percent
from recsys_assets.core.insight.figures import Figures
from recsys_assets.core.insight.report_page import Card, Table, images, report_page

_NONE = "-"
_MODELS = (FINAL_LISTS, "ranker", "champion", "fused")

HEAD = (
    "day", "users evaluated", *_MODELS, "best generator", f"gain [{INTERVAL_TEXT}]", "verdict",
    "ordered by", "champion after", "users with lists", "overlap", "jaccard", "new items",
)  # fmt: skip
"""Columns of :func:`day_rows`; models and generators are given by NDCG."""


def backtest_page(figures: Figures, charts: Sequence[Chart]) -> bytes:
    """The page with its charts; equal figures give equal bytes."""
    count = len(figures["days"])
    days = f"{count} as-of days" if count != 1 else "one as-of day"
    return report_page(
        f"{figures['dataset']}: backtest up to {figures['as_of']}",
        f"Results of {days} within the {figures['window_days']} days up to {figures['as_of']}. Models and lists of "
        "a day use only what was known at its end, and are evaluated on the targets of the horizon that ended on it.",
        _cards(figures),
        images(charts),
        [_means(figures), Table("Days", HEAD, day_rows(figures))],
        figures,
    )


def day_rows(figures: Figures) -> list[tuple[str, ...]]:
    """The figures of each day as people read them, newest first; see :data:`HEAD`."""
    return [_day_row(figures, n) for n in reversed(range(len(figures["days"])))]


def _day_row(figures: Figures, n: int) -> tuple[str, ...]:
    return (
        figures["days"][n],
        f"{figures['users'][n]:,}",
        *_model_cells(figures, n),
        *_gate_cells(figures["gate"][n] or {}),
        *_list_cells(figures["lists"][n] or {}),
    )


def _model_cells(figures: Figures, n: int) -> tuple[str, ...]:
    """NDCG of the models, and of the best generator with its name."""
    ndcg: dict[str, float] = {name: points[n][0] for name, points in figures["series"]["ndcg"].items() if points[n]}
    generators = sorted((-value, name) for name, value in ndcg.items() if name not in _MODELS)
    best = f"{generators[0][1]} {-generators[0][0]:.4f}" if generators else _NONE
    return (*(f"{ndcg[name]:.4f}" if name in ndcg else _NONE for name in _MODELS), best)


def _gate_cells(gate: Figures) -> tuple[str, ...]:
    """Gain, verdict, which model orders the lists, champion."""
    gain = _NONE
    if gate.get("gain") is not None:
        gain = f"{gate['gain']:+.4f} [{gate['low']:+.4f}, {gate['high']:+.4f}] over {gate['against']}"
    return (gain, *(gate.get(key) or _NONE for key in ("verdict", "order_by", "champion")))


def _list_cells(lists: Figures) -> tuple[str, ...]:
    """Users, overlap and Jaccard index with the lists before, new items."""
    comparable = bool(lists.get("kept"))
    return (
        f"{lists['users']:,}" if lists else _NONE,
        percent(lists["overlap"]) if comparable else _NONE,
        percent(lists["jaccard"]) if comparable else _NONE,
        f"{lists['new_items']:,} of {lists['items']:,}" if lists.get("since") else _NONE,
    )


def _cards(figures: Figures) -> list[Card]:
    k, compared, verdicts = figures["k"], figures["compared"], figures["verdicts"]
    ordered_by: Mapping[str, int] = figures["ordered_by"]
    cards = [Card("As-of days", f"{len(figures['days']):,}", f"in {figures['window_days']} days")]
    for metric, title in (("ndcg", "NDCG"), ("recall", "Recall")):
        if compared[metric]:
            (first, value), *others = compared[metric].items()
            rest = ", ".join(f"{name} {mean:.3f}" for name, mean in others)
            cards.append(Card(f"{title}@{k}, {first}", f"{value:.3f}", rest or "mean over the days"))
    if verdicts:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        cards.append(Card("Promoted", f"{verdicts.get('promoted', 0):,}", counts))
    if ordered_by:
        most_often = max(ordered_by, key=lambda name: (ordered_by[name], name))
        counts = ", ".join(f"{name} on {count}" for name, count in ordered_by.items())
        cards.append(Card("Lists by", "a model" if most_often == "ranker" else most_often, counts))
    overlaps = [lists["overlap"] for lists in figures["lists"] if lists and lists["kept"]]
    if overlaps:
        mean = percent(sum(overlaps) / len(overlaps))
        cards.append(Card("Overlap", mean, "of a user's list with the one before"))
    return cards


def _means(figures: Figures) -> Table:
    """Each model's mean over its days, best first."""
    means: Mapping[str, Mapping[str, float]] = figures["means"]
    order: Sequence[str] = sorted(means["ndcg"], key=lambda name: (-means["ndcg"][name], name))
    rows = [
        (
            name,
            sum(point is not None for point in figures["series"]["ndcg"][name]),
            f"{means['ndcg'][name]:.4f}",
            f"{means['recall'][name]:.4f}",
            percent(means["coverage"][name]) if name in means["coverage"] else _NONE,
            f"{means['novelty'][name]:.2f}" if name in means["novelty"] else _NONE,
        )
        for name in order
    ]
    head = ("", "days", f"NDCG@{figures['k']}", f"recall@{figures['k']}", "coverage", "novelty")
    return Table("Means over the days", head, rows)
