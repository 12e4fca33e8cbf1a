"""Charts of a few hundred characters: Dagster's UI shows markdown in place only below 1,000 characters."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

PALE, STRONG, LINE = "#8b8fd8", "#6a5ff0", "#cf9030"
"""Tones that are legible on light and dark grounds."""


def sparkline(
    title: str,
    bars: Sequence[float],
    line: Sequence[tuple[float, float]] = (),
    ends: tuple[str, str] = ("", ""),
    *,
    last: bool = False,
) -> str:
    """Bars and a line as SVG, without axes.

    Args:
        title: what is seen.
        bars: heights in any unit; of more than 60 the last are drawn.
        line: points (x, y) within 0..1.
        ends: labels below the first and the last bar.
        last: whether the last bar stands out.
    """
    bars = list(bars)[-60:]
    step, highest = 420 / max(len(bars), 1), max(bars, default=0) or 1
    paths = [f"M{(n + 0.5) * step:.0f} 74V{74 - 50 * bar / highest:.0f}" for n, bar in enumerate(bars)]
    width = f"stroke-width='{min(0.8 * step, 48):.0f}'"
    cut = len(paths) - last
    parts = [
        f"<path d='{''.join(path)}' stroke='{tone}' {width}/>"
        for path, tone in zip((paths[:cut], paths[cut:]), (PALE, STRONG), strict=True)
        if path
    ]
    if line:
        points = " ".join(f"{420 * x:.0f},{74 - 50 * y:.0f}" for x, y in line)
        parts.append(f"<polyline points='{points}' fill='none' stroke='{LINE}' stroke-width='2'/>")
    parts += [
        f"<text y='89'>{escape(ends[0])}</text>",
        f"<text x='420' y='89' text-anchor='end'>{escape(ends[1])}</text>",
    ]
    return _svg(title, parts, 92)


def sparkline_rows(title: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """Horizontal bars as SVG, for the first four rows: name, length in any unit, label at the end of the bar."""
    rows = rows[:4]
    longest = max((length for _, length, _ in rows), default=0) or 1
    parts: list[str] = []
    for n, (name, length, label) in enumerate(rows):
        y, end = 34 + 20 * n, 135 + 165 * length / longest
        parts.append(
            f"<text y='{y}'>{escape(name[:21])}</text><path d='M135 {y - 4}H{end:.0f}' stroke='{PALE}' "
            f"stroke-width='12'/><text x='{end + 6:.0f}' y='{y}'>{escape(label)}</text>"
        )
    return _svg(title, parts, 26 + 20 * len(rows))


def _svg(title: str, parts: Sequence[str], height: int) -> str:
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='420' height='{height}' fill='#7b8196' font-size='12' "
        f"font-family='system-ui'><text y='14' font-weight='600'>{escape(title)}</text>{''.join(parts)}</svg>"
    )
