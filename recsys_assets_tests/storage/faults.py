"""A store that stops at a chosen point, for tests of crashes.

Every call that reads or writes is two points: just before it and just after it. Run as a program, this module publishes
into many folders and is killed (SIGKILL, in a forked child) at another point each time; there the system calls under a
local write are points too.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.releases import Published, Releases

OPERATIONS = ("get_with_etag", "get", "put", "create", "replace", "exists", "open", "list", "delete")
OLD, NEW = "2015-08-01", "2015-08-02"


class Crash(BaseException):
    """The end of a process, as far as one can have it within a process."""


class Points:
    """Counts points and stops at one of them."""

    def __init__(self, stop_at: int | None, stop: Callable[[], None]):
        self.passed: list[str] = []
        self._stop_at, self._stop = stop_at, stop

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with a point before and one after it."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self._point(f"before {name}")
            result = function(*args, **kwargs)
            self._point(f"after {name}")
            return result

        return call

    def _point(self, name: str) -> None:
        self.passed.append(name)
        if len(self.passed) == self._stop_at:
            self._stop()


class FaultyStore:
    """A store whose operations are points."""

    def __init__(self, store: ObjectStore, points: Points):
        self._store, self._points = store, points

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._store, name)
        return self._points.around(name, value) if name in OPERATIONS else value


def crash() -> None:
    raise Crash


def sources(folder: Path, day: str) -> dict[str, Path]:
    """Two small files that tell the days apart."""
    paths = {name: folder / f"{day}-{name}" for name in ("recommendations.arrow", "top_popular.arrow")}
    for name, path in paths.items():
        path.write_bytes(f"{name} of {day} ".encode() * 1000)
    return paths


def publish(store: ObjectStore, folder: Path, day: str) -> Published:
    return Releases(store).publish(day, sources(folder, day), {"dataset": "faults"}, check=lambda files: None)


def prepare(store: ObjectStore, folder: Path) -> None:
    """An old release that is served, and of the new one a file with wrong bytes, as a crash may have left it."""
    publish(store, folder, OLD)
    new = publish(LocalStore(folder / "elsewhere"), folder, NEW).release_id
    store.put(f"releases/{new}/recommendations.arrow", b"half")


def publish_until(point: int, root: Path, folder: Path) -> None:
    """Publish the new release, killed at a point of the store or of the system calls under it."""
    points = Points(point, lambda: os.kill(os.getpid(), signal.SIGKILL))
    for module, name in ((os, "fsync"), (os, "link"), (os, "utime"), (Path, "replace"), (Path, "unlink")):
        setattr(module, name, points.around(name, getattr(module, name)))
    publish(FaultyStore(LocalStore(root), points), folder, NEW)  # type: ignore[arg-type]


def main(folder: Path) -> None:
    """For each point a folder ``killed-<point>`` in which publishing was killed there."""
    prepare(LocalStore(folder / "prepared"), folder)
    for point in range(1, 1000):
        root = folder / f"killed-{point}"
        shutil.copytree(folder / "prepared", root)
        child = os.fork()
        if child == 0:
            publish_until(point, root, folder)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            shutil.rmtree(root)
            break  # past the last point: it ended by itself


if __name__ == "__main__":
    main(Path(sys.argv[1]))
