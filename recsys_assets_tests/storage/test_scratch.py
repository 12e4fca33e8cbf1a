"""Unfinished files lie in one folder; those of the dead go with the next write, those of the living stay."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from recsys_assets.storage.local import SCRATCH, LocalStore
from recsys_assets.storage.scratch import Scratch, TemporaryFolder, sweep
from recsys_assets_tests.storage.killed import TEMPORARY, WRITES, killed

pytestmark = pytest.mark.faults

_LIVE = """
import sys
from pathlib import Path
from recsys_assets.storage.scratch import Scratch
scratch = Scratch(Path(sys.argv[1]))
(scratch.folder() / "rows").write_text("being written")
print("ready", flush=True)
sys.stdin.read()
"""


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.mark.parametrize("kind", WRITES)
def test_a_killed_write_leaves_rows_in_the_scratch_folder_alone_until_the_next_write(kind: str, tmp_path: Path) -> None:
    file, root = tmp_path / "file", tmp_path / "store"
    file.write_bytes(b"rows of a person")
    killed(kind, root, file)
    holding = [path for path in root.rglob("*") if path.is_file() and path.read_bytes() == b"rows of a person"]
    assert [path.relative_to(root).parts[0] for path in holding] == [SCRATCH]
    store = LocalStore(root)
    assert len(store.unlisted()) == 1
    store.put("assets/next", b"next")
    assert not holding[0].exists()
    assert store.unlisted() == []


@pytest.mark.parametrize("kind", TEMPORARY)
def test_what_a_killed_process_left_outside_of_stores_goes_with_the_next_folder(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, system = tmp_path / "file", tmp_path / "tmp"
    file.write_bytes(b"rows of a person")
    system.mkdir()
    killed(kind, system, file)
    assert files_in(system) == {"file"}
    with TemporaryFolder("next-", system):
        assert files_in(system) == set()


def test_a_live_writer_is_left_alone_and_swept_when_it_is_dead(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _LIVE, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as live:
        assert live.stdout is not None
        assert live.stdout.readline() == b"ready\n"
        assert sweep(tmp_path) == []
        mine = Scratch(tmp_path)
        mine.folder()
        assert files_in(tmp_path) == {"rows"}
        live.kill()
    assert [path.name for path in sweep(tmp_path)] == ["rows"]
    assert mine.folder().is_dir(), "the sweep leaves the own folder alone"


def test_nothing_is_left_by_a_process_that_ends(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _LIVE, str(tmp_path / "store")], input=b"", check=True, capture_output=True)
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "store"])
    assert files_in(tmp_path) == set()


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryFolder("mine-", tmp_path):
        pass
    monkeypatch.setattr("os.getuid", lambda: 12345)
    (tmp_path / "recsys-12345").mkdir()
    with pytest.raises(PermissionError, match="another user"):
        TemporaryFolder("theirs-", tmp_path)
