"""Drives the sensors of a graph as Dagster's daemon does: tick by tick, each run executed for real."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from recsys_assets.definitions import build_resources
from recsys_assets_tests.integration.world import World

FAST = {
    "horizon_days": 3,
    "training_windows": 1,
    "active_days": 10,
    "activity_days": 10,
    "popular_days": 5,
    "covisit_days": 10,
    "factors_days": 10,
    "properties_days": 10,
    "factors": 4,
    "als_iterations": 1,
    "tuning_trials": 1,
    "tuning_fusion_trials": 1,
    "candidates_k": 6,
    "min_evaluated_users": 5,
}
"""Settings that make a run of the graph take as little as it can."""


@dataclass(frozen=True)
class Run:
    """A run that a sensor asked for."""

    job: str
    days: tuple[str, ...]
    assets: frozenset[str]
    success: bool

    def __str__(self) -> str:
        return " ".join([self.job, *self.days, "" if self.success else "failed"]).strip()


@dataclass
class Driver:
    """A world and what the daemon remembers about it: cursors and run keys."""

    world: World
    cursors: dict[str, str | None] = field(default_factory=dict)
    keys: set[tuple[str, str]] = field(default_factory=set)
    told: str = ""

    def __post_init__(self) -> None:
        self.definitions = self.world.definitions()
        self.repository = self.definitions.get_repository_def()

    def requests(self, sensor: str) -> list[dg.RunRequest]:
        """One tick of a sensor, up to the point where the daemon stores its cursor."""
        definition = self.repository.get_sensor_def(sensor)
        resources = build_resources(self.world.settings, self.world.dataset)
        with dg.build_sensor_context(
            instance=self.world.instance,
            cursor=self.cursors.get(sensor),
            repository_def=self.repository,
            resources={name: resources[name] for name in ("landing", "store", "engine")},
        ) as context:
            tick = definition.evaluate_tick(context)
        self.next_cursor = tick.cursor
        self.told = tick.skip_message or ""
        return list(tick.run_requests or [])

    def schedule(self, name: str) -> list[Run]:
        """One tick of a schedule; requests that are new are run."""
        definition = self.repository.get_schedule_def(name)
        resources = build_resources(self.world.settings, self.world.dataset)
        with dg.build_schedule_context(
            instance=self.world.instance,
            repository_def=self.repository,
            resources={name: resources[name] for name in ("landing", "store", "engine")},
            scheduled_execution_time=datetime(2030, 1, 1, tzinfo=UTC),
        ) as context:
            tick = definition.evaluate_tick(context)
        return [self.run(one, definition.job_name) for one in self.new(name, list(tick.run_requests or []))]

    def tick(self, sensor: str) -> list[Run]:
        """One whole tick: requests that are new are run, then the cursor is stored."""
        runs = [self.run(request) for request in self.new(sensor, self.requests(sensor))]
        self.cursors[sensor] = self.next_cursor
        return runs

    def new(self, sensor: str, requests: list[dg.RunRequest]) -> list[dg.RunRequest]:
        """Requests whose run key was not seen before, as the daemon filters them."""
        found = [r for r in requests if r.run_key is None or (sensor, r.run_key) not in self.keys]
        self.keys |= {(sensor, r.run_key) for r in requests if r.run_key}
        return found

    def run(self, request: dg.RunRequest, job_name: str | None = None) -> Run:
        """Execute a request."""
        selection = request.asset_selection
        job = (
            self.definitions.resolve_implicit_global_asset_job_def()
            if selection
            else self.definitions.resolve_job_def(str(request.job_name or job_name))
        )
        options: dict[str, Any] = {"asset_selection": list(selection)} if selection else {}
        result = job.execute_in_process(
            instance=self.world.instance,
            tags=dict(request.tags),
            partition_key=request.partition_key,
            run_config=request.run_config,
            raise_on_error=False,
            **options,
        )
        ends = [v for k, v in request.tags.items() if k.startswith("dagster/asset_partition_range")]
        days = (request.partition_key,) if request.partition_key else tuple(sorted(set(ends)))
        assets = frozenset(key.to_user_string() for key in selection or [])
        return Run("as_of" if selection else job.name, days, assets, result.success)

    def land(self) -> list[str]:
        """Ticks of the landing sensor until it rests; what ran."""
        return self._until_idle("landing_sensor", idle_ticks=2)

    def follow(self) -> list[Run]:
        """Ticks of automation until it rests; what ran."""
        runs: list[Run] = []
        while ran := self.tick("as_of_automation"):
            runs += ran
        return runs

    def dump(self) -> str:
        """What the daemon remembers, to go on elsewhere."""
        return json.dumps({"cursors": self.cursors, "keys": sorted(self.keys)})

    def load(self, text: str) -> None:
        """Go on with what :meth:`dump` gave."""
        remembered = json.loads(text)
        self.cursors = remembered["cursors"]
        self.keys = {(sensor, key) for sensor, key in remembered["keys"]}

    def put(self, name: str, content: bytes) -> None:
        """Put a file into the landing zone under its name at once, as a well-behaved writer does."""
        draft = self.world.folder / "draft"
        draft.write_bytes(content)
        path = self.world.landing / name
        path.parent.mkdir(exist_ok=True)
        draft.replace(path)

    def _until_idle(self, sensor: str, idle_ticks: int) -> list[str]:
        runs, rest = [], 0
        while rest < idle_ticks:
            ran = self.tick(sensor)
            runs += [str(run) for run in ran]
            rest = 0 if ran else rest + 1
        return runs
