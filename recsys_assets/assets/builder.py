"""Declares assets: adds what all of them share, such as partitions, owners, checks and column tables."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

import dagster as dg

from recsys_assets.core.contracts import Contract, IdTypes, arrow_schema, contracts_of
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.generator_registry import GeneratorRegistry
from recsys_assets.io_managers.handles import ANY_SETTINGS, FILE, WHOLE
from recsys_assets.model_registry.experiment_models import experiments_of
from recsys_assets.resources.naming import Names
from recsys_assets.settings import Settings
from recsys_assets.storage.lineage import DATA_FILE

# Preview and beta features that are used on purpose, with Dagster pinned to an exact version.
warnings.filterwarnings("ignore", "Specifying a partitions_def on an AssetCheckSpec is", dg.PreviewWarning)
warnings.filterwarnings("ignore", "Parameter `backfill_policy` of function `(multi_)?asset` is", dg.BetaWarning)
warnings.filterwarnings("ignore", "Parameter `use_user_code_server` of", dg.BetaWarning)
warnings.filterwarnings("ignore", "Parameter `owners` of initializer `SensorDefinition", dg.BetaWarning)
warnings.filterwarnings("ignore", "Parameter `allow_nonexistent_upstream_partitions` of", dg.BetaWarning)

OWNERS = ["team:recsys"]
CHECKS: Mapping[str, str] = {
    "contract": "Columns, types, ranges and the unique key are as declared.",
    "rows_add_up": "Rows read = clean + duplicates + rejected, per file.",
    "volume": "The day is not far below the days before it.",
    "not_empty": "There is something to build on.",
    "ranks_are_dense": "Every list is numbered 1..n without gaps.",
    "never_itself": "No item is similar to itself.",
    "orphans": "Categories whose parent is unknown are few.",
    "ranker_beats_generators": "The ranker beats the best generator on a window that neither was fitted on.",
    "known_values": "Prices and availabilities of the day's files mean something; else they are unknown, not guessed.",
    "schema": "Event files have the columns that those before them had.",
    "drift": "The day's mix of event types and hours is that of the days before it.",
    "ordered_by_winner": "The winner of the evaluation orders the lists, never a ranker that lost.",
    "model_inputs_present": "The ranker sees the columns that it was trained with; else the fusion orders the lists.",
    "tracked": "MLflow has the model, and its aliases match the registry state.",
    "complete": "Nothing of the landing zone waits for a person; where too much is missing, the release does too.",
    "serving_is_current": "What is served is this day or a newer one, or a person keeps another, and its bytes verify.",
    "fresh": "The newest day was written within RECSYS_FRESH_HOURS, whatever was backfilled.",
    "serving_follows": "No person has pinned what is served, so that it follows new releases.",
    "table_is_served": "The tables in PostgreSQL show the release that is served.",
    "settings_of_now": "Every day is made with the settings and the code of now; the job `rebuild` sees to it.",
}
"""Every check of the graph and what it asserts."""

Grain = Literal["day", "as_of", "experiment"]
DAILY = frozenset(
    {
        *("clean_events", "item_properties", "impressions", "user_activity", "item_activity", "item_pairs"),
        *("bot_users", "attribution", "event_counts"),
    }
)
"""Assets that have a partition for each day with files; a test compares them with the graph."""
Reads = Mapping[str, dg.PartitionMapping | None]


@dataclass(frozen=True)
class Output:
    """What is declared of one asset of a step that makes several; see :meth:`GraphBuilder.asset`."""

    description: str
    kinds: Sequence[str] = ("parquet",)
    code_version: str = "1"
    checks: Sequence[str] = ()
    advisory: Sequence[str] = ()
    file: str = DATA_FILE


@dataclass(frozen=True)
class GraphBuilder:
    """Declares assets. Each module of this package has a ``build(graph)`` that returns the assets of one group."""

    settings: Settings
    dataset: Dataset
    partitions: dg.DailyPartitionsDefinition
    registry: GeneratorRegistry
    as_of_policy: dg.AutomationCondition[Any] | None = None
    """The automation condition of as-of assets; None: they only run on request."""

    @property
    def names(self) -> Names:
        """How what it declares is named."""
        return Names.of(self.settings)

    @property
    def experiments(self) -> dg.DynamicPartitionsDefinition:
        """One partition per file ``experiments/<name>.yaml`` of the landing zone."""
        return experiments_of(self.names)

    @property
    def ids(self) -> IdTypes:
        """The data set's id types."""
        return self.dataset.ids

    @property
    def contracts(self) -> Mapping[str, Contract]:
        """Every frame of the graph by its asset's name."""
        return contracts_of(self.registry.names)

    def lacks(self, asset: str) -> bool:
        """Whether an asset is left out because the data set brings nothing for it."""
        return asset == "item_embeddings" and self.dataset.embeddings is None

    def day(self, key: str) -> date:
        """A partition key as a date."""
        return date.fromisoformat(key)

    def end(self, key: str) -> datetime:
        """The instant at which the day of a partition ends."""
        midnight = datetime.combine(self.day(key) + timedelta(days=1), time(), tzinfo=UTC)
        return midnight + timedelta(hours=self.dataset.boundary_hours)

    def asset(
        self,
        group: str,
        *,
        reads: Reads | None = None,
        kinds: Sequence[str] = ("parquet",),
        code_version: str = "1",
        grain: Grain = "as_of",
        checks: Sequence[str] = ("contract",),
        advisory: Sequence[str] = (),
        deps: Sequence[str] = (),
        pool: str | None = None,
        last: bool = False,
        asked_for: bool = False,
        any_settings: bool = False,
        file: str = DATA_FILE,
    ) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        """Decorate an asset function; its name is the key, its docstring the description.

        Args:
            group: group in the lineage.
            reads: upstream assets and the partitions read of each (None: the same day).
            kinds: shown as icons in the UI.
            code_version: change it when the same inputs give another output.
            grain: ``day`` depends on one day alone and is backfilled in one run over a range; ``as_of`` describes the
                state at the end of a day and is backfilled in one run per day; ``experiment`` does too, and nothing
                that is served waits for it.
            checks: blocking checks that the function returns results for.
            advisory: checks that warn but do not block.
            deps: upstream assets that it does not load.
            pool: concurrency pool; by default the asset's own, so that one step at a time writes it.
            last: whether it has the lowest priority in a run.
            asked_for: whether it runs on request only, without automation.
            any_settings: whether it reads days that were made with other settings too, as a report on the past does.
            file: name of a partition's file in the store; anything but a frame has one of its own.
        """

        def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
            name = function.__name__
            through_io_manager(function)
            return dg.asset(
                key=self.names.key(name),
                group_name=self.names(group),
                partitions_def=self.partitions,
                ins=self.inputs(reads, grain, any_settings=any_settings),
                deps=list(map(self.names.key, deps)),
                io_manager_key=self.names("io_manager"),
                pool=self.names(pool or name),
                automation_condition=None if asked_for else self.automation(grain),
                kinds=set(kinds),
                owners=OWNERS,
                code_version=code_version,
                tags={self.names.grain: grain},
                op_tags={"dagster/priority": "-1"} if last else None,
                metadata=self.metadata(name, file),
                backfill_policy=backfill_policy(grain),
                check_specs=self.checks(name, checks, advisory),
            )(self.names.bind(function))

        return decorate

    def multi_asset(
        self,
        step: str,
        group: str,
        outputs: Mapping[str, Output],
        *,
        reads: Reads | None = None,
        grain: Grain = "as_of",
        deps: Mapping[str, dg.PartitionMapping] | None = None,
    ) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        """Decorate a function that makes several assets in one step and returns a result for each, in their order.

        Args:
            step: name of the step, and of its pool.
            group: group in the lineage.
            outputs: the assets by name.
            reads: as of :meth:`asset`, for all of them.
            grain: as of :meth:`asset`.
            deps: upstream assets that it does not load, and their partitions.
        """

        def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
            through_io_manager(function)
            return dg.multi_asset(
                name=self.names(step),
                outs={
                    name: dg.AssetOut(
                        key=self.names.key(name),
                        io_manager_key=self.names("io_manager"),
                        group_name=self.names(group),
                        kinds=set(output.kinds),
                        owners=OWNERS,
                        code_version=output.code_version,
                        tags={self.names.grain: grain},
                        automation_condition=self.automation(grain),
                        description=output.description,
                        metadata=self.metadata(name, output.file),
                    )
                    for name, output in outputs.items()
                },
                ins=self.inputs(reads, grain),
                deps=self.deps(deps or {}),
                partitions_def=self.partitions,
                backfill_policy=backfill_policy(grain),
                pool=self.names(step),
                check_specs=[
                    spec
                    for name, output in outputs.items()
                    for spec in self.checks(name, output.checks, output.advisory)
                ],
            )(self.names.bind(function))

        return decorate

    def inputs(self, reads: Reads | None, grain: Grain, *, any_settings: bool = False) -> dict[str, dg.AssetIn]:
        """Upstream assets as Dagster takes them.

        What is as of a day needs all days of daily assets. Those themselves are built in any order: attribution is
        outdated as long as it lacks impressions.
        """
        return {
            name: dg.AssetIn(
                key=self.names.key(name),
                partition_mapping=mapping,
                metadata={WHOLE: grain != "day" and name in DAILY, ANY_SETTINGS: any_settings},
            )
            for name, mapping in (reads or {}).items()
        }

    def deps(self, mappings: Mapping[str, dg.PartitionMapping]) -> list[dg.AssetDep]:
        """Upstream assets that are not loaded, and their partitions."""
        return [dg.AssetDep(self.names.key(name), partition_mapping=of) for name, of in mappings.items()]

    def automation(self, grain: Grain) -> dg.AutomationCondition[Any] | None:
        """The automation condition of an asset. The landing sensor requests days; as-of days follow them."""
        return self.as_of_policy if grain == "as_of" else None

    def checks(self, asset: str, blocking: Sequence[str], advisory: Sequence[str] = ()) -> list[dg.AssetCheckSpec]:
        """Specs of an asset's checks; the only place that uses their partitioned preview."""
        return [
            dg.AssetCheckSpec(
                name,
                asset=self.names.key(asset),
                blocking=name in blocking,
                description=CHECKS[name],
                partitions_def=self.partitions,
            )
            for name in (*blocking, *advisory)
        ]

    def metadata(self, asset: str, file: str = DATA_FILE) -> dict[str, Any]:
        """What is declared of an asset as metadata: its column table, and its file's name where it is not parquet."""
        return {**self.columns(self.contracts.get(asset)), **({} if file == DATA_FILE else {FILE: file})}

    def columns(self, contract: Contract | None) -> dict[str, Any]:
        """The column table that the UI shows."""
        if contract is None:
            return {}
        schema = arrow_schema(contract, self.ids)
        unique = "unique: " + ", ".join(contract.key)
        return {
            "dagster/column_schema": dg.TableSchema(
                columns=[
                    dg.TableColumn(
                        name,
                        str(schema.field(name).type),
                        description=column.about,
                        constraints=dg.TableColumnConstraints(nullable=column.nullable),
                    )
                    for name, column in contract.columns.items()
                ],
                constraints=dg.TableConstraints([unique]),
            )
        }


def backfill_policy(grain: Grain) -> dg.BackfillPolicy:
    """Marts of a range of days are built in one run; as-of days in a run each, so that each passes its own checks."""
    return dg.BackfillPolicy.single_run() if grain == "day" else dg.BackfillPolicy.multi_run(1)


def through_io_manager(function: Callable[..., Any]) -> None:
    """Let Dagster pass the function's values to the IO manager.

    Dagster reads the annotation ``MaterializeResult`` as "stores its output by itself", even if the result has a value.
    """
    function.__annotations__.pop("return", None)
