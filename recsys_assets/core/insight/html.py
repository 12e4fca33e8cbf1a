"""What the reports have in common as HTML pages that need nothing else: style, cards, tables, figures as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from recsys_assets.core.insight.charts import Picture
from recsys_assets.core.insight.svg import colours, shapes

_STYLE = (
    colours(":root")
    + shapes("figure")
    + """
:root{color-scheme:light dark}
body{margin:0;background:var(--card);color:var(--ink);
  font:15px/1.5 ui-sans-serif,system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}
main{max-width:1120px;margin:0 auto;padding:40px 24px 64px}
h1{font-size:26px;line-height:1.2;margin:0 0 4px;letter-spacing:-.01em}
h2{font-size:17px;margin:40px 0 12px}
p{color:var(--muted);margin:0 0 24px}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:12px;margin:0 0 28px}
dl div{border:1px solid var(--grid);border-radius:10px;padding:12px 14px}
dt{color:var(--muted);font-size:13px}
dd{margin:2px 0 0;font-size:22px;font-weight:600;font-variant-numeric:tabular-nums}
dd small{display:block;font-size:13px;font-weight:400;color:var(--muted)}
.warn{color:var(--warn)}
section{columns:460px;column-gap:16px}
figure{margin:0 0 16px;break-inside:avoid;border:1px solid var(--grid);border-radius:10px;overflow:hidden}
svg{display:block;width:100%;height:auto}
div.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:6px 12px;border-bottom:1px solid var(--grid)}
th{color:var(--muted);font-weight:500}
th:first-child,td:first-child{text-align:left;overflow-wrap:anywhere}
"""
)

Card = tuple[str, str, str, str]
"""A key figure: its name, its value, a note below it, and its tone (``ink`` or ``warn``)."""


def document(
    title: str, lead: str, cards: Iterable[Card], drawn: Iterable[Picture], tables: str, figures: dict[str, Any]
) -> bytes:
    """The page; equal arguments give equal bytes.

    Args:
        title: plain text.
        lead: one sentence, plain text.
        cards: key figures.
        drawn: pictures.
        tables: HTML, see :func:`table`.
        figures: everything shown, for programs: JSON in the script ``figures``.
    """
    pictures = "".join(f'<figure id="{one.name}">{one.canvas.inline(one.height)}</figure>' for one in drawn)
    # "<" could end the script; JSON has another way to write it.
    data = json.dumps(figures, ensure_ascii=False, sort_keys=True).replace("<", "\\u003c")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">\n<style>{_STYLE}</style></head>\n'
        f"<body><main><h1>{escape(title)}</h1>\n<p>{escape(lead)}</p>\n"
        f"<dl>{_cards(cards)}</dl>\n<section>{pictures}</section>\n{tables}\n"
        f'</main><script type="application/json" id="figures">{data}</script></body></html>\n'
    ).encode()


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str | int]]) -> str:
    """A table below a heading; integers get separators."""
    cells = "".join(
        "<tr>" + "".join(f"<td>{escape(f'{one:,}' if isinstance(one, int) else one)}</td>" for one in row) + "</tr>"
        for row in rows
    )
    heads = "".join(f"<th>{escape(one)}</th>" for one in head)
    return f'<h2>{escape(title)}</h2><div class="wide"><table><tr>{heads}</tr>{cells}</table></div>'


def _cards(cards: Iterable[Card]) -> str:
    return "".join(
        f'<div><dt>{escape(name)}</dt><dd class="{kind}">{escape(value)}<small>{escape(note)}</small></dd></div>'
        for name, value, note, kind in cards
    )
