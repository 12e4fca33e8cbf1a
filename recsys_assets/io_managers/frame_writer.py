"""Runs a frame into a staged file, audits it against its contract and describes it for the Dagster UI."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import PrivateAttr

from recsys_assets.checks.results import merge_results
from recsys_assets.core.contracts import Contract, IdTypes, arrow_schema, contracts_of
from recsys_assets.core.engine import Engine, Frame
from recsys_assets.core.quality import Audit, audit
from recsys_assets.io_managers.handles import FILE, Staged, StagedFile
from recsys_assets.resources.engine import EngineResource
from recsys_assets.resources.naming import asset_name
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.lineage import DATA_FILE, Input
from recsys_assets.storage.partition_store import partition_key
from recsys_assets.storage.scratch import TemporaryFolder

PartitionCheck = Callable[[str, Frame], dg.AssetCheckResult]
"""A further check of one partition: day and its frame in, result out."""

_PREVIEW_ROWS = 8
_ROWS_TOGETHER = 1_000_000
"""Rows of the days that are audited in one query; a larger day has one of its own."""
_OUTSIDE = "FrameWriter is used outside of a run"


class FrameWriter(dg.ConfigurableResource[Any]):
    """Turns what ``core`` computes into a :class:`dagster.MaterializeResult`: bytes, checks, metadata in one place."""

    user_ids: str = "int64"
    item_ids: str = "int64"
    generators: list[str]
    engine: dg.ResourceDependency[EngineResource]
    _folder: TemporaryFolder | None = PrivateAttr(default=None)
    _engine: Engine | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Make the folder of this run's staged files and its engine."""
        self._folder = TemporaryFolder("staged-")
        self._engine = self.engine.open()

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Remove what was staged; the IO manager has stored it."""
        if self._folder:
            self._folder.cleanup()

    @property
    def run(self) -> Engine:
        """The engine of this run."""
        if self._engine is None:
            raise RuntimeError(_OUTSIDE)
        return self._engine

    @property
    def ids(self) -> IdTypes:
        """The data set's id types."""
        return IdTypes(user=self.user_ids, item=self.item_ids)  # type: ignore[arg-type]

    def schema_of(self, contract: Contract) -> pa.Schema:
        """The contract's parquet schema."""
        return arrow_schema(contract, self.ids)

    def empty(self, contract: Contract) -> Frame:
        """A frame of the contract with no rows."""
        return self.run.from_arrow(self.schema_of(contract).empty_table())

    def write(
        self,
        context: dg.AssetExecutionContext,
        build: Callable[[str], Frame | Iterable[Frame] | pa.Table],
        *,
        asset: str | None = None,
        partition_checks: Sequence[PartitionCheck] = (),
        params: Mapping[str, Any] | Callable[[str], Mapping[str, Any]] | None = None,
        seed: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        checks: Sequence[dg.AssetCheckResult] = (),
        inputs: Sequence[Input] = (),
        days_read: Mapping[str, int] | None = None,
    ) -> dg.MaterializeResult[Staged]:
        """Stage the frame of every partition of this run and check it, up to the first day that fails.

        The IO manager stores the days before that one, and then fails with its error.

        Args:
            context: of the running step.
            build: day to frame (or Arrow table, or frames that follow one another; see :meth:`Engine.sink`).
            asset: which asset of a step that makes several; its contract has the same name.
            partition_checks: further checks of each partition, after that of its contract.
            params: what the frame was computed with (a function of the day where days differ), for the lineage record.
            seed: of anything random in it.
            metadata: further metadata, the same for every partition of the run.
            checks: results that concern the run as a whole, after those of the partitions.
            inputs: partitions that were read past the IO manager, for the lineage record.
            days_read: of a run over several days, the trailing days of an input that each day is made of, likewise.
        """
        asset = asset or asset_name(context.asset_key)
        contract = contracts_of(tuple(self.generators))[asset]
        files: dict[str, StagedFile] = {}
        failure: Exception | None = None
        for day in context.partition_keys:
            try:
                day_params = params(day) if callable(params) else (params or {})
                files[day] = self._stage(context, contract, day, build(day), day_params)
            except Exception as error:
                error.add_note(f"{asset} of {day} failed; the days of this run before it are stored")
                if not files:
                    raise
                failure = error
                break
        results = [(day, _contract_check(report)) for day, report in self._audits(contract, files)]
        results += [
            (day, check(day, self._scan(contract, [file]).drop("dt")))
            for day, file in files.items()
            for check in partition_checks
        ]
        if len(files) > 1:
            _log_failed_days(context, asset, results)
        return _result(
            _key(context, asset),
            Staged(files, seed, tuple(inputs), days_read or {}, failure),
            [*merge_results(results), *checks],
            metadata,
        )

    def write_bytes(
        self,
        context: dg.AssetExecutionContext,
        content: bytes,
        *,
        asset: str | None = None,
        params: Mapping[str, Any] | None = None,
        seed: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        checks: Sequence[dg.AssetCheckResult] = (),
        inputs: Sequence[Input] = (),
    ) -> dg.MaterializeResult[Staged]:
        """Stage a file that is not a frame (a model, parameters); arguments as of :meth:`write`."""
        asset = asset or asset_name(context.asset_key)
        path = self._path(asset, context.partition_key, file_of(context, asset))
        path.write_bytes(content)
        staged = StagedFile(path, rows=0, sha256=hashlib.sha256(content).hexdigest(), params=params or {})
        output = Staged({context.partition_key: staged}, seed, tuple(inputs))
        context.add_asset_metadata(
            {"sha256": staged.sha256}, asset_key=_key(context, asset), partition_key=context.partition_key
        )
        return _result(_key(context, asset), output, checks, metadata)

    def _stage(
        self,
        context: dg.AssetExecutionContext,
        contract: Contract,
        day: str,
        frame: Frame | Iterable[Frame] | pa.Table,
        params: Mapping[str, Any],
    ) -> StagedFile:
        lazy = self.run.from_arrow(frame) if isinstance(frame, pa.Table) else frame
        path = self._path(contract.name, day, DATA_FILE)
        rows = self.run.sink(lazy, path, self.schema_of(contract), contract.sort_by)
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        # The data version is one for all days of a run; automation asks which of them have changed.
        facts = {"dagster/partition_row_count": rows, "sha256": sha256, **_preview(path, contract)}
        context.add_asset_metadata(facts, asset_key=_key(context, contract.name), partition_key=day)
        return StagedFile(path, rows, sha256, params)

    def _scan(self, contract: Contract, files: Sequence[StagedFile]) -> Frame:
        """What was staged, read as it will be from the store."""
        return self.run.scan([str(file.path) for file in files], self.schema_of(contract))

    def _audits(self, contract: Contract, files: Mapping[str, StagedFile]) -> Iterator[tuple[str, Audit]]:
        """The audit of each day, in order.

        Small days are audited together, since a query takes milliseconds and a first load has thousands of days; only
        where something is wrong are they audited one by one, to name the day.
        """
        for days in _small_together(files):
            staged = [files[day] for day in days]
            together = replace(contract, key=("dt", *contract.key))
            if len(days) > 1 and not audit(self.run, self._scan(contract, staged), together).violations:
                yield from ((day, Audit(files[day].rows, {})) for day in days)
            else:
                yield from (
                    (day, audit(self.run, self._scan(contract, [files[day]]).drop("dt"), contract)) for day in days
                )

    def _path(self, asset: str, day: str, file_name: str) -> Path:
        if self._folder is None:
            raise RuntimeError(_OUTSIDE)
        # The hive folder lets the engine scan a staged file just like a stored one.
        folder = Path(self._folder.name) / asset / f"dt={day}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / file_name


