"""Splitting large frames into parts that an engine computes one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import narwhals as nw
import numpy as np

from recsys_assets.core.engine import Engine, Frame


class Memo:
    """A :data:`~recsys_assets.core.engine.Memoize`: computes a frame on its first use and keeps its rows in memory.

    Args:
        engine: where the frames run.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._frames: dict[str, Frame] = {}

    def __call__(self, name: str, frame: Frame) -> Frame:
        """The rows that are kept under a name; on first use, those of ``frame``."""
        if name not in self._frames:
            self._frames[name] = self._engine.from_arrow(frame.collect(backend="polars").to_arrow())
        return self._frames[name]


def by_users(engine: Engine, users: Frame, *frames: Frame) -> list[tuple[Frame, ...]]:
    """Split frames into ranges of user_id, with as many users in each as the engine prefers.

    Args:
        engine: where the frames run.
        users: user_id of all users; repeated ids count once.
        frames: user_id and any columns.

    Returns:
        At least one part; each row of each frame is in exactly one.
    """
    if engine.users_at_once is None:
        return [frames]
    distinct = users.select("user_id").unique().sort("user_id").collect(backend="polars").to_arrow()["user_id"]
    edges = [distinct[at].as_py() for at in range(engine.users_at_once, len(distinct), engine.users_at_once)]
    return _cut(frames, "user_id", edges)


_MOST_LISTED_USERS = 20_000
"""Up to this number, users are listed in a filter, and a file is unpacked only where rows pass it."""


def of_users(users: Frame, *frames: Frame) -> tuple[Frame, ...]:
    """The rows of some users.

    Args:
        users: user_id, each once.
        frames: user_id and any columns.
    """
    listed = users.select("user_id").head(_MOST_LISTED_USERS + 1).collect(backend="polars")["user_id"].to_list()
    if len(listed) > _MOST_LISTED_USERS:
        return tuple(frame.join(users.select("user_id"), on="user_id", how="semi") for frame in frames)
    return tuple(frame.filter(nw.col("user_id").is_in(listed)) for frame in frames)


def by_rows(engine: Engine, key: str, *frames: Frame, makes: int = 1) -> list[tuple[Frame, ...]]:
    """Split frames into ranges of a key, with as many rows of the first frame in each as the engine prefers.

    Args:
        engine: where the frames run.
        key: column of all frames.
        frames: to be split.
        makes: rows that the engine computes per row of the first frame.

    Returns:
        At least one part; each row of each frame is in exactly one, and rows of one key stay together.
    """
    if engine.rows_at_once is None:
        return [frames]
    counts = frames[0].group_by(key).agg(nw.len().cast(nw.Int64).alias("__rows"))
    keys = counts.sort(key).collect(backend="polars").to_arrow()
    before = np.cumsum(keys["__rows"].to_numpy()) - keys["__rows"].to_numpy()
    part = before * makes // engine.rows_at_once
    return _cut(frames, key, [keys[key][int(at)].as_py() for at in np.flatnonzero(np.diff(part)) + 1])


def _cut(frames: Sequence[Frame], key: str, edges: Sequence[Any]) -> list[tuple[Frame, ...]]:
    """Ranges of a key: up to the first edge, from edge to edge, and from the last one on."""
    return [tuple(_between(frame, key, *ends) for frame in frames) for ends in pairwise([None, *edges, None])]


def _between(frame: Frame, key: str, first: Any, end: Any) -> Frame:
    if first is not None:
        frame = frame.filter(nw.col(key) >= first)
    return frame if end is None else frame.filter(nw.col(key) < end)
