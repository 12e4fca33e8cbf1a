"""Next items of sessions on Diginetica (CIKM Cup 2016), Tmall and Nowplaying, in the splits of SR-GNN and GCE-GNN.

Every test example counts, and all items are ranked. The defaults of ``SessionParams`` were chosen on training sessions
of Diginetica alone: the newest tenth of them, expanded into examples of a prefix and the item that follows it, with the
model fitted on the other nine tenths. ``fused, chosen`` has weights that the platform's function chooses on the newest
training sessions of each set, by the next click of a session; the asset ``session_model`` asks for what follows a
night. The second table of a section shows on a sample of held-out training sessions what changing a parameter does; no
parameter is chosen by it, or by figures of test examples. Test figures on samples were seen, though, while it was
decided how weights are chosen: which of them, and on how many clicks of each session.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from benchmarks.report import Line, table, write_section
from recsys_assets.cli.progress import Progress
from recsys_assets.core.evaluation.bootstrap import Interval, paired_difference
from recsys_assets.core.gate.rule import CONFIDENCE
from recsys_assets.core.models.next_items import NextItems, recommend
from recsys_assets.core.models.session_model import CHOSEN, SessionModel, SessionParams
from recsys_assets.core.models.session_parts import Visits, co_occurrences
from recsys_assets.core.models.session_weights import ChosenParams, choose_params
from recsys_assets.core.models.sessions import fit

K = 20
SEED = 0
VALIDATED, TIMED = 5_000, 2_000
TITLES = {
    "diginetica": "Diginetica (sessions, the split of SR-GNN)",
    "tmall": "Tmall (sessions, the split of GCE-GNN)",
    "nowplaying": "Nowplaying (sessions, the split of GCE-GNN)",
}
PUBLISHED: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "diginetica": {"Item-KNN": (35.75, 11.57), "SR-GNN": (50.73, 17.59), "GCE-GNN": (54.22, 19.04)},
    "tmall": {"SR-GNN": (27.57, 13.72), "GCE-GNN": (33.42, 15.42)},
    "nowplaying": {"SR-GNN": (18.87, 7.47), "GCE-GNN": (22.37, 8.40)},
}
# What a generator may differ in: asked of one fitted model, or fitted anew.
ASKED: Mapping[str, tuple[float, ...]] = {
    "neighbours": (50, 100, 400),
    "recent_sessions": (100, 2000),
    "click_decay": (0.75, 3.0),
    "distance_decay": (2.0, 8.0),
    "similarity_power": (0.5, 2.0),
    "link_weight": (0.75, 3.0),
}
FITTED: Mapping[str, tuple[float, ...]] = {
    "age_decay": (0.3, 3.0),
    "link_decay": (1.5, 6.0),
    "first_links": (30, 120),
    "links": (50, 200),
}


@dataclass(frozen=True)
class Examples:
    """Unfinished sessions and what came next.

    Attributes:
        prefixes: session_id (the number of the example), item_id, ts.
        targets: item of each example.
    """

    prefixes: pa.Table
    targets: np.ndarray


@dataclass(frozen=True)
class Cost:
    """CPU seconds, and peak resident MiB of a process that does nothing else: before, after fitting, after asking."""

    choice: float
    fit: float
    batch: float
    requests: np.ndarray
    peaks: tuple[float, float, float]


def clicks(sessions: pl.DataFrame) -> pa.Table:
    """A row per click of ``session_id`` and ``items``, whose order is the time."""
    rows = sessions.explode("items").select("session_id", item_id="items").with_row_index("ts")
    return rows.with_columns(pl.col("ts").cast(pl.Int64)).to_arrow()


def training(data: Path) -> pl.DataFrame:
    """The training sessions, oldest first, as the file has them."""
    return pl.read_parquet(data / "train_sessions.parquet").rename({"session": "session_id"})


def chosen_params(log: pa.Table) -> ChosenParams:
    """The weights that the platform chooses on training sessions, each of which stands for a user."""
    users = log.append_column("user_id", log["session_id"])
    return choose_params(users.sort_by([("user_id", "ascending"), ("ts", "ascending")]), SessionParams())


def test_examples(data: Path) -> Examples:
    """All of them."""
    given = pl.read_parquet(data / "test_examples.parquet").with_row_index("session_id")
    given = given.with_columns(pl.col("session_id").cast(pl.Int64))
    return Examples(clicks(given.rename({"prefix": "items"})), given["target"].to_numpy())


def validation(sessions: pl.DataFrame) -> tuple[pa.Table, Examples]:
    """The oldest nine tenths of the sessions, and a sample of examples from the newest, of items known until then."""
    cut = len(sessions) * 9 // 10
    past = clicks(sessions[:cut])
    later = sessions[cut:].explode("items").filter(pl.col("items").is_in(past["item_id"].to_numpy().tolist()))
    later = later.with_row_index("row").with_columns(first=pl.col("row").min().over("session_id"))
    ends = later.filter(pl.col("row") > pl.col("first")).sample(VALIDATED, seed=SEED).sort("row")
    items = later["items"].to_numpy()
    spans = zip(ends["first"].to_list(), ends["row"].to_list(), strict=True)
    prefixes = pl.DataFrame(
        {"session_id": range(VALIDATED), "items": [items[first:end].tolist() for first, end in spans]}
    )
    return past, Examples(clicks(prefixes), ends["items"].to_numpy())


def per_example(model: SessionModel, examples: Examples) -> np.ndarray:
    """[examples, 2] whether the target is among the first 20, and its reciprocal rank, else 0."""
    found = recommend(model, examples.prefixes, K)
    rows = found["session_id"].to_numpy()
    hits = found["item_id"].to_numpy() == examples.targets[rows]
    values = np.zeros((len(examples.targets), 2))
    values[rows[hits], 0] = 1
    values[rows[hits], 1] = 1 / found["rank"].to_numpy()[hits]
    return values


def evaluator(model: SessionModel, examples: Examples) -> tuple[float, float]:
    """P@20 (how often the target is among the first 20) and MRR@20, means over all examples."""
    precision, reciprocal = per_example(model, examples).mean(axis=0).tolist()
    return precision, reciprocal


def with_params(model: SessionModel, **changed: float) -> SessionModel:
    """The same model, asked otherwise."""
    return replace(model, params=replace(model.params, **changed))


def with_one_step(model: SessionModel) -> SessionModel:
    """The model with links between items that met, instead of links over an item between: item-kNN."""
    rows, items, lags = (a.astype(np.int64) for a in (model.visit_sessions, model.visit_items, model.visit_lags))
    params, count = model.params, len(model.session_starts) - 1
    log = Visits(rows, items, lags, np.ones_like(rows))
    near = co_occurrences(
        log, params.age_weights(np.arange(count), count), len(model.items), params.link_decay, params.links
    )
    return replace(model, link_starts=near.indptr, link_items=near.indices, link_weights=near.data)


def cost(data: Path) -> Cost:
    """What fitting and asking cost, on one thread."""
    log, examples = clicks(training(data)), test_examples(data)
    peaks = [peak()]
    start = time.process_time()
    params = chosen_params(log).params
    choice = time.process_time() - start
    start = time.process_time()
    model = fit(log, params)
    fitted = time.process_time() - start
    peaks.append(peak())
    start = time.process_time()
    recommend(model, examples.prefixes, K)
    batch = time.process_time() - start
    peaks.append(peak())
    chosen = np.random.default_rng(SEED).choice(len(examples.targets), TIMED, replace=False)
    prefixes = pl.read_parquet(data / "test_examples.parquet")["prefix"][chosen.tolist()].to_list()
    one, requests = NextItems(model), np.empty(TIMED)
    for place, prefix in enumerate(prefixes):
        start = time.process_time()
        one(prefix, K)
        requests[place] = time.process_time() - start
    return Cost(choice, fitted, batch, requests, (peaks[0], peaks[1], peaks[2]))


def peak() -> float:
    """Peak resident MiB of this process until now; what getrusage says would count its parent's as well."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def compare(name: str, sessions: pl.DataFrame, progress: Progress) -> dict[str, tuple[float, float]]:
    """Metrics on validation: of the defaults, and with one of them changed."""
    past, examples = validation(sessions)
    defaults, model = SessionParams(), fit(past)
    found = {"defaults": evaluator(model, examples)}
    for param, values in {**ASKED, **FITTED}.items():
        for value in values:
            with progress.step(f"{name}, validation: {param} {value:g}"):
                changed = (
                    with_params(model, **{param: value})
                    if param in ASKED
                    else fit(past, replace(defaults, **{param: value}))
                )
                found[f"{param} {value:g} instead of {getattr(defaults, param):g}"] = evaluator(changed, examples)
    return found


