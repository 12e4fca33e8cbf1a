"""An erased person does not come back, however a file spells the id, and no other person is removed."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from recsys_assets.core.dataset import Dataset, load_dataset
from recsys_assets.erasure.person import Person, forget_staged
from recsys_assets.erasure.search import holders
from recsys_assets.ingest.listing import LandingFile
from recsys_assets.ingest.staging import StagedDay, StagedFile, stage
from recsys_assets.ingest.suppression import LIST, ids_in_raw, parse_user, read_suppressed, suppress
from recsys_assets.storage.objects import ObjectStore
from recsys_assets_tests.erasure.toy import MemoryStore

HEADER = "timestamp,visitorid,event,itemid,transactionid"
DAY_1, DAY_2 = 1430708800000, 1430881600000  # 2015-05-04 and 2015-05-06
NUMBERS = load_dataset("retailrocket")
NAMES = NUMBERS.model_copy(update={"ids": replace(NUMBERS.ids, user="string")})

LINES = [
    f"{DAY_1},7,view,7,",
    f"{DAY_1}, 007 ,view,1,",
    f"{DAY_1},7.0,look,1,",  # rejected: unknown type
    f"{DAY_2},+7,view,2,",
    f"{DAY_2},70,view,7,",
    f"{DAY_2},-7,view,7,",
    f"{DAY_2},70,view,seven,",  # rejected
    f"{DAY_2},70,look,7,",  # rejected; item 7 is not user 7
    f"{DAY_1},7,view",  # did not split
    f"{DAY_1},71,view",  # did not split
    "never,7,view,1,",  # rejected without a day
    f"{DAY_2 + 10},7,view,2,",
]


def file_of(lines: list[str]) -> tuple[LandingFile, bytes]:
    data = "\n".join([HEADER, *lines]).encode()
    return LandingFile("file:///landing/events.csv", "events.csv", len(data), str(hash(data))), data


def staged_in(store: ObjectStore, lines: list[str], dataset: Dataset = NUMBERS) -> StagedFile:
    file, data = file_of(lines)
    return stage("events", file, lambda: io.BytesIO(data), dataset, store)


def rows_of(store: ObjectStore, staged: StagedFile) -> list[dict[str, Any]]:
    keys = [key for day in staged.days for key in (staged.rows_key(day), staged.rejected_key(day)) if key]
    return [row for key in keys for row in pq.read_table(io.BytesIO(store.get(key))).to_pylist()]


def test_a_person_leaves_staged_files_and_stays_out_of_new_ones(store: ObjectStore) -> None:
    before = staged_in(store, LINES)
    assert (before.total, before.rows, before.rejected, before.erased) == (12, 6, 6, 0)
    suppress(store, 7)
    [(_, after)] = list(forget_staged(store, Person(7, NUMBERS)))
    assert (after.total, after.rows, after.rejected, after.erased) == (12, 2, 3, 7)
    assert after.days == {"2015-05-04": StagedDay(0, 1, 5), "2015-05-06": StagedDay(2, 2, 2)}
    assert after.first_ts == after.last_ts == "2015-05-06T03:06:40+00:00"
    assert after.reasons == {"unknown event type": 1, "unparsable item_id": 1, "wrong number of columns": 1}
    assert {row.get("user_id") for row in rows_of(store, after) if "user_id" in row} == {70, -7}
    assert holders(store, Person(7, NUMBERS)) == {}
    assert list(forget_staged(store, Person(7, NUMBERS))) == []

    for meta in store.list("staging"):
        store.delete(meta.key)
    again = staged_in(store, LINES)
    assert again == after
    assert rows_of(store, again) == rows_of(store, after)


@pytest.mark.parametrize("cut", range(1, 5))
def test_forgetting_that_was_cut_off_goes_on(store: ObjectStore, cut: int) -> None:
    staged_in(store, LINES)

    class Dying:
        """Dies at the n-th write."""

        writes = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def put(self, key: str, data: Any) -> None:
            self.writes += 1
            if self.writes == cut:
                raise KeyboardInterrupt
            store.put(key, data)

    with pytest.raises(KeyboardInterrupt):
        list(forget_staged(Dying(), Person(7, NUMBERS)))  # type: ignore[arg-type]
    [(_, after)] = list(forget_staged(store, Person(7, NUMBERS)))
    assert after.days == {"2015-05-04": StagedDay(0, 1, 5), "2015-05-06": StagedDay(2, 2, 2)}
    assert holders(store, Person(7, NUMBERS)) == {}


def test_who_is_erased_while_a_file_is_read_stays_out(store: ObjectStore) -> None:
    file, data = file_of(LINES)
    opened: list[io.BytesIO] = []

    class Slow(io.BytesIO):
        """The erasure falls between the first byte and the last."""

        def readinto(self, buffer: Any) -> int:
            suppress(store, 7)
            return super().readinto(buffer)

        def read(self, size: int | None = -1) -> bytes:
            suppress(store, 7)
            return super().read(size)

    def open_file() -> io.BytesIO:
        assert bool(opened) == bool(read_suppressed(store)), "the first reading begins with an empty list"
        opened.append(Slow(data))
        return opened[-1]

    staged = stage("events", file, open_file, NUMBERS, store)
    assert len(opened) == 2
    assert (staged.rows, staged.rejected, staged.erased) == (2, 3, 7)
    assert holders(store, Person(7, NUMBERS)) == {}


def test_the_list_names_nobody_and_keeps_everybody(store: ObjectStore) -> None:
    tokens = {suppress(store, user) for user in (0, 7, "somebody", "ünï", 2**62)}
    assert suppress(store, 0) in tokens
    assert len(tokens) == 5
    text = store.get(LIST).decode()
    assert set(json.loads(text)["tokens"]) == tokens
    assert not any(user in text for user in ("somebody", "ünï", str(2**62)))
    store.put(LIST, b"{}")
    with pytest.raises(ValueError, match="not a list of erased persons"):
        staged_in(store, LINES)


def test_string_ids_are_found_wherever_they_slipped_to(store: ObjectStore) -> None:
    lines = [
        f"{DAY_1},ann@example.org,view,1,",
        f"{DAY_1},bob,view,1,",
        f"{DAY_1},,view,x, ann@example.org",  # rejected, and the id is in another column
        f"{DAY_1},,view,x,ann@example.org.uk",
        f'{DAY_1},"ann@example.org',  # did not split
    ]
    staged_in(store, lines, NAMES)
    person = Person(parse_user(" ann@example.org ", "string"), NAMES)
    [(_, after)] = list(forget_staged(store, person))
    assert (after.rows, after.rejected, after.erased) == (1, 1, 3)


@settings(max_examples=60, deadline=None, phases=[Phase.generate])
@given(
    users=st.lists(st.integers(-3, 12), min_size=1, max_size=30),
    erased=st.integers(-3, 12),
    dirt=st.lists(st.sampled_from(["{u},view", "x,{u},view,1,", f"{DAY_2},{{u}},look,1,"]), max_size=8),
)
def test_exactly_the_rows_of_the_person_go(users: list[int], erased: int, dirt: list[str]) -> None:
    lines = [f"{DAY_1 + 86_400_000 * (n % 3)},{user},view,1," for n, user in enumerate(users)]
    lines += [pattern.format(u=users[n % len(users)]) for n, pattern in enumerate(dirt)]
    store = MemoryStore()
    before = staged_in(store, lines)
    person = Person(erased, NUMBERS)
    kept = Counter(row["user_id"] for row in rows_of(store, before) if row.get("user_id") not in (None, erased))
    list(forget_staged(store, person))
    file, data = file_of(lines)
    after = stage("events", file, lambda: io.BytesIO(data), NUMBERS, store)
    assert Counter(row["user_id"] for row in rows_of(store, after) if "user_id" in row) == kept
    assert after.rows + after.rejected + after.ignored + after.erased == after.total == len(lines)
    assert sum(day.rows + day.rejected + day.erased for day in after.days.values()) == len(lines)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [("0", "int64", 0), (" 007 ", "int64", 7), ("7.0", "int64", 7), ("-7", "int64", -7), (" a b ", "string", "a b")],
)
def test_ids_are_read_as_the_parser_reads_them(value: str, kind: Any, expected: Any) -> None:
    assert parse_user(value, kind) == expected
    assert expected in ids_in_raw(json.dumps({"u": value}), "u", kind)


@pytest.mark.parametrize(("value", "kind"), [("", "int64"), ("7a", "int64"), (str(2**63), "int64"), (" ", "string")])
def test_what_is_no_id_is_refused_without_quoting_it(value: str, kind: Any) -> None:
    with pytest.raises(ValueError, match=f"expected an id of type {kind}"):
        parse_user(value, kind)
