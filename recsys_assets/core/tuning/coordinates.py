"""A plan for weights: one at a time, from the best there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from recsys_assets.core.tuning.study import Record, Sampler, best_of

MOST = 1_000.0
"""No weight is larger."""

_FACTORS = ((0.0, 4.0, 0.25), (0.0, 2.0, 0.5), (0.0, 1.4, 0.7))


@dataclass(frozen=True)
class Coordinates:
    """Each weight in turn is taken out, raised and lowered; what is better is where the next steps start.

    Weights of a fusion act on their own, and whether one is zero matters, so that a few dozen steps find what samplers
    of continuous spaces need hundreds of trials for.

    Attributes:
        start: the first weights.
    """

    start: Mapping[str, float]

    def next_params(self, done: Sequence[Record]) -> Mapping[str, float] | None:
        """See :class:`~recsys_assets.core.tuning.study.Plan`; the best again when all its neighbours were tried."""
        if not done:
            return self.start
        best, tried = best_of(done).params, [record.params for record in done]
        steps = list(self._steps())
        at = (len(done) - 1) % len(steps)
        for name, factor in (*steps[at:], *steps[:at]):
            moved = {**best, name: min(MOST, (best[name] or self.start[name] or 1.0) * factor)}
            if moved not in tried:
                return moved
        return best

    def sampler(self, seed: int) -> Sampler:
        """See :class:`~recsys_assets.core.tuning.study.Plan`."""
        from optuna.samplers import RandomSampler

        return RandomSampler(seed)

    def _steps(self) -> Iterator[tuple[str, float]]:
        for factors in _FACTORS:
            for name in self.start:
                for factor in factors:
                    yield name, factor
