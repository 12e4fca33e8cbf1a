"""What ``make run`` and ``make smoke`` promise: nothing outlives them, and what goes wrong is said in one line."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recsys_assets.cli import services as launch
from recsys_assets.cli.one_at_a_time import only_one
from recsys_assets.cli.services import LaunchError, Service, free_port, wait_until_ready

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parents[2]
STUBBORN = """
import fcntl, os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork():
    os.fork()  # a parent, a child and a grandchild, all deaf
alive = open(sys.argv[1], "a")
fcntl.flock(alive, fcntl.LOCK_SH)
alive.write("x")
alive.flush()
time.sleep(600)
"""


def eventually(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


def service(folder: Path, *command: str) -> Service:
    return Service("Test server", [sys.executable, *command], "http://127.0.0.1:9", folder / "logs" / "test.log")


def nobody_holds(path: Path) -> bool:
    """Whether every process that locked the file is gone."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_processes_that_ignore_sigterm_are_stopped_with_their_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_STOP_SECONDS", 0.3)
    alive = tmp_path / "alive"
    alive.touch()
    with service(tmp_path, "-c", STUBBORN, str(alive)):
        eventually(lambda: alive.read_text() == "xxx")
        assert not nobody_holds(alive)
    eventually(lambda: nobody_holds(alive), seconds=5)


STARTER = """
import sys, time
from pathlib import Path
from recsys_assets.cli.one_at_a_time import only_one
from recsys_assets.cli.services import Service
with Service("Test server", [sys.executable, *sys.argv[2:]], "", Path(sys.argv[1])):
    time.sleep(600)
"""


def test_processes_end_where_who_started_them_was_killed(tmp_path: Path) -> None:
    """With kill -9, which nobody can catch: a server, its child and its grandchild."""
    alive, polite = tmp_path / "alive", STUBBORN.replace("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "")
    alive.touch()
    starter = subprocess.Popen([sys.executable, "-c", STARTER, tmp_path / "log", "-c", polite, alive])
    eventually(lambda: alive.read_text() == "xxx")
    starter.kill()
    starter.wait()
    eventually(lambda: nobody_holds(alive))


def test_a_second_command_on_a_store_says_who_works_on_it_and_stops(tmp_path: Path) -> None:
    holding = "import sys, time; from recsys_assets.cli.one_at_a_time import only_one\n"
    holding += "with only_one(sys.argv[1], 'make run'): print('held', flush=True); time.sleep(600)"
    store = f"file://{tmp_path}/a%20store"
    with subprocess.Popen([sys.executable, "-c", holding, store], stdout=subprocess.PIPE) as first:
        assert first.stdout
        assert first.stdout.readline() == b"held\n"
        second = rf"^make run \(process {first.pid} on .+, since \d{{4}}-.+\) works on {store} already: stop it first"
        with pytest.raises(LaunchError, match=second):
            only_one(store, "make run")
        with only_one(f"file://{tmp_path}/another", "make run"):
            pass
        first.kill()
        first.wait()
    with only_one(store, "make run"):
        assert (tmp_path / "a store" / ".make-run.lock").exists()


def test_a_server_that_ends_or_never_answers_is_an_error_that_names_its_log(tmp_path: Path) -> None:
    with service(tmp_path, "-c", "print('no such module'); raise SystemExit(3)") as ended:
        with pytest.raises(LaunchError, match=r"Test server ended with code 3; see .*test\.log"):
            wait_until_ready(ended, "/")
        assert "no such module" in ended.log.read_text()
    silent = service(tmp_path, "-c", "import time; time.sleep(600)")
    with silent, pytest.raises(LaunchError, match=r"Test server was not ready after 0 s .*test\.log"):
        wait_until_ready(silent, "/", seconds=0.4)


COUNTING = """
import http.server, itertools, json, sys
numbers = itertools.count()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"number": next(numbers)}).encode())
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_waiting_ends_with_the_answer_that_is_waited_for(tmp_path: Path) -> None:
    """The API is ready with the old release while the new one has just been published."""
    port = free_port(0)
    url, log = f"http://127.0.0.1:{port}", tmp_path / "test.log"
    with Service("Counter", [sys.executable, "-c", COUNTING, str(port)], url, log) as counter:
        wait_until_ready(counter, "/", lambda answer: answer["number"] == 2)
        assert launch.call(url)["number"] == 3
        with pytest.raises(LaunchError, match=r"Counter was not ready .*it answers \{\"number\": \d+\}"):
            wait_until_ready(counter, "/", lambda answer: answer["number"] < 0, seconds=0.5)


def test_a_port_that_is_taken_gives_way_to_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wanted = taken.getsockname()[1]
        other = free_port(wanted)
        assert other not in (0, wanted)
    assert free_port(wanted) == wanted
    assert free_port(0) > 0


OWN = """
name = "own"
start_date = 2025-01-01
[events]
files = ["clicks-*.csv"]
time_unit = "iso"
columns = { user_id = "u", item_id = "i", ts = "t", event_type = "e" }
types = { buy = { weight = 1, target = true } }
"""


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"RECSYS_DATASET": "retailrockt"}, ["RECSYS_DATASET", "retailrockt", "movielens, online_retail"]),
        ({"RECSYS_HORIZON_DAYS": "0"}, ["RECSYS_HORIZON_DAYS", "expected at least 1", "'0'"]),
        ({"RECSYS_MODE": "auto", "RECSYS_API_PORT": "http"}, ["RECSYS_MODE", "'manual'", "RECSYS_API_PORT", "'http'"]),
        ({"RECSYS_DATASET": "dataset.toml"}, ["RECSYS_LANDING_URI", "landing", "clicks-*.csv"]),
        ({"RECSYS_DATASET": "broken.toml"}, ["RECSYS_DATASET", "broken.toml", "start_date"]),
    ],
)
def test_what_a_user_got_wrong_is_said_in_a_line_each_that_names_the_variable(
    settings: dict[str, str], told: list[str], tmp_path: Path
) -> None:
    (tmp_path / "dataset.toml").write_text(OWN)
    (tmp_path / "broken.toml").write_text(OWN.replace("start_date = 2025-01-01", ""))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RECSYS_")}
    own = {"RECSYS_LANDING_URI": str(tmp_path / "landing"), "DAGSTER_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "recsys_assets.cli", "smoke"],
        cwd=tmp_path,
        env={**environment, **own, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 1, run.stderr
    assert run.stdout == ""
    failed = [line for line in run.stderr.splitlines() if "failed: " in line]
    assert len(failed) == 1, run.stderr
    said = run.stderr[run.stderr.index(failed[0]) :]
    assert [word for word in told if word not in said] == []
    assert "Traceback" not in run.stderr
