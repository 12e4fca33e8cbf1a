"""CSV files that appear whole or not at all."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

import polars as pl

Append = Callable[[pl.DataFrame], None]


@contextmanager
def csv_files(out_dir: Path, names: tuple[str, ...], compress: bool) -> Generator[dict[str, Append]]:
    """Open CSV files for appending frames under temporary names; rename all of them once every one is complete.

    Args:
        out_dir: directory, created if needed.
        names: file names such as ``events.csv``; ``.gz`` is added when compressing.
        compress: write gzip, without a time stamp, so that equal data is equal bytes.

    Yields:
        A function for each name that appends a frame; the first call writes the header too.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    targets = {name: out_dir / (f"{name}.gz" if compress else name) for name in names}
    partial = {name: path.with_name(f".{path.name}.{os.getpid()}.tmp") for name, path in targets.items()}
    try:
        with ExitStack() as stack:
            yield {name: _appender(stack, path, compress) for name, path in partial.items()}
        for name, path in partial.items():
            path.replace(targets[name])
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)


def _appender(stack: ExitStack, path: Path, compress: bool) -> Append:
    raw = stack.enter_context(path.open("wb"))
    stack.callback(_sync, raw)
    sink: IO[bytes] = raw
    if compress:
        # A fast level: the sample is read a few times and thrown away.
        zipped = gzip.GzipFile(filename="", mode="wb", compresslevel=3, fileobj=raw, mtime=0)
        sink = cast("IO[bytes]", stack.enter_context(zipped))
    header = True

    def append(frame: pl.DataFrame) -> None:
        nonlocal header
        frame.write_csv(sink, include_header=header)
        header = False

    return append


def _sync(raw: IO[bytes]) -> None:
    raw.flush()
    os.fsync(raw.fileno())
