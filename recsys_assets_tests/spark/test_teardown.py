"""A cluster of this machine ends with its run: when a step fails, the run is cancelled, or its process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from recsys_assets_tests.spark.processes import MARK, marked, until

pytestmark = pytest.mark.spark
START, STOP = 300.0, 60.0
PARTS = ("deploy.master.Master", "deploy.worker.Worker", "CoarseGrainedExecutorBackend", "pyspark-shell")
"""Master, workers, executors, the driver's JVM."""


class Run:
    """A run of one step, in a process of its own as Dagster starts it."""

    def __init__(self, step: str, folder: Path):
        self.mark, self.folder, self.log = uuid4().hex, folder, folder / "log"
        home = folder / "dagster"
        home.mkdir()
        environment = {**os.environ, MARK: self.mark, "SPARK_STEPS_FOLDER": str(folder), "DAGSTER_HOME": str(home)}
        environment["TMPDIR"] = str(folder)
        command = [sys.executable, "-m", "dagster", "asset", "materialize"]
        command += ["-m", "recsys_assets_tests.spark.steps", "--select", step]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def computed(self) -> bool:
        """Whether the cluster has computed something; fails where the run ended before."""
        done = (self.folder / "computed").exists()
        assert done or self.process.poll() is None, self.log.read_text()
        return done

    def gone(self) -> bool:
        return self.process.poll() is not None and not marked(self.mark)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Run]]:
    runs: list[Run] = []

    class Started(Run):
        def __init__(self, step: str):
            super().__init__(step, tmp_path)
            runs.append(self)

    yield Started
    for run in runs:
        for pid in marked(run.mark):
            os.kill(pid, signal.SIGKILL)
        run.process.wait()


def test_nothing_is_left_of_a_run_whose_step_failed(start: Callable[[str], Run], tmp_path: Path) -> None:
    run = start("fails")
    until(run.gone, START, "the run and its processes ended")
    assert run.process.returncode != 0
    assert "as it should" in run.log.read_text()
    assert (tmp_path / "computed").read_text() == "6"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("recsys-spark")] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_run_that_is_ended_in_the_middle(
    start: Callable[[str], Run], number: signal.Signals
) -> None:
    run = start("waits")
    until(run.computed, START, "a step at work on the cluster")
    commands = list(marked(run.mark).values())
    assert [sum(part in command for command in commands) for part in PARTS] == [1, 2, 2, 1]
    run.process.send_signal(number)
    until(run.gone, STOP, f"no process left after {number.name}: {marked(run.mark)}")


def test_nothing_is_left_where_the_supervisor_of_the_cluster_is_killed(start: Callable[[str], Run]) -> None:
    run = start("waits")
    until(run.computed, START, "a step at work on the cluster")
    supervisor = next(pid for pid, command in marked(run.mark).items() if "spark_standalone" in command)
    os.kill(supervisor, signal.SIGKILL)
    until(run.gone, START, "the run failed and its processes ended")
    assert run.process.returncode != 0
