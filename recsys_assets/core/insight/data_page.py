"""The data report as one HTML page: key figures, charts, tables, and all figures as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from recsys_assets.core.insight.drawing import Chart, percent
from recsys_assets.core.insight.figures import Figures, change
from recsys_assets.core.insight.report_page import Card, Table, images, report_page

_OUTCOMES = ("clean", "duplicate", "rejected")


def data_page(figures: Figures, charts: Sequence[Chart]) -> bytes:
    """The page with its charts; equal figures give equal bytes."""
    day, count = figures["as_of"], len(figures["days"])
    days = f"the {count} days up to {day}" if count > 1 else "one day"
    return report_page(
        f"{figures['dataset']}: data of {day}",
        f"Rows that arrived and what became of them, over {days}.",
        _cards(figures),
        images(charts),
        _tables(figures),
        figures,
    )


def _cards(figures: Figures) -> list[Card]:
    volumes, rows, new = figures["volumes"], figures["rows"]["day"], figures["new"]
    total = [sum(counts) for counts in zip(*(volume["events"] for volume in volumes["types"]), strict=True)]
    ratio = change(total)
    compared = "nothing to compare to" if ratio is None else f"{ratio:.2f} × the median day"
    arrived = sum(rows.values())
    drifts = figures["drift"]
    worst = max((drift["verdict"] for drift in drifts.values()), key=["stable", "moderate", "major"].index)
    indices = ", ".join(f"{name.replace('_', ' ')} {drift['psi']:.2f}" for name, drift in drifts.items())
    return [
        Card("Events", f"{total[-1]:,}", compared),
        Card("Users", f"{volumes['users'][-1]:,}", _share_of_new(new["users"])),
        Card("Items", f"{volumes['items'][-1]:,}", _share_of_new(new["items"])),
        Card(
            "Rejected rows",
            f"{rows['rejected']:,}",
            _share_of_rows(rows["rejected"], arrived),
            warn=rows["rejected"] > 0.01 * arrived,
        ),
        Card("Duplicates", f"{rows['duplicate']:,}", _share_of_rows(rows["duplicate"], arrived)),
        Card("Bots", f"{figures['bots']['by_day'][-1]:,}", f"{figures['bots']['users']:,} in the window"),
        Card("Drift", worst, f"PSI: {indices}", warn=worst == "major"),
    ]


def _share_of_new(counts: Figures) -> str:
    return f"{percent(counts['new'] / counts['day'])} not seen before" if counts["day"] else "no known user"


def _share_of_rows(part: int, whole: int) -> str:
    return f"{percent(part / whole)} of the rows" if whole else "no rows"


def _tables(figures: Figures) -> list[Table]:
    rows = figures["rows"]
    count = len(rows["files"])
    cut = f", the {count} with the most rejected of {rows['files_in_window']:,}"
    reasons = [(reason["reason"], reason["rows"]) for reason in rows["reasons"]]
    tables = [
        Table(
            "Rows by outcome",
            ("", *_OUTCOMES),
            [(label, *(rows[span][outcome] for outcome in _OUTCOMES)) for label, span in _SPANS],
        ),
        *([Table("Rejected rows by reason", ("reason", "rows"), reasons)] if reasons else []),
        Table(
            f"Rows by file{cut if count < rows['files_in_window'] else ''}",
            ("file", *_OUTCOMES),
            [(file["file"], *(file[outcome] for outcome in _OUTCOMES)) for file in rows["files"]],
        ),
    ]
    return [*tables, _days(figures)]


_SPANS = (("the day", "day"), ("all days", "window"))


def _days(figures: Figures) -> Table:
    """The numbers behind the bars of each day, newest first."""
    volumes = figures["volumes"]
    columns = {
        **{volume["type"]: volume["events"] for volume in volumes["types"]},
        "users": volumes["users"],
        "items": volumes["items"],
        "bots": figures["bots"]["by_day"],
    }
    rows = list(zip(figures["days"], *columns.values(), strict=True))
    return Table("Events, users and items by day", ("day", *columns), rows[::-1])
