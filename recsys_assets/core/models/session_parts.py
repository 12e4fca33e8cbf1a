"""What a session model learns from the log: the items of each session, links between items, how often items return."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from recsys_assets.core.ids import Ints

Indices = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

# A block of twice-linked items is some hundred MB at the default number of links.
_BLOCK = 2048
# A link of lesser weight than this is not looked for.
_FAINT = 0.02
_PLACES, _COUNTS = 10, 5


@dataclass(frozen=True)
class Visits:
    """The distinct items of sessions [visits], ordered by session and in it by time, the latest first.

    Attributes:
        rows: position of the session.
        items: position of the item.
        lags: clicks that came after the last one on this item; 0 is where the session stands.
        counts: clicks on this item, at least 1.
    """

    rows: Ints
    items: Ints
    lags: Ints
    counts: Ints


def spans(starts: Ints, counts: Ints) -> Ints:
    """The ranges start, start + 1, … of the given lengths, one after the other."""
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1] if len(ends) else 0)


def visits(rows: Ints, items: Ints, most: int) -> Visits:
    """Clicks as distinct items, of the last ``most`` clicks of each session.

    Args:
        rows: session of each click, ascending, and the clicks of each in order of time.
        items: item of each click.
        most: clicks per session.
    """
    lags = np.searchsorted(rows, rows, side="right") - 1 - np.arange(len(rows))
    late = lags < most
    rows, items, lags = rows[late], items[late], lags[late]
    order = np.lexsort((lags, items, rows))
    rows, items, lags = rows[order], items[order], lags[order]
    new = np.ones(len(rows), np.bool_)
    new[1:] = (rows[1:] != rows[:-1]) | (items[1:] != items[:-1])
    first = np.flatnonzero(new)
    counts = np.diff(first, append=len(rows))
    rows, items, lags = rows[first], items[first], lags[first]
    order = np.lexsort((lags, rows))
    return Visits(rows[order], items[order], lags[order], counts[order])


def repeat_cells(clicked: Visits) -> Ints:
    """Where in :func:`repeats` each visit stands.

    A cell is made of whether the session has other items and has returned to one of them, of the item's place among the
    session's items (the latest is 0), and of how often it was clicked.
    """
    places = np.arange(len(clicked.rows)) - np.searchsorted(clicked.rows, clicked.rows)
    again = clicked.counts - 1
    others = np.bincount(clicked.rows)[clicked.rows] > 1
    returns = np.bincount(clicked.rows, again)[clicked.rows] > again
    kind = np.where(others, np.where(returns, 2, 1), 0)
    return (kind * _PLACES + np.minimum(places, _PLACES - 1)) * _COUNTS + np.minimum(again, _COUNTS - 1)


def repeats(rows: Ints, items: Ints, most: int, sample: int, prior: float) -> Doubles:
    """How often the next click returns to an item of the session, by what the session looks like until then.

    Args:
        rows: session of each click, ascending from the oldest session, and the clicks of each in order of time.
        items: item of each click.
        most: clicks of a session that count.
        sample: the newest clicks are counted, as many as have, one by one, so many clicks before them.
        prior: examples that a cell borrows from all cells of its place.

    Returns:
        A rate for each of :func:`repeat_cells`.
    """
    starts = np.searchsorted(rows, rows)
    before = np.arange(len(rows)) - starts
    examples = np.flatnonzero((before > 0) & (np.cumsum(before[::-1])[::-1] <= sample))
    lengths = np.minimum(before[examples], most)
    prefix = spans(examples - lengths, lengths)
    clicked = visits(np.repeat(np.arange(len(examples)), lengths), items[prefix], most)
    shape = (3, _PLACES, _COUNTS)
    cells = repeat_cells(clicked)
    returned = clicked.items == items[examples][clicked.rows]
    seen = np.bincount(cells, minlength=3 * _PLACES * _COUNTS).reshape(shape)
    came = np.bincount(cells, returned, minlength=3 * _PLACES * _COUNTS).reshape(shape)
    rate = came.sum((0, 2)) / np.maximum(seen.sum((0, 2)), 1)
    return ((came + prior * rate[:, None]) / (seen + prior)).reshape(-1)


def meetings(clicked: Visits, ages: Doubles, items: int, decay: float, most: int) -> sp.csr_array:
    """Items that met in sessions, the fewer clicks between them the more: item-kNN.

    Args:
        clicked: the log.
        ages: weight of each session.
        items: how many there are.
        decay: clicks apart by which a meeting's weight has fallen to 1/e.
        most: strongest links of each item that are kept; ties with the last of them too.

    Returns:
        D^-1/2 A D^-1/2 [items, items], where A is the sum over meetings (symmetric) and D its row sums.
    """
    met = sp.csr_array((items, items))
    for step in range(1, int(decay * -np.log(_FAINT)) + 2):
        here = np.flatnonzero(clicked.rows[step:] == clicked.rows[:-step])
        apart = clicked.lags[here + step] - clicked.lags[here]
        weights = np.exp(-(apart - 1) / decay) * ages[clicked.rows[here]]
        pair = (clicked.items[here], clicked.items[here + step])
        met = met + sp.coo_array((weights, pair), shape=met.shape).tocsr()
    met = (met + met.T).tocsr()
    scale = np.maximum(met.sum(axis=1), np.finfo(np.float64).tiny) ** -0.5
    met.data *= scale[met.indices] * np.repeat(scale, np.diff(met.indptr))
    return _strongest(met, most)


def two_steps(near: sp.csr_array, most: int) -> sp.csr_array:
    """Links over one item between: they also join items that never met but meet the same ones.

    Most items of a shop are rare and most pairs of items that belong together never met. This is the smoothing of graph
    networks without their training (He et al., LightGCN, SIGIR 2020; Shen et al., GF-CF, CIKM 2021).

    Args:
        near: :func:`meetings` [items, items].
        most: strongest links of each item that are kept; ties with the last of them too.

    Returns:
        Weights [items, items]; an item is also linked to itself.
    """
    starts = range(0, len(near.indptr) - 1, _BLOCK)
    blocks = [_strongest(near[start : start + _BLOCK] @ near, most) for start in starts]
    return sp.csr_array(sp.vstack(blocks)) if blocks else near


def _strongest(weights: sp.csr_array, most: int) -> sp.csr_array:
    """The largest ``most`` weights of each row, and what equals the least of them, columns ascending."""
    weights.sort_indices()
    bounds, data = weights.indptr, weights.data
    kept = np.ones(len(data), np.bool_)
    # Row by row: sorting all rows at once, which needs no loop, takes ten times as long.
    for row in np.flatnonzero(np.diff(bounds) > most):
        inside = slice(bounds[row], bounds[row + 1])
        count = bounds[row + 1] - bounds[row]
        kept[inside] = data[inside] >= np.partition(data[inside], count - most)[count - most]
    ends = np.concatenate(([0], np.cumsum(kept)))[bounds]
    return sp.csr_array((data[kept], weights.indices[kept], ends), shape=weights.shape)
