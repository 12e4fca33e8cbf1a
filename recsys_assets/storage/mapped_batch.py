"""An Arrow IPC file of one record batch that is mapped; the schema's metadata states its format and version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa


@dataclass(frozen=True)
class BatchFormat:
    """The format of a file.

    Attributes:
        what: is in the file, for errors.
        key: of the version in the metadata.
        version: that is read.
        error: raised for a file of another format.
    """

    what: str
    key: bytes
    version: int
    error: type[ValueError]

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """What states the format in the schema."""
        return {self.key: str(self.version).encode()}

    def map(self, path: Path, columns: Sequence[str], fits: Callable[[pa.Schema], bool]) -> pa.RecordBatch:
        """Map a file.

        Args:
            path: of the file.
            columns: their names, for errors.
            fits: whether a schema is that of the format.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: of the type ``error``: not Arrow IPC, another version, or not one batch of the columns.
        """
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            batches, schema = reader.num_record_batches, reader.schema
            batch = reader.get_batch(0) if batches == 1 else None
        except pa.ArrowInvalid as error:
            raise self.error(f"{path}: not an Arrow IPC file: {error}") from error
        version = (schema.metadata or {}).get(self.key, b"none").decode()
        if version != str(self.version):
            raise self.error(f"{path}: must be {self.what} of format {self.version}, found {version}")
        if batch is None or not fits(schema):
            raise self.error(f"{path}: must be one batch of {list(columns)}, found {batches} of {schema}")
        return batch
