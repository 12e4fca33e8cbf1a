"""How files of unknown origin are read."""

from __future__ import annotations

import gzip
import io
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from recsys_assets.core.events.file_faults import DataFileError
from recsys_assets.core.events.read import read_rows
from recsys_assets.core.inspection.sniff import sniff

ROWS = "user,item,when\n1,2,2025-01-01\n1,3,2025-01-02\n"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_delimited_text_is_found(separator: str, encoding: str, line_end: str) -> None:
    text = ROWS.replace("user", "größe").replace(",", separator).replace("\n", line_end)
    spec, names, _ = sniff(io.BytesIO(text.encode(encoding)), "export.dat")
    assert names == ["größe", "item", "when"]
    assert spec.separator_of("export.dat") == separator
    assert spec.column_names is None
    assert text.encode(encoding).decode(spec.encoding).removeprefix("\ufeff") == text


@pytest.mark.parametrize(
    ("name", "pack"),
    [("a.csv.gz", gzip.compress), ("a.csv.xz", lzma.compress), ("a.csv.zst", zstandard.compress)],
)
def test_compression_is_seen_by_the_bytes_whatever_the_name_says(name: str, pack: object) -> None:
    """As landing files are read: what is found is what the reader then reads."""
    packed: bytes = pack(ROWS.encode())  # type: ignore[operator]
    for data, called in ((packed, name), (packed, "a.csv"), (ROWS.encode(), name)):
        spec, names, _ = sniff(io.BytesIO(data), called)
        assert names == ["user", "item", "when"]
        (batch,) = read_rows(io.BytesIO(data), called, spec, {name: name for name in names})
        assert (batch.rows.column_names, batch.num_rows) == (names, len(ROWS.splitlines()) - 1)


def test_a_file_without_header_gets_names_by_place() -> None:
    spec, names, _ = sniff(io.BytesIO(b"196\t242\t3\t881250949\n186\t302\t3\t891717742\n"), "u.data")
    assert (spec.format, names) == ("tsv", ["column1", "column2", "column3", "column4"])
    assert spec.column_names == tuple(names)


def test_fields_between_two_colons_are_found() -> None:
    spec, names, _ = sniff(io.BytesIO(b"1::1193::5::978300760\n1::661::3::978302109\n"), "ratings.dat")
    assert (spec.separator, len(names)) == (":", 7)


def test_quoted_separators_do_not_split() -> None:
    _, names, _ = sniff(io.BytesIO(b'id,title,price\n1,"hearts, white; red",2\n2,"a; b; c; d, e",3\n'), "a.csv")
    assert names == ["id", "title", "price"]


def test_json_lines_have_the_columns_of_all_lines() -> None:
    spec, names, _ = sniff(io.BytesIO(b'{"user": 1}\n\nnot json\n{"user": 2, "item": 3}\n'), "a.log")
    assert (spec.format, names) == ("jsonl", ["user", "item"])


def test_parquet_is_found_by_its_bytes() -> None:
    stream = io.BytesIO()
    pq.write_table(pa.table({"user": [1], "item": ["a"]}), stream)
    stream.seek(0)
    spec, names, _ = sniff(stream, "part-00000")
    assert (spec.format, names) == ("parquet", ["user", "item"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "a.csv: is empty"),
        (b"\n \n", "a.csv: has no line"),
        (b"\x00\x01\x02\x03" * 100, "a.csv: is neither parquet nor text"),
        (b'[{"user": 1},\n {"user": 2}]', "a.csv: expected a JSON object on each line, found JSON of another shape"),
        (b"PAR1 and no more", "a.csv: is damaged parquet"),
    ],
)
def test_what_cannot_be_read_is_told_by_name_and_without_its_content(content: bytes, said: str) -> None:
    with pytest.raises(DataFileError, match=said):
        sniff(io.BytesIO(content), "a.csv")


def test_a_cut_off_archive_is_told() -> None:
    with pytest.raises(DataFileError, match=r"a.csv.gz: is damaged gz"):
        sniff(io.BytesIO(gzip.compress(ROWS.encode() * 100)[:60]), "a.csv.gz")
