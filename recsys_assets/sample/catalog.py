"""The catalogue: a category tree and items with popularity, launch, trend, availability and first snapshot.

Items of one taste have consecutive numbers, and so do those of one style within it and of one category within that (a
*shelf*). A weighted draw from any of the three is then one binary search in a running sum. The ids in the files are a
permutation of these numbers and reveal nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import gcd

import numpy as np
from numpy.typing import NDArray

from recsys_assets.sample.config import DAY_MS, SampleConfig

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

STYLES = 3
_CATEGORIES_PER_TASTE = 5
_DEPTHS = np.array([25, 174, 702, 665, 90, 13])
"""Nodes of the real tree at depth 1 to 6."""
_LARGEST_Z = 3.2
"""Cap of log popularity in sigmas, so that no item dominates a small sample."""


@dataclass(frozen=True)
class Tree:
    """Category tree in depth-first order.

    Attributes:
        ids: id of each node.
        parents: position of each node's parent, -1 for a root.
        depths: 1 for a root.
    """

    ids: Ints
    parents: Ints
    depths: Ints


def make_tree(config: SampleConfig) -> Tree:
    """Draw a tree with the real shares of depths; a few roots have most of the nodes."""
    rng = np.random.default_rng([config.seed, 1])
    total = config.categories
    counts = np.maximum(1, np.round(_DEPTHS * total / _DEPTHS.sum())).astype(np.int64)
    counts[0] = min(25, max(5, total // 17))
    counts[2] += total - counts.sum()
    parents, depths = [np.full(counts[0], -1)], [np.ones(counts[0], np.int64)]
    first, weights = 0, 1 / np.arange(1, counts[0] + 1) ** 0.6
    for depth, size in enumerate(counts[1:], start=2):
        parent = rng.choice(len(weights), size, p=weights / weights.sum())
        first_next = first + len(weights)
        parents.append(first + parent)
        depths.append(np.full(size, depth))
        first, weights = first_next, weights[parent] * rng.exponential(size=size)
    order, depth = _depth_first(np.concatenate(parents)), np.concatenate(depths)
    position = np.empty_like(order)
    position[order] = np.arange(total)
    parent = np.concatenate(parents)[order]
    ids = rng.permutation(total + total // 50)[:total]
    return Tree(ids, np.where(parent < 0, -1, position[parent]), depth[order])


def _depth_first(parents: Ints) -> Ints:
    children: dict[int, list[int]] = {}
    for node, parent in enumerate(parents.tolist()):
        children.setdefault(parent, []).append(node)
    order: list[int] = []
    stack = children[-1][::-1]
    while stack:
        node = stack.pop()
        order.append(node)
        stack.extend(children.get(node, [])[::-1])
    return np.array(order)


def spread_ids(numbers: Ints, size: int) -> Ints:
    """Map 0..size-1 one to one onto itself, neighbours far apart and 0 to 0."""
    step = int(size * 0.6180339887)
    while gcd(step, size) != 1:
        step += 1
    return numbers * step % size


@dataclass(frozen=True)
class Catalog:
    """Items as arrays by item number; about 40 bytes an item.

    Attributes:
        tree: the category tree.
        config: the configuration it is drawn from.
        bounds: ``[taste, style, category]`` → number of the shelf's first item, flat with one closing entry.
        category: position in the tree of each shelf's category.
        popularity: relative weight of each item before trends.
        launch: first day of each item.
        peak: day at which a trend is highest.
        width: half-width of the trend in days; 0 if there is none.
        first_snapshot: index of the snapshot that first describes the item; 127 if none does.
        available: state at the first snapshot.
        flips: ``(2, items)`` snapshot indices at which availability changes, 127 for never.
        misfiled: numbers of items that once carry a category outside the tree, ascending.
    """

    tree: Tree
    config: SampleConfig
    bounds: Ints
    category: Ints
    popularity: NDArray[np.float32]
    launch: NDArray[np.int16]
    peak: NDArray[np.int16]
    width: NDArray[np.int8]
    first_snapshot: NDArray[np.int8]
    available: NDArray[np.bool_]
    flips: NDArray[np.int8]
    misfiled: Ints

    @property
    def size(self) -> int:
        """Number of items."""
        return len(self.popularity)

    @property
    def tastes(self) -> int:
        """Number of tastes."""
        return len(self.category) // (STYLES * _CATEGORIES_PER_TASTE)

    @cached_property
    def id_space(self) -> int:
        """Item ids lie below this; a tenth of them is unused, as in the real data."""
        return self.size + self.size // 10 + 1

    def shelf(self, items: Ints) -> Ints:
        """Shelf of each item."""
        return np.searchsorted(self.bounds, items, side="right") - 1

    def weights_until(self, day: int) -> Floats:
        """Running sum of the items' weights on a day, with a leading 0: popularity x trend, 0 before launch."""
        weight = self.popularity.copy()
        trending = np.flatnonzero(self.width)
        away = np.abs(day - self.peak[trending]) / self.width[trending].astype(np.float32)
        weight[trending] *= 0.3 + 3 * np.maximum(0, 1 - away)
        weight[self.launch > day] = 0
        total = np.zeros(self.size + 1)
        np.cumsum(weight, dtype=np.float64, out=total[1:])
        return total

    def is_available(self, items: Ints, snapshot: int) -> NDArray[np.bool_]:
        """Last stated availability at a snapshot index; true if none was stated yet."""
        flips = self.flips[:, items] <= snapshot
        return (self.available[items] ^ flips[0] ^ flips[1]) | (self.first_snapshot[items] > snapshot)


