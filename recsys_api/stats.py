"""Counts as JSON: the counters of the Prometheus metrics, from the last reset on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, TypeAlias

import orjson
from pydantic import BaseModel, ConfigDict, Field

from recsys_api.metrics import Metrics
from recsys_api.metrics_folder import BASELINE

_Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]


class Count(BaseModel):
    """One counter."""

    model_config = ConfigDict(extra="forbid")

    labels: dict[str, str] = Field(examples=[{"source": "ranker"}])
    value: float = Field(ge=0, examples=[1200])


class Counts(BaseModel):
    """All counters, by the names that they have in `/metrics`."""

    model_config = ConfigDict(extra="forbid")

    reset_at: datetime | None = Field(description="when counting began; null: with the start of the application")
    counts: dict[str, list[Count]]


class Stats:
    """Counts since the last reset, which is one for all workers that share a folder of metrics.

    Args:
        metrics: of the application.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._baseline: bytes = b""

    def read(self) -> dict[str, Any]:
        """The counts; ``Counts`` states their form."""
        baseline: dict[str, Any] = orjson.loads(self._stored() or b'{"reset_at": null, "counts": []}')
        before = {_key(name, labels): value for name, labels, value in baseline["counts"]}
        counts: dict[str, list[dict[str, Any]]] = {}
        for name, labels, value in self._now():
            since = value - before.get(_key(name, labels), 0.0)
            counts.setdefault(name, []).append({"labels": labels, "value": max(0.0, since)})
        return {"reset_at": baseline["reset_at"], "counts": counts}

    def reset(self) -> None:
        """Count from now on."""
        now = datetime.now(UTC).isoformat()
        self._store(orjson.dumps({"reset_at": now, "counts": list(self._now())}))

    def _now(self) -> Iterator[tuple[str, dict[str, str], float]]:
        for family in self._metrics.collect():
            for sample in family.samples:
                if family.type == "counter" or sample.name.endswith(("_sum", "_count")):
                    yield sample.name, sample.labels, sample.value

    def _stored(self) -> bytes:
        if self._metrics.folder is None:
            return self._baseline
        path = self._metrics.folder / BASELINE
        return path.read_bytes() if path.exists() else b""

    def _store(self, baseline: bytes) -> None:
        if self._metrics.folder is None:
            self._baseline = baseline
            return
        written = self._metrics.folder / f"{BASELINE}.{os.getpid()}"
        written.write_bytes(baseline)
        written.replace(self._metrics.folder / BASELINE)


def _key(name: str, labels: dict[str, str]) -> _Key:
    return name, tuple(sorted(labels.items()))
