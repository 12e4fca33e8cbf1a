"""What Dagster's Helm chart (1.13) makes of its values, as far as docker/kubernetes/dagster-values.yaml uses it.

Stated after the chart's published schema and templates, since neither Helm nor a cluster is at hand.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from recsys_assets_tests.compose import DOCKER

VALUES: dict[str, Any] = yaml.safe_load((DOCKER / "kubernetes/dagster-values.yaml").read_text())
WORKLOAD = (
    "image env envConfigMaps envSecrets labels annotations nodeSelector affinity tolerations podSecurityContext "
    "securityContext resources volumes volumeMounts schedulerName readinessProbe livenessProbe startupProbe"
)
NAMES: dict[str, str] = {
    "": "global nameOverride fullnameOverride rbacEnabled imagePullSecrets dagsterWebserver computeLogManager "
    "pythonLogs dagster-user-deployments scheduler runLauncher postgresql generatePostgresqlPasswordSecret "
    "generateCeleryConfigSecret rabbitmq redis flower ingress dagsterDaemon busybox extraManifests migrate telemetry "
    "serviceAccount retention concurrency additionalInstanceConfig pipelineRun",
    "global": "postgresqlSecretName dagsterHome serviceAccountName celeryConfigSecretName",
    "postgresql": "enabled image postgresqlHost postgresqlUsername postgresqlPassword postgresqlDatabase "
    "postgresqlParams postgresqlScheme service",
    "dagster-user-deployments": "enabled enableSubchart imagePullSecrets deployments",
    "dagster-user-deployments.deployments": f"name port dagsterApiGrpcArgs codeServerArgs includeConfigInLaunchedRuns "
    f"{WORKLOAD}",
    "dagsterWebserver": f"replicaCount nameOverride pathPrefix service workspace enableReadOnly dbStatementTimeout "
    f"dbPoolRecycle logLevel deploymentLabels {WORKLOAD}",
    "dagsterWebserver.workspace": "enabled servers externalConfigmap",
    "dagsterWebserver.workspace.servers": "host port name ssl",
    "dagsterDaemon": f"enabled runCoordinator heartbeatTolerance deploymentLabels runMonitoring runRetries sensors "
    f"schedules {WORKLOAD}",
    "dagsterDaemon.runCoordinator": "enabled type config",
    "dagsterDaemon.runCoordinator.config": "queuedRunCoordinator customRunCoordinator",
    "dagsterDaemon.runCoordinator.config.queuedRunCoordinator": "maxConcurrentRuns tagConcurrencyLimits "
    "dequeueIntervalSeconds dequeueNumWorkers dequeueUseThreads",
    "dagsterDaemon.sensors": "useThreads numWorkers numSubmitWorkers",
    "dagsterDaemon.schedules": "useThreads numWorkers numSubmitWorkers",
    "computeLogManager": "type config",
    "computeLogManager.config.s3ComputeLogManager": "bucket localDir prefix useSsl verify verifyCertPath endpointUrl "
    "skipEmptyFiles uploadInterval uploadExtraArgs showUrlOnly region",
    "runLauncher": "type config",
    "runLauncher.config": "k8sRunLauncher celeryK8sRunLauncher customRunLauncher",
    "runLauncher.config.k8sRunLauncher": "image imagePullPolicy jobNamespace loadInclusterConfig kubeconfigFile "
    "envConfigMaps envSecrets envVars volumes volumeMounts labels resources schedulerName failPodOnRunFailure "
    "securityContext runK8sConfig",
    "runLauncher.config.k8sRunLauncher.runK8sConfig": "containerConfig podTemplateSpecMetadata podSpecConfig "
    "jobSpecConfig jobMetadata",
    "telemetry": "enabled",
    "retention": "enabled schedule sensor autoMaterialize",
}
"""The names that the chart knows, by path; below others, the names are those of Kubernetes or of Dagster."""
GIVEN_BY_THE_CHART = {
    "DAGSTER_HOME": VALUES["global"]["dagsterHome"],
    "DAGSTER_K8S_INSTANCE_CONFIG_MAP": "dagster-instance",
    "DAGSTER_K8S_PG_PASSWORD_SECRET": VALUES["global"]["postgresqlSecretName"],
    "DAGSTER_K8S_PIPELINE_RUN_ENV_CONFIGMAP": "dagster-pipeline-env",
    "DAGSTER_PG_PASSWORD": "of the secret",
}
"""Variables of webserver and daemon."""


def unknown(values: Any, path: str = "") -> list[str]:
    """Names in the values that the chart would ignore, with their paths."""
    if isinstance(values, list):
        return [name for value in values for name in unknown(value, path)]
    if not isinstance(values, dict):
        return []
    found = [f"{path}.{name}" for name in values if path in NAMES and name not in NAMES[path].split()]
    return found + [name for key, value in values.items() for name in unknown(value, f"{path}.{key}".strip("."))]


def workloads() -> dict[str, dict[str, Any]]:
    """The deployments of code server, webserver and daemon, by the name of the service in compose.yaml."""
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    web, daemon, servers = (
        VALUES["dagsterWebserver"],
        VALUES["dagsterDaemon"],
        ["-w", "/dagster-workspace/workspace.yaml"],
    )
    asked = {"exec": {"command": ["dagster", "api", "grpc-health-check", "-p", str(code["port"])]}}
    probes = {name: {**asked, **code[name]} for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    serve = ["dagster", "code-server", "start", "-h", "0.0.0.0", "-p", str(code["port"]), *code["codeServerArgs"]]
    show = ["dagster-webserver", "-h", "0.0.0.0", "-p", str(web["service"]["port"]), *servers]
    made = {
        "code": _deployment({**code, **probes}, serve),
        "webserver": _deployment(web, show),
        "daemon": _deployment(daemon, ["dagster-daemon", "run", *servers]),
    }
    for workload in ("webserver", "daemon"):
        home = {"name": "dagster-instance", "mountPath": f"{VALUES['global']['dagsterHome']}/dagster.yaml"}
        pod = made[workload]["spec"]["template"]["spec"]
        pod["volumes"] = [{"name": "dagster-instance", "configMap": {"name": "dagster-instance"}}, *pod["volumes"]]
        pod["containers"][0]["volumeMounts"] = [
            {**home, "subPath": "dagster.yaml"},
            *pod["containers"][0]["volumeMounts"],
        ]
    return made


def instance() -> dict[str, Any]:
    """The dagster.yaml of webserver, daemon and runs."""
    postgres, daemon = VALUES["postgresql"], VALUES["dagsterDaemon"]
    storage = {
        "postgres_db": {
            "username": postgres["postgresqlUsername"],
            "password": {"env": "DAGSTER_PG_PASSWORD"},
            "hostname": postgres["postgresqlHost"],
            "db_name": postgres["postgresqlDatabase"],
            "port": postgres["service"]["port"],
        }
    }
    launcher = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    told = {_snake(name): value for name, value in launcher.items() if name not in ("envConfigMaps", "envSecrets")}
    told["run_k8s_config"] = {_snake(name): value for name, value in launcher["runK8sConfig"].items()}
    logs = VALUES["computeLogManager"]["config"]["s3ComputeLogManager"]
    queue = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    return {
        "run_storage": {
            "module": "dagster_postgres.run_storage",
            "class": "PostgresRunStorage",
            "config": storage,
        },
        "event_log_storage": {
            "module": "dagster_postgres.event_log",
            "class": "PostgresEventLogStorage",
            "config": storage,
        },
        "schedule_storage": {
            "module": "dagster_postgres.schedule_storage",
            "class": "PostgresScheduleStorage",
            "config": storage,
        },
        "run_launcher": {
            "module": "dagster_k8s",
            "class": VALUES["runLauncher"]["type"],
            "config": {
                "load_incluster_config": True,
                "job_namespace": "recsys",
                "service_account_name": "dagster",
                "dagster_home": {"env": "DAGSTER_HOME"},
                "instance_config_map": {"env": "DAGSTER_K8S_INSTANCE_CONFIG_MAP"},
                "postgres_password_secret": {"env": "DAGSTER_K8S_PG_PASSWORD_SECRET"},
                "env_config_maps": [
                    {"env": "DAGSTER_K8S_PIPELINE_RUN_ENV_CONFIGMAP"},
                    *(one["name"] for one in launcher["envConfigMaps"]),
                ],
                "env_secrets": [one["name"] for one in launcher["envSecrets"]],
                **told,
            },
        },
        "run_coordinator": {
            "module": "dagster._core.run_coordinator",
            "class": daemon["runCoordinator"]["type"],
            "config": {_snake(name): value for name, value in queue.items()},
        },
        "compute_logs": {
            "module": "dagster_aws.s3.compute_log_manager",
            "class": VALUES["computeLogManager"]["type"],
            "config": {_snake(name): value for name, value in logs.items()},
        },
        "sensors": {_snake(name): value for name, value in daemon["sensors"].items()},
        "schedules": {_snake(name): value for name, value in daemon["schedules"].items()},
        "telemetry": VALUES["telemetry"],
        **VALUES["additionalInstanceConfig"],
    }


def _deployment(values: dict[str, Any], command: list[str]) -> dict[str, Any]:
    """A Deployment with one container."""
    image, same = values["image"], ("securityContext", "resources", "volumeMounts", "livenessProbe", "readinessProbe")
    container: dict[str, Any] = {
        "name": "dagster",
        "image": f"{image['repository']}:{image['tag']}",
        "imagePullPolicy": image["pullPolicy"],
        "command": command,
        "envFrom": [
            *({"configMapRef": one} for one in values["envConfigMaps"]),
            *({"secretRef": one} for one in values["envSecrets"]),
        ],
        **{name: values[name] for name in same if name in values},
        "startupProbe": values["startupProbe"],
    }
    for probe in ("startupProbe", "readinessProbe"):
        if probe in container:
            container[probe] = {name: value for name, value in container[probe].items() if name != "enabled"}
    labels = {"component": "dagster"}
    pod = {"securityContext": values["podSecurityContext"], "containers": [container], "volumes": values["volumes"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "dagster"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }


def _snake(name: str) -> str:
    """``runK8sConfig`` → ``run_k8s_config``."""
    return re.sub(r"(?<=[a-z\d])([A-Z])", r"_\1", name).lower()
