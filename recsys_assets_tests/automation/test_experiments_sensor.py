"""Which runs the experiments' sensor asks for, tick by tick: a run for each new content, and faults hold nobody up."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import dagster as dg
import pytest

from recsys_assets.definitions import build_resources
from recsys_assets_tests.automation.driver import FAST
from recsys_assets_tests.integration.world import World, dagster_in, make_world

FOREST, LINEAR = b"model: random_forest\n", b"model: logistic_regression\n"
BAD = b"model: random_forest\nparams:\n  depth: 3\n"


@dataclass
class Experiments:
    """The sensor as Dagster's daemon runs it, without the runs."""

    world: World
    repository: dg.RepositoryDefinition | None = None
    cursor: str | None = None
    keys: set[str] = field(default_factory=set)
    told: str = ""
    observed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.repository = self.repository or self.world.definitions().get_repository_def()

    def put(self, name: str, data: bytes) -> None:
        path = self.world.landing / "experiments" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)

    def remove(self, name: str) -> None:
        (self.world.landing / "experiments" / name).unlink()

    def tick(self, *, dies: bool = False) -> list[str]:
        """The partitions of the requests that are new; a daemon that dies stores no cursor."""
        resources = build_resources(self.world.settings, self.world.dataset)
        with dg.build_sensor_context(
            instance=self.world.instance,
            instance_ref=self.world.instance.get_ref(),  # as the daemon does: by it, partitions of this tick are known
            cursor=self.cursor,
            repository_def=self.repository,
            resources={name: resources[name] for name in ("landing", "store", "engine")},
        ) as context:
            assert self.repository is not None
            tick = self.repository.get_sensor_def("experiments_sensor").evaluate_tick(context)
        for one in tick.dynamic_partitions_requests or []:
            if isinstance(one, dg.AddDynamicPartitionsRequest):
                self.world.instance.add_dynamic_partitions("experiments", one.partition_keys)
            else:
                for key in one.partition_keys:
                    self.world.instance.delete_dynamic_partition("experiments", key)
        self.told = tick.skip_message or ""
        if not dies:
            self.cursor = tick.cursor
            self.observed += [str(event.description) for event in tick.asset_events]
        fresh = [one for one in tick.run_requests or [] if one.run_key not in self.keys]
        self.keys |= {str(one.run_key) for one in fresh}
        return [str(one.partition_key) for one in fresh]

    def settle(self) -> list[str]:
        """Ticks until a file that came before the first would have been requested, and one more."""
        return [name for _ in range(3) for name in self.tick()]

    @property
    def partitions(self) -> Sequence[str]:
        return sorted(self.world.instance.get_dynamic_partitions("experiments"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Experiments]:
    folder = tmp_path_factory.mktemp("experiments")
    with dagster_in(folder / "dagster") as made:
        yield Experiments(make_world(folder, made, **FAST))


@pytest.fixture
def experiments(shared: Experiments) -> Experiments:
    """No file, no partition, no memory."""
    shutil.rmtree(shared.world.landing / "experiments", ignore_errors=True)
    for name in shared.partitions:
        shared.world.instance.delete_dynamic_partition("experiments", name)
    return Experiments(shared.world, shared.repository)


def test_each_new_file_is_one_run_once_it_is_whole(experiments: Experiments) -> None:
    assert experiments.tick() == []
    assert experiments.told == "nothing is new among the experiments"
    experiments.put("a.yaml", FOREST)
    experiments.put("b.yml", LINEAR)
    assert experiments.tick() == []
    assert experiments.told == "experiments/a.yaml: not whole yet; experiments/b.yml: not whole yet"
    experiments.put("b.yml", LINEAR + b"seed: 1\n")  # still growing
    assert experiments.tick() == ["a"]
    assert experiments.tick() == ["b"]
    assert experiments.settle() == []
    assert experiments.partitions == ["a", "b"]


def test_an_edit_is_a_run_and_a_touch_is_none(experiments: Experiments) -> None:
    """A becomes B becomes A again: three contents, three runs."""
    for content, expected in ((FOREST, ["a"]), (FOREST, []), (LINEAR, ["a"]), (FOREST, ["a"])):
        experiments.put("a.yaml", content)
        assert experiments.settle() == expected
    assert experiments.partitions == ["a"]


def test_a_bad_file_is_told_by_line_and_field_and_others_go_on(experiments: Experiments) -> None:
    experiments.put("bad.yaml", BAD)
    experiments.put("good.yaml", FOREST)
    experiments.put("Capital.yaml", FOREST)
    (experiments.world.landing / "experiments/notes.txt").write_text("no experiment")
    assert experiments.settle() == ["good"]
    fault = "experiments/bad.yaml:3: params.depth: is not known; did you mean max_depth?"
    name = "experiments/Capital.yaml: name: expected lower-case letters, digits, '_' and '-', at most 64"
    assert experiments.told == f"{name}; {fault}"
    assert sorted(experiments.observed) == [name, fault], "once, where people look at the asset"
    assert experiments.partitions == ["good"]
    experiments.put("bad.yaml", BAD.replace(b"depth", b"max_depth"))
    assert experiments.settle() == ["bad"]
    assert experiments.told.startswith("experiments/Capital.yaml")


def test_a_model_stands_while_its_file_is_at_fault_and_goes_with_its_file(experiments: Experiments) -> None:
    experiments.put("a.yaml", FOREST)
    assert experiments.settle() == ["a"]
    experiments.put("a.yaml", BAD)
    assert experiments.settle() == []
    assert experiments.partitions == ["a"]
    experiments.put("a.yaml", FOREST)
    assert experiments.settle() == [], "what is trained is what the file says again"
    experiments.remove("a.yaml")
    assert experiments.settle() == []
    assert experiments.partitions == []
    experiments.put("a.yaml", FOREST)
    assert experiments.settle() == ["a"]


def test_two_files_of_one_name_are_one_experiment_and_a_fault(experiments: Experiments) -> None:
    experiments.put("a.yaml", FOREST)
    experiments.put("a.yml", LINEAR)
    assert experiments.settle() == ["a"]
    assert experiments.told == "experiments/a.yml: name: experiments/a.yaml is there too"
    experiments.remove("a.yml")
    assert experiments.settle() == []
    assert experiments.partitions == ["a"]


def test_a_restart_between_any_two_steps_loses_and_repeats_nothing(experiments: Experiments) -> None:
    experiments.put("a.yaml", FOREST)
    ran = []
    for _ in range(4):
        ran += experiments.tick(dies=True)
        ran += experiments.tick()
    assert ran == ["a"]
    experiments.cursor = "not a cursor"
    assert experiments.settle() == []
    assert experiments.partitions == ["a"]
