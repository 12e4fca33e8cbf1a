from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.releases import Releases
from recsys_assets_tests.storage import faults
from recsys_assets_tests.stores import NewStore

pytestmark = pytest.mark.faults


def check_old_is_served_and_next_publish_repairs(store: ObjectStore, folder: Path, where: str) -> None:
    releases = Releases(store)
    pointer = releases.current()
    assert pointer is not None, where
    assert pointer.as_of in (faults.OLD, faults.NEW), where
    releases.verify(pointer.release_id)
    for release in releases.list():
        releases.verify(release)  # whatever has a manifest is whole

    again = faults.publish(store, folder, faults.NEW)
    assert again.moved is (pointer.as_of == faults.OLD), where
    served = releases.current()
    assert served is not None
    assert (served.as_of, served.generation, served.previous is not None) == (faults.NEW, 2, True), where
    releases.verify(served.release_id)


def test_sigkill_at_any_point_of_a_local_publish(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", faults.__name__, tmp_path], check=True)
    roots = [path for path in tmp_path.iterdir() if path.name.startswith("killed-")]
    served = [Releases(LocalStore(root)).current() for root in roots]
    moved = sum(pointer is not None and pointer.as_of == faults.NEW for pointer in served)
    assert len(roots) - moved > 40  # points before the swap, and some after it
    assert moved > 2
    for root in roots:
        check_old_is_served_and_next_publish_repairs(LocalStore(root), tmp_path, root.name)


def test_a_crash_around_any_operation_of_any_store(new_store: NewStore, tmp_path: Path) -> None:
    points = faults.Points(0, faults.crash)
    for point in range(1, 1000):
        store = new_store()
        faults.prepare(store, tmp_path)
        points = faults.Points(point, faults.crash)
        try:
            faults.publish(faults.FaultyStore(store, points), tmp_path, faults.NEW)  # type: ignore[arg-type]
        except faults.Crash:
            check_old_is_served_and_next_publish_repairs(store, tmp_path, f"{point}: {points.passed[-1]}")
        else:
            break
    assert len(points.passed) > 14
    assert "after replace" in points.passed
