"""The IO manager: stores staged files, and loads inputs as handles of stored partitions.

Every partition is one file (parquet for frames; a model or its parameters keep their own format) with a lineage record
beside it. The record holds the exact bytes of every input, which Dagster's own provenance does not beyond 100 upstream
partitions.
"""

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
from pydantic import PrivateAttr

from recsys_assets.core.contracts import IdTypes, arrow_schema, contracts_of
from recsys_assets.core.engine import Frame
from recsys_assets.io_managers.handles import Partitions, Staged
from recsys_assets.resources.engine import EngineResource
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.lineage import Input, Lineage
from recsys_assets.storage.partition_store import PartitionStore


class ParquetIOManager(dg.ConfigurableIOManager):
    """Stores :class:`Staged` files under ``assets/<asset>/dt=<day>/`` and hands out :class:`Partitions`."""

    user_ids: str = "int64"
    item_ids: str = "int64"
    generators: list[str]
    store: dg.ResourceDependency[StoreResource]
    engine: dg.ResourceDependency[EngineResource]
    _folder: tempfile.TemporaryDirectory[str] | None = PrivateAttr(default=None)
    _sha256_of: dict[tuple[str, str], str] = PrivateAttr(default_factory=dict)
    _reads: dict[str, list[Input]] = PrivateAttr(default_factory=lambda: defaultdict(list))

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Make the folder that fetched files go to."""
        self._folder = tempfile.TemporaryDirectory(prefix="recsys-fetched-")

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Remove what was fetched."""
        if self._folder:
            self._folder.cleanup()

    def load_input(self, context: dg.InputContext) -> Partitions:
        """A handle of the upstream partitions that this step's partitions map to."""
        asset = context.asset_key.to_user_string()
        partitions, engine = self.store.partitions(), self.engine.open()
        expected = sorted(context.asset_partition_keys)
        uris = dict(partitions.uris(asset, expected))
        days = tuple(day for day in expected if day in uris)
        self._reads[_step(context)] += [Input(asset, day, self._sha256(partitions, asset, day)) for day in days]
        ids = IdTypes(user=self.user_ids, item=self.item_ids)  # type: ignore[arg-type]

        def scan(chosen: Sequence[str]) -> Frame:
            contract = contracts_of(tuple(self.generators))[asset]
            return engine.scan([uris[day] for day in chosen], arrow_schema(contract, ids))

        def fetch(day: str) -> Path:
            if self._folder is None:
                raise RuntimeError(f"{asset} of {day} is fetched outside of a run")
            return partitions.fetch(asset, day, Path(self._folder.name))

        return Partitions(asset, days, tuple(day for day in expected if day not in uris), scan, fetch)

    def handle_output(self, context: dg.OutputContext, obj: Staged) -> None:
        """Store every staged file with its lineage; equal bytes from equal inputs move nothing.

        Raises:
            Exception: a day could not be made or stored. Those before it are stored, and the error names it.
        """
        asset = context.asset_key.to_user_string()
        days, partitions = context.asset_partition_keys, self.store.partitions()
        # A step may have several outputs, and a retried step loads its inputs again.
        reads = list(dict.fromkeys([*self._reads[_step(context)], *obj.inputs]))
        changed = size = 0
        for day, staged in sorted(obj.files.items()):
            lineage = Lineage(
                asset=asset,
                day=day,
                file=staged.path.name,
                sha256=staged.sha256,
                bytes=staged.path.stat().st_size,
                rows=staged.rows,
                code_version=context.asset_spec.code_version or "",
                params=dict(staged.params),
                seed=obj.seed,
                # In a run over a range of days, each day was built from a few days of its inputs alone.
                inputs=tuple(
                    read
                    for read in reads
                    if len(days) == 1 or _is_read(read.day, day, obj.days_read.get(read.asset, 1))
                ),
                run_id=context.run_id,
            )
            try:
                written = partitions.write(asset, day, staged.path, lineage)
            except Exception as error:
                error.add_note(f"{asset} of {day} could not be stored; the days of this run before it are stored")
                raise
            self._sha256_of[asset, day] = written.sha256
            changed += written.changed
            size += written.bytes
            staged.path.unlink()
        if obj.failure:
            raise obj.failure
        context.add_output_metadata(
            {
                "bytes": size,
                "changed_partitions": changed,
                "inputs": len(reads),
                "dagster/uri": self.store.open().uri(f"assets/{asset}/"),
            }
        )

    def _sha256(self, partitions: PartitionStore, asset: str, day: str) -> str:
        """Content of a partition; a record is read once per run, which counts where windows are long and stores far."""
        if (asset, day) not in self._sha256_of:
            lineage = partitions.read_lineage(asset, day)
            self._sha256_of[asset, day] = lineage.sha256 if lineage else ""
        return self._sha256_of[asset, day]


def _is_read(day: str, by: str, days: int) -> bool:
    """Whether a day is among the trailing ones that end with another."""
    return (date.fromisoformat(by) - timedelta(days=days - 1)).isoformat() <= day <= by


def _step(context: dg.InputContext | dg.OutputContext) -> str:
    """The step that an input or output belongs to."""
    return context.op_def.name