def run(name: str, data: Path | None, work: Path, progress: Progress) -> list[Line]:
    """Evaluate each part and all together, and write the section. Nothing is kept in ``work``."""
    if data is None:
        raise ValueError(f"{name} cannot be generated: its folder is needed")
    sessions = training(data)
    validated = compare(name, sessions, progress)
    examples = test_examples(data)
    with progress.step(f"{name}: choosing weights"):
        chosen = chosen_params(clicks(sessions))
    model = fit(clicks(sessions))
    one_step = with_one_step(model)
    silent = {"neighbour_weight": 0.0, "link_weight": 0.0}
    systems = {
        "returns": with_params(model, **silent),
        "neighbours": with_params(model, link_weight=0.0),
        "item-kNN": with_params(one_step, neighbour_weight=0.0),
        "links": with_params(model, neighbour_weight=0.0),
        "neighbours and item-kNN": one_step,
        "fused": model,
        "fused, chosen": replace(model, params=chosen.params),
    }
    values: dict[str, np.ndarray] = {}
    for system, parts in systems.items():
        with progress.step(f"{name}: {system}"):
            values[system] = per_example(parts, examples)
    gains = [
        paired_difference(values["fused, chosen"][:, at], values["fused"][:, at], level=CONFIDENCE) for at in (0, 1)
    ]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool, progress.step(f"{name}: cost"):
        spent = pool.submit(cost, data).result()
    tested = {system: tuple(per.mean(axis=0).tolist()) for system, per in values.items()}
    write_section(
        f"quality-{name}",
        f"Quality: {TITLES[name]}",
        f"python -m benchmarks.quality --only {name}",
        ("numpy", "scipy", "pyarrow"),
        describe(name, sessions, examples, tested, validated, spent) + described(chosen, gains),
    )
    return [
        Line(name, system.replace(", ", "_").replace(" ", "_"), dict(zip((f"P@{K}", f"MRR@{K}"), means, strict=True)))
        for system, means in tested.items()
    ]


