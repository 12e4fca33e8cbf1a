"""The fits of implicit feedback by alternating least squares, on the same pairs: why there are three.

    python -m benchmarks.als_backends [--data FOLDER]

Gowalla's training pairs, judged on its test pairs as in ``benchmarks.quality --only gowalla``. Spark's row needs the
extra ``spark``.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import narwhals as nw
import numpy as np
import pyarrow as pa

from benchmarks.quality import DATA
from benchmarks.quality_gowalla import K, evaluate, read_pairs, targets_of
from benchmarks.report import table, write_section
from recsys_assets.cli.progress import Progress
from recsys_assets.core.engine import AlsParams, Engine, Factors
from recsys_assets.core.ids import Ints
from recsys_assets.core.models.ials import IalsParams, ials
from recsys_assets.core.models.interactions import Floats, Interactions
from recsys_assets.core.models.nearest import nearest
from recsys_assets.engines.polars import PolarsEngine

SMALL, LARGE = 64, 512
ROW_PENALTY = IalsParams(factors=SMALL)


Vectors = tuple[Floats, Floats]
"""Of users and of items, in the order of the matrix."""


def _vectors(fitted: Factors, interactions: Interactions) -> Vectors:
    users, items = _matrix(fitted.users), _matrix(fitted.items)
    if (len(users), len(items)) != interactions.shape:
        raise ValueError("the fit left out users or items")
    return users, items


def _lists(vectors: Vectors, interactions: Interactions) -> Ints:
    """The K best new items of each user."""
    users, items = vectors
    known = interactions.matrix

    def forbid(start: int, stop: int) -> tuple[Ints, Ints]:
        return known[start:stop].nonzero()

    rows, columns, _ = nearest(users, items, K, forbid)
    lists = np.full((len(users), K), -1, np.int64)
    lists[rows, np.arange(len(rows)) - np.searchsorted(rows, rows)] = columns
    return lists


def _matrix(vectors: pa.Table) -> Floats:
    lists = vectors["factors"].combine_chunks()
    return np.asarray(lists.flatten(), np.float32).reshape(len(lists), -1)


def main() -> None:
    """Fit, evaluate, write the section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.als_backends", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the data sets")
    folder = parser.parse_args().data / "gowalla"
    train, test = read_pairs(folder / "train.txt"), read_pairs(folder / "test.txt")
    interactions = Interactions.of(train)
    users, targets = targets_of(interactions, test)
    progress, rows = Progress(), list[list[str]]()
    with _engines() as engines:
        for title, fit in _fits(interactions, engines):
            started, cpu = time.perf_counter(), time.process_time()
            with progress.step(title):
                vectors = fit()
            wall, cpu = time.perf_counter() - started, time.process_time() - cpu
            recall, ndcg = evaluate(_lists(vectors, interactions)[users], targets)
            seconds = "in the JVM" if "MLlib" in title else f"{cpu:.0f}"
            rows.append([title, f"{recall:.4f}", f"{ndcg:.4f}", f"{wall:.0f}", seconds])
    write_section(
        "als-backends",
        "Three ways to fit implicit ALS",
        "python -m benchmarks.als_backends",
        ("implicit", "numpy", "scipy", *(("pyspark",) if importlib.util.find_spec("pyspark") else ())),
        f"""Gowalla: {len(interactions.users):,} users, {len(interactions.items):,} items, {train.num_rows:,} training
pairs; full ranking, mean over {len(users):,} users with a test item.

{table(["fit", f"recall@{K}", f"NDCG@{K}", "wall s", "CPU s"], rows)}

`implicit` and MLlib have the product's default parameters; those of the exact solution were chosen on Gowalla's
training items, so its lead is an upper bound. `implicit` fits the vectors of the generator `als` in the shortest time.
The exact solution with a penalty by frequency (Rendle et al., 2022), which neither library has, is a model of
`cf_ensemble`. MLlib is what the Spark engine has: it fits on the workers what is too large for one machine.""",
    )


def _fits(interactions: Interactions, engines: dict[str, Engine]) -> Iterator[tuple[str, Callable[[], Vectors]]]:
    """Title and fit of each row."""
    pairs = interactions.matrix.tocoo()
    weighed = pa.table(
        {
            "user_id": interactions.users.take(pa.array(pairs.row)),
            "item_id": interactions.items.take(pa.array(pairs.col)),
            "weight": np.ones(pairs.nnz),
        }
    )

    def by_engine(engine: Engine, params: AlsParams) -> Vectors:
        frame = engine.from_arrow(weighed).with_columns(nw.col("weight").cast(nw.Float64))
        return _vectors(engine.factorize(frame, params), interactions)

    def exact(params: IalsParams) -> Vectors:
        model = ials(interactions, params)
        return model.vectors(interactions.matrix), model.items

    for name, engine in engines.items():
        yield f"{name}, {SMALL} factors", lambda engine=engine: by_engine(engine, AlsParams(SMALL, iterations=10))
    yield f"exact, {SMALL} factors", lambda: exact(ROW_PENALTY)
    yield f"implicit, {LARGE} factors", lambda: by_engine(engines["implicit"], AlsParams(LARGE, iterations=10))
    yield f"exact, {LARGE} factors", lambda: exact(replace(ROW_PENALTY, factors=LARGE))


@contextmanager
def _engines() -> Generator[dict[str, Engine]]:
    """The engines with a fit of their own."""
    engines: dict[str, Engine] = {"implicit": PolarsEngine()}
    if not importlib.util.find_spec("pyspark"):
        yield engines
        return
    from recsys_assets.engines.spark import SparkEngine
    from recsys_assets.engines.spark_session import standalone_session
    from recsys_assets.engines.spark_standalone import ClusterSize

    with standalone_session(ClusterSize()) as session:
        yield engines | {"MLlib": SparkEngine(session)}


if __name__ == "__main__":
    main()
