"""Manifests and Helm values for Kubernetes: valid by its schemas, and the same platform as docker/compose.yaml."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes
import kubernetes_validate
import pytest
import yaml
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.instance.ref import InstanceRef
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster_k8s import K8sRunLauncher, construct_dagster_k8s_job
from kubernetes.client import ApiClient

from recsys_assets.automation.runs import LOCATION
from recsys_assets_tests.compose import DOCKER, env_file, resolved
from recsys_assets_tests.dagster_chart import GIVEN_BY_THE_CHART, VALUES, instance, unknown, workloads

FOLDER = DOCKER / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OBJECTS: list[dict[str, Any]] = [
    found for name in KUSTOMIZATION["resources"] for found in yaml.safe_load_all((FOLDER / name).read_text())
]
SERVICES: dict[str, Any] = resolved({**env_file(DOCKER / ".env.example"), "DATASET_FILE": "dataset.toml"})["services"]
OURS = {found["metadata"]["name"]: found for found in OBJECTS if found["kind"] == "Deployment"}
ROLES = ("api", "metrics", "mlflow", "code", "webserver", "daemon", "run")
OF_POSTGRES = ("DAGSTER_POSTGRES_", "DAGSTER_CODE_")


@pytest.fixture
def pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The pods by what they do, with that of a run as Dagster's launcher makes it from the chart's dagster.yaml."""
    return {
        name: made["spec"]["template"]["spec"]
        for name, made in {**OURS, **workloads(), "run": job_of_a_run(tmp_path, monkeypatch)}.items()
    }


