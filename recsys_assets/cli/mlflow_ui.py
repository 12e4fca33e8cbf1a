"""``make mlflow``: MLflow's own UI on what the settings name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from recsys_assets.cli.progress import Progress
from recsys_assets.cli.services import free_port
from recsys_assets.resources.reachable import without_password
from recsys_assets.resources.tracking import OFF
from recsys_assets.settings import load_settings


def main() -> str:
    """Become MLflow's server; where that is not to be, say why."""
    try:
        settings, _ = load_settings()
    except (ValueError, OSError) as error:
        return f"failed: {error}"
    uri = settings.mlflow_tracking_uri.get_secret_value()
    if uri == OFF:
        return "RECSYS_MLFLOW_TRACKING_URI is 'off': nothing is recorded"
    if uri.startswith("http"):
        return f"MLflow has a server of its own, at {without_password(uri, uri)}"
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    port = free_port(settings.mlflow_port)
    Progress().note(f"MLflow  http://127.0.0.1:{port}  ({without_password(uri, uri)}); Ctrl-C stops it")
    # In the environment, since other users of the machine can read what stands on a command line.
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [str(Path(sys.executable).with_name("mlflow")), "ui", "--port", str(port), "--workers", "1"]
    return os.execve(command[0], command, environment)  # noqa: S606 (MLflow's own command, without a shell)


if __name__ == "__main__":
    sys.exit(main())