def make_catalog(config: SampleConfig) -> Catalog:
    """Draw the catalogue of a configuration."""
    rng = np.random.default_rng([config.seed, 2])
    tree = make_tree(config)
    below_roots = np.flatnonzero(tree.depths > 1)
    tastes = len(below_roots) // _CATEGORIES_PER_TASTE
    # Neighbours in depth-first order share a branch, so a taste is a part of the tree.
    by_taste = below_roots[: tastes * _CATEGORIES_PER_TASTE].reshape(tastes, 1, _CATEGORIES_PER_TASTE)
    category = np.repeat(by_taste, STYLES, axis=1).ravel()
    shelves = len(category)
    size = max(round(config.events * config.items_per_event), 3 * shelves)
    shares = np.repeat(rng.lognormal(0, 0.5, tastes), STYLES * _CATEGORIES_PER_TASTE) * rng.lognormal(0, 0.5, shelves)
    bounds = np.zeros(shelves + 1, np.int64)
    np.cumsum(1 + rng.multinomial(size - shelves, shares / shares.sum()), out=bounds[1:])

    z = np.minimum(rng.standard_normal(size, np.float32), _LARGEST_Z)
    launch = np.where(rng.random(size) < 0.75, 0, rng.integers(0, config.days, size)).astype(np.int16)
    launch[bounds[:-1]] = 0
    width = np.where(rng.random(size) < 0.35, rng.integers(5, 25, size), 0).astype(np.int8)
    peak = np.where(launch > 0, launch + width // 2, rng.integers(0, config.days, size)).astype(np.int16)

    snapshots = config.snapshots_ms
    weeks = np.array(snapshots)
    described_at = np.searchsorted(weeks, config.start_ms + launch.astype(np.int64) * DAY_MS)
    described_at += rng.choice(6, size, p=[0.8, 0.08, 0.04, 0.03, 0.03, 0.02])
    undescribed = rng.random(size) < 0.2
    undescribed[0], described_at[0] = False, 0
    first_snapshot = np.where(undescribed, 127, np.minimum(described_at, len(snapshots) - 1)).astype(np.int8)
    popularity = np.exp(config.popularity_sigma * z) * np.where(undescribed, 0.4, 1)
    available = rng.random(size) < np.clip(0.45 + 0.1 * z, 0.2, 0.9)
    flips = np.cumsum([rng.geometric(0.012, size), rng.geometric(0.15, size)], axis=0)
    described = np.flatnonzero((first_snapshot < 127) & (z > 0.5) & (np.arange(size) > 0))
    misfiled = np.sort(rng.choice(described, max(3, round(size * 0.00033)), replace=False))
    return Catalog(
        tree=tree,
        config=config,
        bounds=bounds,
        category=category,
        popularity=popularity.astype(np.float32),
        launch=launch,
        peak=peak,
        width=width,
        first_snapshot=first_snapshot,
        available=available,
        flips=np.minimum(flips, 127).astype(np.int8),
        misfiled=misfiled,
    )
