"""Rows of each file add up: read = clean + duplicates + rejected + outside the dates of the graph + held."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path

import dagster as dg

from recsys_assets.cli.materialize import Materializer
from recsys_assets.cli.progress import Progress
from recsys_assets.ingest.accepted import read_accepted
from recsys_assets.ingest.file_rows import FileRows, file_rows, summed
from recsys_assets_tests.automation.driver import FAST
from recsys_assets_tests.integration.world import make_world

HEADER = "timestamp,visitorid,event,itemid,transactionid\n"
SPAN = ("2015-05-04", "2015-05-31")


class Notes(Progress):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def row(day: int, second: int = 0, kind: str = "view") -> str:
    """An event at noon UTC of a day counted from 2015-05-03."""
    return f"{(1430654400 + day * 86400 + second) * 1000},{second},{kind},1,\n"


def test_every_row_of_every_file_is_told_of_by_make_run(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    world = make_world(tmp_path, instance, **FAST, start_date=date(2015, 5, 4))
    good = [row(day, second) for day in range(1, 6) for second in range(20)]
    odd = [
        row(0),
        row(0, 1),
        row(1, 99),
        row(1, 99),
        row(1, 7, "wish"),
        row(1, 0),
        "soon,1,view,1,\n",
        row(-40),
        row(85),
    ]
    (world.landing / "events_a.csv").write_text(HEADER + "".join(good))
    (world.landing / "events_b.csv").write_text(HEADER + "".join(odd))
    (world.landing / "events_c.csv").write_text(HEADER + "".join(good))
    progress = Notes()
    with Materializer(world.settings, world.dataset, progress, instance) as materializer:
        assert materializer.catch_up_history() == "2015-05-08"
        store = world.store.open()
        accepted = read_accepted(store)
    a, b, c = file_rows(store, accepted, accepted.files, SPAN)
    assert (a.read, a.clean, a.duplicates) == (100, 100, 0)
    assert (c.name, c.read, c.duplicates) == ("events_c.csv (equal to events_a.csv)", 100, 100)
    # Rows without a day (two rejected ones) belong to the file's first day, which is outside.
    assert (b.read, b.clean, b.duplicates, b.outside, b.held) == (9, 1, 2, 4, 1)
    assert b.rejected == Counter({"unknown event type": 1})
    for one in (a, b, c):
        assert one.unbuilt == 0
        assert one.read == one.clean + one.duplicates + one.rejected.total() + one.outside + one.held
    told = "events_b.csv: 9 rows read = 1 clean + 2 duplicates + 1 rejected (unknown event type: 1) + 4 outside the"
    assert any(note.startswith(told) for note in progress.notes)
    assert any("1 days with events, 2015-05-03 to 2015-05-03, are outside the dates" in note for note in progress.notes)


def test_many_files_are_some_lines_and_a_sum() -> None:
    rows = [FileRows(f"{n}", 3, 1, 1, Counter(late=1)) for n in range(9)]
    assert summed(rows, 9) == rows
    *first, last = summed(rows, 7)
    assert first == rows[:7]
    assert last == FileRows("2 more files", 6, 2, 2, Counter(late=2))
