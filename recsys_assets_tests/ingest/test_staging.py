"""No row is lost, whatever the files look like and however the rows are spread over them."""

import gzip
import io
import lzma
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from recsys_assets.core.contracts import CLEAN_EVENTS, REJECTED_EVENTS, arrow_schema
from recsys_assets.core.dataset import Dataset, load_dataset
from recsys_assets.core.events.clean import CleanParams, clean_day, ingest_counts
from recsys_assets.core.events.file_faults import DataFileError
from recsys_assets.core.events.parse import PARSED_EVENTS
from recsys_assets.engines.polars import PolarsEngine
from recsys_assets.ingest.listing import LandingFile
from recsys_assets.ingest.staging import NoGoodRowsError, StagedFile, find_staged, stage
from recsys_assets.storage.local import LocalStore

START = datetime(2015, 5, 3, 3, tzinfo=UTC)
HEADER = ("timestamp", "visitorid", "event", "itemid", "transactionid")
COMPRESS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress}
Row = tuple[str, ...]


class MemoryStore(LocalStore):
    """Objects in a dictionary, which is fast."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, data: bytes | Path) -> None:
        self.objects[key] = data if isinstance(data, bytes) else data.read_bytes()

    def exists(self, key: str) -> bool:
        return key in self.objects

    def get(self, key: str) -> bytes:
        return self.objects[key]


def landed(name: str, data: bytes) -> LandingFile:
    return LandingFile(f"file:///landing/{name}", name, len(data), str(hash(data)))


def stage_bytes(name: str, data: bytes, dataset: Dataset, store: LocalStore, **options: Any) -> StagedFile:
    return stage("events", landed(name, data), lambda: io.BytesIO(data), dataset, store, **options)


def write(rows: list[Row], form: str, compression: str) -> bytes:
    if form == "csv":
        text = "\n".join(",".join(row) for row in [HEADER, *rows])
    else:
        # A row of another width has no names for its values: jsonl then holds a list, which is no object.
        text = "\n".join(
            orjson.dumps(dict(zip(HEADER, row, strict=True)) if len(row) == len(HEADER) else list(row)).decode()
            for row in rows
        )
    return COMPRESS[compression](text.encode())


MILLIS = st.integers(0, 30 * 12).map(lambda n: str(int((START + timedelta(minutes=5 * n)).timestamp() * 1000)))
GOOD = st.tuples(
    MILLIS,
    st.sampled_from(["0", "1", "2", "3", "007", "3.0", " 2", "-5"]),
    st.sampled_from(["view", "view", "addtocart", "transaction"]),
    st.sampled_from(["0", "1", "2", "3"]),
    st.sampled_from(["", "", "17"]),
)
DIRTY = st.sampled_from(
    [
        ("1430708800000", "1", "view"),
        ("1430708800000", "1", "view", "1", "", "x"),
        ("1430708800000", "", "view", "1", ""),
        ("1430708800000", "1", "view", "one", ""),
        ("1430708800000", "1", "look", "1", ""),
        ("14307088000000", "1", "view", "1", ""),
        ("soon", "1", "view", "1", ""),
        ("1430708800", "9" * 19, "view", "1", ""),
    ]
)


def oracle(rows: list[Row], item_id: Callable[[str], Any]) -> tuple[set[tuple[Any, ...]], int]:
    """Distinct good events (user, item, type, time, order) and the number of rows that are none, by plain reading."""
    good: set[tuple[Any, ...]] = set()
    bad = 0
    for row in rows:
        try:
            ts, user, kind, item, order = row
            when = datetime.fromtimestamp(int(ts) / 1000, UTC)
            assert START <= when < datetime(2015, 9, 18, 3, tzinfo=UTC)
            assert kind in ("view", "addtocart", "transaction")
            assert len(user) < 19
            good.add((int(float(user)), item_id(item), kind, when, order or None))
        except (ValueError, AssertionError, OverflowError):
            bad += 1
    return good, bad


def sessions(events: set[tuple[Any, ...]]) -> dict[tuple[Any, ...], int]:
    """The start of each event's session: 30 minutes of quiet, or the start of a day, ends one."""
    found: dict[tuple[Any, ...], int] = {}
    last: dict[int, tuple[datetime, int]] = {}
    for event in sorted(events, key=lambda e: (e[3], str(e))):
        user, when = event[0], event[3]
        before, start = last.get(user, (datetime.min.replace(tzinfo=UTC), 0))
        same_day = (before - timedelta(hours=3)).date() == (when - timedelta(hours=3)).date() if start else False
        if not same_day or when - before > timedelta(minutes=30):
            start = int(when.timestamp())
        last[user] = when, start
        found[event] = start
    return found


