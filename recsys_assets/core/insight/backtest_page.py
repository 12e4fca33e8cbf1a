"""The backtest as one HTML page, and its table of days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recsys_assets.core.evaluation.compare import FINAL_LISTS
from recsys_assets.core.insight.backtest_charts import backtest_pictures
from recsys_assets.core.insight.figures import Figures
from recsys_assets.core.insight.html import Card, document, table
from recsys_assets.core.insight.svg import percent

_NONE = "-"
_MODELS = (FINAL_LISTS, "ranker", "champion", "fused")

HEAD = (
    "day", "users judged", *_MODELS, "best generator", "gain [95 % interval]", "verdict",
    "ordered by", "champion after", "users with lists", "overlap", "jaccard", "new items",
)  # fmt: skip
"""Columns of :func:`day_rows`; models and generators are given by NDCG."""


def backtest_page(figures: Figures) -> bytes:
    """The page; equal figures give equal bytes."""
    many = len(figures["days"])
    days = f"{many} as-of days" if many != 1 else "one as-of day"
    return document(
        f"{figures['dataset']}: backtest up to {figures['as_of']}",
        f"What {days} of the {figures['window_days']} up to {figures['as_of']} were worth: each was made from what was "
        "known at its end, and is judged on the targets of the horizon that ended with it.",
        _key_figures(figures),
        backtest_pictures(figures),
        "\n".join([_means(figures), table("Days", HEAD, day_rows(figures))]),
        figures,
    )


def day_rows(figures: Figures) -> list[tuple[str, ...]]:
    """The figures of each day as people read them, newest first; see :data:`HEAD`."""
    return [_day_row(figures, n) for n in reversed(range(len(figures["days"])))]


def _day_row(figures: Figures, n: int) -> tuple[str, ...]:
    ndcg = {name: points[n] for name, points in figures["series"]["ndcg"].items() if points[n]}
    generators = {name: point[0] for name, point in ndcg.items() if name not in _MODELS}
    best = min(generators, key=lambda name: (-generators[name], name), default=None)
    gate: Figures = figures["gate"][n] or {}
    lists: Figures = figures["lists"][n] or {}
    gained, changed = gate.get("gain") is not None, bool(lists.get("kept"))
    return (
        figures["days"][n],
        f"{figures['users'][n]:,}",
        *(f"{ndcg[name][0]:.4f}" if name in ndcg else _NONE for name in _MODELS),
        f"{best} {generators[best]:.4f}" if best else _NONE,
        f"{gate['gain']:+.4f} [{gate['low']:+.4f}, {gate['high']:+.4f}] over {gate['against']}" if gained else _NONE,
        gate.get("verdict") or _NONE,
        gate.get("order_by") or _NONE,
        gate.get("champion") or _NONE,
        f"{lists['users']:,}" if lists else _NONE,
        percent(lists["overlap"]) if changed else _NONE,
        percent(lists["jaccard"]) if changed else _NONE,
        f"{lists['new_items']:,} of {lists['items']:,}" if lists.get("since") else _NONE,
    )


def _key_figures(figures: Figures) -> list[Card]:
    k, compared, verdicts = figures["k"], figures["compared"], figures["verdicts"]
    ordered: Mapping[str, int] = figures["ordered_by"]
    most = max(ordered, key=lambda name: (ordered[name], name), default=None)
    kept = [one for one in figures["lists"] if one and one["kept"]]
    cards: list[Card] = [("As-of days", f"{len(figures['days']):,}", f"in {figures['window_days']} days", "ink")]
    for metric, title in (("ndcg", "NDCG"), ("recall", "Recall")):
        if compared[metric]:
            (first, value), *others = compared[metric].items()
            rest = ", ".join(f"{name} {mean:.3f}" for name, mean in others)
            cards.append((f"{title}@{k}, {first}", f"{value:.3f}", rest or "mean over the days", "ink"))
    if verdicts:
        told = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.items())
        cards.append(("Promoted", f"{verdicts.get('promoted', 0):,}", told, "ink"))
    if most:
        told = ", ".join(f"{name} on {n}" for name, n in ordered.items())
        cards.append(("Lists by", "a model" if most == "ranker" else most, told, "ink"))
    if kept:
        overlap = sum(one["overlap"] for one in kept) / len(kept)
        cards.append(("Overlap", percent(overlap), "of a user's list with the one before", "ink"))
    return cards


def _means(figures: Figures) -> str:
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
    return table("Means over the days", head, rows)
