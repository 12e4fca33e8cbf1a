"""``python -m recsys_api``: the API as a server, with one worker process or several.

Several workers share their counts by files in a folder, which is emptied here, before any of them starts: the one that
``PROMETHEUS_MULTIPROC_DIR`` names, or a temporary one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import util
from pathlib import Path

import uvicorn
from uvicorn import _subprocess

from recsys_api.connections import Connections, LimitedConnection
from recsys_api.logs import log_config
from recsys_api.settings import SettingsError, load_settings

_IMPORTED = [
    "recsys_api.app",
    "uvicorn.protocols.http.httptools_impl",
    "recsys_assets.core.models.folded_in",
    "recsys_assets.core.models.next_items",
]
"""What workers need, those that serve models among them."""
_SHORT_FOLDER, _LONGEST_FOLDER = "/tmp", 60  # noqa: S108 (a folder of our own is made in it)
_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal ends it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m recsys_api", description="Serve recommendations.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port; 0: a free one (default: %(default)s)")
    parser.add_argument("--workers", type=_positive, default=1, help="processes (default: %(default)s)")
    asked = parser.parse_args(arguments)
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if asked.workers > 1:
        _share_imports()
    with _shared_folder(several=asked.workers > 1):
        uvicorn.run(
            "recsys_api.app:create_app",
            factory=True,
            host=asked.host,
            port=asked.port,
            workers=asked.workers,
            http=partial(LimitedConnection, limits=Connections.of(settings)),  # pyright: ignore[reportArgumentType]
            ws="none",
            timeout_keep_alive=settings.api_idle_seconds,
            log_config=log_config(settings.api_log),
            access_log=False,
        )
    return 0


def _share_imports() -> None:
    """Have workers begin as copies of a process that has imported the application, and share its memory.

    Uvicorn would start each from nothing, with 70 MB of its own. That process does no more than import and fork, so no
    work of it is under way in a copy.
    """
    if len(tempfile.gettempdir()) > _LONGEST_FOLDER:
        _keep_sockets_in(_SHORT_FOLDER)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    _subprocess.spawn = context  # pyright: ignore[reportAttributeAccessIssue]  # it has no setting for it


def _keep_sockets_in(folder: str) -> None:
    """Have the processes talk by sockets below a folder: the path of a socket has 107 bytes at most."""
    stated = tempfile.tempdir
    tempfile.tempdir = folder
    try:
        util.get_temp_dir()  # made once, and removed at the end
    finally:
        tempfile.tempdir = stated


@contextmanager
def _shared_folder(*, several: bool) -> Generator[None]:
    """Name an empty folder for the counts of all workers in the environment, where it is needed."""
    named = os.environ.get(_FOLDER_VARIABLE)
    if not named and not several:
        yield
        return
    folder = Path(named or tempfile.mkdtemp(prefix="recsys-api-metrics-"))
    os.environ[_FOLDER_VARIABLE] = str(folder)
    # Not at the top: where it is imported, prometheus-client settles whether counts go into files.
    from recsys_api.metrics_folder import empty_folder

    empty_folder(folder)
    try:
        yield
    finally:
        if not named:
            shutil.rmtree(folder, ignore_errors=True)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    raise SystemExit(main())
