"""The image and the compose file, as far as they can be held true without a Docker engine."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import jsonschema
import pytest
import yaml
from botocore.exceptions import ClientError
from check_jsonschema.builtin_schemas import get_builtin_schema
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from moto import mock_aws
from moto.core import set_initial_no_auth_action_count

from recsys_api.settings import Settings as ApiSettings
from recsys_api.settings import load_settings as load_api_settings
from recsys_assets.cli import settings_table
from recsys_assets.definitions import build_definitions
from recsys_assets.sample.config import SampleConfig
from recsys_assets.settings import Settings, load_settings
from recsys_assets_tests.compose import DOCKER, ROOT, env_file, raw, resolved

SERVICES: dict[str, Any] = resolved()["services"]
ONE_SHOT = {"check", "bucket", "sample"}
SECRETS = sorted(name for name, value in env_file(DOCKER / ".env.example").items() if value == "change-me")
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
    assert set(SERVICES) == {
        *("check", "postgres", "s3", "bucket", "sample", "mlflow", "code", "webserver", "daemon", "metrics", "api"),
        *("prometheus", "alertmanager", "grafana", "proxy"),
    }


@pytest.mark.parametrize("missing", SECRETS)
def test_a_missing_secret_stops_compose_with_its_name(missing: str) -> None:
    variables = env_file(DOCKER / ".env.example") | {missing: ""}
    with pytest.raises(KeyError, match=missing):
        resolved(variables)


def test_no_secret_has_a_value_or_a_default() -> None:
    for name, service in raw()["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD$|SECRET|ACCESS_KEY", variable):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{name}: {variable}"
    used = set(re.findall(r"\$\{(\w+):\?", (DOCKER / "compose.yaml").read_text()))
    assert used == set(SECRETS)


def test_what_the_examples_hold_is_refused_by_name() -> None:
    check = script("check_env")
    given = {name: f"of-{name}" for name in SECRETS}
    assert check.faults(given) == []
    assert set(SERVICES["check"]["environment"]) == set(SECRETS), "every secret passes the check"
    for name in SECRETS:
        (fault,) = check.faults({**given, name: "change-me"})
        assert fault.startswith(f"{name}: is still 'change-me'")
    (fault,) = check.faults({**given, "S3_SECRET_KEY": 'a"b'})
    assert fault.startswith("S3_SECRET_KEY: may hold")
    (fault,) = check.faults({**given, "S3_API_ACCESS_KEY": given["S3_ACCESS_KEY"]})
    assert fault.startswith("S3_API_ACCESS_KEY: is S3_ACCESS_KEY")


def test_a_setting_that_the_compose_file_states_is_refused_in_the_env_file() -> None:
    """What ``environment`` states wins over ``env_file``, silently."""
    check = script("check_env")
    stated = {name for service in SERVICES.values() for name in service.get("environment", {})}
    assert set(check.SETTLED) == {name for name in stated if name.startswith("RECSYS_")} - {"RECSYS_BUCKET"}
    (fault,) = check.faults({"RECSYS_STORAGE_URI": "s3://mine"})
    assert fault.startswith("RECSYS_STORAGE_URI: is chosen by RECSYS_BUCKET")
    for name in OURS - {"mlflow"}:
        assert SERVICES[name]["env_file"] == [{"path": "settings.env", "required": False}], name


def test_the_example_of_settings_holds_all_others_with_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """To write it anew: python -m recsys_assets.cli.settings_table."""
    text = settings_table.ENV_EXAMPLE.read_text()
    assert text == settings_table.env_example(), "python -m recsys_assets.cli.settings_table writes it anew"
    shown = dict(re.findall(r"^# (RECSYS_\w+)=(.*)$", text, re.MULTILINE))
    every = {f"RECSYS_{name.upper()}" for name in (*Settings.model_fields, *ApiSettings.model_fields)}
    assert set(shown) == every - set(script("check_env").SETTLED)
    for name, value in SERVICES["api"]["environment"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RECSYS_DATASET", str(ROOT / "recsys_assets/presets/retailrocket.toml"))
    for name, value in shown.items():
        if value:
            monkeypatch.setenv(name, value)
    load_settings()
    load_api_settings()


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_services_are_pinned_hardened_and_not_root(name: str) -> None:
    service = SERVICES[name]
    pinned = r"[\w/.-]+:local" if name in OURS else r"[\w/.-]+:[\w.-]*\d[\w.-]*@sha256:[0-9a-f]{64}"
    assert re.fullmatch(pinned, service["image"]), service["image"]
    assert service["read_only"] is True
    assert any(folder.startswith("/tmp") for folder in service["tmpfs"])
    assert {"cpus", "memory", "pids"} == service["deploy"]["resources"]["limits"].keys()
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    user = service["user"] if name not in OURS else stages()[service["build"]["target"]]["user"]
    assert re.match(r"[1-9]\d*:[1-9]\d*$", user), f"{name} runs as {user!r}"
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:") or name == "proxy", f"{name} is open to the network"


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
            assert how.get("required", True) is ("profiles" not in SERVICES[other]), f"{name} -> {other}"
        assert name == "check" or "check" in started_before(name), name
    for name in ("webserver", "daemon"):
        assert started_before(name) >= {"check", "postgres", "s3", "bucket", "code"}


def test_the_api_has_a_database_and_keys_of_its_own() -> None:
    names = {name: f"of-{name}" for name in SECRETS}
    api = resolved(names)["services"]["api"]["environment"]
    assert {value for value in api.values() if value in names.values()} == {
        names[name] for name in ("S3_API_ACCESS_KEY", "S3_API_SECRET_KEY", "EVENTS_DB_PASSWORD")
    }
    assert "/events" in api["RECSYS_EVENTS_URL"]


@pytest.mark.parametrize("name", sorted(name for name, service in SERVICES.items() if "volumes" in service))
def test_what_is_mounted_exists(name: str) -> None:
    for volume in SERVICES[name]["volumes"]:
        source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
        assert (DOCKER / source).exists() if source.startswith(".") else source in raw()["volumes"], source


def test_the_s3_server_gives_the_api_what_its_policy_says(tmp_path: Path) -> None:
    """The script runs with a stand-in for the server, which shows what it was given."""
    weed, identities = tmp_path / "weed", tmp_path / "s3.json"
    weed.write_text('#!/bin/sh\necho "$@"\n')
    weed.chmod(0o755)
    text = (DOCKER / "s3/serve.sh").read_text().replace("/tmp/s3.json", str(identities))
    environment = {**{name: f"of-{name}" for name in SECRETS}, "RECSYS_BUCKET": "recsys"}
    done = subprocess.run(
        ["sh", "-c", text],
        env={**environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"-s3.config={identities}" in done.stdout
    platform, api = json.loads(identities.read_text())["identities"]
    assert platform["credentials"] == [
        {"accessKey": environment["S3_ACCESS_KEY"], "secretKey": environment["S3_SECRET_KEY"]}
    ]
    assert api["credentials"] == [
        {"accessKey": environment["S3_API_ACCESS_KEY"], "secretKey": environment["S3_API_SECRET_KEY"]}
    ]
    words = {"s3:ListBucket": "List", "s3:GetObject": "Read", "s3:PutObject": "Write"}
    policy = json.loads((DOCKER / "s3/api_policy.json").read_text())
    assert sorted(api["actions"]) == sorted(
        f"{words[action]}:{resource.removeprefix('arn:aws:s3:::')}"
        for statement in policy["Statement"]
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
        if action in words
    )


@set_initial_no_auth_action_count(5)
def test_the_policy_of_the_api_reads_the_store_and_writes_events() -> None:
    with mock_aws():
        iam, s3 = boto3.client("iam", "us-east-1"), boto3.client("s3", "us-east-1")
        s3.create_bucket(Bucket="recsys")
        s3.put_object(Bucket="recsys", Key="store/releases/current.json", Body=b"{}")
        iam.create_user(UserName="api")
        policy = (DOCKER / "s3/api_policy.json").read_text()
        iam.put_user_policy(UserName="api", PolicyName="api", PolicyDocument=policy)
        key = iam.create_access_key(UserName="api")["AccessKey"]
        keys = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
        api = boto3.client("s3", "us-east-1", **keys)
        assert api.get_object(Bucket="recsys", Key="store/releases/current.json")["Body"].read() == b"{}"
        assert api.list_objects_v2(Bucket="recsys", Prefix="store/")["KeyCount"] == 1
        for allowed in ("landing/served/events-1.jsonl.gz", "store/erasures/requests/1.json"):
            api.put_object(Bucket="recsys", Key=allowed, Body=b"1")
        for refused in ("store/releases/current.json", "landing/events.csv", "mlflow/model"):
            with pytest.raises(ClientError, match="AccessDenied"):
                api.put_object(Bucket="recsys", Key=refused, Body=b"1")
        with pytest.raises(ClientError, match="AccessDenied"):
            api.get_object(Bucket="recsys", Key="landing/served/events-1.jsonl.gz")
        with pytest.raises(ClientError, match="AccessDenied"):
            api.delete_object(Bucket="recsys", Key="store/releases/current.json")


def test_make_up_says_what_is_missing(tmp_path: Path) -> None:
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        [str(DOCKER / "up")], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("make up: docker is missing; make stack runs")


@pytest.mark.parametrize("name", sorted(OURS))
def test_commands_name_programs_of_the_locked_environment(name: str) -> None:
    command = SERVICES[name]["command"]
    programs = re.findall(r"(?:^|exec )(\w+)", command[2], re.MULTILINE) if command[0] == "sh" else command[:1]
    for program in programs:
        assert shutil.which(program, path=str(Path(sys.executable).parent)), program


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
    job = script("create_bucket")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        assert job.create_bucket("recsys")
        assert not job.create_bucket("recsys")
        assert [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]] == ["recsys"]


def test_runs_that_died_with_the_code_server_fail_for_it_and_are_retried(tmp_path: Path) -> None:
    server = GrpcServerCodeLocationOrigin(host="code", port=4000, location_name="recsys")
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(server, "__repository__"), "history")
    statuses = {"lost": "STARTED", "starting": "STARTING", "queued": "QUEUED", "done": "SUCCESS", "by_hand": "STARTED"}
    (tmp_path / "dagster.yaml").write_text("run_retries: {enabled: true, max_retries: 1}\n")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        for name, status in statuses.items():
            launched_by = None if name == "by_hand" else origin
            state = dg.DagsterRunStatus(status)
            instance.add_run(dg.DagsterRun("history", run_id=name, status=state, remote_job_origin=launched_by))
        assert sorted(script("end_lost_runs").end_lost_runs(instance)) == ["lost", "starting"]
        found = {name: instance.get_run_by_id(name) for name in statuses}
        now = {name: run.status.value for name, run in found.items() if run is not None}
        assert now == {**statuses, "lost": "FAILURE", "starting": "FAILURE"}
        lost = found["lost"]
        assert lost is not None
        assert lost.tags["dagster/will_retry"] == "true"
        assert script("end_lost_runs").end_lost_runs(instance) == []


def test_a_container_for_each_run_is_told_what_the_daemon_is_told() -> None:
    fragment = yaml.safe_load((DOCKER / "run_launcher.docker.yaml").read_text())
    assert not fragment.keys() & yaml.safe_load((DOCKER / "dagster.yaml").read_text()).keys()
    names = set(SERVICES["daemon"]["environment"]) - {"DAGSTER_CODE_HOST", "DAGSTER_CODE_PORT"}
    assert set(fragment["run_launcher"]["config"]["env_vars"]) == names


def test_what_a_person_waits_for_is_ahead_of_the_queue() -> None:
    database = "postgresql://nobody@127.0.0.1/none"
    jobs = build_definitions(*load_settings(dataset="retailrocket", recommendations_url=database)).jobs or ()
    ahead = {job.name for job in jobs if int((job.tags or {}).get("dagster/priority", 0)) > 0}
    assert ahead == {
        *("rollback_release", "pin_release", "unpin_release", "approve_release", "erase_user", "load_table"),
    }


def test_local_dagster_instance_keeps_everything_in_one_ignored_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        instance.get_runs()
    assert {path.name for path in tmp_path.iterdir()} == {"dagster.yaml", ".dagster"}
    assert "/.dagster/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_sample_is_put_once_and_for_its_own_data_set_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, landing = script("put_sample"), tmp_path / "landing"
    monkeypatch.setattr(job, "SampleConfig", lambda: SampleConfig(events=500, days=3))
    monkeypatch.setenv("RECSYS_LANDING_URI", str(landing))
    monkeypatch.setenv("RECSYS_DATASET", "movielens")
    assert "put files of 'movielens' there" in job.put_sample()
    monkeypatch.setenv("RECSYS_DATASET", "retailrocket")
    assert job.put_sample().endswith("the sample, 500 events")
    files = {path.name for path in landing.iterdir()}
    assert "events.csv.gz" in files
    assert job.put_sample().endswith("has files, and gets no sample")
    assert {path.name for path in landing.iterdir()} == files


def script(name: str) -> Any:
    """A one-shot job of the compose file, as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCKER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


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
