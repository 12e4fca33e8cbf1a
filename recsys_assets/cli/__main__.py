"""``make run`` and ``make smoke``: from an empty checkout to served recommendations, with progress on the terminal.

Everything here is what a user could do by hand: put files into the landing zone, materialize partitions, start the API
and the Dagster UI. No server but our own is needed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError

from recsys_assets.cli.home import ROOT, enter_home
from recsys_assets.cli.one_at_a_time import only_one
from recsys_assets.cli.progress import Progress
from recsys_assets.cli.services import LaunchError, Service, call, free_port, wait_until_ready
from recsys_assets.cli.showcase import SHOWN
from recsys_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from recsys_assets.cli.materialize import Materializer
    from recsys_assets.cli.showcase import Showcase

SAMPLE_EVENTS = 200_000
SAMPLE_DAYS = 60


def main(arguments: list[str] | None = None) -> int:
    """Entry point of ``python -m recsys_assets.cli``."""
    parser = argparse.ArgumentParser(prog="recsys", description=__doc__)
    parser.add_argument(
        "command",
        choices=("run", "smoke", "rebuild", "home"),
        help="run: stay until Ctrl-C; smoke: ask the API and exit; rebuild: build again what other settings made; "
        "home: print where Dagster keeps the history of this store",
    )
    command: str = parser.parse_args(arguments).command
    progress = Progress()
    stop_on_signals()
    try:
        settings, dataset = load_settings()
        # Not at the top: the graph is built when it is imported, and faults of settings are to be told in one line.
        from recsys_assets.automation.runs import MaterializeError
        from recsys_assets.cli.materialize import Materializer
    except (ValueError, OSError) as error:
        return _failed(progress, error)

    try:
        home = enter_home(settings.storage_uri)
        if command == "home":
            print(home)  # noqa: T201
            return 0
        # Dagster stores the events of a range of days one by one unless it is told to store them together.
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
        with only_one(settings.storage_uri, f"make {command}"):
            _sample(settings, progress)
            with Materializer(settings, dataset, progress) as materializer:
                if command == "rebuild":
                    return _rebuild(materializer, progress)
                return _serve(settings, materializer, progress, stay=command == "run")
    except (LaunchError, MaterializeError, ValueError, OSError, BotoCoreError, ClientError) as error:
        return _failed(progress, error)
    except KeyboardInterrupt:
        progress.note("stopped")
        return 0


def stop_on_signals() -> None:
    """Let Ctrl-C and a terminated make take the same road: the finally blocks that stop what was started.

    Dagster's runs give SIGTERM the handler of SIGINT. A script starts its background processes with SIGINT ignored, and
    a server that ignores both could only be killed, with all of its children left behind.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def _failed(progress: Progress, error: Exception) -> int:
    progress.note(f"failed: {error}")
    return 1


def _rebuild(materializer: Materializer, progress: Progress) -> int:
    materializer.expect_files()
    materializer.rebuild()
    materializer.tell()
    served = materializer.served()
    progress.note(f"release {served.release_id} is served" if served else "nothing is served before approve_release")
    return 0


