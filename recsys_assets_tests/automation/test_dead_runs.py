"""A run whose process was killed blocks nobody, whatever started it; who waits for another is told, and can stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from recsys_assets.automation.event_storage import KeptSqliteEventLogStorage, end_runs_of_dead_processes

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parents[2]
GRAPH = """
import os, signal, sys, time
from pathlib import Path
import dagster as dg
from recsys_assets.automation.runs import InProcessRunner
from recsys_assets.cli.__main__ import stop_on_signals

@dg.asset(pool="thing")
def thing():
    Path("started").write_text(str(os.getpid()))
    while Path("hang").exists():
        time.sleep(0.05)

defs = dg.Definitions(assets=[thing])
if __name__ == "__main__":
    stop_on_signals()
    try:
        with dg.DagsterInstance.get() as instance:
            InProcessRunner(defs, instance, "file:///store").run("__ASSET_JOB", {})
    except KeyboardInterrupt:
        sys.exit("stopped")
"""
BY_RUNNER = ["graph.py"]
"""As ``make run`` does it."""
BY_DAGSTER = ["-m", "dagster", "asset", "materialize", "-f", "graph.py", "--select", "thing"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    (tmp_path / "graph.py").write_text(GRAPH)
    return tmp_path


@contextmanager
def started(home: Path, command: list[str]) -> Generator[subprocess.Popen[str]]:
    """A process that executes a run; it is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", *command],
        cwd=home,
        env={**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def until(holds: Callable[[], object], process: subprocess.Popen[str], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.05)


@contextmanager
def instance_of(home: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[dg.DagsterInstance]:
    monkeypatch.chdir(home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.mark.parametrize("command", [BY_RUNNER, BY_DAGSTER], ids=["make run", "dagster asset materialize"])
def test_the_pool_slot_of_a_killed_run_is_freed_for_who_waits_for_it(
    command: list[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "hang").touch()
    with started(home, command) as killed:
        until((home / "started").exists, killed)
        with instance_of(home, monkeypatch) as instance:
            [run] = instance.get_runs()
            storage = instance.event_log_storage
            assert isinstance(storage, KeptSqliteEventLogStorage)
            assert storage.locks.is_alive(run.run_id)
            assert end_runs_of_dead_processes(instance) == [], "it lives"
            (home / "started").unlink()
            with started(home, BY_RUNNER) as waiting:
                until(lambda: len(instance.get_runs()) == 2, waiting)
                [other] = [one for one in instance.get_runs() if one.run_id != run.run_id]
                until(lambda: "waits for pool 'thing'" in messages(instance, other.run_id), waiting)
                assert f"run {run.run_id} of __ASSET_JOB (process {killed.pid} on" in messages(instance, other.run_id)
                killed.send_signal(signal.SIGKILL)
                killed.wait()
                until((home / "started").exists, waiting)
                (home / "hang").unlink()
                told, _ = waiting.communicate(timeout=60)
                assert waiting.returncode == 0, told
                assert f"thing waits for pool 'thing', which is held by run {run.run_id}" in told
            statuses = {one.run_id: one.status for one in instance.get_runs()}
            assert statuses == {run.run_id: dg.DagsterRunStatus.CANCELED, other.run_id: dg.DagsterRunStatus.SUCCESS}
            assert f"its process is dead: __ASSET_JOB (process {killed.pid} on" in messages(instance, run.run_id)
            assert not storage.locks.was_held(other.run_id), "nothing is left of a run that has ended"


def messages(instance: dg.DagsterInstance, run_id: str) -> str:
    return "\n".join(str(entry.dagster_event.message) for entry in instance.all_logs(run_id) if entry.dagster_event)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_waits_for_a_pool_stops_at_once_when_told_to(
    number: signal.Signals, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "hang").touch()
    with started(home, BY_RUNNER) as living, instance_of(home, monkeypatch) as instance:
        until((home / "started").exists, living)
        [run] = instance.get_runs()
        with started(home, BY_RUNNER) as waiting:
            until(lambda: len(instance.get_runs()) == 2, waiting)
            [other] = [one for one in instance.get_runs() if one.run_id != run.run_id]
            until(lambda: "waits for pool 'thing'" in messages(instance, other.run_id), waiting)
            waiting.send_signal(number)
            told, _ = waiting.communicate(timeout=30)
            assert told.endswith("stopped\n"), told
        ended = instance.get_run_by_id(other.run_id)
        assert ended is not None
        assert ended.is_finished
        assert living.poll() is None
        (home / "hang").unlink()
        assert living.wait(60) == 0
        assert instance.event_log_storage.get_concurrency_info("thing").pending_steps == []


START = """
import os, sys
import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventType
with dg.DagsterInstance.get() as instance:
    run = instance.get_run_by_id(sys.argv[1])
    for kind in sys.argv[2:]:
        event = DagsterEvent(DagsterEventType[kind].value, run.job_name)
        entry = dg.EventLogEntry(None, 10, "", run.run_id, 1.0, None, run.job_name, event)
        if kind == "RUN_START":
            instance.handle_new_event(entry)
        else:
            instance.event_log_storage.locks.end = lambda run_id: None  # it dies before it gets to that …
            instance.event_log_storage.store_event(entry)  # … and to the storage of runs
    os._exit(9)
"""


def dies_after(home: Path, run: dg.DagsterRun, *events: str) -> None:
    with started(home, ["-c", START, run.run_id, *events]) as process:
        assert process.wait(60) == 9, process.stdout and process.stdout.read()


def test_a_run_that_the_daemon_launched_has_failed_so_that_it_is_tried_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with instance_of(home, monkeypatch) as instance:
        location = InProcessCodeLocationOrigin(
            LoadableTargetOrigin(executable_path=sys.executable, module_name="graph"), location_name="here"
        )
        origin = RemoteJobOrigin(RemoteRepositoryOrigin(location, "repository"), "thing")
        run = create_run_for_test(
            instance,
            "thing",
            status=dg.DagsterRunStatus.STARTING,
            remote_job_origin=origin,
            tags={"dagster/max_retries": "1"},
        )
        dies_after(home, run, "RUN_START")
        assert [ended.run_id for ended in end_runs_of_dead_processes(instance)] == [run.run_id]
        failed = instance.get_run_by_id(run.run_id)
        assert failed is not None
        assert (failed.status, failed.tags["dagster/will_retry"]) == (dg.DagsterRunStatus.FAILURE, "true")


def test_a_run_that_ended_just_before_its_process_died_ends_as_it_did(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with instance_of(home, monkeypatch) as instance:
        run = create_run_for_test(instance, "thing", status=dg.DagsterRunStatus.STARTING)
        dies_after(home, run, "RUN_START", "RUN_SUCCESS")
        end_runs_of_dead_processes(instance)
        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None
        assert ended.status is dg.DagsterRunStatus.SUCCESS


def test_a_run_that_was_created_and_never_started_ends_when_it_is_late(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with instance_of(home, monkeypatch) as instance:
        run = create_run_for_test(instance, status=dg.DagsterRunStatus.NOT_STARTED)
        assert end_runs_of_dead_processes(instance) == []
        monkeypatch.setattr(type(instance), "run_monitoring_start_timeout_seconds", -1)
        assert [ended.run_id for ended in end_runs_of_dead_processes(instance)] == [run.run_id]


def test_two_first_commands_at_once_leave_a_sound_instance(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = "import sys, dagster as dg; sys.stdin.read(1); dg.DagsterInstance.get().get_runs()"
    environment = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(ROOT)}
    first = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", setup],
            cwd=home,
            env=environment,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in first:
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()
    told = [process.communicate(timeout=120)[1] for process in first]
    assert [process.returncode for process in first] == [0] * len(first), "\n".join(told)
    with instance_of(home, monkeypatch) as instance:
        assert instance.get_runs() == []
