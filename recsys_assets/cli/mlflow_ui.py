"""``make mlflow``: MLflow's own UI on what the settings name."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from recsys_assets.cli.progress import Progress
from recsys_assets.cli.services import free_port
from recsys_assets.resources.reachable import without_password
from recsys_assets.resources.tracking import OFF
from recsys_assets.settings import load_settings


def main(arguments: list[str] | None = None) -> str:
    """Become MLflow's server; where that is not to be, say why."""
    argparse.ArgumentParser(prog="recsys mlflow", description=__doc__).parse_args(arguments)
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
    # Quiet: no line for each request, each table and each deprecated import.
    os.environ.update({"MLFLOW_LOGGING_LEVEL": "WARNING", "PYTHONWARNINGS": "ignore"})
    port = free_port(settings.mlflow_port)
    shown = f"http://127.0.0.1:{port}/#/experiments/{_experiment(uri, settings.mlflow_experiment)}"
    Progress().note(f"MLflow  {shown}  ({without_password(uri, uri)}); Ctrl-C stops it")
    # In the environment, since other users of the machine can read what stands on a command line.
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    options = ["--port", str(port), "--workers", "1", "--uvicorn-opts", "--log-level warning"]
    command = [str(Path(sys.executable).with_name("mlflow")), "ui", *options]
    return os.execve(command[0], command, environment)  # noqa: S606 (MLflow's own command, without a shell)


def _experiment(uri: str, name: str) -> str:
    """The id of the experiment to open; MLflow's default one where nothing has been recorded yet."""
    # Not at the top: it takes seconds to import.
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        found = MlflowClient(tracking_uri=uri).get_experiment_by_name(name)
    except MlflowException:
        return "0"
    return found.experiment_id if found else "0"


if __name__ == "__main__":
    sys.exit(main())
