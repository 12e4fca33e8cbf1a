"""Parts of the session model: distinct items of each session, links between items, and repeat rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recsys_assets.core.ids import Ints
from recsys_assets.core.models.session_model import Doubles

if TYPE_CHECKING:  # only fitting needs it: an API that serves a fitted model starts without it
    import scipy.sparse as sp

# Items per block of the matrix product: some hundred MB at the default number of links.
_BLOCK = 2048
# Pairs whose weight has decayed below this are ignored.
_FAINT = 0.02
_PLACES, _COUNTS = 10, 5
NO_REPEATS: Doubles = np.zeros(3 * _PLACES * _COUNTS)
"""Repeat rates of a model that does not recommend items of the session."""


@dataclass(frozen=True)
class Visits:
    """The distinct items of sessions [visits], ordered by session, then by time, the latest first.

    Attributes:
        rows: position of the session.
        items: position of the item.
        lags: clicks after the last one on this item; 0 for the last click of the session.
        counts: clicks on this item, at least 1.
    """

    rows: Ints
    items: Ints
    lags: Ints
    counts: Ints


def spans(starts: Ints, counts: Ints) -> Ints:
    """The concatenated ranges start, start + 1, … of the given lengths."""
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(ends[-1] if len(ends) else 0)


def visits(rows: Ints, items: Ints, max_clicks: int) -> Visits:
    """The distinct items among the last ``max_clicks`` clicks of each session.

    Args:
        rows: session of each click, ascending; clicks of a session in order of time.
        items: item of each click.
        max_clicks: last clicks per session that count.
    """
    lags = np.searchsorted(rows, rows, side="right") - 1 - np.arange(len(rows))
    counted = lags < max_clicks
    rows, items, lags = rows[counted], items[counted], lags[counted]
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
    """The cell of :func:`fit_repeat_rates` that each visit falls into.

    A cell is defined by whether the session has other items and has returned to one of them, by the item's place among
    the session's items (the latest is 0), and by how often it was clicked.
    """
    places = np.arange(len(clicked.rows)) - np.searchsorted(clicked.rows, clicked.rows)
    repeats = clicked.counts - 1
    has_others = np.bincount(clicked.rows)[clicked.rows] > 1
    has_returned = np.bincount(clicked.rows, repeats)[clicked.rows] > repeats
    kind = np.where(has_others, np.where(has_returned, 2, 1), 0)
    return (kind * _PLACES + np.minimum(places, _PLACES - 1)) * _COUNTS + np.minimum(repeats, _COUNTS - 1)


def fit_repeat_rates(rows: Ints, items: Ints, max_clicks: int, sample: int, prior: float) -> Doubles:
    """How often the next click returns to an item of the session, by cell of :func:`repeat_cells`.

    Args:
        rows: session of each click, the oldest session first; clicks of a session in order of time.
        items: item of each click.
        max_clicks: last clicks of a session that count.
        sample: budget of pairs of a click and an earlier one of its session; the newest clicks that fit into it are
            counted.
        prior: weight of the prior, in examples; it is the rate over all cells of the same place.

    Returns:
        The rate of each cell.
    """
    starts = np.searchsorted(rows, rows)
    before = np.arange(len(rows)) - starts
    examples = np.flatnonzero((before > 0) & (np.cumsum(before[::-1])[::-1] <= sample))
    lengths = np.minimum(before[examples], max_clicks)
    prefix = spans(examples - lengths, lengths)
    clicked = visits(np.repeat(np.arange(len(examples)), lengths), items[prefix], max_clicks)
    shape = (3, _PLACES, _COUNTS)
    cells = repeat_cells(clicked)
    returned = clicked.items == items[examples][clicked.rows]
    shown = np.bincount(cells, minlength=3 * _PLACES * _COUNTS).reshape(shape)
    returns = np.bincount(cells, returned, minlength=3 * _PLACES * _COUNTS).reshape(shape)
    rate = returns.sum((0, 2)) / np.maximum(shown.sum((0, 2)), 1)
    return ((returns + prior * rate[:, None]) / (shown + prior)).reshape(-1)


def co_occurrences(clicked: Visits, session_weights: Doubles, items: int, decay: float, max_links: int) -> sp.csr_array:
    """Co-occurrence of items in sessions, weighted by the clicks between them: item-kNN.

    Args:
        clicked: visits of the log.
        session_weights: weight of each session.
        items: number of items.
        decay: clicks between two items after which the weight has fallen to 1/e.
        max_links: links to keep per item, the strongest; those that tie with the last are kept too.

    Returns:
        D^-1/2 A D^-1/2 [items, items], where A is the sum of weights (symmetric) and D its row sums.
    """
    import scipy.sparse as sp

    links = sp.csr_array((items, items))
    for step in range(1, int(decay * -np.log(_FAINT)) + 2):
        first = np.flatnonzero(clicked.rows[step:] == clicked.rows[:-step])
        distance = clicked.lags[first + step] - clicked.lags[first]
        weights = np.exp(-(distance - 1) / decay) * session_weights[clicked.rows[first]]
        pair = (clicked.items[first], clicked.items[first + step])
        links = links + sp.coo_array((weights, pair), shape=links.shape).tocsr()
    links = (links + links.T).tocsr()
    scale = np.maximum(links.sum(axis=1), np.finfo(np.float64).tiny) ** -0.5
    links.data *= scale[links.indices] * np.repeat(scale, np.diff(links.indptr))
    return _strongest_links(links, max_links)


def two_step_links(links: sp.csr_array, max_links: int) -> sp.csr_array:
    """Links over two steps: they also join items that never co-occur but share neighbours.

    Most items of a shop are rare, and most pairs of related items never co-occur. This is the smoothing of graph
    networks without their training (He et al., LightGCN, SIGIR 2020; Shen et al., GF-CF, CIKM 2021).

    Args:
        links: :func:`co_occurrences` [items, items].
        max_links: links to keep per item, the strongest; those that tie with the last are kept too.

    Returns:
        Weights [items, items]; an item is also linked to itself.
    """
    import scipy.sparse as sp

    starts = range(0, len(links.indptr) - 1, _BLOCK)
    blocks = [_strongest_links(links[start : start + _BLOCK] @ links, max_links) for start in starts]
    return sp.csr_array(sp.vstack(blocks)) if blocks else links


def _strongest_links(weights: sp.csr_array, max_links: int) -> sp.csr_array:
    """The ``max_links`` largest weights of each row and those that tie with the last, columns ascending."""
    import scipy.sparse as sp

    bounds, data = weights.indptr, weights.data
    keep = np.ones(len(data), np.bool_)
    # Row by row: sorting all rows at once, without a loop, takes ten times as long.
    for row in np.flatnonzero(np.diff(bounds) > max_links):
        inside = slice(bounds[row], bounds[row + 1])
        count = bounds[row + 1] - bounds[row]
        keep[inside] = data[inside] >= np.partition(data[inside], count - max_links)[count - max_links]
    ends = np.concatenate(([0], np.cumsum(keep)))[bounds]
    links = sp.csr_array((data[keep], weights.indices[keep], ends), shape=weights.shape)
    links.sort_indices()  # of few links instead of all
    return links
