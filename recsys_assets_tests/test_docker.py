"""The image and the compose file, as far as they can be held true without a Docker engine."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from moto import mock_aws

from recsys_assets_tests.compose import DOCKER, ROOT, env_file, raw, resolved

SERVICES: dict[str, Any] = resolved()["services"]
ONE_SHOT = {"bucket"}
OURS = {name for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")


def test_compose_file_meets_the_compose_specification() -> None:
    jsonschema.validate(resolved(), get_builtin_schema("vendor.compose-spec"))


@pytest.mark.parametrize(("name", "command"), [("ci", ".ci/run"), ("spark-all", "make test-spark-all")])
def test_a_workflow_meets_its_schema_and_calls_the_same_entry_point(name: str, command: str) -> None:
    text = (ROOT / f".github/workflows/{name}.yml").read_text()
    # YAML 1.1 reads the key `on` as a boolean; the schema wants the word.
    workflow = {("on" if key is True else key): value for key, value in yaml.safe_load(text).items()}
    jsonschema.validate(workflow, get_builtin_schema("vendor.github-workflows"))
    assert f"- run: {command}\n" in text


def test_services_of_the_platform_are_there() -> None:
    assert set(SERVICES) == {"postgres", "s3", "bucket", "code", "webserver", "daemon", "api"}


@pytest.mark.parametrize("missing", sorted(env_file(DOCKER / ".env.example")))
def test_a_missing_secret_stops_compose_with_its_name(missing: str) -> None:
    variables = env_file(DOCKER / ".env.example") | {missing: ""}
    with pytest.raises(KeyError, match=missing):
        resolved(variables)


def test_no_secret_has_a_value_or_a_default() -> None:
    assert set(env_file(DOCKER / ".env.example").values()) == {"change-me"}
    for name, service in raw()["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|ACCESS_KEY", variable):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{name}: {variable}"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_services_are_pinned_hardened_and_not_root(name: str) -> None:
    service = SERVICES[name]
    assert not service["image"].endswith(":latest")
    assert ":" in service["image"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    user = service["user"] if name not in OURS else stages()[service["build"]["target"]]["user"]
    assert re.match(r"[1-9]\d*:[1-9]\d*$", user), f"{name} runs as {user!r}"
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), f"{name} is open to the network"


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_long_running_services_have_a_health_check(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= check.keys()
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_services_start_in_an_order_that_works() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
            assert how["condition"] == expected, f"{name} -> {other}"
    assert started_before("webserver") >= {"postgres", "s3", "bucket", "code"}
    assert started_before("daemon") >= {"postgres", "s3", "bucket", "code"}


@pytest.mark.parametrize("name", sorted(OURS))
def test_commands_name_programs_of_the_locked_environment(name: str) -> None:
    assert shutil.which(SERVICES[name]["command"][0], path=str(Path(sys.executable).parent)), name


def test_compose_runs_the_commands_that_the_image_declares() -> None:
    assert stages()["api"]["command"] == SERVICES["api"]["command"]
    assert stages()["assets"]["command"] == SERVICES["code"]["command"]


def test_everything_that_the_image_copies_reaches_the_build() -> None:
    allowed = {line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = [shlex.split(line)[1:-1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ")]
    sources = {source for words in copied if not words[0].startswith("--from") for source in words}
    assert sources == allowed
    assert all((ROOT / source).exists() for source in sources)


def test_image_installs_locked_versions_with_hashes() -> None:
    lock = (DOCKER / "requirements.lock").read_text()
    pins = set(re.findall(r"^\S+==\S+(?= )", lock, re.MULTILINE))
    tested = set(re.findall(r"^\S+==\S+(?= )", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert pins
    assert pins <= tested, "the image holds versions that the tests never saw; run make lock"
    assert lock.count("--hash=sha256:") >= len(pins)
    assert DOCKERFILE.count("--require-hashes") == 2


def test_the_bucket_job_creates_once(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("create_bucket", DOCKER / "create_bucket.py")
    assert spec is not None
    assert spec.loader is not None
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        assert job.create_bucket("recsys")
        assert not job.create_bucket("recsys")
        assert [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]] == ["recsys"]


def test_local_dagster_instance_keeps_everything_in_one_ignored_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        instance.get_runs()
    assert {path.name for path in tmp_path.iterdir()} == {"dagster.yaml", ".dagster"}
    assert "/.dagster/" in (ROOT / ".gitignore").read_text().splitlines()


def started_before(name: str) -> set[str]:
    """Everything that a service waits for, directly or not."""
    direct = set(SERVICES[name].get("depends_on", {}))
    return direct.union(*(started_before(other) for other in direct))


def stages() -> dict[str, dict[str, Any]]:
    """The stages of the Dockerfile by name, each with what it inherits: user and command."""
    found: dict[str, dict[str, Any]] = {}
    current: dict[str, Any] = {}
    for line in DOCKERFILE.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            parent, _, name = rest.partition(" AS ")
            current = found[name] = dict(found.get(parent, {"user": "0:0", "command": None}))
        elif word == "USER":
            current["user"] = rest
        elif word == "CMD" and line == line.lstrip():
            current["command"] = yaml.safe_load(rest)
    return found
