"""The IO manager: stores staged files, and loads inputs as handles of stored partitions.

Every partition is one file (parquet for frames; a model or its parameters keep their own format) with a lineage record
beside it. The record holds the exact bytes of every input, which Dagster's own provenance does not beyond 100 upstream
partitions.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
from pydantic import PrivateAttr

from recsys_assets.core.contracts import IdTypes, arrow_schema, contracts_of
from recsys_assets.core.engine import Frame
from recsys_assets.ingest.accepted import Accepted, FileKind, read_accepted
from recsys_assets.io_managers.handles import ANY_SETTINGS, WHOLE, Partitions, Staged
from recsys_assets.resources.engine import EngineResource
from recsys_assets.resources.naming import asset_name
from recsys_assets.resources.store import StoreResource
from recsys_assets.storage.lineage import Input, Lineage
from recsys_assets.storage.objects import NotFound
from recsys_assets.storage.partition_store import PartitionStore
from recsys_assets.storage.scratch import TemporaryFolder
from recsys_assets.storage.stated import days_as_text

DAYS_OF: Mapping[str, FileKind] = {"item_properties": "properties", "impressions": "impressions"}
"""The files that say which days an asset must have, where they are not those of events."""


class NotBuiltError(RuntimeError):
    """Days that are to be read have files and were never built."""


class ParquetIOManager(dg.ConfigurableIOManager):
    """Stores :class:`Staged` files under ``assets/<asset>/dt=<day>/`` and hands out :class:`Partitions`."""

    user_ids: str = "int64"
    item_ids: str = "int64"
    generators: list[str]
    store: dg.ResourceDependency[StoreResource]
    engine: dg.ResourceDependency[EngineResource]
    _folder: TemporaryFolder | None = PrivateAttr(default=None)
    _records: dict[tuple[str, str], Lineage] = PrivateAttr(default_factory=dict)
    _accepted: Accepted | None = PrivateAttr(default=None)
    _reads: dict[str, list[Input]] = PrivateAttr(default_factory=lambda: defaultdict(list))

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Make the folder that fetched files go to."""
        self._folder = TemporaryFolder("fetched-")

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Remove what was fetched."""
        if self._folder:
            self._folder.cleanup()

    def load_input(self, context: dg.InputContext) -> Partitions:
        """A handle of the upstream partitions that this step's partitions map to.

        To read some that were made with other settings is an ``OtherSettingsError``.

        Raises:
            NotBuiltError: some were never made, although there are files for their days.
        """
        asset = asset_name(context.asset_key)
        partitions, engine = self.store.partitions(), self.engine.open()
        expected = sorted(context.asset_partition_keys)
        uris = dict(partitions.uris(asset, expected))
        days = tuple(day for day in expected if day in uris)
        missing = tuple(day for day in expected if day not in uris)
        records = {day: self._record(partitions, asset, day) for day in days}
        declared = context.definition_metadata
        if declared.get(WHOLE):
            self._refuse_not_built(asset, missing)
        self._reads[_step(context)] += [Input(asset, day, record.sha256) for day, record in records.items()]
        ids = IdTypes(user=self.user_ids, item=self.item_ids)  # type: ignore[arg-type]

        # Not for the whole window: of examples, a step reads every so many days alone.
        def expect_current(chosen: Sequence[str]) -> None:
            if not declared.get(ANY_SETTINGS):
                partitions.refuse_other_settings(records[day] for day in chosen)

        def scan(chosen: Sequence[str]) -> Frame:
            expect_current(chosen)
            contract = contracts_of(tuple(self.generators))[asset]
            return engine.scan([uris[day] for day in chosen], arrow_schema(contract, ids))

        def fetch(day: str) -> Path:
            expect_current([day])
            if self._folder is None:
                raise RuntimeError(f"{asset} of {day} is fetched outside of a run")
            return partitions.fetch(asset, day, Path(self._folder.name))

        return Partitions(asset, days, missing, scan, fetch)

    def handle_output(self, context: dg.OutputContext, obj: Staged) -> None:
        """Store every staged file with its lineage; equal bytes from equal inputs move nothing.

        Raises:
            Exception: a day could not be made or stored. Those before it are stored, and the error names it.
        """
        asset = asset_name(context.asset_key)
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
            self._records[asset, day] = written.lineage
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

    def _record(self, partitions: PartitionStore, asset: str, day: str) -> Lineage:
        """The record of a stored partition; read once per run, which counts where windows are long and stores far."""
        if (asset, day) not in self._records:
            record = partitions.read_lineage(asset, day)
            if record is None:
                raise NotFound(f"{asset} of {day} was removed while it was to be read")
            self._records[asset, day] = record
        return self._records[asset, day]

    def _refuse_not_built(self, asset: str, missing: Sequence[str]) -> None:
        """Let nobody take a day for an empty one that has files and was not built from them."""
        if not missing:
            return
        accepted = self._accepted = self._accepted or read_accepted(self.store.open())
        kind = DAYS_OF.get(asset, "events")
        with_files = (
            accepted.event_days() if kind == "events" else [day for day in missing if accepted.digests(kind, day)]
        )
        if not_built := sorted(set(missing).intersection(with_files)):
            raise NotBuiltError(
                f"{asset} of {days_as_text(not_built)}: there are files for it, and it was never built; what reads it "
                "would take it for empty. `make run` or the job `history` for these days builds it"
            )


def _is_read(day: str, by: str, days: int) -> bool:
    """Whether a day is among the trailing ones that end with another."""
    return (date.fromisoformat(by) - timedelta(days=days - 1)).isoformat() <= day <= by


def _step(context: dg.InputContext | dg.OutputContext) -> str:
    """The step that an input or output belongs to."""
    return context.op_def.name
