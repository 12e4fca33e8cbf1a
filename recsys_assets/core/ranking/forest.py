"""A random forest as the arrays that it consists of.

Why not skops: its file holds memory addresses and the time, so equal forests give different bytes (100 trees of depth
8: 2.9 MB in 502 members, against 0.6 MB here); it asks to trust one more type (``sklearn.tree._tree.Tree``); and to
read it imports scikit-learn and needs the version that wrote it. ONNX would need two more packages, one to write and
one to run, in place of these lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recsys_assets.core.evaluation.metrics import Floats, Ints
from recsys_assets.core.ranking.arrays import Matrix, arrays_of, filled, write_arrays


@dataclass(frozen=True)
class Forest:
    """A random forest; its score is the mean over its trees of the share of positives in the row's leaf.

    The nodes of all trees are concatenated.

    Attributes:
        columns: names.
        medians: [columns] replace nulls.
        roots: [trees] root node of each.
        feature: [nodes] column to compare; -1 in a leaf.
        threshold: [nodes] values up to it go left.
        left: [nodes] left child.
        right: [nodes] right child.
        share: [nodes] positives among the training rows of the node.
    """

    columns: tuple[str, ...]
    medians: Floats
    roots: Ints
    feature: Ints
    threshold: Floats
    left: Ints
    right: Ints
    share: Floats

    def score(self, matrix: Matrix) -> Floats:
        """See :class:`recsys_assets.core.ranking.formats.StoredModel`."""
        values = self.values(matrix)
        total = np.zeros(len(values))
        for root in self.roots:
            node = np.full(len(values), root)
            for rows, _, child in self.steps(values, root):
                node[rows] = child
            total += self.share[node]
        return total / len(self.roots)

    def values(self, matrix: Matrix) -> Matrix:
        """The values that are compared: without nulls."""
        values = np.stack([filled(matrix[:, at], self.medians[at]) for at in range(len(self.columns))], axis=1)
        # scikit-learn grows trees on single precision, so rows are compared in it too.
        return values.astype(np.float32)

    def steps(self, values: Matrix, root: int) -> Iterator[tuple[Ints, Ints, Ints]]:
        """The ways of all rows down a tree, level by level: the rows that take a step, from which node, to which."""
        node = np.full(len(values), root)
        rows = np.flatnonzero(self.feature[node] >= 0)
        while len(rows):
            at = node[rows]
            goes_left = values[rows, self.feature[at]] <= self.threshold[at]
            node[rows] = np.where(goes_left, self.left[at], self.right[at])
            yield rows, at, node[rows]
            rows = rows[self.feature[node[rows]] >= 0]

    def to_bytes(self) -> bytes:
        """The ``.npz`` file."""
        return write_arrays("forest", arrays_of(self))