def ingest(files: list[tuple[str, bytes]], ids: str) -> tuple[dict[tuple[Any, ...], int], Counter[str]]:
    """Stage files, clean every day; events with their session, and the counts over all files and days."""
    preset = load_dataset("retailrocket")
    dataset = preset.model_validate({**preset.model_dump(), "ids": {"user": "int64", "item": ids}})
    store, engine = MemoryStore(), PolarsEngine()
    staged = [stage_bytes(name, data, dataset, store) for name, data in files]
    totals: Counter[str] = Counter(total=sum(file.total for file in staged))
    events: dict[tuple[Any, ...], int] = {}
    for day in sorted({day for file in staged for day in file.days}):
        frames = []
        for contract, key in ((PARSED_EVENTS, StagedFile.rows_key), (REJECTED_EVENTS, StagedFile.rejected_key)):
            schema = arrow_schema(contract, dataset.ids)
            tables = [pq.read_table(pa.BufferReader(store.get(k))) for file in staged if (k := key(file, day))]
            assert all(table.schema.equals(schema) for table in tables)
            frames.append(engine.from_arrow(pa.concat_tables([schema.empty_table(), *tables])))
        rows, rejected = frames
        clean = clean_day(rows, CleanParams())
        for count in ingest_counts(rows, clean, rejected).collect().to_arrow().to_pylist():
            assert count["rows"] == count["clean"] + count["duplicates"] + count["rejected"]
            file = next(f for f in staged if f.name == count["source_file"])
            assert count["rows"] == file.days[day].rows + file.days[day].rejected
            totals.update({name: n for name, n in count.items() if name != "source_file"})
        for row in clean.collect().to_arrow().cast(arrow_schema(CLEAN_EVENTS, dataset.ids)).to_pylist():
            assert date.fromisoformat(day) == (row["ts"] - timedelta(hours=3)).date()
            event = (row["user_id"], row["item_id"], row["event_type"], row["ts"], row["order_id"])
            assert event not in events
            events[event] = row["session_id"]
    return events, totals


@settings(max_examples=10, deadline=None, phases=[Phase.generate])  # shrinking takes minutes
@given(
    st.lists(GOOD, min_size=1, max_size=40),
    st.lists(DIRTY, max_size=8),
    st.randoms(),
    st.sampled_from(["int64", "string"]),
)
def test_rows_in_are_clean_duplicates_and_rejected_however_they_are_split(
    good: list[Row], dirty: list[Row], chance: random.Random, ids: str
):
    rows = [*good, *dirty, *chance.choices(good, k=3)]
    results = []
    for parts in (1, 3):
        chance.shuffle(rows)
        split = [[row for n, row in enumerate(rows) if n % parts == part] for part in range(parts)]
        # A file without one good row is refused, so each gets one that is there anyway.
        split = [[*part, good[0]] if parts > 1 else part for part in split]
        files = []
        for number, part in enumerate(split):
            form, compression = chance.choice(["csv", "jsonl"]), chance.choice(list(COMPRESS))
            files.append((f"events{number}.{form}{compression}", write(part, form, compression)))
        events, totals = ingest(files, ids)
        due, bad = oracle([row for part in split for row in part], int if ids == "int64" else str)
        assert events == sessions(due)
        assert totals["rejected"] == bad
        assert totals["rows"] == totals["total"] == sum(map(len, split))
        assert totals["clean"] + totals["duplicates"] + totals["rejected"] == totals["rows"]
        results.append(events)
    assert results[0] == results[1]


LINES = [
    (str(int((START + timedelta(hours=n * 7 % 200)).timestamp() * 1000)), str(n % 50), "view", str(n), "")
    for n in range(3000)
]


def test_memory_limits_and_repetition_change_no_byte(tmp_path: Path):
    data, dataset = write(LINES, "csv", ""), load_dataset("retailrocket")
    stores = [MemoryStore(), MemoryStore(), LocalStore(tmp_path)]
    for store, memory in zip(stores, (1 << 30, 1, 100_000), strict=True):
        staged = stage_bytes("events.csv", data, dataset, store, memory=memory)
        assert (staged.total, staged.rows, len(staged.days)) == (3000, 3000, 9)
        assert (staged.first_ts, staged.last_ts) == ("2015-05-03T03:00:00+00:00", "2015-05-11T10:00:00+00:00")
    assert isinstance(stores[0], MemoryStore)
    assert isinstance(stores[1], MemoryStore)
    assert stores[0].objects == stores[1].objects
    assert {key: stores[2].get(key) for key in stores[0].objects} == stores[0].objects
    numbers = [
        pq.read_table(pa.BufferReader(data))["source_row"].to_pylist()
        for k, data in stores[0].objects.items()
        if "dt=" in k
    ]
    assert sorted(n for day in numbers for n in day) == list(range(3000))
    assert all(day == sorted(day) for day in numbers)


