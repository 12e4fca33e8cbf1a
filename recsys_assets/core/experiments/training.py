"""Training an experiment: which windows it reads, and its figures on held-out users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from recsys_assets.core.evaluation.threshold import best_threshold
from recsys_assets.core.evaluation.window import disjoint_windows
from recsys_assets.core.experiments.config import Experiment
from recsys_assets.core.experiments.metrics import Figure, defined, figures
from recsys_assets.core.experiments.models import FittedModel, held_out_users
from recsys_assets.core.experiments.window import lists_to_evaluate
from recsys_assets.core.ranking.model import Scorer
from recsys_assets.core.ranking.split import NotEnoughExamples


@dataclass(frozen=True)
class TrainingResult:
    """A trained experiment with its figures on held-out users.

    Attributes:
        experiment: that was trained.
        as_of: the day of the model, ``YYYY-MM-DD``.
        windows: the days of the examples that it was trained on.
        fitted: the model.
        rows: number of training rows.
        threshold: from which score on a row counts as predicted; None where nothing is predicted.
        figures: on the held-out users of the training windows.
    """

    experiment: Experiment
    as_of: str
    windows: Sequence[str]
    fitted: FittedModel
    rows: int
    threshold: float | None
    figures: Sequence[Figure]

    def facts(self, config_sha256: str, horizon: int) -> dict[str, Any]:
        """What the lineage of the model records: experiment, windows, threshold and figures.

        Args:
            config_sha256: hash of the experiment's file.
            horizon: days.
        """
        return {
            **self.experiment.facts(),
            "config_sha256": config_sha256,
            "horizon_days": horizon,
            "windows": list(self.windows),
            "threshold": self.threshold,
            "validation": {
                figure.metric: [defined(figure.value), defined(figure.low), defined(figure.high)]
                for figure in self.figures
            },
        }

    def metrics(self) -> dict[str, float]:
        """The figures as ``<metric>_val``, the threshold and the numbers of bytes and rows; undefined ones left out."""
        values = {f"{figure.metric}_val": figure.value for figure in self.figures if defined(figure.value) is not None}
        if self.threshold is not None:
            values["threshold"] = self.threshold
        return {**values, "model_bytes": float(len(self.fitted.data)), "training_rows": float(self.rows)}

    def params(self) -> dict[str, str]:
        """The experiment as flat parameters of a run: nested ones as ``params.<name>``, lists as text."""
        facts = self.experiment.facts()
        nested = {f"params.{name}": str(value) for name, value in facts.pop("params").items()}
        lists = {name: ", ".join(facts.pop(name)) for name in ("features", "metrics")}
        plain = {name: str(value) for name, value in facts.items()}
        return {**plain, **lists, **nested, "as_of": self.as_of, "windows": ", ".join(self.windows)}


def training_windows(experiment: Experiment, days: Sequence[str], horizon: int) -> tuple[str, list[str]]:
    """The as-of day of an experiment, and the days of the examples that it is trained on.

    Args:
        experiment: gives the number of windows and the as-of day.
        days: of the examples that exist, ``YYYY-MM-DD``.
        horizon: days; the newest window ends this long before the as-of day.

    Raises:
        NotEnoughExamples: there is no such window.
    """
    as_of = experiment.as_of.isoformat() if experiment.as_of else max(days, default="")
    newest = (date.fromisoformat(as_of) - timedelta(days=horizon)).isoformat() if as_of else ""
    windows = disjoint_windows([day for day in days if day <= newest], horizon)[-experiment.training_windows :]
    if not windows:
        when = f"as of {as_of}, which would end {horizon} days before it" if as_of else "yet"
        raise NotEnoughExamples(f"there are no examples to learn from {when}")
    return as_of, windows


def held_out_figures(
    examples: pa.Table, rows: pa.Table, model: bytes, experiment: Experiment, seed: int
) -> tuple[float | None, list[Figure]]:
    """The threshold of a model, chosen on the held-out users of the training windows, and its figures on them.

    Args:
        examples: all examples of the training windows, sorted by ``dt``, ``user_id`` and ``item_id``: all candidates
            of the held-out users are evaluated, as on the test window.
        rows: the sample of them that the model was trained on.
        model: the stored model.
        experiment: gives the metrics and the held-out users.
        seed: of the bootstrap.

    Returns:
        The threshold, None where nothing is predicted, and a figure per metric.
    """
    users = pa.array(held_out_users(rows, experiment), examples.schema.field("user_id").type)
    held_out = examples.filter(pc.call_function("is_in", [examples["user_id"]], pc.SetLookupOptions(users)))
    lists, scores = lists_to_evaluate(held_out), Scorer(model, held_out.column_names).score(held_out)
    threshold = best_threshold(lists.labels, scores)
    return defined(threshold), figures(lists, scores, threshold, experiment.metrics, seed=seed)
