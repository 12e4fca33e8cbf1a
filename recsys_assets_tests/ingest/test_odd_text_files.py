"""Text files as exports really write them: each gives the right rows, or a fault that names it and shows none of it."""

from __future__ import annotations

import gzip
import lzma
import zlib
from contextlib import suppress
from pathlib import Path

import pytest

from recsys_assets.core.events import read_csv
from recsys_assets.core.events.file_faults import DataFileError
from recsys_assets.storage.local import LocalStore
from recsys_assets_tests.ingest.hostile import HEADER, LINES, TEXT, shop, staged

pytestmark = pytest.mark.faults

GZ = gzip.compress(TEXT.encode())
SWAPPED = "\n".join(",".join(reversed(line.split(","))) for line in [HEADER, *LINES])
JSONL = "".join(
    '{{"user": "{}", "item": {}, "action": "{}", "time": "{}"}}\n'.format(*line.split(",")) for line in LINES
)
LISTS = JSONL.replace(': "u', ': ["u').replace('", "item', '"], "item')

WHOLE = {
    "bom": ("events.csv", TEXT.encode("utf-8-sig")),
    "bom twice": ("events.csv", b"\xef\xbb\xbf" + TEXT.encode("utf-8-sig")),
    "empty gz members": ("events.csv.gz", gzip.compress(b"") + GZ + gzip.compress(b"")),
    "utf-16": ("events.csv", TEXT.encode("utf-16")),
    "utf-16, jsonl": ("events.jsonl", JSONL.encode("utf-16")),
    "utf-32, gz": ("events.csv.gz", gzip.compress(TEXT.encode("utf-32"))),
    "cr": ("events.csv", TEXT.replace("\n", "\r").encode()),
    "cr, jsonl": ("events.jsonl", JSONL.replace("\n", "\r").encode()),
    "cr at the first line only": ("events.csv", TEXT.replace("\n", "\r", 1).encode()),
    "crlf and cr": ("events.csv", ("\r\n".join([HEADER, *LINES[:4]]) + "\r" + "\r".join(LINES[4:])).encode()),
    "no end of the last line": ("events.csv", TEXT.strip().encode()),
    "blank lines": ("events.csv", TEXT.replace("\n", "\n\n\r\n").encode()),
    "other order": ("events.csv", SWAPPED.encode()),
    "trailing commas": ("events.csv", TEXT.replace("\n", ",\n").encode()),
    "unnamed columns": ("events.csv", TEXT.replace("\n", ",,\n").encode()),
    "sep of Excel": ("events.csv", b"sep=,\r\n" + TEXT.encode()),
    "sep of Excel is another": ("events.csv", b'\xef\xbb\xbf"sep=;"\n' + TEXT.replace(",", ";").encode()),
    "gz and zeros": ("events.csv.gz", GZ + b"\0" * 512),
    "gz of two members": ("events.csv.gz", gzip.compress(TEXT[:200].encode()) + gzip.compress(TEXT[200:].encode())),
    "gz by name only": ("events.csv.gz", TEXT.encode()),
    "gz by content only": ("events.csv", GZ),
    "xz by content only": ("events.jsonl", lzma.compress(JSONL.encode())),
    "a name in quotes": ("events.csv", TEXT.replace("user", '"user"', 1).encode()),
    "a name over two lines": (
        "events.csv",
        TEXT.replace("time\n", 'time,"two\nlines"\n', 1).replace("Z\n", "Z,x\n").encode(),
    ),
}


@pytest.mark.parametrize("case", WHOLE)
def test_every_row_is_read(case: str, tmp_path: Path) -> None:
    name, data = WHOLE[case]
    done, good, bad = staged(LocalStore(tmp_path), name, data)
    assert (done.total, bad) == (10, [])
    assert [(row["user_id"], row["item_id"]) for row in sorted(good, key=lambda row: row["source_row"])] == [
        (f"u{n}", 100 + n) for n in range(10)
    ]


PARTS = {
    "one byte of Latin-1": (b"x,1,vi\xe9w,2025-01-02\n", "bytes that are no text of the encoding"),
    "nul": (b"x,1,view,2025-01-09T10:00:00Z\0\n", "unparsable ts"),
    "header again": (f"{HEADER}\n".encode(), "the header again"),
    "too few": (b"x,1\n", "wrong number of columns"),
    "too few, Latin-1": (b"x\xe9,1\n", "wrong number of columns"),
    "unclosed quote": (b'x,"1,view,2025-01-02\n', "wrong number of columns"),
    "a value without end": (b"x" * 5000 + b",1,view,2025-01-02\n", "row or value too long"),
    "a line of a megabyte": (b"x," + b"1" * (1 << 20) + b",view,2025-01-02\n", "row or value too long"),
}


