"""The wheel: built from this folder, installed from its file, complete by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOOK = """
import json, recsys_api, recsys_assets
from importlib.metadata import entry_points
from importlib.resources import files
from recsys_assets.core.dataset import load_dataset, presets
print(json.dumps({
    "from": [recsys_assets.__file__, recsys_api.__file__],
    "presets": [load_dataset(name).name for name in presets()],
    "component": recsys_assets.RecommenderComponent.__name__,
    "registered": [one.value for one in entry_points(group="dagster_dg_cli.registry_modules", name="recsys_assets")],
    "template": files("recsys_assets.core.insight").joinpath("templates/report.html.j2").is_file(),
}))
"""


def test_the_wheel_installs_from_a_file_and_has_all_that_it_needs(tmp_path: Path) -> None:
    def run(*command: str | Path) -> str:
        alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            list(map(str, command)), cwd=tmp_path, env=alone, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    fresh = tmp_path / "venv"
    venv.create(fresh, with_pip=False, symlinks=True)
    python = fresh / "bin/python"
    installed = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    # What it depends on comes from here: the path alone, so that the editable install of here is not seen.
    (installed / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    found = json.loads(run(python, "-W", "ignore", "-c", LOOK))
    assert all(Path(file).is_relative_to(installed) for file in found["from"])
    assert found["presets"] == [path.stem for path in sorted((ROOT / "recsys_assets/presets").glob("*.toml"))]
    assert (found["component"], found["registered"]) == ("RecommenderComponent", ["recsys_assets"])
    assert found["template"]
    assert "recsys COMMAND" in run(fresh / "bin/recsys", "--help")
    shipped = {path.relative_to(installed).as_posix() for path in installed.glob("recsys_a*/**/*") if path.is_file()}
    tracked = subprocess.run(
        ["git", "ls-files", "recsys_assets", "recsys_api"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert set(tracked) <= shipped
