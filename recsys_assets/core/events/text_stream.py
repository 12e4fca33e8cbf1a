"""The bytes of a text file as UTF-8, decompressed, in bounded memory.

What the bytes themselves say wins over the file's name: a ``.gz`` that some proxy has unpacked is read as it is, and a
gzip file without the suffix is unpacked. A byte order mark wins over the stated encoding.
"""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
import re
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast

import pyarrow as pa

from recsys_assets.core.events.file_faults import UnreadableFileError

MARK = "\ufdd0"
"""Stands for bytes that are no text of the encoding. Unicode reserves it for use within programs."""

_CHUNK = 1 << 18
_XZ_MEMORY = 256 << 20
"""Bytes that a dictionary of xz may take: four times what ``xz -9`` needs."""
_ESCAPED = re.compile("[\udc80-\udcff]+")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MAGIC = {b"\x1f\x8b": "gz", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zst"}
_FOREIGN = {
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "a zip archive",
    b"7z\xbc\xaf": "7-Zip",
    b"BZh": "bzip2",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x1f\x9d": "compress (.Z)",
    b"\x5d\0\0": "lzma",
    b"%PDF-": "PDF",
    b"PAR1": "parquet",
    b"Obj\x01": "Avro",
    b"ORC": "ORC",
    b"ARROW1": "Arrow IPC",
    b"SQLite f": "SQLite",
    b"\xd0\xcf\x11\xe0": "a file of old Office",
}
_FIRST_BYTES = 64
_BOM = "\ufeff"


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Raw(io.RawIOBase):
    """Bytes that a function gives, a chunk at a time; none at the end."""

    def __init__(self, more: Callable[[int], bytes], head: bytes = b"") -> None:
        self._more, self._rest = more, head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._rest or self._more(_CHUNK)
        count = min(len(buffer), len(chunk))
        buffer[:count], self._rest = chunk[:count], chunk[count:]
        return count


def open_text(stream: BinaryIO, name: str, encoding: str, *, lf_only: bool = False) -> io.BufferedReader:
    """The file's text as UTF-8 without a byte order mark; :data:`MARK` stands where bytes are no text.

    Args:
        stream: the file's bytes.
        name: of the file, for errors.
        encoding: of its text, unless a byte order mark says another.
        lf_only: whether a CR becomes an LF.

    Raises:
        UnreadableFileError: its first bytes are those of another kind of file.
        OSError, EOFError, ValueError: while it is read: the compressed data are damaged or end too early.
    """
    head = _read_fully(stream, 8)
    _expect_text(head, name)
    plain = _decompressed(io.BufferedReader(_Raw(stream.read, head)), head)
    first = _read_fully(plain, _FIRST_BYTES)
    if compression_of(head):
        _expect_text(first, name)
        if twice := compression_of(first):
            raise UnreadableFileError(f"{name}: cannot be read as text: what is unpacked is {twice} again")
    bom, found = next(((bom, kind) for bom, kind in _BOMS if first.startswith(bom)), (b"", encoding))
    if b"\0" in first and "16" not in found and "32" not in found:
        said = 'zero bytes at its beginning; if it is UTF-16 without a mark, state encoding = "utf-16-le"'
        raise UnreadableFileError(f"{name}: cannot be read as text of {found}: {said}")
    more = _utf8(plain, found, first[len(bom) :])
    lines = (lambda size: more(size).replace(b"\r", b"\n")) if lf_only else more
    return io.BufferedReader(_Raw(lines), buffer_size=1 << 20)


def _expect_text(head: bytes, name: str) -> None:
    kind = next((kind for magic, kind in _FOREIGN.items() if head.startswith(magic)), None)
    if kind is not None:
        raise UnreadableFileError(f"{name}: cannot be read as text: it is {kind}")


def _read_fully(stream: _Readable, size: int) -> bytes:
    found = b""
    while len(found) < size and (more := stream.read(size - len(found))):
        found += more
    return found


def compression_of(head: bytes) -> str:
    """How a file is compressed, by its first 8 bytes: ``gz``, ``xz``, ``zst``, or empty."""
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")


def first_bytes(stream: BinaryIO, size: int) -> bytes:
    """The first bytes of a file, decompressed; fewer if it has no more.

    Raises:
        OSError, EOFError, ValueError, zlib.error: the compressed data are damaged or end too early.
    """
    head = _read_fully(stream, 8)
    return _read_fully(_decompressed(io.BufferedReader(_Raw(stream.read, head)), head), size)


def _decompressed(source: io.BufferedReader, head: bytes) -> _Readable:
    match compression_of(head):
        case "gz":
            return cast(_Readable, gzip.GzipFile(fileobj=source, mode="rb"))
        case "xz":
            return io.BufferedReader(_Raw(_unxz(source)))
        case "zst":
            # Arrow's decompressor, unlike others, raises an error if a stream ends too early.
            return cast(_Readable, pa.CompressedInputStream(pa.PythonFile(source, mode="r"), "zstd"))
        case _:
            return source


def _unxz(source: io.BufferedReader) -> Callable[[int], bytes]:
    """Reads streams of xz that follow one another; unlike :class:`lzma.LZMAFile`, with a bound on memory."""
    state: list[lzma.LZMADecompressor | None] = [lzma.LZMADecompressor(memlimit=_XZ_MEMORY)]

    def more(size: int) -> bytes:
        pending = b""
        while (decompressor := state[0]) is not None:
            if decompressor.eof:
                rest = (decompressor.unused_data or source.read(_CHUNK)).lstrip(b"\0")
                state[0] = lzma.LZMADecompressor(memlimit=_XZ_MEMORY) if rest else None
                pending = rest
                continue
            data = pending or (source.read(_CHUNK) if decompressor.needs_input else b"")
            if not data and decompressor.needs_input:
                raise EOFError("the compressed data end too early")
            pending = b""
            if found := decompressor.decompress(data, size):
                return found
        return b""

    return more


def _utf8(source: _Readable, encoding: str, head: bytes) -> Callable[[int], bytes]:
    """Reads bytes of any encoding as UTF-8."""
    is_utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
    decoder = codecs.getincrementaldecoder(encoding)("surrogateescape" if is_utf8 else "replace")
    pending = [head]

    def more(size: int) -> bytes:
        while True:
            # One chunk, so that a peek sees more than the first bytes.
            chunk = (pending.pop() if pending else b"") + source.read(size)
            text = decoder.decode(chunk, final=not chunk)
            if _BOM in text:  # where files with a mark each were put together
                text = text.replace(_BOM, "")
            if not is_utf8:
                text = text.replace("\ufffd", MARK)
            try:
                encoded = text.encode()
            except UnicodeEncodeError:
                encoded = _ESCAPED.sub(MARK, text).encode()
            if encoded or not chunk:
                return encoded

    return more
