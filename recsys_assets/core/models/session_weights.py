"""Weights of the session model, chosen on held-out clicks.

How much links count beside neighbours, how much the most similar neighbours count beside others, and how fast clicks of
the session and of its neighbours lose weight, differs between shops, music and news. The newest clicks are held out,
and the weights that find them best with a model of the earlier clicks are taken, if the gain over the defaults is no
luck.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import pyarrow as pa

from recsys_assets.core.evaluation.bootstrap import Interval, paired_difference
from recsys_assets.core.gate.rule import beats, confidence_of_best_of
from recsys_assets.core.ids import Ints, lookup, positions
from recsys_assets.core.models.next_items import blocks_of
from recsys_assets.core.models.session_model import CHOSEN, Doubles, SessionModel, SessionParams
from recsys_assets.core.models.session_parts import spans, visits
from recsys_assets.core.models.session_scores import SessionScores
from recsys_assets.core.models.sessions import fit
from recsys_assets.core.threads import in_threads

K = 20
MOST_QUERIES, LEAST_USERS = 2_000, 100
_HELD_OUT = 0.1
"""At most this share of the clicks is held out."""
_MOST_CANDIDATES = 3_000_000
"""Of all queries together: memory of some hundred MB, and a few seconds."""
_RESAMPLES = 4_000
_PER_USER, _PER_NIGHT = 3, 10
"""Examples of a user, each with a query of its own, or all with one: more users tell more than more clicks of one."""
_HELD_DECAYS = 2
"""Values of ``click_decay`` whose candidates are held: the best one's, and those of the one that is tried."""
_STEP, _STEPS, _ROUNDS = 2.0, 4, 2
_ENDS = (_STEP**_STEPS, _STEP**-_STEPS)
"""A weight is doubled or halved up to four times, so it stays within a sixteenth and sixteen times its default."""


@dataclass(frozen=True)
class HeldOut:
    """Clicks to predict.

    Attributes:
        past: session_id, item_id, ts of the clicks before all of them.
        rows: position of the query that each of its clicks belongs to, ascending.
        items: item_id of each click of the queries, in order of time.
        targets: item_id of each example, clicked after its query.
        queries: position of each example's query, ascending.
        users: position of each example's user.
    """

    past: pa.Table
    rows: Ints
    items: pa.Array
    targets: pa.Array
    queries: Ints
    users: Ints


@dataclass(frozen=True)
class ChosenParams:
    """Parameters of a session model and how they were chosen.

    Attributes:
        params: the defaults, or better ones.
        examples: held-out clicks; 0 where there are too few.
        gain: in NDCG@20 of the best weights over the defaults, whether it counts or not; None without examples.
        evaluated: weights tried.
        ends: weights that are as far from the defaults as is tried: still better ones may lie beyond.
    """

    params: SessionParams
    examples: int = 0
    gain: Interval | None = None
    evaluated: int = 0
    ends: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """One sentence for people."""
        if self.gain is None:
            return f"the defaults: clicks of fewer than {LEAST_USERS} users could be held out"
        gain = f"{self.gain.mean:+.4f} [{self.gain.low:+.4f}, {self.gain.high:+.4f}] in NDCG@{K}"
        tried = f"the best of {self.evaluated} tried gain {gain} on {self.examples:,} held-out clicks"
        ends = f"; at the end of what is tried: {', '.join(self.ends)}" if self.ends else ""
        return f"{'chosen' if beats(self.gain) else 'the defaults'}: {tried}{ends}"


