"""A server that a script has started in the background ends when it is told to."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as shells start the background processes of scripts
from dagster._utils.interrupts import capture_interrupts
from recsys_assets.cli.__main__ import stop_on_signals
stop_on_signals()
with capture_interrupts():  # as a run in this process does
    pass
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("stopped")
"""


RUN = """
import time
import dagster as dg
from recsys_assets.automation.runs import InProcessRunner
from recsys_assets.cli.__main__ import stop_on_signals

@dg.op
def endless() -> None:
    print("ready", flush=True)
    time.sleep(60)

@dg.job
def build() -> None:
    endless()

stop_on_signals()
with dg.DagsterInstance.ephemeral() as instance:
    try:
        InProcessRunner(dg.Definitions(jobs=[build]), instance, "file:///nowhere").run("build", {})
    except KeyboardInterrupt:
        print("stopped")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("program", [PROGRAM, RUN], ids=["after a run", "during a run"])
def test_both_signals_stop_a_background_server(program: str, number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert (output, process.returncode) == ("stopped\n", 0)
