"""Searches every file of a store for a person, by what the file is, whatever its name.

=================== =================================================================================================
parquet, Arrow      columns of users, and rejected rows
models, other npz   arrays of users; an array of bytes is a text
gz, zst, zip        what is in it
everything else     a text, also if it is binary (:mod:`recsys_assets.erasure.texts`)
=================== =================================================================================================

A number like 12 is also a count, a rank and an item somewhere, so it is the person only where users are. An id that
nothing else can be (:func:`is_distinctive`) is the person wherever it stands as a whole word. Parquet files are frames
with a contract, whose users stand in columns of users alone.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_assets.core.models.stored_arrays import from_bytes
from recsys_assets.erasure.person import Person
from recsys_assets.erasure.texts import Labels, words
from recsys_assets.ingest.suppression import UserId, as_id, matching
from recsys_assets.storage.erasure_requests import ROOT as REQUESTS
from recsys_assets.storage.lists import list_files
from recsys_assets.storage.objects import ObjectStore
from recsys_assets.storage.served_lists import SERVED_LISTS

_READERS = 8
_LARGE = 64 * 1024 * 1024
"""Bytes from which on a file that has to be read as a whole is the only one in memory."""
_USER_LISTS = [list_files(served.name)[0] for served in SERVED_LISTS if served.key_type == "user"]
"""Files of a release whose keys are user ids."""
_USERS, _RAW = "user_id", "raw"
_PARQUET, _ARROW, _ZIP, _GZIP, _ZSTD = b"PAR1", b"ARROW1", b"PK\x03\x04", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_DIGITS, _CHARACTERS = 10, 6
"""From which on a number is no count, rank or size, and a text with a digit is no word of ours."""
_one_large_file = Lock()


class SearchError(ValueError):
    """A file cannot be searched; the message names it."""


def holders(store: ObjectStore, person: Person) -> dict[str, int]:
    """Every stored file that holds the person: key to number of places.

    Requests for erasures are left out: they have to name the person, and are deleted when the person is erased.

    Raises:
        SearchError: a file is damaged.
    """
    keys = [meta.key for meta in store.list() if not meta.key.startswith(f"{REQUESTS}/")]
    search = Search(person)

    def count(key: str) -> int:
        try:
            with store.open(key) as stream:
                return search.count(stream, key.rpartition("/")[2])
        except (ValueError, EOFError, csv.Error, zipfile.BadZipFile, zlib.error) as error:
            raise SearchError(f"{store.uri(key)}: cannot be searched for the person: {error}") from error

    with ThreadPoolExecutor(_READERS) as pool:
        return {key: places for key, places in zip(keys, pool.map(count, keys), strict=True) if places}


def is_distinctive(user: UserId) -> bool:
    """Whether nothing but a user can have this id: a number of ten digits; six characters, a digit or @ among them."""
    text = str(user)
    if re.fullmatch(r"[+-]?[0-9]+", text):
        return len(text.lstrip("+-0")) >= _DIGITS
    return len(text) >= _CHARACTERS and any(map(str.isalpha, text)) and bool(re.search("[0-9@]", text))


class Search:
    """Looks for one person."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self._distinctive = is_distinctive(person.id)
        self._names = {*map(str.lower, person.columns), _USERS, "user_ids"}
        self._labels = Labels(self._names)

    def count(self, stream: BinaryIO, name: str) -> int:
        """Number of places in a file that hold the person.

        Args:
            stream: the file, from its start; seekable.
            name: of the file, which tells lists of users from lists of items.
        """
        # By content: a name may not tell the format.
        start = stream.read(len(_ARROW))
        size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        if start.startswith(_PARQUET):
            return self._in_parquet(stream)
        with _one_large_file if size > _LARGE else nullcontext():
            return self._in_arrow(stream, name) if start == _ARROW else self._in_bytes(stream.read())

    def _in_parquet(self, stream: BinaryIO) -> int:
        file = pq.ParquetFile(stream)
        columns = [name for name in file.schema_arrow.names if name == _RAW or name.lower() in self._names]
        groups = (file.read_row_group(n, columns) for n in range(file.num_row_groups if columns else 0))
        return sum(
            _sum(self._person.rows(group.select([name]))) if name == _RAW else self._in_values(name, group[name])
            for group in groups
            for name in columns
        )

    def _in_arrow(self, stream: BinaryIO, name: str) -> int:
        keys = _USERS if name in _USER_LISTS else "key"
        schema = pa.ipc.open_file(stream).schema
        names = [keys if field.name == "key" else field.name for field in schema]
        # What is not looked at is not read: ranks and scores are most of a release.
        places = [place for place, field in enumerate(schema) if self._may_hold(names[place], field.type)]
        stated = b"\n".join(text for pair in (schema.metadata or {}).items() for text in pair)
        found = self._in_text(stated)
        if places:
            stream.seek(0)
            file = pa.ipc.open_file(stream, options=pa.ipc.IpcReadOptions(included_fields=places))
            for batch in map(file.get_batch, range(file.num_record_batches)):
                found += sum(self._in_values(names[place], batch[at]) for at, place in enumerate(places))
        return found

    def _in_bytes(self, data: bytes) -> int:
        """In a file that is no table, or in what such a file contains."""
        if data.startswith(_GZIP):
            return self._in_bytes(gzip.decompress(data))
        if data.startswith(_ZSTD):
            return self._in_zstd(data)
        if data.startswith(_ZIP):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                return sum(self._in_member(name, archive.read(name)) for name in archive.namelist())
        return self._in_text(data)

    def _in_zstd(self, data: bytes) -> int:
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            plain = stream.read()
        if plain.startswith(_ZIP):
            with zipfile.ZipFile(io.BytesIO(plain)) as archive:
                is_model = "layout.npy" in archive.namelist()
            if is_model:  # its numbers are not stored as they are
                ids, arrays = from_bytes(data)
                return self._in_values("ids", ids) + sum(self._in_array(*named) for named in arrays.items())
        return self._in_bytes(plain)

    def _in_member(self, name: str, data: bytes) -> int:
        if not name.endswith(".npy"):
            return self._in_bytes(data)
        return self._in_array(name.removesuffix(".npy"), np.load(io.BytesIO(data), allow_pickle=False))

    def _in_array(self, name: str, array: np.ndarray[Any, Any]) -> int:
        values = array.ravel()
        if values.dtype.kind == "U":
            return self._in_values(name, pa.array(values.tolist(), pa.large_string()))
        return self._in_values(name, pa.array(values)) if values.dtype.kind in "iu" else 0

    def _may_hold(self, name: str, kind: pa.DataType) -> bool:
        """Whether a column of a table, or an array of a model, is one to look into: a text, or ids of users."""
        while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_dictionary(kind):
            kind = kind.value_type
        ids = pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
        return kind == pa.uint8() or (ids and (self._distinctive or self._is_of_users(name)))

    def _is_of_users(self, name: str) -> bool:
        return name.rpartition(".")[2].lower() in self._names

    def _in_values(self, name: str, values: pa.Array | pa.ChunkedArray) -> int:
        """In a column of a table, or an array of a model."""
        if not self._may_hold(name, values.type):
            return 0
        while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            values = pc.call_function("list_flatten", [values])
        if values.type == pa.uint8():
            return self._in_text(values.to_numpy(zero_copy_only=False).tobytes())
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        user = self._person.id
        if pa.types.is_integer(values.type):
            values = values.cast(pa.int64(), safe=False)
            return _sum(matching(values, [user] if isinstance(user, int) else _as_number(user)))
        if self._is_of_users(name):
            spelled = values if isinstance(user, str) else _as_integers(values)
            return _sum(matching(spelled, [user]))
        likely = pc.call_function("match_substring", [values], pc.MatchSubstringOptions(str(user)))
        return sum(map(self._in_text, map(str.encode, values.filter(likely).to_pylist())))

    def _in_text(self, text: bytes) -> int:
        labelled = sum(map(self._is_person, self._labels.values(text)))
        return max(labelled, words(text, str(self._person.id))) if self._distinctive else labelled

    def _is_person(self, text: str) -> bool:
        return as_id(text.strip(), self._person.dataset.ids.user) == self._person.id


def _as_number(user: str) -> list[int]:
    number = as_id(user, "int64")
    return [number] if isinstance(number, int) else []


def _as_integers(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    ids: Iterable[UserId | None] = (as_id(text or "", "int64") for text in texts.to_pylist())
    return pa.array(ids, pa.int64())


def _sum(mask: pa.Array | pa.ChunkedArray) -> int:
    return int(pc.call_function("sum", [mask]).as_py() or 0)
