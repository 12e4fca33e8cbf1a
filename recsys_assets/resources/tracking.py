"""MLflow: what people look at and compare. Nothing depends on it, and whatever goes wrong with it is a warning.

``dagster-mlflow`` opens a run when its resource is made and leaves it RUNNING. Here a run is opened when all that it
will hold is known, and ended in the same breath: training that is killed leaves none behind. MLflow is imported then
too, which takes seconds.

No configurable resource of Dagster's: the UI would show its address, and that of a database holds a password.
"""

from __future__ import annotations

import os
import sqlite3
import time
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from recsys_assets.core.gate.promotion import ModelRef, RegistryState
from recsys_assets.core.tuning.study import Record, best_of
from recsys_assets.resources.reachable import probe, without_password
from recsys_assets.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

OFF = "off"
_QUICK = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
}
"""MLflow's own patience is minutes per request. What the environment says wins."""

_ABANDONED_MS = 600_000
"""A run is written within seconds: one that is RUNNING for longer belonged to a process that was killed."""


_STUDY, _WRITTEN_BY = "study", "written_by_dagster_run"
"""Tags of searches. Not ``dagster_run_id``: by that one, ``dagster-mlflow`` goes on with a run that is there."""

_MODULES = "_MODULES_TO_PACKAGES"
"""MLflow's name of its map of all installed modules; None until it is needed."""


@dataclass(frozen=True)
class Recorded:
    """What became of recording.

    Attributes:
        run_id: of the MLflow run; None where there is none.
        problem: why there is none, for people; None if all went well.
    """

    run_id: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Searched:
    """A search for parameters that is over: what was searched, on which day, its own name, and its trials."""

    name: str
    day: str
    study: str
    trials: tuple[Record, ...]


