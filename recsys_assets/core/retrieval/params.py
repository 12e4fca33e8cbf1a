"""Parameters of retrieval, as they are stored."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from recsys_assets.core.tuning.study import Record


@dataclass(frozen=True)
class Found:
    """What one search found, or where it would begin.

    Attributes:
        values: the parameters in force.
        trials: what was tried; none where nothing was searched.
        tuned_on: the day of the search, or None; an earlier day where its result is carried forward.
        study: name of the search; None where there was none.
        facts: figures on how good the values are.
    """

    values: dict[str, float]
    trials: tuple[Record, ...] = ()
    tuned_on: str | None = None
    study: str | None = None
    facts: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class RetrievalParams:
    """Parameters that retrieval of a day works with.

    Attributes:
        als: factors, regularization, alpha and half_life of matrix factorization.
        weights: of the generators in the fusion.
    """

    als: Found
    weights: Found

    def to_json(self) -> str:
        """Readable JSON; equal results give equal text."""
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> RetrievalParams:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: a part is missing or unknown.
        """
        found: dict[str, Any] = json.loads(text)
        try:
            return RetrievalParams(**{name: _found(part) for name, part in found.items()})
        except (TypeError, KeyError) as error:
            raise ValueError(f"retrieval_params: not the JSON of these: {error}") from error


def _found(part: dict[str, Any]) -> Found:
    fields: dict[str, Any] = {**part, "trials": tuple(Record(**trial) for trial in part["trials"])}
    return Found(**fields)
