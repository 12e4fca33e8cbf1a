"""Drawing primitives: an SVG that is legible in light and dark, inline in a page or as an image by itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH = 640
LIGHT = {
    "card": "#ffffff", "ink": "#1c1e26", "muted": "#6b7080", "grid": "#e4e6ec",
    "bar": "#aab3f5", "strong": "#4f43dd", "second": "#c98a1b", "warn": "#c2410c",
}  # fmt: skip
DARK = {
    "card": "#191b22", "ink": "#e9eaf0", "muted": "#9aa0b0", "grid": "#2f323d",
    "bar": "#4b4f8f", "strong": "#a9a2ff", "second": "#e0b04f", "warn": "#fb923c",
}  # fmt: skip
_FONT = "font-family:ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"


def colours(selector: str) -> str:
    """CSS that defines the colours as variables, following what the reader prefers."""
    light, dark = (";".join(f"--{name}:{value}" for name, value in theme.items()) for theme in (LIGHT, DARK))
    return f"{selector}{{{light}}}@media(prefers-color-scheme:dark){{{selector}{{{dark}}}}}"


def shapes(selector: str) -> str:
    """CSS of what a picture is made of."""
    fills = "".join(f"{selector} .{name}{{fill:var(--{name})}}" for name in ("ink", "muted", "bar", "strong", "warn"))
    return (
        f"{selector} text{{{_FONT};font-size:12px;fill:var(--muted)}}{fills}"
        f"{selector} .title{{font-size:15px;font-weight:600;fill:var(--ink)}}{selector} .b{{font-weight:600}}"
        f"{selector} .second{{fill:var(--second)}}{selector} .grid{{stroke:var(--grid);fill:none}}"
        f"{selector} .line{{stroke:var(--second);stroke-width:2;fill:none;stroke-linejoin:round}}"
        f"{selector} .curve{{stroke:var(--strong);stroke-width:2.5;fill:none}}"
        f"{selector} .dash{{stroke:var(--muted);stroke-dasharray:4 3;fill:none}}"
        f"{selector} .plain{{stroke:var(--ink);stroke-width:1.3;fill:none}}"
        f"{selector} .thin{{stroke:var(--muted);opacity:.7;fill:none}}{selector} .band{{opacity:.16}}"
    )


class Canvas:
    """Collects shapes; coordinates in pixels of a canvas 640 wide, rounded so that equal figures are equal text."""

    def __init__(self, title: str, about: str = "") -> None:
        self.title = title
        self._parts: list[str] = []
        self.text(20, 30, title, "title")
        self.text(20, 49, about)

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        """Write at a point; ``anchor`` is start, middle or end."""
        named = f' class="{kind}"' if kind else ""
        placed = f' text-anchor="{anchor}"' if anchor != "start" else ""
        if text:
            self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}"{named}{placed}>{escape(text)}</text>')

    def bar(self, x: float, y: float, width: float, height: float, kind: str, about: str = "") -> None:
        """A filled rectangle; ``about`` shows while the mouse is on it."""
        tip = f"<title>{escape(about)}</title>" if about else ""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" rx="1.5" '
            f'class="{kind}">{tip}</rect>'
        )

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """A line through points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polyline points="{path}" class="{kind}"/>')

    def area(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """A filled shape without an outline."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polygon points="{path}" class="{kind}"/>')

    def inline(self, height: float) -> str:
        """The picture for a page that defines colours and shapes itself."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
            f'aria-label="{escape(self.title)}">{"".join(self._parts)}</svg>'
        )

    def alone(self, height: float) -> str:
        """The picture as a file of its own: on a card, so that it is legible on any ground."""
        style = f"<style>{colours('svg')}{shapes('svg')}</style>"
        card = f'<rect width="{WIDTH}" height="{height:.0f}" rx="10" style="fill:var(--card);stroke:var(--grid)"/>'
        size = f'width="{WIDTH}" height="{height:.0f}"'
        return self.inline(height).replace("<svg ", f"<svg {size} ", 1).replace(">", f">{style}{card}", 1)


def sparkline(
    title: str,
    bars: Sequence[float],
    line: Sequence[tuple[float, float]] = (),
    ends: tuple[str, str] = ("", ""),
    *,
    last: bool = False,
) -> str:
    """A picture in a few hundred characters, in tones that are legible on light and dark grounds.

    Args:
        title: what is seen.
        bars: heights in any unit; of more than 60 the last are drawn.
        line: points (x, y) within 0..1.
        ends: what stands below the first and the last bar.
        last: whether the last bar stands out.
    """
    bars = list(bars)[-60:]
    step, most = 420 / max(len(bars), 1), max(bars, default=0) or 1
    tops = [f"M{(n + 0.5) * step:.0f} 74V{74 - 50 * bar / most:.0f}" for n, bar in enumerate(bars)]
    width = f"stroke-width='{min(0.8 * step, 48):.0f}'"
    cut = len(tops) - last
    parts = [
        f"<path d='{''.join(d)}' stroke='{tone}' {width}/>"
        for d, tone in zip((tops[:cut], tops[cut:]), _TONES, strict=True)
        if d
    ]
    if line:
        points = " ".join(f"{420 * x:.0f},{74 - 50 * y:.0f}" for x, y in line)
        parts.append(f"<polyline points='{points}' fill='none' stroke='#cf9030' stroke-width='2'/>")
    parts += [
        f"<text y='89'>{escape(ends[0])}</text>",
        f"<text x='420' y='89' text-anchor='end'>{escape(ends[1])}</text>",
    ]
    return _small(title, parts, 92)


def sparkline_rows(title: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """Like :func:`sparkline`, with a line for each of the first four rows: name, length, what stands at its end."""
    rows = rows[:4]
    most = max((length for _, length, _ in rows), default=0) or 1
    parts: list[str] = []
    for n, (name, length, note) in enumerate(rows):
        y, end = 34 + 20 * n, 135 + 165 * length / most
        parts.append(
            f"<text y='{y}'>{escape(name[:21])}</text><path d='M135 {y - 4}H{end:.0f}' stroke='{_TONES[0]}' "
            f"stroke-width='12'/><text x='{end + 6:.0f}' y='{y}'>{escape(note)}</text>"
        )
    return _small(title, parts, 26 + 20 * len(rows))


_TONES = ("#8b8fd8", "#6a5ff0")


def _small(title: str, parts: Sequence[str], height: int) -> str:
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='420' height='{height}' fill='#7b8196' font-size='12' "
        f"font-family='system-ui'><text y='14' font-weight='600'>{escape(title)}</text>{''.join(parts)}</svg>"
    )


def compact(number: float) -> str:
    """A number as people write it on an axis: 950, 1.2k, 34k, 5.6M."""
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= unit:
            scaled = f"{number / unit:.1f}" if abs(number) < 10 * unit else f"{number / unit:.0f}"
            return scaled.removesuffix(".0") + suffix
    return f"{number:.0f}" if number == round(number) or abs(number) >= 100 else f"{number:.1f}"


def percent(share: float) -> str:
    """A share as people say it: 0.3 %, 12 %."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %" if value >= 0.1 else "< 0.1 %"
