"""Rankers of earlier windows: who learns from what, and that the gate counts all of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys_assets.assets.promotion import judge
from recsys_assets.core.contracts import USER_ACTIVITY, IdTypes, arrow_schema
from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.window import Contest, collect_window
from recsys_assets.core.gate.rule import decide
from recsys_assets.core.ranking import rolling
from recsys_assets.core.ranking.model import RankerParams, score_candidates, train
from recsys_assets.core.ranking.rolling import earlier_contests
from recsys_assets_tests.core.ranking import synthetic
from recsys_assets_tests.core.world import ENGINE

HORIZON = 7
NEWEST = date(2024, 3, 1)
DAYS = [(NEWEST - timedelta(days=HORIZON * step)).isoformat() for step in reversed(range(5))]
PARAMS = RankerParams(iterations=30, min_users=20)


def examples(users: int) -> dict[str, pa.Table]:
    return {day: synthetic.examples(users, 20, seed, date.fromisoformat(day)) for seed, day in enumerate(DAYS)}


def activity(windows: dict[str, pa.Table]) -> Frame:
    """The targets that the labels stand for, on the last day of each window."""
    schema = arrow_schema(USER_ACTIVITY, IdTypes())
    parts: list[pa.Table] = []
    for day, rows in windows.items():
        hits = rows.filter(pc.call_function("equal", [rows["label"], pa.scalar(1)]))
        at = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
        stated = {"events": 1, "targets": 1, "weight": 1.0, "top_weight": 1.0, "last_ts": at}
        columns = {name: pa.array([value] * len(hits), schema.field(name).type) for name, value in stated.items()}
        ids = {name: hits[name] for name in ("user_id", "item_id")}
        parts.append(pa.table({**ids, **columns, "dt": pa.array([date.fromisoformat(day)] * len(hits))}))
    return ENGINE.from_arrow(pa.concat_tables(parts))


def contests_of(windows: dict[str, pa.Table], read: list[Sequence[str]] | None = None) -> list[Contest]:
    def scan(days: Sequence[str]) -> Frame:
        if read is not None:
            read.append(tuple(days))
        return ENGINE.from_arrow(pa.concat_tables([windows[day] for day in days]))

    return earlier_contests(ENGINE, DAYS, scan, activity(windows), HORIZON, PARAMS, IdTypes())


def test_each_ranker_learns_from_the_windows_before_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Sequence[str]] = []
    contests = contests_of(examples(60), read)
    assert len(contests) == 3, "the first window has none before it, the newest is another's"
    assert read == [step for at in (3, 2, 1) for step in ((DAYS[at],), tuple(DAYS[:at]))]
    assert all(contest.scores.keys() == {"ranker"} for contest in contests)
    monkeypatch.setattr(rolling, "ENOUGH_USERS", 100)
    few = contests_of(examples(60))
    assert len(few) == 2, "two windows have enough users"
    for one, other in zip(few, contests[1:], strict=True):
        assert one.window.evaluator.targets.tolist() == other.window.evaluator.targets.tolist()
    monkeypatch.setattr(rolling, "ENOUGH_USERS", 1)
    assert len(contests_of(examples(60))) == 2, "and two there are at least"


def test_nothing_after_a_window_reaches_its_contest() -> None:
    windows = examples(60)
    before = contests_of(windows)[0]
    changed = {**windows, **{day: synthetic.examples(60, 20, 99, date.fromisoformat(day)) for day in DAYS[2:]}}
    after = contests_of(changed)[0]
    for one, other in ((before.candidates, after.candidates), (before.scores["ranker"], after.scores["ranker"])):
        assert one.collect("polars").to_arrow().equals(other.collect("polars").to_arrow())
    assert before.window.evaluator.targets.tolist() == after.window.evaluator.targets.tolist()


def test_too_few_examples_leave_a_window_without_a_ranker() -> None:
    contests = contests_of({**examples(40), **{day: examples(8)[day] for day in DAYS[:2]}})
    assert [contest.scores.keys() for contest in contests] == [set()] * 2 + [{"ranker"}]


def test_windows_together_show_what_none_shows_alone() -> None:
    """Few users a window: the ranker is ahead on each, but only together that is certain."""
    windows = examples(24)
    newest = windows[DAYS[-1]]
    model = train(pa.concat_tables([windows[day] for day in DAYS[:-1]]), PARAMS).model
    candidates = ENGINE.from_arrow(newest).drop("dt")
    window = collect_window(candidates, activity(windows), NEWEST - timedelta(days=HORIZON))
    scores = {"ranker": score_candidates(ENGINE, candidates, model, IdTypes())}
    today = Contest(window, candidates, scores)
    judged = judge([*contests_of(windows), today], seed=0)
    assert len(judged.gains) >= 2
    alone = decide(judge([today], seed=0).newest, 30).with_ranker
    together = decide(judged.newest, 30, judged.gains, judged.baseline).with_ranker
    assert (alone.order_by, together.order_by) == ("fused", "ranker")
    assert "only" in alone.why
    assert f"on {1 + len(judged.gains)} windows" in together.why