def test_a_file_is_parsed_once_and_a_crash_is_repaired():
    data, dataset, store = write(LINES[:100], "csv", ""), load_dataset("retailrocket"), MemoryStore()
    file = landed("events.csv", data)
    assert find_staged("events", file, dataset, store) is None
    first = stage_bytes("events.csv", data, dataset, store)

    def never() -> Any:
        raise AssertionError("opened")

    assert stage("events", file, never, dataset, store) == first == find_staged("events", file, dataset, store)
    whole = dict(store.objects)
    for lost in whole:
        store.objects = {key: value for key, value in whole.items() if key < lost and not key.endswith("index.json")}
        stage_bytes("events.csv", data, dataset, store)
        assert store.objects == whole


def test_only_what_decides_the_rows_stages_a_file_again():
    data, dataset, store = write(LINES[:10], "csv", ""), load_dataset("retailrocket"), MemoryStore()
    first = stage_bytes("events.csv", data, dataset, store)
    stated = dataset.model_dump()
    stated["events"]["types"]["view"]["weight"] = 3
    weighed = Dataset.model_validate({**stated, "session_gap_minutes": 5, "repeats": False, "defaults": {}})
    assert stage_bytes("events.csv", data, weighed, store).digest == first.digest
    shifted = Dataset.model_validate({**stated, "day_starts_at": "00:00"})
    others = [("events.csv", data, shifted), ("events2.csv", data, dataset), ("events.csv", data + b"\n", dataset)]
    assert len({first.digest, *(stage_bytes(n, d, s, store).digest for n, d, s in others)}) == 4


def test_rejected_rows_without_a_time_belong_to_the_first_day_of_their_file():
    rows = [("x", "1", "view", "1", ""), LINES[20], ("1", "1"), LINES[0], (LINES[20][0], "", "view", "1", "")]
    store = MemoryStore()
    staged = stage_bytes("events.csv", write(rows, "csv", ""), load_dataset("retailrocket"), store)
    assert {day: (n.rows, n.rejected) for day, n in staged.days.items()} == {"2015-05-03": (1, 2), "2015-05-08": (1, 1)}
    assert staged.reasons == {"null user_id": 1, "unparsable ts": 1, "wrong number of columns": 1}
    key = staged.rejected_key("2015-05-03")
    assert key is not None
    assert pq.read_table(pa.BufferReader(store.get(key)))["source_row"].to_pylist() == [0, 2]
    assert staged.rows_key("2015-05-04") is staged.rejected_key("2015-05-04") is None


def test_a_file_without_one_good_row_is_refused_and_an_empty_one_is_not():
    dataset, store = load_dataset("retailrocket"), MemoryStore()
    with pytest.raises(NoGoodRowsError, match=r"^events\.csv: none of 3 rows is good: \{'unparsable ts': 2, 'wrong"):
        stage_bytes("events.csv", write([*[("x", "1", "view", "1", "")] * 2, ("1",)], "csv", ""), dataset, store)
    with pytest.raises(DataFileError, match=r"^events\.csv\.gz: cannot be read as csv"):
        stage_bytes("events.csv.gz", write(LINES, "csv", ".gz")[:-5], dataset, store)
    assert not store.objects
    empty = stage_bytes("events.csv", write([], "csv", ""), dataset, store)
    assert (empty.total, empty.days, empty.first_ts) == (0, {}, None)


def test_properties_are_split_by_day_too():
    week = [int((START + timedelta(days=7 * n)).timestamp() * 1000) for n in range(3)]
    lines = [
        f"{t},{i},{p},{v}"
        for t in week
        for i in range(3)
        for p, v in (("790", "n1.000"), ("888", "x"), ("available", "1"))
    ]
    data = "\n".join(["timestamp,itemid,property,value", *lines, "oops"]).encode()
    store = MemoryStore()
    file = landed("item_properties_part1.csv", data)
    staged = stage("properties", file, lambda: io.BytesIO(data), load_dataset("retailrocket"), store)
    assert (staged.total, staged.rows, staged.ignored, staged.rejected) == (28, 18, 9, 1)
    assert [(day, n.rows) for day, n in staged.days.items()] == [
        ("2015-05-03", 6),
        ("2015-05-10", 6),
        ("2015-05-17", 6),
    ]
    key = staged.rows_key("2015-05-10")
    assert key is not None
    table = pq.read_table(pa.BufferReader(store.get(key)))
    assert set(table["property"].to_pylist()) == {"price", "available"}
