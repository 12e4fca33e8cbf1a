"""How fast the best items of all users are found, against the machine's matrix product and against ``implicit``.

    python -m benchmarks.scoring [--users 140000] [--items 235000] [--factors 64]

Vectors are random, in two shapes: all of one length, where no item can be left out, and of lengths as uneven as those
of ALS. The yardsticks run in the same process: the float32 matrix product of NumPy on all cores, at its best of three
sizes, and ``implicit``'s own recommend on all cores.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix

from benchmarks.report import table, write_section
from recsys_assets.cli.progress import Progress
from recsys_assets.core.models.nearest import Floats, nearest

K, BATCH = 50, 20_000


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak() -> float:
    """GFLOP/s of the float32 matrix product, the best of three shapes, each the best of three tries."""
    rng = np.random.default_rng(0)

    def rate(size: int) -> float:
        one, other = (rng.random((size, size), np.float32) for _ in range(2))
        out = np.empty_like(one)
        return max(2 * size**3 / seconds(lambda: np.matmul(one, other, out=out)) / 1e9 for _ in range(3))

    return max(map(rate, (1024, 2048, 4096)))


def vectors(count: int, factors: int, uneven: bool, seed: int) -> Floats:
    """Random vectors; uneven lengths are log-normal, as those of ALS are."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(count, factors)).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found * rng.lognormal(0, 1, (count, 1)).astype(np.float32) if uneven else found


def ours(users: Floats, items: Floats) -> None:
    """All users, in batches as an engine hands them over."""
    for start in range(0, len(users), BATCH):
        nearest(users[start : start + BATCH], items, K)


def theirs(users: Floats, items: Floats) -> None:
    """The same by ``implicit``."""
    model = AlternatingLeastSquares(factors=users.shape[1], num_threads=0)
    model.user_factors, model.item_factors = users, items
    nothing = csr_matrix((BATCH, len(items)), dtype=np.float32)
    for start in range(0, len(users), BATCH):
        some = np.arange(start, min(start + BATCH, len(users)))
        model.recommend(some, nothing[: len(some)], N=K, filter_already_liked_items=False)


def main() -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=__doc__)
    parser.add_argument("--users", type=int, default=140_000)
    parser.add_argument("--items", type=int, default=235_000)
    parser.add_argument("--factors", type=int, default=64)
    asked = parser.parse_args()
    progress = Progress()
    best = peak()
    work = 2 * asked.users * asked.items * asked.factors / 1e9

    def row(uneven: bool, name: str, system: Callable[[Floats, Floats], None]) -> list[str]:
        users = vectors(asked.users, asked.factors, uneven, 1)
        items = vectors(asked.items, asked.factors, uneven, 2)
        shape = f"{'uneven' if uneven else 'equal'} lengths, {name}"
        with progress.step(shape):
            took = seconds(lambda: system(users, items))
        return [shape, f"{took:.1f}", f"{work / took:.0f}", f"{work / took / best:.0%}"]

    systems = (("recsys_assets", ours), ("implicit", theirs))
    rows = [row(uneven, name, system) for uneven in (False, True) for name, system in systems]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    write_section(
        "scoring",
        "Best items of all users",
        "python -m benchmarks.scoring",
        ("numpy", "implicit"),
        f"""{asked.users:,} users x {asked.items:,} items x {asked.factors} factors, the {K} best of each user, in
batches of {BATCH:,}. NumPy's float32 matrix product reaches {best:.0f} GFLOP/s on this machine, in the same run.

{table(["", "seconds", "GFLOP/s of the whole product", "of the matrix product"], rows)}

A product that is left out because an item is too short to reach anybody's list counts as done, which is how a share can
be above 100 %. Peak memory of the process, inputs and both systems included: {memory:.1f} GiB; more users cost
nothing but their own vectors and lists.""",
    )


if __name__ == "__main__":
    main()
