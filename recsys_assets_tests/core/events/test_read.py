"""Landing files become numbered raw rows, whatever their format; what is not a proper file fails with its name."""

import gzip
import io
import lzma
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from recsys_assets.core.dataset import FileSpec
from recsys_assets.core.events import read_csv, read_jsonl
from recsys_assets.core.events.file_faults import SchemaError, UnreadableFileError
from recsys_assets.core.events.read import read_rows

COLUMNS = {"user_id": "u", "item_id": "i"}
SPEC = FileSpec(files=("*",))
HEADERLESS = FileSpec(files=("*",), column_names=("u", "i"))
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,  # as the command zstd does
}


class Remote(io.RawIOBase):
    """A file that gives few bytes at a time and cannot seek, as a network may."""

    def __init__(self, data: bytes):
        self._file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._file.read(min(size, 1000) if size > 0 else size)


def rows(data: bytes, name: str = "f.csv", spec: FileSpec = SPEC, columns: dict[str, str] = COLUMNS):
    """(row number, u, i) of each row, and (row number, reason, raw) of each broken one."""
    good: list[tuple[int, str, str]] = []
    broken: list[tuple[int, str, str]] = []
    for batch in read_rows(Remote(data), name, spec, columns):  # type: ignore[arg-type]
        values = (batch.rows[column].to_pylist() for column in columns.values())
        good += zip(batch.source_row.to_pylist(), *values, strict=True)
        broken += [tuple(row.values()) for row in batch.broken.to_pylist()]
    return good, broken


def test_csv_with_quotes_bom_crlf_blank_lines_and_rows_of_another_width():
    data = b'\xef\xbb\xbfi,u,x\r\n1,a,\r\n\r\n"2,\n""2""",b,\r\n3,c\r\n4,d,,\r\n,,\r\n6,5" pipe, z'
    good, broken = rows(data)
    assert good == [(0, "a", "1"), (1, "b", '2,\n"2"'), (4, "", ""), (5, '5" pipe', "6")]
    assert broken == [(2, "wrong number of columns", '"3,c"'), (3, "wrong number of columns", '"4,d,,"')]


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("block", [64, 1 << 20])
def test_row_numbers_hold_across_blocks_and_compressions(monkeypatch: pytest.MonkeyPatch, suffix: str, block: int):
    monkeypatch.setattr(read_csv, "_BLOCK", block)
    lines = [f"{n},{n}" if n % 7 and n % 5 else f"{n}" for n in range(500)]
    good, broken = rows(COMPRESS[suffix]("\n".join(["u,i", *lines]).encode()), f"f.csv{suffix}")
    assert good == [(n, str(n), str(n)) for n in range(500) if n % 7 and n % 5]
    assert broken == [(n, "wrong number of columns", f'"{n}"') for n in range(500) if not (n % 7 and n % 5)]


def test_compressed_files_may_be_put_together_from_several():
    for suffix, compress in COMPRESS.items():
        data = compress(b"u,i\n1,2\n") + compress(b"3,4\n")
        assert rows(data, f"f.csv{suffix}")[0] == [(0, "1", "2"), (1, "3", "4")]


def test_no_header_other_separators_and_quotes_that_mean_nothing():
    spec = FileSpec(files=("*",), format="tsv", column_names=("u", "i"), quote="")
    assert rows(b'"1\t2\n3\t4"\n', "u.data", spec)[0] == [(0, '"1', "2"), (1, "3", '4"')]
    assert rows(b"\xef\xbb\xbf1,2\n", spec=HEADERLESS)[0] == [(0, "1", "2")]
    assert rows(b"u;i\n1;2\n", spec=FileSpec(files=("*",), separator=";"))[0] == [(0, "1", "2")]


def test_broken_rows_do_not_pile_up_where_no_good_rows_come(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(read_csv, "_BLOCK", 64)
    data = b"u,i\n1,2\n" + b"x\n" * 5000 + b"3,4\n"
    batches = list(read_rows(io.BytesIO(data), "f.csv", SPEC, COLUMNS))
    numbers = [n for batch in batches for n in (*batch.source_row.to_pylist(), *batch.broken["source_row"].to_pylist())]
    assert numbers == list(range(5002))
    assert max(batch.broken.num_rows for batch in batches) < 200


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_other_encodings(encoding: str):
    spec = FileSpec(files=("*",), encoding=encoding)
    assert rows("u,i\nJosé,né\n".encode(encoding), spec=spec)[0] == [(0, "José", "né")]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["f.csv", "f.jsonl", "f.csv.gz"])
def test_a_byte_order_mark_says_the_encoding(encoding: str, name: str):
    text = '{"u": "José", "i": "né"}\n' if "jsonl" in name else "u,i\nJosé,né\n"
    data = text.encode(encoding)
    assert rows(gzip.compress(data) if name.endswith("gz") else data, name)[0] == [(0, "José", "né")]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_rows_with_bytes_of_another_encoding_are_rejected_and_the_others_read(suffix: str):
    data = COMPRESS[suffix]("u,i,x\n1,2,\nJosé,2,\n3,4,é\n5\xe9\n".encode("latin-1"))
    good, broken = rows(data, f"f.csv{suffix}")
    assert good == [(0, "1", "2"), (2, "3", "4")], "a column that is not read may be of any encoding"
    assert [row[:2] for row in broken] == [
        (1, "bytes that are no text of the encoding"),
        (3, "wrong number of columns"),
    ]
    lines = '{"u": "José", "i": 1}\n{"u": "a", "i": 2}\n'.encode("latin-1")
    good, broken = rows(COMPRESS[suffix](lines), f"f.jsonl{suffix}")
    assert (good, [row[:2] for row in broken]) == ([(1, "a", "2")], [(0, "bytes that are no text of the encoding")])


