"""Secrets that are planted in the environment appear nowhere: not in output, not in any file that a run leaves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys_assets_tests.integration.test_settings_changed import TINY, TOML, deliver

pytestmark = pytest.mark.graph

ROOT = Path(__file__).resolve().parents[2]
WORD = "tell-nobody"
"""Part of each secret."""
SECRETS = {
    # Addresses where nobody listens: what fails tells most.
    "RECSYS_MLFLOW_TRACKING_URI": f"http://mlflow:{WORD}-mlflow@127.0.0.1:9",
    "RECSYS_NOTIFY_WEBHOOK_URL": f"http://127.0.0.1:9/{WORD}-hook",
    "RECSYS_TELEGRAM_TOKEN": f"123456:{WORD}-telegram",
    "RECSYS_TELEGRAM_CHAT_ID": "1",
    "RECSYS_TUNING_STORAGE_URI": "",
    "RECSYS_API_WRITE_KEYS": f"{WORD}-write-key-0123456789",
    "RECSYS_API_ADMIN_KEYS": f"{WORD}-admin-key-0123456789",
    "AWS_SECRET_ACCESS_KEY": f"{WORD}-aws",
    "PGPASSWORD": f"{WORD}-postgres",
}


def files_below(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def test_planted_secrets_appear_nowhere(tmp_path: Path) -> None:
    (tmp_path / "dataset.toml").write_text(TOML.format(name="shop", user="int64", buy=5))
    deliver(tmp_path / "landing", "events-1.csv", range(9))
    stated = {f"RECSYS_{name.upper()}": str(value) for name, value in TINY.items()}
    places = {
        "RECSYS_DATASET": "dataset.toml",
        "RECSYS_LANDING_URI": "landing",
        "RECSYS_STORAGE_URI": "store",
        "DAGSTER_HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "tmp"),
    }
    for folder in ("tmp", "home"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "dagster.yaml", tmp_path / "home")
    done = subprocess.run(
        [sys.executable, "-m", "recsys_assets.cli", "rebuild"],
        cwd=tmp_path,
        env={**os.environ, **stated, **places, **SECRETS},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "is served" in said
    assert WORD not in said
    left = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in files_below(tmp_path)}
    assert any(b"127.0.0.1:9" in content for content in left.values()), "what failed is told, without its password"
    assert [name for name, content in left.items() if WORD.encode() in content] == []