@pytest.mark.parametrize("case", PARTS)
def test_one_bad_row_is_rejected_and_the_others_are_read(case: str, tmp_path: Path) -> None:
    line, reason = PARTS[case]
    done, good, (bad,) = staged(LocalStore(tmp_path), "events.csv", TEXT.encode() + line)
    assert (done.total, len(good), bad["reason"], bad["source_row"]) == (11, 10, reason, 10)
    assert len(bad["raw"]) <= 1_100, "clipped"


FAULTS = {
    "gz and others": ("events.csv.gz", GZ + b"-- end of tape --", "damaged or followed by others"),
    "gz cut": ("events.csv.gz", GZ[:-9], "end too early"),
    "empty": ("events.csv", b"", "the file is empty; expected a first line"),
    "empty gz": ("events.csv.gz", gzip.compress(b""), "the file is empty; expected a first line"),
    "empty with mark": ("events.csv", b"\xef\xbb\xbf", "the file is empty; expected a first line"),
    "gz of gz": ("events.csv.gz", gzip.compress(GZ), "what is unpacked is gz again"),
    "gz of tar": ("events.csv.gz", gzip.compress(b"events.csv" + bytes(90) + TEXT.encode()), "zero bytes"),
    "lzma": ("events.csv.xz", lzma.compress(TEXT.encode(), format=lzma.FORMAT_ALONE), "it is lzma"),
    "empty zip": ("events.csv", b"PK\x05\x06" + bytes(18), "a zip archive"),
    "old Office": ("events.csv", b"\xd0\xcf\x11\xe0" + bytes(50), "old Office"),
    "utf-16 without mark": ("events.csv", TEXT.encode("utf-16-le"), 'state encoding = "utf-16-le"'),
    "zeros": ("events.jsonl", bytes(100), "zero bytes"),
    "rows like names": ("events.csv", TEXT.split("\n", 1)[1].replace("u0", "user1").encode(), "state column_names"),
    "jsonl as csv": ("events.csv", JSONL.encode(), "found 4 others"),
    "zip": ("events.csv", b"PK\x03\x04" + bytes(50), "a zip archive"),
    "parquet": ("events.csv", b"PAR1" + bytes(50), "it is parquet"),
    "semicolons": ("events.csv", TEXT.replace(",", ";").encode(), "the separator is ';'"),
    "no header": ("events.csv", "\n".join(LINES).encode(), "state column_names"),
    "all Latin-1": ("events.csv", TEXT.replace("view", "vi\xe9w").encode("latin-1"), "state events.encoding"),
    "lists": ("events.jsonl", LISTS.encode(), "column 'user'"),
    "no time": ("events.csv", TEXT.replace("T10", " at 10").encode(), "found a value like '9999-99-99 aa"),
    "us": ("events.csv", TEXT.replace("2025-01-0", "01/13/2025 0").replace("T10:00:0", ":1").encode(), "mm/dd/yyyy"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_file_at_fault_is_named_and_not_quoted(case: str, tmp_path: Path) -> None:
    name, data, message = FAULTS[case]
    with pytest.raises(DataFileError) as error:
        staged(LocalStore(tmp_path), name, data)
    assert str(error.value).startswith(f"{name}: ")
    assert message in str(error.value)
    assert "u1" not in str(error.value).replace("utf", "")
    assert "2025" not in str(error.value)


def test_damage_anywhere_in_a_file_is_a_fault_of_the_file(tmp_path: Path) -> None:
    """Bytes are turned over at many places: there is no other error, and no row from nowhere."""
    store, users = LocalStore(tmp_path), {f"u{n}" for n in range(10)}
    for name, data in (("events.csv.gz", GZ), ("events.csv.xz", lzma.compress(TEXT.encode()))):
        for place in range(0, len(data), 7):
            damaged = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
            with suppress(DataFileError):
                _, good, _ = staged(store, name, damaged)
                assert {row["user_id"] for row in good} <= users


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("block", [250, 1 << 20])
def test_the_lines_that_an_unclosed_quote_takes_in_are_rows(
    end: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the next quote, and up to the end of the file."""
    monkeypatch.setattr(read_csv, "_BLOCK", block)
    unclosed = 'x,"1,view,2025-01-02'
    lines = [*LINES[:3], unclosed, LINES[3], '"u4",104,view,2025-01-05', *LINES[5:8], unclosed, "1,2", *LINES[8:]]
    done, good, bad = staged(LocalStore(tmp_path), "events.csv", end.join([HEADER, *lines, ""]).encode())
    assert done.total == len(lines)
    assert {row["source_row"]: row["user_id"] for row in good} == {
        number: line.split(",")[0].strip('"') for number, line in enumerate(lines) if line.startswith(("u", '"u'))
    }
    assert {row["source_row"]: row["reason"] for row in bad} == {
        3: "wrong number of columns and a quote that is not closed",
        9: "wrong number of columns and a quote that is not closed",
        10: "wrong number of columns",
    }


SWALLOWED = "a quote that is not closed, so that a value holds other rows"
SWALLOWING = {
    # name: lines, and what becomes of each: its user, or where it is rejected why
    "a text, closed by the next one": (
        ['u1,1,view,2025-01-02,"a text', 'u2,2,view,2025-01-03,"b"', 'u3,3,view,2025-01-04,"c"'],
        [SWALLOWED, "u2", "u3"],
    ),
    "a text, with rows between": (
        ['u1,1,view,2025-01-02,"a', "u2,2,view,2025-01-03,b", 'u3,3,view,2025-01-04,""', 'u4,4,view,2025-01-05,"d"'],
        [SWALLOWED, "u2", "u3", "u4"],
    ),
    "an empty text": (['u1,1,view,2025-01-02,"', 'u2,2,view,2025-01-03,"b"'], [SWALLOWED, "u2"]),
    "a text of several lines": (
        ['u1,1,view,2025-01-02,"a, b', "c", "u2,2,view,2025-01-03,b", 'u3,3,view,2025-01-04,"c"'],
        [SWALLOWED, "wrong number of columns", "u2", "u3"],
    ),
    "a column that is read": (
        ['u1,1,"view,2025-01-02,a', "u2,2,view,2025-01-03,b", 'u3,3,"view",2025-01-04,"c, d"'],
        [SWALLOWED, "u2", "u3"],
    ),
    "the last row alone is whole": (['u1,1,"view', 'u2,2,"view",2025-01-03,b'], [SWALLOWED, "u2"]),
    "the first row alone is whole": (
        ['u1,1,"view,2025-01-02,a', 'u2,"view",2025-01-03,b'],
        [SWALLOWED, "wrong number of columns"],
    ),
    "a quote in the middle of a value ends it": (
        ['u1,1,view,2025-01-02,"a', "u2,2,view,2025-01-03,b", 'u3,3,view,2025-01-04,5" pipe'],
        [SWALLOWED, "u2", "wrong number of columns and a quote that is not closed"],
    ),
    "two in one": (
        [
            *('u1,1,"view,2025-01-02,a', "u2,2,view,2025-01-03,b", 'u3,3,"view",2025-01-04,"c'),
            *("u4,4,view,2025-01-05,d", 'u5,5,view,2025-01-06,"e"'),
        ],
        [SWALLOWED, "u2", "wrong number of columns and a quote that is not closed", "u4", "u5"],
    ),
    "rows that are rejected": (
        ['u1,1,view,2025-01-02,"a', "u2,2,wink,2025-01-03,b", 'u3,3,view,2025-01-04,"c"'],
        [SWALLOWED, "unknown event type", "u3"],
    ),
}
HONEST = (
    *('"a\nb"', '"a, b\nc, d, e, f, g\n\n1,2,view,soon,x"', '"\n"', '"u2,2,view,2025-01-03\n"'),
    *('"She said ""yes""\nand ""no"""', '"line\n2025-01-02,view,2,u2,x"'),
)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("block", [250, 1 << 20])
@pytest.mark.parametrize("case", SWALLOWING)
def test_rows_that_an_unclosed_quote_took_in_are_rows_though_the_number_of_columns_is_right(
    case: str, block: int, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_csv, "_BLOCK", block)
    lines, outcomes = SWALLOWING[case]
    before, after = [[f'{line},"{end}x"' for line in part] for part in (LINES[:7], LINES[7:])]
    text = end.join([f"{HEADER},text", *before, *lines, *after, ""])
    done, good, bad = staged(LocalStore(tmp_path), "events.csv", text.encode())
    seen = {row["source_row"]: row["user_id"] for row in good} | {row["source_row"]: row["reason"] for row in bad}
    users = [f"u{n}" for n in range(10)]
    assert [seen[row] for row in range(done.total)] == [*users[:7], *outcomes, *users[7:]]


def test_rows_that_a_quote_took_in_up_to_the_end_of_the_file_are_rows(tmp_path: Path) -> None:
    rows = [f'{LINES[0]},"a', *(f'{line},""' for line in LINES[1:])]
    done, good, (bad,) = staged(LocalStore(tmp_path), "events.csv", "\n".join([f"{HEADER},text", *rows, ""]).encode())
    assert (done.total, len(good), bad["reason"]) == (10, 9, SWALLOWED)


def test_a_line_that_a_quote_took_in_may_be_long(tmp_path: Path) -> None:
    text = "\n".join([f"{HEADER},text", 'x,"1', *(f"{line},t" for line in LINES), f'{"b" * 200_000},","'])
    done, good, bad = staged(LocalStore(tmp_path), "events.csv", text.encode())
    assert (done.total, len(good)) == (12, 10)
    assert [row["reason"] for row in bad] == [
        "wrong number of columns and a quote that is not closed",
        "row or value too long",
    ]


def test_texts_of_several_lines_are_texts(tmp_path: Path) -> None:
    long = f'"a\n{"b" * 200_000},,,,\nc"'
    rows = [f"{line},{text}" for line, text in zip(LINES, [*HONEST, long, *HONEST], strict=False)]
    done, good, bad = staged(LocalStore(tmp_path), "events.csv", "\n".join([f"{HEADER},text", *rows]).encode())
    assert (done.total, len(good), bad) == (10, 10, [])
    titles = [text for text in HONEST if text.strip('"\n')]
    titled = ["time,item,property,value", *(f"2025-01-02,{n},title,{text}" for n, text in enumerate(titles))]
    _, good, bad = staged(LocalStore(tmp_path), "props.csv", "\n".join(titled).encode(), kind="properties")
    assert (len(good), bad) == (len(titles), [])
    padded = f'{HEADER}\n"u1\n","\n7",view,2025-01-02\n'
    _, (good,), bad = staged(LocalStore(tmp_path), "events.csv", padded.encode())
    assert (good["user_id"], good["item_id"], bad) == ("u1", 7, []), "white space around a value is ignored"


def test_texts_before_the_time_are_told_from_rows(tmp_path: Path) -> None:
    """The time of the last row stands after the text, so that only a quote that is left over tells of it."""
    texts = ['"Two\nlines"', '"Set:\nspoon, ""fork"""', '"a\nb,1,""c"', '"\nu7,7,"', '"""x""\n""y"""']
    shop_of_texts = shop({"columns": {"user_id": "user", "item_id": "item", "ts": "time"}, "event_type": "view"})
    good_rows = [f"u{n},{n},{text},2025-01-02" for n, text in enumerate(texts)]
    swallowing = ['x,1,"Red', "shoe,2025-01-02", 'y,2,"Hat",2025-01-03']
    text = "\n".join(["user,item,text,time", *good_rows, *swallowing])
    _, good, bad = staged(LocalStore(tmp_path), "events.csv", text.encode(), shop_of_texts)
    assert [row["user_id"] for row in good] == ["u0", "u1", "u2", "u3", "u4", "y"]
    assert [row["reason"] for row in bad] == [SWALLOWED, "wrong number of columns"]


def test_rows_are_found_in_any_column_and_among_properties(tmp_path: Path) -> None:
    """Also in a column that is not read, of a name that comes twice; and where the property is one that is ignored."""
    many = "," * 60
    text = "\n".join([f"{HEADER}{many},text", f'{LINES[0]}{many},"a', *(f'{one}{many},"b"' for one in LINES[1:])])
    done, good, (bad,) = staged(LocalStore(tmp_path), "events.csv", text.encode())
    assert (done.total, len(good), bad["reason"], bad["source_row"]) == (10, 9, SWALLOWED, 0)
    rows = ['2025-01-02,1,title,"Red shoe', "2025-01-02,2,colour,red", '2025-01-02,3,title,"Hat"']
    text = "\n".join(["time,item,property,value", *rows])
    done, (good,), (bad,) = staged(LocalStore(tmp_path), "props.csv", text.encode(), kind="properties")
    assert (done.total, done.ignored, good["value"], bad["reason"]) == (3, 1, "Hat", SWALLOWED)


def test_files_with_a_mark_each_may_be_put_together(tmp_path: Path) -> None:
    """The header comes again, and no id begins with the mark."""
    whole, headerless = TEXT.encode("utf-8-sig"), "\n".join([*LINES, ""]).encode("utf-8-sig")
    done, good, _ = staged(LocalStore(tmp_path), "events.csv", whole + whole + headerless)
    assert (done.reasons, len(good)) == ({"the header again": 1}, 30)
    assert {row["user_id"] for row in good} == {f"u{n}" for n in range(10)}


def test_the_encoding_that_is_stated_is_read(tmp_path: Path) -> None:
    text = TEXT.replace("u1,", "jos\xe9,")
    _, good, _ = staged(LocalStore(tmp_path), "events.csv", text.encode("cp1252"), shop({"encoding": "cp1252"}))
    assert "jos\xe9" in {row["user_id"] for row in good}


@pytest.mark.parametrize("name", ["events.csv", "events.csv.gz"])
def test_a_bomb_is_read_in_little_memory(name: str, tmp_path: Path) -> None:
    packer = zlib.compressobj(wbits=31)
    data = packer.compress(f"{HEADER}\n".encode())
    data += b"".join(packer.compress(b"0" * (1 << 20)) for _ in range(20)) + packer.flush()
    with pytest.raises(DataFileError, match=r"a row is longer than 8,388,608 bytes"):
        staged(LocalStore(tmp_path), name, data)