def choose_params(
    clicks: pa.Table, params: SessionParams, least_items: int = 1, *, nightly: bool = False
) -> ChosenParams:
    """The weights that predict the newest clicks best; the given ones unless others are better beyond doubt.

    Only parameters of the prediction are chosen, those in ``CHOSEN``: none needs another fit.

    Args:
        clicks: as for :func:`hold_out`.
        params: the defaults.
        least_items: see :func:`hold_out`.
        nightly: see :func:`hold_out`.
    """
    visits_per_session = len(clicks) / max(1, len(positions(clicks["session_id"])[0]))
    most = int(_MOST_CANDIDATES / (params.neighbours * visits_per_session + params.links))
    held_out = hold_out(clicks, params.session_clicks, least_items, min(MOST_QUERIES, most), nightly=nightly)
    if held_out is None or held_out.users.max() + 1 < LEAST_USERS:
        return ChosenParams(params)
    judge = _Judge(fit(held_out.past, params), held_out)
    best = _climb(judge, params)
    tried = len(judge.known)
    gain = paired_difference(judge(best), judge(params), _RESAMPLES, level=confidence_of_best_of(tried))
    ends = tuple(name for name in CHOSEN if getattr(best, name) / getattr(params, name) in _ENDS)
    return ChosenParams(best if beats(gain) else params, len(held_out.targets), gain, tried, ends)


def _climb(judge: _Judge, start: SessionParams) -> SessionParams:
    """Double or halve one weight at a time, as long as the mean grows.

    Few evaluations reach what is far from the defaults, and where the defaults are best, eight find that out.
    """
    best = start
    for _ in range(_ROUNDS):
        before = best
        for name in CHOSEN:
            doubled = _follow(judge, best, name, _STEP, getattr(start, name))
            best = doubled if doubled is not best else _follow(judge, best, name, 1 / _STEP, getattr(start, name))
        if best is before:
            break
    return best


def _follow(judge: _Judge, best: SessionParams, name: str, factor: float, default: float) -> SessionParams:
    """Change a weight by a factor as long as the mean grows; the same parameters if it does not."""
    farthest = default * factor**_STEPS
    while getattr(best, name) != farthest:
        tried = replace(best, **{name: getattr(best, name) * factor})
        if judge(tried).mean() <= judge(best).mean():
            break
        best = tried
    return best


def hold_out(
    clicks: pa.Table, session_clicks: int, least_items: int, most: int, *, nightly: bool = False
) -> HeldOut | None:
    """The newest clicks on items that are new to their user, each with clicks of the user before it.

    Args:
        clicks: user_id, session_id, item_id and ts (int64), a row per click, ordered by user, then by time.
        session_clicks: last clicks of a query.
        least_items: distinct items that a query has at least.
        most: queries. The newest are taken; of a night, users are drawn evenly.
        nightly: whether a query ends where the past ends, as the lists of a night do, instead of right before its
            target. What is clicked next within a session says little about the days after it: lines of one order may
            be sorted.

    Returns:
        None if there is none.
    """
    _, users = positions(clicks["user_id"])
    item_ids, items = positions(clicks["item_id"])
    times = clicks["ts"].to_numpy()
    held = int(_HELD_OUT * len(times))
    if held < 1 or most < 1:
        return None
    since = np.sort(times)[-held]
    starts = np.searchsorted(users, users)
    ends = starts + np.bincount(users, times < since).astype(np.int64)[users] if nightly else np.arange(len(users))
    first = np.zeros(len(users), np.bool_)
    first[np.unique(users * len(item_ids) + items, return_index=True)[1]] = True
    known = np.concatenate([[0], np.cumsum(first)])
    eligible = first & (times >= since) & (known[ends] - known[starts] >= least_items)
    examples = _spread(np.flatnonzero(eligible), users, _PER_NIGHT if nightly else _PER_USER)
    if not nightly and len(examples):
        since = np.sort(times[examples])[-min(most, len(examples))]
    past = times < since
    in_past = np.zeros(len(item_ids), np.bool_)
    in_past[items[past]] = True
    examples = examples[(times[examples] >= since) & in_past[items[examples]]]
    if not len(examples):
        return None
    asked, queries = np.unique(ends[examples], return_inverse=True)  # one query ends at each
    if len(asked) > most:  # many clicks at one time, or many users
        drawn = np.linspace(0, len(asked) - 1, most).astype(np.int64)
        kept = np.isin(queries, drawn)
        examples, asked, queries = examples[kept], asked[drawn], np.searchsorted(drawn, queries[kept])
    lengths = np.minimum(asked - starts[asked - 1], session_clicks)
    return HeldOut(
        clicks.select(["session_id", "item_id", "ts"]).filter(pa.array(past)),
        np.repeat(np.arange(len(asked)), lengths),
        item_ids.take(pa.array(items[spans(asked - lengths, lengths)])),
        item_ids.take(pa.array(items[examples])),
        queries,
        np.unique(users[examples], return_inverse=True)[1],
    )