def _result(
    key: dg.AssetKey, staged: Staged, checks: Sequence[dg.AssetCheckResult], metadata: Mapping[str, Any] | None
) -> dg.MaterializeResult[Staged]:
    hashes = [file.sha256 for _, file in sorted(staged.files.items())]
    version = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    return dg.MaterializeResult(
        asset_key=key,
        value=staged,
        data_version=dg.DataVersion(version),
        check_results=[check._replace(asset_key=key) for check in checks],
        metadata=metadata or {},
    )


def _key(context: dg.AssetExecutionContext, asset: str) -> dg.AssetKey:
    """The key of an asset that the running step makes."""
    return next(key for key in context.assets_def.keys if asset_name(key) == asset)


def file_of(context: dg.AssetExecutionContext, asset: str) -> str:
    """The name of an asset's file, as declared at the asset.

    Raises:
        KeyError: it declares none, so its partitions are parquet.
    """
    declared = context.assets_def.get_asset_spec(_key(context, asset)).metadata
    if FILE not in declared:
        raise KeyError(f"asset {asset} writes bytes and declares no file name: graph.asset(..., file=...)")
    return declared[FILE]


def partition_uri(context: dg.AssetExecutionContext, store: StoreResource) -> str:
    """The address in the store of the file that this step writes for its day."""
    asset = asset_name(context.asset_key)
    return store.open().uri(partition_key(asset, context.partition_key, file_of(context, asset)))


def _small_together(files: Mapping[str, StagedFile]) -> Iterator[list[str]]:
    """The days, in order, in lists of at most :data:`_ROWS_TOGETHER` rows, or of one day."""
    days, rows = list[str](), 0
    for day, file in files.items():
        if days and rows + file.rows > _ROWS_TOGETHER:
            yield days
            days, rows = [], 0
        days.append(day)
        rows += file.rows
    if days:
        yield days


def _contract_check(report: Audit) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name="contract", passed=not report.violations, metadata={"rows": report.rows, **report.violations}
    )


def _log_failed_days(
    context: dg.AssetExecutionContext, asset: str, results: Sequence[tuple[str, dg.AssetCheckResult]]
) -> None:
    """Record which days of a range a check stopped: by itself Dagster records one result for the whole run.

    Days that passed are not logged, since an event costs milliseconds and a first load has thousands.
    """
    for day, check in results:
        if check.check_name and not check.passed and check.severity is dg.AssetCheckSeverity.ERROR:
            failed = dg.AssetCheckEvaluation(
                asset_key=_key(context, asset),
                check_name=check.check_name,
                passed=False,
                metadata=check.metadata,
                partition=day,
            )
            context.log_event(failed)  # pyright: ignore[reportArgumentType]


def _preview(path: Path, contract: Contract) -> dict[str, dg.MetadataValue[Any]]:
    """The first rows as a markdown table, unless they are about persons: Dagster's event log forgets nothing."""
    if any(name == "raw" or column.dtype == "user" for name, column in contract.columns.items()):
        return {}
    return {"preview": dg.MetadataValue.md(_table(path))}


def _table(path: Path) -> str:
    head = next(pq.ParquetFile(path).iter_batches(batch_size=_PREVIEW_ROWS), None)
    if head is None or not head.num_rows:
        return "no rows"
    names = [name for name in head.schema.names if not pa.types.is_list(head.schema.field(name).type)]
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    lines += [" | ".join(_cell(row[name]) for name in names) for row in head.to_pylist()]
    return "\n".join(f"| {line} |" for line in lines)


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str("" if value is None else value)
    return text.replace("|", "\\|").replace("\n", " ")[:60]
