"""Random frames by Hypothesis: values from small sets, so that ties, repeats and gaps meet."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_assets.core.contracts import IdTypes
from recsys_assets_tests.engines.frames import FIRST, INTS, STRINGS, Raw, at, parsed, snapshots

_STATED: list[tuple[str, str | None]] = [
    *(("category", value) for value in ("c0", "c1", "é", "elsewhere", "")),
    *(("available", value) for value in ("0", "1", None)),
    *(("price", value) for value in ("0", "12.5", "100000", "0.001", None)),
]
"""Properties and their values, as they are parsed; null is not known."""

SETTINGS = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)


def ids_of(types: IdTypes) -> st.SearchStrategy[int | str]:
    return st.sampled_from([0, 1, 2, -7, 2**62]) if types == INTS else st.sampled_from(["", "0", "a", "ä", "😀"])


@st.composite
def raw_frames(draw: st.DrawFn, of_types: st.SearchStrategy[IdTypes] | None = None) -> Raw:
    """A few days of a few users and items."""
    types = draw(st.sampled_from([INTS, STRINGS]) if of_types is None else of_types)
    days = st.integers(0, 4).map(lambda n: FIRST + timedelta(days=n))
    seconds = st.sampled_from([0.0, 0.25, 1.0, 1799.0, 1800.0, 1801.0, 50_000.0, 86_399.999999])
    event = st.builds(
        lambda user, item, kind, day, second, price, order: {
            "user_id": user, "item_id": item, "event_type": kind, "ts": at(day, second), "dt": day,
            "price": price, "quantity": price, "order_id": order,
        },
        st.none() | ids_of(types),
        ids_of(types),
        st.sampled_from(["view", "cart", "buy", "é😀", "unknown"]),
        days,
        seconds,
        st.sampled_from([None, 0.0, 0.1, 3 / 2**21, 1e12]),
        st.sampled_from([None, "", "o1"]),
    )  # fmt: skip
    stated = st.builds(
        lambda item, of, day, second: {
            "item_id": item, "property": of[0], "value": of[1], "ts": at(day, second), "dt": day,
        },
        ids_of(types),
        st.sampled_from(_STATED),
        days,
        seconds,
    )  # fmt: skip
    rejected = [{"source_file": "a.csv", "source_row": 99, "reason": "ts", "raw": "{}"}]
    events, properties = st.lists(event, max_size=40), st.lists(stated, max_size=20)
    rows = parsed(draw(events), "a.csv") + parsed(draw(events), "b.csv")
    return Raw(rows, snapshots(draw(properties)), rejected, types)


def drawn(types: IdTypes) -> list[Raw]:
    """As many of them as a test gets, all of one type of ids; the same ones each time."""
    found: list[Raw] = []

    @SETTINGS
    @given(raw_frames(st.just(types)))
    def keep(raw: Raw) -> None:
        found.append(raw)

    keep()
    return found
