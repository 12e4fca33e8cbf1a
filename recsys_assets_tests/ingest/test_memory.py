"""Files that were made to fill the memory do not; ``benchmarks.hostile_files`` shows it for the whole sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.hostile_files import measured

pytestmark = pytest.mark.faults

MOST = 600e6
"""Bytes of memory, libraries included; what these took before was up to 5.5 GB."""
SIZES = {
    "good_rows.csv.gz": 0.02,
    "long_lines.csv.gz": 0.1,
    "broken_rows.csv.gz": 0.05,
    "short_broken_rows.csv.gz": 0.05,
    "broken_lines.jsonl.gz": 0.05,
    "huge_objects.jsonl.gz": 0.02,
    "bomb.csv.gz": 0.05,
    "bomb.jsonl.gz": 0.05,
    "many_columns.csv.gz": 0.05,
    "wide_values.parquet": 1.0,
    "many_columns.parquet": 1.0,
}
RIGHT = {
    "long_lines.csv.gz": "200 rows, 200 rejected",
    "broken_lines.jsonl.gz": "1 rows, 10,000 rejected",
    "many_columns.csv.gz": "500 rows, 500 rejected",
    "wide_values.parquet": "1,000 rows, 1,000 rejected",
    "many_columns.parquet": "2,000 rows, 0 rejected",
    "bomb.csv.gz": "fault: bomb.csv.gz: cannot be read as csv (utf-8): a row is longer",
}


@pytest.mark.parametrize("case", SIZES)
def test_a_file_that_was_made_to_fill_the_memory_does_not(case: str, tmp_path: Path) -> None:
    found = measured(case, SIZES[case], tmp_path)
    assert float(found["peak"]) < MOST
    assert str(found["outcome"]).startswith(RIGHT.get(case, ""))