def reference(folder: Path, monkeypatch: pytest.MonkeyPatch) -> InstanceRef:
    """The instance in the cluster; Dagster refuses what it does not know in its file."""
    (folder / "dagster.yaml").write_text(yaml.safe_dump(instance()))
    for name, value in {**GIVEN_BY_THE_CHART, **env_file(FOLDER / "platform.env")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(kubernetes.config, "load_incluster_config", lambda: None)
    return InstanceRef.from_dir(str(folder))


def job_of_a_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    launcher = reference(folder, monkeypatch).run_launcher
    assert isinstance(launcher, K8sRunLauncher)
    image = "{repository}:{tag}".format(**VALUES["dagster-user-deployments"]["deployments"][0]["image"])
    code = RepositoryPythonOrigin("python", ModuleCodePointer("recsys_assets.definitions", "defs"), image)
    run = dg.DagsterRun("refresh", job_code_origin=JobPythonOrigin("refresh", code))
    context = launcher.get_container_context_for_run(run)
    config = context.get_k8s_job_config(job_image=code.container_image, run_launcher=launcher)
    job = construct_dagster_k8s_job(config, ["dagster", "api"], "run", context.run_k8s_config)
    plain: Any = ApiClient().sanitize_for_serialization(job)
    return plain


def test_everything_meets_the_schemas_of_kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of_a_run(tmp_path, monkeypatch)
    assert job["spec"]["ttlSecondsAfterFinished"] == 86400
    for found in (*OBJECTS, *workloads().values(), job):
        kubernetes_validate.validate(found, kubernetes_validate.latest_version(), strict=True)


def test_the_chart_knows_every_name_in_its_values() -> None:
    assert unknown(VALUES) == []
    assert unknown({"dagsterDaemon": {"replicas": 2}}) == ["dagsterDaemon.replicas"]
    family = re.search(r"dagster==(\S+)\"", (DOCKER.parent / "pyproject.toml").read_text())
    assert family is not None
    assert f"--version {family[1]} " in (FOLDER / "dagster-values.yaml").read_text()


def test_the_instance_is_that_of_compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, chart = yaml.safe_load((DOCKER / "dagster.yaml").read_text()), instance()
    assert chart.keys() - {"run_storage", "event_log_storage", "schedule_storage", "run_launcher"} == ours.keys() - {
        "storage"
    }
    for name in ours.keys() - {"storage"}:
        assert chart[name] == ours[name], name
    database = dict(chart["run_storage"]["config"]["postgres_db"], password=None)
    stated = SERVICES["daemon"]["environment"]
    assert database == {
        "username": stated["DAGSTER_POSTGRES_USER"],
        "hostname": stated["DAGSTER_POSTGRES_HOST"],
        "db_name": stated["DAGSTER_POSTGRES_DB"],
        "port": int(stated["DAGSTER_POSTGRES_PORT"]),
        "password": None,
    }
    made = reference(tmp_path, monkeypatch)
    assert type(made.run_coordinator).__name__ == "QueuedRunCoordinator"
    assert type(made.compute_log_manager).__name__ == "S3ComputeLogManager"
    (server,) = VALUES["dagsterWebserver"]["workspace"]["servers"]
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    assert server == {"host": code["name"], "port": code["port"], "name": LOCATION}


def test_pods_are_told_what_the_services_of_compose_are_told(pods: dict[str, dict[str, Any]]) -> None:
    """And settings.env is the last word in all of them."""
    maps = config_maps()
    for role in ("api", "metrics", "code", "webserver", "daemon", "run"):
        container = pods[role]["containers"][0]
        names = [one["configMapRef"]["name"] for one in container["envFrom"] if "configMapRef" in one]
        assert names[-1] == "recsys-settings", role
        told = {key: value for name in names for key, value in maps.get(name, {}).items()}
        told |= {one["name"]: one.get("value") for one in container.get("env", ())}
        service = SERVICES["code" if role == "run" else role]
        stated = service["environment"]
        if role == "api":
            assert told.pop("RECSYS_MLFLOW_TRACKING_URI"), "it is told, and has no use for it"
        wanted = {name: value for name, value in stated.items() if name.startswith("RECSYS_") and value}
        assert {name: value for name, value in told.items() if name.startswith("RECSYS_")} == wanted, role
        assert not [name for name in told if name.startswith("RECSYS_") and name not in maps_of(names)], role
        databases = {name for name in stated if name.startswith(OF_POSTGRES)} if role == "metrics" else set[str]()
        assert databases - {"DAGSTER_CODE_HOST", "DAGSTER_CODE_PORT"} <= told.keys()
        if role == "run":
            assert told["TMPDIR"] == stated["TMPDIR"]
    mlflow = {one["name"]: one["value"] for one in pods["mlflow"]["containers"][0]["env"]}
    assert mlflow == {name: value for name, value in SERVICES["mlflow"]["environment"].items() if name in mlflow}
    assert {name for name in SERVICES["mlflow"]["environment"] if name.startswith("MLFLOW_")} == mlflow.keys()


def test_each_part_knows_its_own_secrets_only(pods: dict[str, dict[str, Any]]) -> None:
    of_code = {"recsys-s3", "recsys-recommendations"}
    wanted = {
        "api": {"recsys-api"},
        "metrics": {"recsys-s3", "recsys-postgresql"},
        "mlflow": {"recsys-s3", "recsys-mlflow"},
        "code": of_code,
        "run": {*of_code, "recsys-postgresql"},
        "webserver": {"recsys-s3"},
        "daemon": {"recsys-s3"},
    }
    assert {role: secrets_of(pods[role]) for role in ROLES} == wanted
    documented = (DOCKER.parent / "docs/kubernetes.md").read_text()
    for name in set[str]().union(*wanted.values()):
        assert f"create secret generic {name} " in documented, name
    for path in FOLDER.iterdir():
        assert not re.search(r"^\s*(kind: Secret|postgresqlPassword)\b", path.read_text(), re.MULTILINE), path


@pytest.mark.parametrize("role", ROLES)
def test_pods_run_the_same_images_and_commands_hardened(role: str, pods: dict[str, dict[str, Any]]) -> None:
    pod, service = pods[role], SERVICES["code" if role == "run" else role]
    (container,) = pod["containers"]
    assert container["image"] == service["image"]
    assert container["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["securityContext"] == {"fsGroup": 10001}
    assert container["resources"].keys() == {"requests", "limits"}
    assert container["resources"]["limits"].keys() == {"cpu", "memory"}
    writable = {one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")}
    assert set(service["tmpfs"]) <= writable
    assert (role == "mlflow") or {"/etc/recsys"} <= {one["mountPath"] for one in container["volumeMounts"]}
    assert {one["name"] for one in container["volumeMounts"]} <= {one["name"] for one in pod["volumes"]}
    if role == "run":
        assert "/var/lib/recsys/data" in writable
        return
    assert {"startupProbe", "livenessProbe"} <= container.keys()
    command = " ".join(container["command"]).replace("$(RECSYS_BUCKET)", "recsys")
    stated = shlex.split(service["command"][2].split("exec ")[1]) if role == "code" else service["command"]
    short = {"--host": "-h", "--port": "-p"} if role in ("code", "webserver") else {}
    assert " ".join(short.get(word, word) for word in stated) in command
    if role in ("api", "metrics", "mlflow"):
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False


def test_the_api_is_served_while_pods_come_and_go() -> None:
    spec = OURS["api"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["replicas"] >= 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert (
        container["lifecycle"]["preStop"]["sleep"]["seconds"]
        < spec["template"]["spec"]["terminationGracePeriodSeconds"]
    )


def test_services_have_the_names_and_ports_of_compose() -> None:
    """So that addresses are the same everywhere; and none makes a variable that would be taken for a setting."""
    services = {found["metadata"]["name"]: found["spec"] for found in OBJECTS if found["kind"] == "Service"}
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    assert services.pop("postgres")["type"] == "ExternalName"
    assert services.keys() == OURS.keys()
    for name, service in services.items():
        labels = OURS[name]["spec"]["template"]["metadata"]["labels"]
        (container,) = OURS[name]["spec"]["template"]["spec"]["containers"]
        assert service["selector"].items() <= labels.items()
        assert service["ports"][0]["port"] == container["ports"][0]["containerPort"]
        assert str(container["ports"][0]["containerPort"]) in " ".join(SERVICES[name]["command"])
    assert {*services, code["name"]} <= SERVICES.keys()
    assert str(code["port"]) == SERVICES["daemon"]["environment"]["DAGSTER_CODE_PORT"]


def test_what_the_kustomization_makes_is_what_pods_ask_for(pods: dict[str, dict[str, Any]]) -> None:
    asked = {
        *(one["configMapRef"]["name"] for pod in pods.values() for one in sources(pod) if "configMapRef" in one),
        *(one["configMap"]["name"] for pod in pods.values() for one in pod["volumes"] if "configMap" in one),
    }
    made = {one["name"] for one in KUSTOMIZATION["configMapGenerator"]}
    assert asked - {"dagster-instance", "dagster-pipeline-env"} == made
    ignored = (DOCKER.parent / ".gitignore").read_text().splitlines()
    for one in KUSTOMIZATION["configMapGenerator"]:
        for name in (*one.get("envs", ()), *one.get("files", ())):
            assert (FOLDER / name).exists() or f"/docker/kubernetes/{name}" in ignored, name
    for image in KUSTOMIZATION["images"]:
        assert f"{image['newName']}:{image['newTag']}" in {service["image"] for service in SERVICES.values()}


def config_maps() -> dict[str, dict[str, str]]:
    """Variables of the generated config maps, but those of settings.env, which is the user's."""
    found: dict[str, dict[str, str]] = {}
    for one in KUSTOMIZATION["configMapGenerator"]:
        found[one["name"]] = dict(literal.split("=", 1) for literal in one.get("literals", ()))
        if one.get("envs") == ["platform.env"]:
            found[one["name"]] = env_file(FOLDER / "platform.env")
    return found


def maps_of(names: list[str]) -> set[str]:
    """The variables that some config maps hold."""
    return {variable for name in names for variable in config_maps().get(name, {})}


def sources(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for container in pod["containers"] for one in container.get("envFrom", ())]


def secrets_of(pod: dict[str, Any]) -> set[str]:
    """Names of the secrets that a pod reads."""
    named = {one["secretRef"]["name"] for one in sources(pod) if "secretRef" in one}
    values = [one.get("valueFrom", {}) for container in pod["containers"] for one in container.get("env", ())]
    return named | {one["secretKeyRef"]["name"] for one in values if "secretKeyRef" in one}
