"""What the soak's daemon is measured beside: Dagster alone, with sensors that do nothing at the same rate.

One of them starts a run of a job that does nothing every two minutes, as the files of served events do in the soak.
Storage is Dagster's own.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from recsys_assets.cli.services import Service

_SECONDS = (5, 5, 5, 15, 30, 30, 30, 60, 300)
"""Between two ticks of the project's sensors."""
_RUN_SECONDS = 120


@dg.op
def nothing() -> None:
    """Does nothing."""


@dg.job(executor_def=dg.in_process_executor)
def idle() -> None:
    """Does nothing."""
    nothing()


def _sensor(number: int, seconds: int) -> dg.SensorDefinition:
    def tick() -> dg.SkipReason:
        return dg.SkipReason("nothing to do")

    return dg.SensorDefinition(
        name=f"idle_{number}",
        job=idle,
        evaluation_fn=tick,
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )


@dg.sensor(job=idle, minimum_interval_seconds=_RUN_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING)
def runs() -> dg.RunRequest:
    """Requests a run at each tick."""
    return dg.RunRequest()


defs = dg.Definitions(jobs=[idle], sensors=[runs, *(_sensor(*one) for one in enumerate(_SECONDS))])


@contextmanager
def control(folder: Path) -> Generator[Service]:
    """A daemon of Dagster alone, for as long as the context lasts.

    Args:
        folder: its home.
    """
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-m", "benchmarks.soak_control"]
    with Service("control", command, "", folder / "daemon.log", {"DAGSTER_HOME": str(folder)}) as service:
        yield service
