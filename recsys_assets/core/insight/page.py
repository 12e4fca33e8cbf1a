"""The data report as one HTML page that needs nothing else: figures, pictures, tables, and the figures as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape

from recsys_assets.core.insight.charts import pictures
from recsys_assets.core.insight.figures import Figures, change
from recsys_assets.core.insight.svg import colours, percent, shapes

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


def page(figures: Figures) -> bytes:
    """The page; equal figures give equal bytes."""
    name, day = escape(figures["dataset"]), escape(figures["as_of"])
    many = len(figures["days"])
    days = f"the {many} days up to {day}" if many > 1 else "one day"
    drawn = "".join(f'<figure id="{one.name}">{one.canvas.inline(one.height)}</figure>' for one in pictures(figures))
    # "<" could end the script; JSON has another way to write it.
    data = json.dumps(figures, ensure_ascii=False, sort_keys=True).replace("<", "\\u003c")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n<title>{name}: data of {day}</title>\n'
        f'<meta name="viewport" content="width=device-width,initial-scale=1">\n<style>{_STYLE}</style></head>\n'
        f"<body><main><h1>{name}: data of {day}</h1>\n<p>What arrived and what became of it, over {days}.</p>\n"
        f"<dl>{_key_figures(figures)}</dl>\n<section>{drawn}</section>\n{_tables(figures)}\n"
        f'</main><script type="application/json" id="figures">{data}</script></body></html>\n'
    ).encode()


def _key_figures(figures: Figures) -> str:
    volumes, rows, new = figures["volumes"], figures["rows"]["day"], figures["new"]
    total = [sum(counts) for counts in zip(*(one["events"] for one in volumes["types"]), strict=True)]
    ratio = change(total)
    against = "nothing to compare to" if ratio is None else f"{ratio:.2f} × the median day"
    arrived = sum(rows.values())
    drifts = figures["drift"]
    worst = max((one["verdict"] for one in drifts.values()), key=["stable", "moderate", "major"].index)
    told = ", ".join(f"{name.replace('_', ' ')} {one['psi']:.2f}" for name, one in drifts.items())
    many = "warn" if rows["rejected"] > 0.01 * arrived else "ink"
    cards = [
        ("Events", f"{total[-1]:,}", against, "ink"),
        ("Users", f"{volumes['users'][-1]:,}", _newly(new["users"]), "ink"),
        ("Items", f"{volumes['items'][-1]:,}", _newly(new["items"]), "ink"),
        ("Rejected rows", f"{rows['rejected']:,}", _of(rows["rejected"], arrived), many),
        ("Duplicates", f"{rows['duplicate']:,}", _of(rows["duplicate"], arrived), "ink"),
        ("Bots", f"{figures['bots']['by_day'][-1]:,}", f"{figures['bots']['users']:,} in the window", "ink"),
        ("Drift", worst, f"PSI: {told}", "warn" if worst == "major" else "ink"),
    ]
    return "".join(
        f'<div><dt>{name}</dt><dd class="{kind}">{escape(value)}<small>{escape(note)}</small></dd></div>'
        for name, value, note, kind in cards
    )


def _newly(of_day: Figures) -> str:
    return f"{percent(of_day['new'] / of_day['day'])} not seen before" if of_day["day"] else "no known user"


def _of(part: int, whole: int) -> str:
    return f"{percent(part / whole)} of the rows" if whole else "no rows"


def _tables(figures: Figures) -> str:
    rows, many = figures["rows"], len(figures["rows"]["files"])
    outcomes = ("clean", "duplicate", "rejected")
    more = (
        f", the {many} with the most rejected of {rows['files_in_window']:,}" if many < rows["files_in_window"] else ""
    )
    tables = [
        _table(
            "Rows, by what became of them",
            ("", *outcomes),
            [
                ("the day", *(rows["day"][one] for one in outcomes)),
                ("all days", *(rows["window"][one] for one in outcomes)),
            ],
        ),
        _table(
            f"Rows, by file{more}",
            ("file", *outcomes),
            [(file["file"], *(file[one] for one in outcomes)) for file in rows["files"]],
        ),
    ]
    if rows["reasons"]:
        tables.insert(
            1, _table("Why rows were rejected", ("reason", "rows"), [(r["reason"], r["rows"]) for r in rows["reasons"]])
        )
    return "\n".join(tables)


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str | int]]) -> str:
    cells = "".join(
        "<tr>" + "".join(f"<td>{escape(f'{one:,}' if isinstance(one, int) else one)}</td>" for one in row) + "</tr>"
        for row in rows
    )
    heads = "".join(f"<th>{escape(one)}</th>" for one in head)
    return f'<h2>{escape(title)}</h2><div class="wide"><table><tr>{heads}</tr>{cells}</table></div>'
