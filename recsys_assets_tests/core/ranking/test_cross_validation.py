"""Rankers of earlier windows: who learns from what, and that the gate counts all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta

import narwhals as nw
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys_assets.assets.promotion import judge
from recsys_assets.core.contracts import USER_ACTIVITY, IdTypes, arrow_schema
from recsys_assets.core.engine import Frame
from recsys_assets.core.evaluation.window import Contest, collect_window
from recsys_assets.core.gate.rule import decide
from recsys_assets.core.ranking import cross_validation
from recsys_assets.core.ranking.cross_validation import earlier_contests
from recsys_assets.core.ranking.model import RankerParams, score_candidates, train
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


def as_stored(candidates: Frame, _window: str) -> Frame:
    return candidates


def contests_of(
    windows: dict[str, pa.Table],
    read: list[Sequence[str]] | None = None,
    fused: Callable[[Frame, str], Frame] = as_stored,
) -> list[Contest]:
    def scan(days: Sequence[str]) -> Frame:
        if read is not None:
            read.append(tuple(days))
        return ENGINE.from_arrow(pa.concat_tables([windows[day] for day in days]))

    return earlier_contests(ENGINE, DAYS, scan, activity(windows), HORIZON, PARAMS, IdTypes(), fused)


def test_each_ranker_learns_from_the_other_windows_but_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Sequence[str]] = []
    contests = contests_of(examples(60), read)
    assert len(contests) == 4, "all but the newest, which is another's"
    earlier = DAYS[:-1]
    others = [tuple(day for day in earlier if day != own) for own in earlier]
    assert read == [step for at in (3, 2, 1, 0) for step in ((earlier[at],), others[at])]
    assert all(contest.scores.keys() == {"ranker"} for contest in contests)
    monkeypatch.setattr(cross_validation, "ENOUGH_USERS", 100)
    few = contests_of(examples(60))
    assert len(few) == 2, "two windows have enough users"
    for one, other in zip(few, contests[2:], strict=True):
        assert one.window.evaluator.targets.tolist() == other.window.evaluator.targets.tolist()
    monkeypatch.setattr(cross_validation, "ENOUGH_USERS", 1)
    assert len(contests_of(examples(60))) == 2, "and two there are at least"


def test_neither_the_newest_window_nor_its_own_labels_reach_a_ranker() -> None:
    windows = examples(60)
    before = contests_of(windows)
    newest = {**windows, DAYS[-1]: synthetic.examples(60, 20, 99, NEWEST)}
    for one, other in zip(before, contests_of(newest), strict=True):
        assert _scores(one).equals(_scores(other))
        assert one.window.evaluator.targets.tolist() == other.window.evaluator.targets.tolist()
    own = windows[DAYS[0]]
    flipped = own.set_column(
        own.schema.get_field_index("label"), "label", pc.call_function("subtract", [1, own["label"]])
    )
    changed = contests_of({**windows, DAYS[0]: flipped})
    assert _scores(before[0]).equals(_scores(changed[0]))
    assert not _scores(before[1]).equals(_scores(changed[1])), "the others learn from it"


def test_the_fusion_contends_by_other_weights_and_rankers_score_the_stored_one() -> None:
    """Weights by window: each window is fused by its own, and no ranker sees it."""
    windows = examples(60)
    named: list[str] = []

    def backwards(candidates: Frame, window: str) -> Frame:
        named.append(window)
        return candidates.with_columns(fused_rank=-nw.col("fused_rank"))

    for one, other in zip(contests_of(windows), contests_of(windows, fused=backwards), strict=True):
        assert _scores(one).equals(_scores(other))
        ranks, turned = (_ranks(contest) for contest in (one, other))
        assert turned.equals(pc.call_function("negate", [ranks]))
    assert named == DAYS[-2::-1]


def _ranks(contest: Contest) -> pa.ChunkedArray:
    return contest.candidates.sort("user_id", "item_id").collect("polars").to_arrow()["fused_rank"]


def _scores(contest: Contest) -> pa.Table:
    return contest.scores["ranker"].collect("polars").to_arrow()


def test_one_earlier_window_has_no_contest() -> None:
    windows = examples(60)
    scan = lambda days: ENGINE.from_arrow(pa.concat_tables([windows[day] for day in days]))  # noqa: E731
    assert not earlier_contests(ENGINE, DAYS[-2:], scan, activity(windows), HORIZON, PARAMS, IdTypes(), as_stored)


def test_too_few_examples_leave_a_window_without_a_ranker() -> None:
    contests = contests_of({**examples(4), DAYS[0]: examples(40)[DAYS[0]]})
    assert [contest.scores.keys() for contest in contests] == [set(), *[{"ranker"}] * 3]


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