def _spread(examples: Ints, users: Ints, most: int) -> Ints:
    """At most so many examples of each user, evenly spaced; ascending."""
    owners = users[examples]
    order = np.arange(len(owners)) - np.searchsorted(owners, owners)
    count = np.maximum(most, np.bincount(owners)[owners])
    return examples[(order + 1) * most // count > order * most // count]


class _Judge:
    """NDCG@20 of each user by weights; what they have in common is computed once."""

    def __init__(self, model: SessionModel, held_out: HeldOut) -> None:
        self._model, self._queries, self._users = model, held_out.queries, held_out.users
        self._turns = np.arange(len(self._queries)) - np.searchsorted(self._queries, self._queries)
        self._targets = lookup(held_out.targets, model.items)
        items = lookup(held_out.items, model.items)
        self._query = visits(held_out.rows[items >= 0], items[items >= 0], model.params.session_clicks)
        self._candidates: dict[float, list[SessionScores]] = {}
        self.known: dict[SessionParams, Doubles] = {}

    def __call__(self, params: SessionParams) -> Doubles:
        """[users] the mean over the user's examples."""
        if params not in self.known:
            ndcg = np.zeros(len(self._targets))
            blocks = self._blocks(params.click_decay)
            for examples, found in chain.from_iterable(in_threads(lambda block: self._judged(block, params), blocks)):
                ndcg[examples] = found
            self.known[params] = np.bincount(self._users, ndcg) / np.bincount(self._users)
        return self.known[params]

    def _judged(self, block: SessionScores, params: SessionParams) -> list[tuple[Ints, Doubles]]:
        """Examples of a block of sessions and the NDCG of each."""
        scores, width = block.scores(params), len(self._model.items)
        inside = np.isin(self._queries, block.sessions)
        judged: list[tuple[Ints, Doubles]] = []
        for turn in range(self._turns[inside].max(initial=-1) + 1):
            examples = np.flatnonzero(inside & (self._turns == turn))
            rows = np.searchsorted(block.sessions, self._queries[examples])
            wanted = rows * width + self._targets[examples]
            judged.append((examples, _ndcg(block, scores, rows, wanted, width)))
        return judged

    def _blocks(self, click_decay: float) -> list[SessionScores]:
        blocks = self._candidates.pop(click_decay, None)
        if blocks is None:
            while len(self._candidates) >= _HELD_DECAYS:
                del self._candidates[next(iter(self._candidates))]
            model = replace(self._model, params=replace(self._model.params, click_decay=click_decay))
            blocks = in_threads(lambda block: SessionScores(model, block), blocks_of(model, self._query))
        self._candidates[click_decay] = blocks
        return blocks


def _ndcg(candidates: SessionScores, scores: Doubles, rows: Ints, wanted: Ints, width: int) -> Doubles:
    """NDCG@20 by the rank of a target; 0 for one that is no candidate.

    Args:
        candidates: of a block of sessions.
        scores: of each of its keys.
        rows: positions of sessions of the block, each at most once.
        wanted: key of the target of each.
        width: number of items.
    """
    keys, count = candidates.keys, len(candidates.sessions)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found = (keys[places] == wanted) & (scores[places] > 0)
    least, target = np.full(count, np.inf), np.zeros(count, np.int64)
    least[rows], target[rows] = scores[places], wanted
    owners = keys // width
    ahead = (scores > least[owners]) | ((scores == least[owners]) & (keys < target[owners]))
    ranks = np.bincount(owners, ahead, count)[rows] + 1
    return np.where(found & (ranks <= K), 1 / np.log2(ranks + 1), 0.0)