def _serve(settings: Settings, materializer: Materializer, progress: Progress, *, stay: bool) -> int:
    materializer.expect_files()
    logs = ROOT / "data" / "logs"
    ui_port, api_port = free_port(settings.ui_port), free_port(settings.api_port)
    workspace = ["-w", "workspace.yaml"]
    ui = Service(
        "Dagster UI",
        [_command("dagster-webserver"), *workspace, "-h", "127.0.0.1", "-p", str(ui_port)],
        url=f"http://127.0.0.1:{ui_port}",
        log=logs / "ui.log",
    )
    # Started only when everything is up to date, so that its sensors do not ask for what is being built here.
    daemon = Service(
        "Dagster daemon",
        [_command("dagster-daemon"), "run", *workspace],
        url="",
        log=logs / "daemon.log",
    )
    api = Service(
        "API",
        [sys.executable, "-m", "recsys_api", "--port", str(api_port)],
        url=f"http://127.0.0.1:{api_port}",
        log=logs / "api.log",
        environment={
            "RECSYS_STORAGE_URI": settings.storage_uri,
            "RECSYS_LANDING_URI": settings.landing_uri,
            "RECSYS_API_POLL_SECONDS": "1",
            # It listens on this machine's loopback address only.
            "RECSYS_API_OPEN_WRITES": os.environ.get("RECSYS_API_OPEN_WRITES") or "true",
        },
    )
    with ui, api:
        newest = materializer.catch_up_or_keep()
        with progress.step("Dagster UI answers"):
            wait_until_ready(ui, "/server_info")
        served = materializer.served()
        if served is None:
            waiting = ", ".join(materializer.waiting())
            progress.note(f"nothing is served before the job approve_release has run for one of: {waiting}")
            progress.note(f"Dagster UI  {ui.url}")
            if stay:
                _stay(daemon, settings, progress)
            return 1
        with progress.step(f"API serves {served.release_id}"):
            wait_until_ready(api, "/health/ready", lambda answer: answer["release_id"] == served.release_id)
        progress.note(materializer.who_orders(served.as_of))
        passed = _ask(api.url, materializer.showcase(served.as_of), progress)
        progress.note(f"API         {api.url}/docs")
        progress.note(f"Dagster UI  {ui.url}")
        if stay and passed:
            if newest:
                materializer.build_all_windows(newest)
            materializer.tell()
            _stay(daemon, settings, progress)
        materializer.tell()
        if newest is None:
            return 1
        if left := materializer.windows_left(newest):
            progress.note(f"{len(left)} training windows are left, which `make run` builds while it serves")
    return 0 if passed else 1


def _command(name: str) -> str:
    """A command of the environment that this runs in."""
    return str(Path(sys.executable).with_name(name))


def _stay(daemon: Service, settings: Settings, progress: Progress) -> None:
    """Run what the UI starts, and take in new files, until Ctrl-C."""
    with daemon:
        if settings.automation:
            progress.note(f"new files in {settings.landing_uri} are taken in by themselves")
        progress.note("Ctrl-C stops everything")
        while daemon.exit_code is None:
            time.sleep(1)
        raise LaunchError(f"{daemon.name} ended with code {daemon.exit_code}; see {daemon.log}")


def _sample(settings: Settings, progress: Progress) -> None:
    """Put the sample into an empty local landing zone of the default data set."""
    if settings.dataset != "retailrocket" or not settings.landing_uri.startswith("file://"):
        return
    landing = Path(settings.landing_uri.removeprefix("file://"))
    if landing.exists() and any(landing.iterdir()):
        return
    from recsys_assets.sample.generate import SampleConfig, generate

    with progress.step(f"sample of {SAMPLE_EVENTS:,} events over {SAMPLE_DAYS} days into {landing}"):
        generate(SampleConfig(events=SAMPLE_EVENTS, days=SAMPLE_DAYS), landing)


def _ask(url: str, shown: Showcase, progress: Progress) -> bool:
    """Ask the API as a shop would and show the answers; False if one is not as it should be."""
    user, last_item = quote(shown.user_id, safe=""), quote(shown.last_item, safe="")
    paths = {
        "known": f"/recommendations/{user}?k={SHOWN}",
        "unknown": f"/recommendations/{shown.unknown_id}?k={SHOWN}",
        "similar": f"/similar/{last_item}?k={SHOWN}",
    }
    answers: dict[str, dict[str, Any]] = {}
    for name, path in paths.items():
        try:
            answers[name] = call(url + path)
        except (URLError, TimeoutError) as error:
            progress.note(f"GET {path}: {error}")
            return False
    progress.note("\n".join([*(f"GET {path}" for path in paths.values()), *shown.about(**answers)]))
    for name, personalised in (("known", True), ("unknown", False)):
        if not answers[name]["items"] or answers[name]["personalised"] is not personalised:
            progress.note(f"GET {paths[name]}: not what {name} users should get")
            return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
