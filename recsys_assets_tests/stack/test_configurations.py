"""The configuration of Prometheus and Alertmanager, read by their own tools; rules fire as their tests say."""

from __future__ import annotations

import subprocess

import pytest

from recsys_assets_tests.compose import DOCKER

pytestmark = pytest.mark.stack


@pytest.mark.parametrize(
    "command",
    [
        ["promtool", "check", "config", "prometheus/prometheus.yml"],
        ["promtool", "check", "rules", "prometheus/rules.yml"],
        ["promtool", "test", "rules", "prometheus/rules.test.yml"],
        ["amtool", "check-config", "alertmanager/alertmanager.yml"],
    ],
    ids=" ".join,
)
def test_a_configuration_is_valid(command: list[str]) -> None:
    done = subprocess.run(command, cwd=DOCKER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
