"""The data report as one HTML page that needs nothing else: figures, pictures, tables, and the figures as JSON."""

from __future__ import annotations

from recsys_assets.core.insight.charts import pictures
from recsys_assets.core.insight.figures import Figures, change
from recsys_assets.core.insight.html import Card, document, table
from recsys_assets.core.insight.svg import percent


def page(figures: Figures) -> bytes:
    """The page; equal figures give equal bytes."""
    day, many = figures["as_of"], len(figures["days"])
    days = f"the {many} days up to {day}" if many > 1 else "one day"
    return document(
        f"{figures['dataset']}: data of {day}",
        f"What arrived and what became of it, over {days}.",
        _key_figures(figures),
        pictures(figures),
        _tables(figures),
        figures,
    )


def _key_figures(figures: Figures) -> list[Card]:
    volumes, rows, new = figures["volumes"], figures["rows"]["day"], figures["new"]
    total = [sum(counts) for counts in zip(*(one["events"] for one in volumes["types"]), strict=True)]
    ratio = change(total)
    against = "nothing to compare to" if ratio is None else f"{ratio:.2f} × the median day"
    arrived = sum(rows.values())
    drifts = figures["drift"]
    worst = max((one["verdict"] for one in drifts.values()), key=["stable", "moderate", "major"].index)
    told = ", ".join(f"{name.replace('_', ' ')} {one['psi']:.2f}" for name, one in drifts.items())
    many = "warn" if rows["rejected"] > 0.01 * arrived else "ink"
    return [
        ("Events", f"{total[-1]:,}", against, "ink"),
        ("Users", f"{volumes['users'][-1]:,}", _newly(new["users"]), "ink"),
        ("Items", f"{volumes['items'][-1]:,}", _newly(new["items"]), "ink"),
        ("Rejected rows", f"{rows['rejected']:,}", _of(rows["rejected"], arrived), many),
        ("Duplicates", f"{rows['duplicate']:,}", _of(rows["duplicate"], arrived), "ink"),
        ("Bots", f"{figures['bots']['by_day'][-1]:,}", f"{figures['bots']['users']:,} in the window", "ink"),
        ("Drift", worst, f"PSI: {told}", "warn" if worst == "major" else "ink"),
    ]


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
        table(
            "Rows, by what became of them",
            ("", *outcomes),
            [
                ("the day", *(rows["day"][one] for one in outcomes)),
                ("all days", *(rows["window"][one] for one in outcomes)),
            ],
        ),
        table(
            f"Rows, by file{more}",
            ("file", *outcomes),
            [(file["file"], *(file[one] for one in outcomes)) for file in rows["files"]],
        ),
    ]
    if rows["reasons"]:
        tables.insert(
            1, table("Why rows were rejected", ("reason", "rows"), [(r["reason"], r["rows"]) for r in rows["reasons"]])
        )
    return "\n".join(tables)
