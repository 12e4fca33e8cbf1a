"""One visitor: what a request pays for items by each fitted model.

    python -m benchmarks.visitor [--users 1000000] [--items 100000]

The session model and the models of ``cf_ensemble`` are fitted on the visits of so many users, five items each, near a
first item drawn by Zipf's law, and mapped as a release has them. Then each recommends 50 items to a history of 20,
one visitor at a time, on one core.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_matrix

from benchmarks.report import table, write_section
from recsys_assets.cli.progress import Progress
from recsys_assets.core.models import session_model, sessions
from recsys_assets.core.models.cf_ensemble import CfEnsemble
from recsys_assets.core.models.folded_in import FoldedIn
from recsys_assets.core.models.interactions import InteractionModel
from recsys_assets.core.models.next_items import NextItems
from recsys_assets.core.models.stored_arrays import from_bytes, read_mapped, write_mapped
from recsys_assets.core.retrieval.cf_ensemble import fit

CLICKS, HISTORY, K, VISITORS = 5, 20, 50, 1000
GOALS = "2; 5"


def visits(users: int, items: int) -> pa.Table:
    """session_id, user_id, item_id and ts of each user's one session."""
    rng = np.random.default_rng(0)
    first = np.repeat((rng.zipf(1.2, users) % items) * 7919, CLICKS)
    near = (first + rng.integers(0, 40, users * CLICKS)) % items
    user = np.repeat(np.arange(users), CLICKS)
    return pa.table({"session_id": user, "user_id": user, "item_id": near, "ts": np.arange(len(near))})


def main() -> None:
    """Fit, map, ask, write the section."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.visitor", description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    given = parser.parse_args()
    progress = Progress()
    with progress.step("visits"):
        log = visits(given.users, given.items)
        pairs = log.select(["user_id", "item_id"]).group_by(["user_id", "item_id"]).aggregate([([], "count_all")])
        history = pa.table({**{name: pairs[name] for name in ("user_id", "item_id")}, "weight": np.ones(len(pairs))})
    with tempfile.TemporaryDirectory(prefix="visitor-") as name:
        folder = Path(name)
        with progress.step("session model"):
            stored = session_model.to_bytes(sessions.fit(log.drop_columns(["user_id"])))
            write_mapped(folder / "sessions.arrow", *from_bytes(stored))
        with progress.step("models of cf_ensemble"):
            write_mapped(folder / "ensemble.arrow", *from_bytes(fit(history).to_bytes()))
        nexts = NextItems(session_model.of(*read_mapped(folder / "sessions.arrow")))
        ensemble = CfEnsemble.of(*read_mapped(folder / "ensemble.arrow"))
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        rows = measured(nexts, ensemble, log["item_id"].to_numpy(), progress)
    about = f"{given.users:,} users with {CLICKS} clicks each, {given.items:,} items; {K} items for {HISTORY} clicks."
    figures = table(["model", "median, ms", "p99, ms", "goal: median; p99"], rows)
    packages = ("numpy", "scipy", "pyarrow")
    write_section("visitor", "One visitor", "python -m benchmarks.visitor", packages, f"{about}\n\n{figures}")


def measured(nexts: NextItems, ensemble: CfEnsemble, clicked: np.ndarray, progress: Progress) -> list[list[str]]:
    """A row for each model, and for the ensemble as one."""
    rng = np.random.default_rng(1)
    histories = [rng.choice(clicked, HISTORY, replace=False).tolist() for _ in range(VISITORS)]
    folded = FoldedIn(ensemble, {})
    available = np.ones(len(ensemble.items), np.bool_)
    rows = [row("sessions", lambda items: nexts(items, K), histories, progress)]
    for name, model in ensemble.models.items():

        def best(items: Sequence[int], model: InteractionModel = model) -> object:
            places = np.unique(folded.items.places(items))
            places = places[places >= 0]
            one = csr_matrix((np.ones(len(places), np.float32), places, [0, len(places)]), shape=(1, len(available)))
            return model.scores(one).best(K, one, available)

        rows.append(row(name, best, histories, progress))
    rows.append(
        row("cf_ensemble, all of them", lambda items: folded(dict.fromkeys(items, 1.0), K), histories, progress)
    )
    return rows


def row(
    name: str, ask: Callable[[Sequence[int]], object], histories: Sequence[Sequence[int]], progress: Progress
) -> list[str]:
    """Times of one model."""
    ask(histories[0])  # what is prepared once
    times: list[float] = []
    with progress.step(name):
        for items in histories:
            started = time.perf_counter()
            ask(items)
            times.append((time.perf_counter() - started) * 1000)
    return [name, f"{np.median(times):.2f}", f"{np.percentile(times, 99):.2f}", GOALS]


if __name__ == "__main__":
    main()