def test_files_without_rows():
    assert rows(b"u,i\n") == rows(b"u,i") == rows(b"\n", spec=HEADERLESS) == rows(b"\n\n", spec=HEADERLESS) == ([], [])
    assert rows(b"", "f.jsonl") == rows(b"\n\n", "f.jsonl") == ([], [])
    assert rows(gzip.compress(b"u,i\n"), "f.csv.gz") == ([], [])
    with pytest.raises(SchemaError, match=r"f\.csv: the file is empty; expected a first line with the names"):
        rows(b"")


def test_rows_all_of_another_width():
    assert rows(b"1\n2\n", spec=HEADERLESS) == ([], [(n, "wrong number of columns", f'"{n + 1}"') for n in range(2)])


def test_jsonl_with_broken_lines_and_values_of_any_type():
    data = (
        b'{"u": 7, "i": "a"}\n\n{"u": 7.0}\n{"u": 1,\n[1]\n\xff\n{"i": null, "u": 123456789012345678, "x": {"y": 1}}\n'
    )
    good, broken = rows(data, "f.jsonl")
    assert good == [(0, "7", "a"), (1, "7.0", None), (5, "123456789012345678", None)]
    assert broken == [(2, "not JSON", '"{\\"u\\": 1,"'), (3, "not JSON", '"[1]"'), (4, "not JSON", '"�"')]


def test_parquet_rows():
    sink = io.BytesIO()
    pq.write_table(pa.table({"i": ["a", "b"], "u": [1, 2], "x": [[1], []]}), sink)
    (batch,) = read_rows(io.BytesIO(sink.getvalue()), "f.parquet", SPEC, COLUMNS)
    assert (batch.rows["u"].to_pylist(), batch.source_row.to_pylist()) == ([1, 2], [0, 1])
    for data in (sink.getvalue()[:-20], b"u,i\n1,2\n", b""):
        with pytest.raises(UnreadableFileError, match=r"^f\.parquet: cannot be read as parquet"):
            list(read_rows(io.BytesIO(data), "f.parquet", SPEC, COLUMNS))
    with pytest.raises(
        SchemaError, match=r"column 'v' \(user_id\) is missing; expected it once, found \['i', 'u', 'x'\]"
    ):
        list(read_rows(io.BytesIO(sink.getvalue()), "f.parquet", SPEC, {"user_id": "v"}))


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        (
            "d/f.csv",
            b"u,item\n1,2\n",
            r"d/f\.csv: column 'i' \(item_id\) is missing; expected it once, found \['u', 'item'\]",
        ),
        (
            "f.csv",
            b"u;i\n1;2\n",
            r"column 'u' \(user_id\) is missing; expected it once, found one column: the separator is ';'",
        ),
        ("f.csv", b"u,i,u\n1,2,3\n", r"column 'u' \(user_id\) appears more than once"),
        ("f.jsonl", b'{"u": 1}\n{"u": 2, "item": 3}\n', r"f\.jsonl: column 'i' \(item_id\) is missing"),
    ],
)
def test_a_missing_column_is_named(name: str, data: bytes, said: str):
    with pytest.raises(SchemaError, match=said):
        rows(data, name)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_corrupt_or_cut_file_is_named(suffix: str, form: str):
    lines = [f"{n},{n * 7919}" if form == "csv" else f'{{"u": {n}, "i": {n * 7919}}}' for n in range(5000)]
    whole = COMPRESS[suffix]("\n".join(["u,i", *lines] if form == "csv" else lines).encode())
    middle = len(whole) // 2
    damaged = whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 50]) + whole[middle + 50 :]
    for data in (whole[:middle], whole[:-3], damaged):
        with pytest.raises(UnreadableFileError, match=rf"^f\.{form}\{suffix}: cannot be read as {form}"):
            rows(data, f"f.{form}{suffix}")


def test_a_quote_that_never_ends_is_no_endless_row(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(read_csv, "_BLOCK", 1000)
    with pytest.raises(UnreadableFileError, match=r"^f\.csv: cannot be read .* a quote may not be closed"):
        rows(b'u,i\n1,"2\n' + b"3,4\n" * 2000)
    monkeypatch.setattr(read_jsonl, "ROW_BYTES", 100)
    lines = b'{"u": 1, "i": 2}\n' + b"x" * 350 + b'\n{"u": 3, "i": 4}\n' + b"y" * 120
    good, broken = rows(lines, "f.jsonl")
    assert good == [(0, "1", "2"), (2, "3", "4")]
    assert [row[:2] for row in broken] == [(1, "row or value too long"), (3, "row or value too long")]