def described(chosen: ChosenParams, gains: Sequence[Interval]) -> str:
    """How the weights were chosen, and what they gain on test examples."""
    weights = ", ".join(f"`{name}` {getattr(chosen.params, name):g}" for name in CHOSEN)
    precision, reciprocal = (
        f"{100 * gain.mean:+.2f} [{100 * gain.low:+.2f}, {100 * gain.high:+.2f}]" for gain in gains
    )
    return f"""

`fused, chosen` has {weights} ({chosen.why}, all of them in training sessions). On the test examples it has
{precision} points of P@{K} and {reciprocal} of MRR@{K} more than the defaults (paired 95 % intervals)."""


def margin(share: float, count: int) -> float:
    """Half the 95 % interval, in percent, of a share of independent examples."""
    return 196 * (share * (1 - share) / count) ** 0.5


def describe(
    name: str,
    sessions: pl.DataFrame,
    examples: Examples,
    tested: Mapping[str, tuple[float, ...]],
    validated: Mapping[str, tuple[float, float]],
    spent: Cost,
) -> str:
    """The tables, and what they say in words."""
    count = len(examples.targets)
    metrics = [f"P@{K}, %", f"MRR@{K}, %"]

    def row(system: str, values: tuple[float, ...]) -> list[str]:
        return [system, *(f"{100 * value:.2f}" for value in values)]

    ours = [row(system, values) for system, values in tested.items()]
    theirs = [
        [f"{system} (published)", *(f"{value:.2f}" for value in values)] for system, values in PUBLISHED[name].items()
    ]
    median, late = 1000 * np.quantile(spent.requests, (0.5, 0.99))
    before, fitted, asked = spent.peaks
    luck = margin(tested["fused"][0], count)
    chance = margin(validated["defaults"][0], VALIDATED)
    return f"""{len(sessions):,} training sessions, {count:,} test examples, all of which count. A hit is the target
anywhere among the first {K} of all items; items of the session may be the target. By chance alone P of the fused list
may be off by ±{luck:.1f} (95 %, examples taken as independent). Nothing is drawn at random but the validation
sample and the requests that are timed (seed {SEED}).

{table(["system", *metrics], [*ours, *theirs])}

`returns` are the counted rates of returning to an item of the session, and each row below has them. `neighbours` are
items of similar sessions; `item-kNN` links items that met in sessions; `links` join items over one between.
`fused` is returns, neighbours and links with default weights.

Choosing the weights takes {spent.choice:.1f} s and fitting {spent.fit:.1f} s, with {fitted - before:,.0f} MiB above the
{before:,.0f} MiB of libraries and data. All examples at once take {1000 * spent.batch / count:.2f} ms each, and
{max(asked - fitted, 0):,.0f} MiB more at the peak. One at a time, as a server asks, {median:.2f} ms
(median of {TIMED:,}; 99th percentile {late:.2f} ms). All this is CPU time, and one thread.

One parameter changed at a time, with the model fitted on the oldest nine tenths of the training sessions, on
{VALIDATED:,} examples from the newest tenth, where P of each row may be off by ±{chance:.1f} by chance:

{table(["parameters, on validation", *metrics], [row(params, values) for params, values in validated.items()])}"""