class Tracking:
    """Records runs and mirrors who is champion; never raises for MLflow's sake.

    Args:
        settings: where MLflow is.
        context: of the run that the resource is made for.
        attempts: before it gives up.
        pause: seconds before the second attempt, doubled before each further one.
    """

    def __init__(self, settings: Settings, context: dg.InitResourceContext, attempts: int = 3, pause: float = 1.0):
        self._uri = settings.mlflow_tracking_uri.get_secret_value()
        self._artifacts = settings.mlflow_artifacts_uri
        self._experiment = settings.mlflow_experiment
        self._context = context
        self._attempts = attempts
        self._pause = pause

    @property
    def registered_name(self) -> str:
        """The name of the ranker in the registry."""
        return f"{self._experiment}_ranker"

    @property
    def address(self) -> str:
        """Where MLflow is, for people."""
        return without_password(self._uri, self._uri)

    def record(
        self, name: str, tags: Mapping[str, str], write: Callable[[Any], None], *, failed: bool = False
    ) -> Recorded:
        """Write one run and end it, FINISHED or FAILED.

        Args:
            name: of the run.
            tags: of the run; Dagster's run id comes by itself.
            write: logs what the run holds with ``MlFlow`` of ``dagster-mlflow``, which has all of MLflow's functions
                but no types. It is called again when MLflow fails in the middle.
            failed: whether it tells of something that failed.
        """

        def call() -> str:
            with self._run(name, tags, failed=failed) as mlflow:
                write(mlflow)
                return mlflow.active_run().info.run_id

        return self._with_retries(call)

    def record_search(self, search: Searched, tags: Mapping[str, str]) -> Recorded:
        """Write a run with a nested run per trial, and end them all; nothing where this search is there already."""

        def call() -> str:
            self._prepare()
            client = self.client()
            experiment = client.get_experiment_by_name(self._experiment)
            if experiment is None:
                raise RuntimeError(f"experiment {self._experiment} is gone")
            experiment_id = experiment.experiment_id
            finished = client.search_runs(
                [experiment_id], f"attributes.status = 'FINISHED' and tags.{_STUDY} = '{search.study}'"
            )
            return finished[0].info.run_id if finished else write(client, experiment_id)

        def write(client: MlflowClient, experiment_id: str) -> str:
            from mlflow.entities import Metric, Param
            from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

            now = int(time.time() * 1000)
            best = best_of(search.trials)
            search_tags = {**tags, _STUDY: search.study, "partition": search.day}
            with self._ended(client, experiment_id, f"{search.name} {search.day}", search_tags) as parent:
                for trial in search.trials:
                    trial_tags = {MLFLOW_PARENT_RUN_ID: parent, "state": trial.state}
                    with self._ended(client, experiment_id, f"trial {trial.trial}", trial_tags) as child:
                        figures = {"value": trial.value, **trial.facts}
                        client.log_batch(
                            child,
                            metrics=[Metric(key, value, now, 0) for key, value in figures.items()],
                            params=[Param(key, str(value)) for key, value in trial.params.items()],
                        )
                history = [Metric("value", trial.value, now, trial.trial) for trial in search.trials]
                client.log_batch(
                    parent,
                    metrics=[*history, Metric("best", best.value, now, 0)],
                    params=[Param(key, str(value)) for key, value in best.params.items()],
                )
            return parent

        return self._with_retries(call)

    def add(self, tags: Mapping[str, str], write: Callable[[MlflowClient, str], None]) -> Recorded:
        """Add to the newest run that has some tags and ended well; it stays as it ended.

        Args:
            tags: values are plain words.
            write: takes a client, which opens no run, and the run's id. It is called again when MLflow fails in the
                middle. It is not called where there is no such run, whose ``run_id`` is None then.
        """

        def call() -> str | None:
            client = self.client()
            run_id = self._find(client, tags)
            if run_id is not None:
                write(client, run_id)
            return run_id

        return self._with_retries(call)

    @contextmanager
    def failures(self, name: str, tags: Mapping[str, str], but: type[Exception]) -> Generator[None]:
        """Record a FAILED run if the block raises, ``but`` for what is no failure, and let the error go on."""
        try:
            yield
        except but:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            self.record(name, {**tags, "error": reason[:5000]}, lambda _: None, failed=True)
            raise

    def mirror(self, registry_state: RegistryState) -> Recorded:
        """Let the aliases ``champion`` and ``challenger`` of the registry name those who stand."""

        def call() -> None:
            self.set_aliases(self.client(), registry_state)

        return self._with_retries(call)

    def archive(self, model: ModelRef) -> Recorded:
        """Mark a model's version in the registry as rejected."""

        def call() -> None:
            self.tag_version(self.client(), model, "verdict", "archived")

        return self._with_retries(call)

    def client(self) -> MlflowClient:
        """A client of the registry, which opens no run."""
        from mlflow import MlflowClient

        return MlflowClient(self._uri)

    def register(self, client: MlflowClient, run_id: str, form: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Log a model with a run and make it a version in the registry, found by its tags from then on.

        Args:
            client: of the registry.
            run_id: of the run, which may have ended and stays as it ended.
            form: the model as ``mlflow.pyfunc.save_model`` takes it.
            tags: of the version.
        """
        import mlflow
        from mlflow.models import Model as Logged

        # What logs a model takes no client.
        mlflow.set_tracking_uri(self._uri)
        mlflow.set_experiment(self._experiment)
        with _found_by_their_names():
            info = Logged.log(None, mlflow.pyfunc, name="ranker", run_id=run_id, **form)
        self._prepare_registry(client)
        client.create_model_version(self.registered_name, info.model_uri, run_id, dict(tags), model_id=info.model_id)

    def _prepare_registry(self, client: MlflowClient) -> None:
        name = self.registered_name
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name, description="Orders the candidates of each user.")

    def version_of(self, client: MlflowClient, model: ModelRef) -> ModelVersion | None:
        """The version of a model in the registry; None if it is not there."""
        versions = client.search_model_versions(f"name = '{self.registered_name}' and tags.sha256 = '{model.sha256}'")
        return min(versions, key=lambda version: int(version.version), default=None)

    def tag_version(self, client: MlflowClient, model: ModelRef, key: str, value: str) -> bool:
        """Tag a model's version in the registry; False if it is not there."""
        version = self.version_of(client, model)
        if version:
            client.set_model_version_tag(self.registered_name, str(version.version), key, value)
        return version is not None

    def set_aliases(self, client: MlflowClient, registry_state: RegistryState) -> None:
        """Point the aliases to the versions of those who stand; an alias of nobody goes.

        Raises:
            LookupError: a model is not in the registry, because MLflow was down when it was trained.
        """
        missing: list[str] = []
        for alias, model in (("champion", registry_state.champion), ("challenger", registry_state.challenger)):
            version = self.version_of(client, model) if model else None
            if model and version is None:
                missing.append(model.day)
            if version:
                client.set_registered_model_alias(self.registered_name, alias, version.version)
            elif client.search_registered_models(f"name = '{self.registered_name}'"):
                client.delete_registered_model_alias(self.registered_name, alias)
        if missing:
            raise LookupError(f"not in the registry: materialize model_tracking of {', '.join(missing)} to register it")

    def _find(self, client: MlflowClient, tags: Mapping[str, str]) -> str | None:
        experiment = client.get_experiment_by_name(self._experiment)
        query = " and ".join(["attributes.status = 'FINISHED'", *(f"tags.{k} = '{v}'" for k, v in tags.items())])
        runs = client.search_runs([experiment.experiment_id], query, max_results=1) if experiment else []
        return runs[0].info.run_id if runs else None

    @contextmanager
    def _run(self, name: str, tags: Mapping[str, str], *, failed: bool) -> Generator[Any]:
        from dagster_mlflow.resources import MlFlow
        from mlflow import end_run

        self._prepare()
        settings = {"mlflow_tracking_uri": self._uri, "experiment_name": self._experiment}
        try:
            # Made here and not by Dagster: making it opens the run, or the one that an attempt before has opened.
            mlflow: Any = MlFlow(self._context.replace_config(settings))
            mlflow.set_tags({"mlflow.runName": name, **tags})
            yield mlflow
        except BaseException:
            end_run("FAILED")
            raise
        end_run("FAILED" if failed else "FINISHED")

    @contextmanager
    def _ended(self, client: MlflowClient, experiment_id: str, name: str, tags: Mapping[str, str]) -> Generator[str]:
        """A run that does not become the active one, ended whatever happens."""
        run = client.create_run(
            experiment_id, run_name=name, tags={**tags, _WRITTEN_BY: self._context.run_id or "none"}
        )
        try:
            yield run.info.run_id
        except BaseException:
            client.set_terminated(run.info.run_id, "FAILED")
            raise
        client.set_terminated(run.info.run_id, "FINISHED")

    def _prepare(self) -> None:
        """The experiment, with our place for files, and no run of ours RUNNING that nobody writes any more."""
        client = self.client()
        experiment = client.get_experiment_by_name(self._experiment)
        if experiment is None:
            client.create_experiment(self._experiment, artifact_location=self._artifacts or None)
            return
        before = int(time.time() * 1000) - _ABANDONED_MS
        old = f"attributes.status = 'RUNNING' and attributes.start_time < {before}"
        for run in client.search_runs([experiment.experiment_id], old):
            if {"dagster_run_id", _WRITTEN_BY} & set(run.data.tags):
                client.set_terminated(run.info.run_id, "FAILED")

    def _with_retries(self, call: Callable[[], str | None]) -> Recorded:
        if self._uri == OFF:
            return Recorded(problem="off")
        for name, value in _QUICK.items():
            os.environ.setdefault(name, value)
        problem = ""
        for attempt in range(self._attempts):
            if attempt:
                time.sleep(self._pause * 2 ** (attempt - 1))
            try:
                probe(self._uri)
            except (OSError, sqlite3.Error) as error:
                problem = f"unreachable: {error}"
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return Recorded(run_id=call())
            except LookupError as error:
                return self._problem(str(error))
            except Exception as error:  # a client of a server fails in more ways than it declares
                problem = f"failed: {type(error).__name__}: {error}"
        return self._problem(f"{problem} ({self._attempts} attempts at {self._uri})")

    def _problem(self, problem: str) -> Recorded:
        text = f"mlflow: {without_password(problem, self._uri)}"
        if self._context.log:
            self._context.log.warning(f"{text}. Nothing but MLflow lacks it: who is champion stands in the store.")
        return Recorded(problem=text)


@contextmanager
def _found_by_their_names() -> Generator[None]:
    """Let MLflow look up the packages that a model states without a map of all modules that are installed.

    It compares stated versions with installed ones, and makes the map for packages without a version of their own: it
    reads the lists of all installed files, for 0.8 CPU seconds. Those that we state have versions. Models of others
    get the map, since it is missing again afterwards.
    """
    from mlflow.utils import requirements_utils

    before: object = getattr(requirements_utils, _MODULES, None)
    if before is None:
        setattr(requirements_utils, _MODULES, {})
    try:
        yield
    finally:
        setattr(requirements_utils, _MODULES, before)


def named_by(model: ModelRef) -> dict[str, str]:
    """The tags by which a model is found in the registry."""
    return {"model_id": model.id, "sha256": model.sha256}


def tracking_resource(settings: Settings) -> dg.ResourceDefinition:
    """The resource, made anew for each run."""
    return dg.ResourceDefinition(lambda context: Tracking(settings, context), description="MLflow, if it is there.")
