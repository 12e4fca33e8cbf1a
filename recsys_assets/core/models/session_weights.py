"""Weights of the session model, chosen on held-out clicks.

How much links count beside neighbours, how much the most similar neighbours count beside others, and how fast clicks of
the session and of its neighbours lose weight, differs between shops, music and news. The newest clicks are held out,
and the weights that find them best with a model of the earlier clicks are taken, if the gain over the defaults is no
luck.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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

K = 20
MOST_EXAMPLES, LEAST_EXAMPLES = 2_000, 200
_HELD_OUT = 0.1
"""At most this share of the clicks is held out."""
_MOST_CANDIDATES = 3_000_000
"""Of all examples together: memory of some hundred MB, and a few seconds."""
_RESAMPLES = 4_000
_PER_USER = 3
"""Examples: more users tell more than more clicks of one."""
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
        rows: position of the example that each click of the queries belongs to, ascending.
        items: item_id of each click of the queries, in order of time.
        targets: item_id of each example, clicked after its query.
        users: position of each example's user.
    """

    past: pa.Table
    rows: Ints
    items: pa.Array
    targets: pa.Array
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
            return f"the defaults: fewer than {LEAST_EXAMPLES} clicks could be held out"
        gain = f"{self.gain.mean:+.4f} [{self.gain.low:+.4f}, {self.gain.high:+.4f}] in NDCG@{K}"
        tried = f"the best of {self.evaluated} tried gain {gain} on {self.examples:,} held-out clicks"
        ends = f"; at the end of what is tried: {', '.join(self.ends)}" if self.ends else ""
        return f"{'chosen' if beats(self.gain) else 'the defaults'}: {tried}{ends}"


def choose_params(clicks: pa.Table, params: SessionParams, least_items: int = 1) -> ChosenParams:
    """The weights that predict the newest clicks best; the given ones unless others are better beyond doubt.

    Only parameters of the prediction are chosen, those in ``CHOSEN``: none needs another fit.

    Args:
        clicks: as for :func:`hold_out`.
        params: the defaults.
        least_items: see :func:`hold_out`.
    """
    visits_per_session = len(clicks) / max(1, len(positions(clicks["session_id"])[0]))
    most = int(_MOST_CANDIDATES / (params.neighbours * visits_per_session + params.links))
    held_out = hold_out(clicks, params.session_clicks, least_items, min(MOST_EXAMPLES, most))
    if held_out is None or len(held_out.targets) < LEAST_EXAMPLES:
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


def hold_out(clicks: pa.Table, session_clicks: int, least_items: int, most: int) -> HeldOut | None:
    """The newest clicks on items that are new to their user, each with the user's clicks before it.

    Args:
        clicks: user_id, session_id, item_id and ts (int64), a row per click, ordered by user, then by time.
        session_clicks: last clicks of a query.
        least_items: distinct items that a query has at least.
        most: examples; the newest are taken.

    Returns:
        None if there is none.
    """
    _, users = positions(clicks["user_id"])
    item_ids, items = positions(clicks["item_id"])
    times = clicks["ts"].to_numpy()
    starts = np.searchsorted(users, users)
    first = np.zeros(len(users), np.bool_)
    first[np.unique(users * len(item_ids) + items, return_index=True)[1]] = True
    known = np.cumsum(first) - first
    eligible = np.flatnonzero(first & (known - known[starts] >= least_items))
    newest = np.sort(times)[len(times) - int(_HELD_OUT * len(times)) :]
    eligible = eligible[times[eligible] >= newest[0]] if len(newest) else eligible[:0]
    eligible = _spread(eligible, users, _PER_USER)
    if not len(eligible) or most < 1:
        return None
    since = np.sort(times[eligible])[-min(most, len(eligible))]
    past = times < since
    in_past = np.zeros(len(item_ids), np.bool_)
    in_past[items[past]] = True
    examples = eligible[(times[eligible] >= since) & in_past[items[eligible]]]
    if len(examples) > most:  # many clicks at one time
        examples = examples[np.linspace(0, len(examples) - 1, most).astype(np.int64)]
    lengths = np.minimum(examples - starts[examples], session_clicks)
    return HeldOut(
        clicks.select(["session_id", "item_id", "ts"]).filter(pa.array(past)),
        np.repeat(np.arange(len(examples)), lengths),
        item_ids.take(pa.array(items[spans(examples - lengths, lengths)])),
        item_ids.take(pa.array(items[examples])),
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
        self._model, self._users = model, held_out.users
        self._targets = lookup(held_out.targets, model.items)
        items = lookup(held_out.items, model.items)
        self._query = visits(held_out.rows[items >= 0], items[items >= 0], model.params.session_clicks)
        self._candidates: dict[float, list[SessionScores]] = {}
        self.known: dict[SessionParams, Doubles] = {}

    def __call__(self, params: SessionParams) -> Doubles:
        """[users] the mean over the user's examples."""
        if params not in self.known:
            ndcg = np.zeros(len(self._targets))
            for block in self._blocks(params.click_decay):
                ndcg[block.sessions] = _ndcg(block, params, self._targets[block.sessions], len(self._model.items))
            self.known[params] = np.bincount(self._users, ndcg) / np.bincount(self._users)
        return self.known[params]

    def _blocks(self, click_decay: float) -> list[SessionScores]:
        blocks = self._candidates.pop(click_decay, None)
        if blocks is None:
            while len(self._candidates) >= _HELD_DECAYS:
                del self._candidates[next(iter(self._candidates))]
            model = replace(self._model, params=replace(self._model.params, click_decay=click_decay))
            blocks = [SessionScores(model, block) for block in blocks_of(model, self._query)]
        self._candidates[click_decay] = blocks
        return blocks


def _ndcg(candidates: SessionScores, params: SessionParams, targets: Ints, width: int) -> Doubles:
    """NDCG@20 of each session, by the rank of its target; 0 for a target that is no candidate."""
    keys, scores = candidates.keys, candidates.scores(params)
    wanted = np.arange(len(targets)) * width + targets
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found = (keys[places] == wanted) & (scores[places] > 0)
    rows = keys // width
    least = scores[places][rows]
    ahead = (scores > least) | ((scores == least) & (keys < wanted[rows]))
    ranks = np.bincount(rows, ahead, len(targets)) + 1
    return np.where(found & (ranks <= K), 1 / np.log2(ranks + 1), 0.0)
