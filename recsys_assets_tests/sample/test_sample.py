"""The generated sample has the shape, the quirks and the planted tastes that the platform is measured on."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from recsys_assets.sample.config import DAY_MS, SampleConfig
from recsys_assets.sample.generate import FILES, generate

SMALL = SampleConfig(events=4_000, days=24, seed=5)
HALF_HOUR_MS = 30 * 60_000


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample")
    generate(SampleConfig(), out)
    return out


@pytest.fixture(scope="module")
def events(sample: Path) -> pl.DataFrame:
    return pl.read_csv(sample / "events.csv").with_columns(
        day=(pl.col("timestamp") - SampleConfig().start_ms) // DAY_MS
    )


@pytest.fixture(scope="module")
def properties(sample: Path) -> pl.DataFrame:
    return pl.concat([pl.read_csv(sample / f"item_properties_part{part}.csv") for part in (1, 2)])


@pytest.fixture(scope="module")
def tree(sample: Path) -> pl.DataFrame:
    return pl.read_csv(sample / "category_tree.csv")


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_equal_seeds_give_equal_bytes_and_other_seeds_others(tmp_path: Path):
    generate(SMALL, tmp_path / "a")
    arguments = ["--events", "4000", "--days", "24", "--seed", "5", "--out", str(tmp_path / "b")]
    done = subprocess.run(
        [sys.executable, "-m", "recsys_assets.sample", *arguments], capture_output=True, text=True, check=True
    )
    assert "events: 4,000" in done.stdout
    generate(SampleConfig(events=4_000, days=24, seed=6), tmp_path / "c")
    first, again, other = (hashes(tmp_path / name) for name in "abc")
    assert set(first) == set(FILES)
    assert first == again
    assert all(first[name] != other[name] for name in FILES)


def test_compressed_files_hold_the_same_bytes(tmp_path: Path):
    generate(SMALL, tmp_path / "plain")
    for name in ("zipped", "again"):
        generate(SMALL, tmp_path / name, compress=True)
    assert hashes(tmp_path / "zipped") == hashes(tmp_path / "again")
    for name in FILES:
        packed = (tmp_path / "zipped" / f"{name}.gz").read_bytes()
        assert gzip.decompress(packed) == (tmp_path / "plain" / name).read_bytes()


def test_a_failure_leaves_the_old_files_and_no_others(tmp_path: Path):
    generate(SMALL, tmp_path)
    before = hashes(tmp_path)

    def fail(name: str, done: int, _total: int) -> None:
        if name != "events.csv":
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        generate(SampleConfig(events=4_000, days=24, seed=7), tmp_path, fail)
    assert hashes(tmp_path) == before


@pytest.mark.parametrize("days", [1, 7, 200])
def test_any_size_and_start_work(tmp_path: Path, days: int):
    config = SampleConfig(events=500, days=days, start=date(2024, 2, 28))
    counts = generate(config, tmp_path)
    for name in FILES:
        assert len(pl.read_csv(tmp_path / name)) == counts[Path(name).stem] > 0
    times = pl.read_csv(tmp_path / "events.csv")["timestamp"]
    assert times.is_between(config.start_ms, config.end_ms - 1).all()
    assert counts["events"] == counts["view"] + counts["addtocart"] + counts["transaction"] == 500


@pytest.mark.parametrize(
    ("name", "value"), [("events", 10), ("days", 0), ("returning_share", 1.5), ("items_per_event", 0)]
)
def test_impossible_settings_are_named(name: str, value: float):
    with pytest.raises(ValueError, match=name):
        SampleConfig(**{name: value})  # type: ignore[arg-type]


def test_files_have_the_columns_and_types_of_the_real_ones(sample: Path):
    headers = {name: (sample / name).open().readline().strip() for name in FILES}
    assert headers == {
        "events.csv": "timestamp,visitorid,event,itemid,transactionid",
        "item_properties_part1.csv": "timestamp,itemid,property,value",
        "item_properties_part2.csv": "timestamp,itemid,property,value",
        "category_tree.csv": "categoryid,parentid",
    }
    types = pl.read_csv(sample / "events.csv").dtypes
    assert types == [pl.Int64, pl.Int64, pl.String, pl.Int64, pl.Int64]


def test_events_have_the_real_shape(events: pl.DataFrame):
    assert len(events) == 200_000
    shares = {kind: count / len(events) for kind, count in events["event"].value_counts().iter_rows()}
    assert shares["view"] == pytest.approx(0.9667, abs=0.003)
    assert shares["addtocart"] == pytest.approx(0.0252, rel=0.08)
    assert shares["transaction"] == pytest.approx(0.0081, rel=0.1)
    by_user, by_item = (events.group_by(key).len()["len"] for key in ("visitorid", "itemid"))
    assert len(by_user) / len(events) == pytest.approx(0.51, abs=0.05)
    assert len(by_item) / len(events) == pytest.approx(0.085, abs=0.015)
    quantiles = [(by_user.quantile(q), by_item.quantile(q)) for q in (0.5, 0.9, 0.99)]
    for (user, item), (real_user, real_item) in zip(quantiles, [(1, 3), (3, 25), (13, 143)], strict=True):
        assert user == pytest.approx(real_user, rel=0.25)
        assert item == pytest.approx(real_item, rel=0.35)
    assert (by_item < len(events) * 0.02).all(), "one item owns the sample"
    assert (by_user > 200).any(), "no bots or B2B buyers"
    daily = events.group_by("day").len().sort("day")["len"]
    assert len(daily) == 60
    assert 0.02 < daily.to_numpy().std() / daily.to_numpy().mean() < 0.25


def test_events_have_the_real_quirks(events: pl.DataFrame):
    config = SampleConfig()
    assert 0 in events["visitorid"]
    assert 0 in events["itemid"]
    assert not events["timestamp"].is_sorted()
    assert 5 < events.is_duplicated().sum() < 500
    times = events["timestamp"].to_numpy()
    assert times.min() < config.start_ms + 3_600_000
    assert config.end_ms > times.max() > config.end_ms - 3_600_000
    heavy = events.group_by("visitorid").agg(pl.len(), (pl.col("event") == "transaction").sum().alias("bought"))
    assert heavy.filter((pl.col("len") > 100) & (pl.col("bought") == 0)).height > 0, "no bots"
    assert heavy.filter(pl.col("bought") > 10).height > 0, "no B2B buyers"
    first = events.group_by("itemid").agg(pl.col("day").min()).join(events.group_by("itemid").len(), on="itemid")
    assert (first.filter(pl.col("len") > 20)["day"] > 20).to_numpy().mean() > 0.05, "no launches"


def test_orders_belong_to_one_user_and_some_hold_several_items(events: pl.DataFrame):
    is_purchase = events["event"] == "transaction"
    assert (events["transactionid"].is_not_null() == is_purchase).all()
    orders = events.filter(is_purchase).unique().group_by("transactionid")
    orders = orders.agg(pl.col("visitorid").n_unique(), pl.col("itemid").n_unique(), pl.col("day").n_unique())
    assert orders["visitorid"].max() == 1
    assert (orders["itemid"] > 1).sum() > 20
    assert (orders["day"] > 1).sum() > 0


def test_the_funnel_is_in_order(events: pl.DataFrame):
    firsts = events.group_by("visitorid", "itemid").agg(
        *(
            pl.col("timestamp").filter(pl.col("event") == kind).min().alias(kind)
            for kind in ("view", "addtocart", "transaction")
        )
    )
    carts, purchases = (firsts.filter(pl.col(kind).is_not_null()) for kind in ("addtocart", "transaction"))
    assert (carts["view"] < carts["addtocart"]).all()
    assert (purchases["view"] < purchases["transaction"]).all()
    with_cart = (purchases["addtocart"] < purchases["transaction"]).fill_null(value=False)
    assert 0.6 < with_cart.mean() < 0.98  # type: ignore[operator]
    later = (purchases["transaction"] - purchases["addtocart"]).drop_nulls() > DAY_MS
    assert later.sum() > 50, "no purchases days after the cart"
    assert (events.group_by("visitorid", "itemid").len()["len"] > 1).mean() > 0.05  # type: ignore[operator]


def test_visits_are_sessions_and_users_come_back(events: pl.DataFrame):
    ordered = events.unique().sort("visitorid", "timestamp")
    gap = ordered.select(gap=pl.col("timestamp").diff().over("visitorid"))["gap"].drop_nulls()
    within = gap.filter(gap < HALF_HOUR_MS)
    assert 0.5 < len(within) / len(gap) < 0.95
    between = gap.filter(gap >= HALF_HOUR_MS)
    assert ((between > 3_600_000) & (between < DAY_MS)).mean() > 0.05  # type: ignore[operator]
    assert (between > DAY_MS).mean() > 0.3  # type: ignore[operator]


def test_the_category_tree_has_the_real_shape(tree: pl.DataFrame):
    depths = dict.fromkeys(tree.filter(pl.col("parentid").is_null())["categoryid"], 1)
    assert len(depths) == 25
    parents = dict(tree.drop_nulls().iter_rows())
    assert tree["categoryid"].is_unique().all()
    while len(depths) < len(tree):
        level = {node: depths[up] + 1 for node, up in parents.items() if node not in depths and up in depths}
        assert level, "a cycle or a parent outside the tree"
        depths.update(level)
    counts = [list(depths.values()).count(depth) / len(tree) for depth in range(1, 7)]
    assert max(depths.values()) == 6
    assert counts[2] > counts[1] > counts[4] > counts[5] > 0


def test_properties_have_the_real_snapshots_and_values(properties: pl.DataFrame, tree: pl.DataFrame):
    config = SampleConfig()
    times = properties["timestamp"].unique().sort()
    weeks = ((times - config.start_ms) / (7 * DAY_MS)).to_list()
    assert weeks == [1, 2, 3, 4, 5, 6, 8], "Sundays 03:00 UTC, not before the second week, one missing"
    rows = properties.group_by("timestamp").len().sort("timestamp")["len"]
    assert rows[0] == rows.max()
    value = {name[0]: frame for name, frame in properties.partition_by("property", as_dict=True).items()}
    assert len(value) > 500
    assert value["790"]["value"].str.contains(r"^n\d+\.\d{3}$").all()
    assert value["888"]["value"].str.contains(r"^\d+ \d+ n\d+\.\d{3}$").all()
    assert value["283"]["value"].str.contains(" ").all()
    assert set(value["available"]["value"]) == {"0", "1"}
    assert 0 in properties["itemid"]
    assert properties.select("timestamp", "itemid", "property").is_duplicated().sum() == 0
    categories = value["categoryid"].with_columns(pl.col("value").cast(pl.Int64))
    outside = categories.filter(~pl.col("value").is_in(tree["categoryid"].implode()))["itemid"].n_unique()
    assert 3 <= outside < 0.002 * categories["itemid"].n_unique()
    for name, low, high in (("categoryid", 0.01, 0.1), ("available", 0.03, 0.25), ("790", 0.03, 0.3)):
        drifted = (value[name].group_by("itemid").agg(pl.col("value").n_unique())["value"] > 1).mean()
        assert low < drifted < high, name  # type: ignore[operator]


def test_events_meet_the_properties_as_in_the_real_data(events: pl.DataFrame, properties: pl.DataFrame):
    states = properties.filter(pl.col("property") == "available").select("timestamp", "itemid", "value")
    states = states.sort("timestamp")
    stated = events.sort("timestamp").join_asof(states, on="timestamp", by="itemid", check_sortedness=False)
    stated = stated.with_columns(described=pl.col("itemid").is_in(properties["itemid"].unique().implode()))
    assert 0.03 < 1 - stated["described"].mean() < 0.15  # type: ignore[operator]
    assert 0.1 < (stated["described"] & stated["value"].is_null()).mean() < 0.3  # type: ignore[operator]
    unavailable = stated.drop_nulls("value").with_columns(is_unavailable=pl.col("value") == "0")
    assert 0.25 < unavailable["is_unavailable"].mean() < 0.5  # type: ignore[operator]
    assert 0.02 < unavailable.filter(pl.col("event") == "transaction")["is_unavailable"].mean() < 0.15  # type: ignore[operator]


def test_tastes_are_found_by_co_visitation_and_not_by_popularity(events: pl.DataFrame):
    history = events.filter(pl.col("day").is_between(25, 52)).unique(["visitorid", "itemid"])
    targets = events.filter((pl.col("day") > 52) & (pl.col("event") != "view")).unique(["visitorid", "itemid"])
    targets = targets.join(history.select("visitorid").unique(), on="visitorid").select("visitorid", "itemid")
    assert targets["visitorid"].n_unique() >= 200, "too few users to measure anything"
    users = targets.select("visitorid").unique()
    top = history.group_by("itemid").len().sort("len", "itemid", descending=True).head(10)
    popular = users.join(top.select("itemid"), how="cross")
    seen = history.join(users, on="visitorid").select("visitorid", "itemid")
    # Cosine of items by common users, without the busiest users.
    pairs = history.filter(pl.len().over("visitorid") <= 50).select("visitorid", "itemid")
    size = pairs.group_by("itemid").len("size")
    similar = (
        pairs.join(pairs, on="visitorid", suffix="_near")
        .filter(pl.col("itemid") != pl.col("itemid_near"))
        .group_by("itemid", "itemid_near")
        .len("together")
        .join(size, on="itemid")
        .join(size.rename({"itemid": "itemid_near"}), on="itemid_near", suffix="_near")
        .with_columns(score=pl.col("together") / ((pl.col("size") + 5) * (pl.col("size_near") + 5)).sqrt())
    )
    near = (
        seen.join(similar, on="itemid")
        .group_by("visitorid", pl.col("itemid_near").alias("itemid"))
        .agg(pl.col("score").sum())
        .sort("score", "itemid", descending=True)
    )

    def recall(lists: pl.DataFrame, wanted: pl.DataFrame) -> float:
        best = lists.group_by("visitorid", maintain_order=True).head(10).with_columns(hit=1)
        hits = wanted.join(best, on=["visitorid", "itemid"], how="left").group_by("visitorid")
        return float(hits.agg(pl.col("hit").fill_null(0).mean())["hit"].mean())  # type: ignore[arg-type]

    new = targets.join(seen, on=["visitorid", "itemid"], how="anti")
    unseen = near.join(seen, on=["visitorid", "itemid"], how="anti")
    assert recall(unseen, new) > 3 * recall(popular, new), "new items"
    assert recall(unseen, new) > 0.08
    assert recall(near, targets) > 3 * recall(popular, targets)
    again = history.join(users, on="visitorid").sort("timestamp", descending=True).select("visitorid", "itemid")
    assert 0.25 < recall(again, targets) < 0.7, "repeats matter, and are not all"


def test_memory_does_not_follow_the_number_of_events(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path\n"
        "from recsys_assets.sample.generate import SampleConfig, generate\n"
        "events, out = int(sys.argv[1]), Path(sys.argv[2])\n"
        "config = SampleConfig(events, items_per_event=2_000 / events, properties_per_item=0)\n"
        "generate(config, out)\n"
        # Not getrusage: its peak includes what the parent held when it forked.
        "peak = Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]\n"
        "print(int(peak) * 1024, (out / 'events.csv').stat().st_size)\n"
    )
    measured: list[tuple[int, int]] = []
    for events in (600_000, 1_600_000):  # beyond what buffers hold
        command = [sys.executable, "-c", code, str(events), str(tmp_path / str(events))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak, size = map(int, done.stdout.split())
        measured.append((peak, size))
    (small, small_file), (large, large_file) = measured
    assert large - small < 0.5 * (large_file - small_file), measured


def test_each_item_has_one_title_and_brand_that_tell_its_taste(properties: pl.DataFrame):
    values = {name: properties.filter(pl.col("property") == name) for name in ("title", "brand", "categoryid")}
    described = properties["itemid"].n_unique()
    for name in ("title", "brand"):
        each = values[name].group_by("itemid").agg(pl.col("value").n_unique())
        assert len(each) == described
        assert (each["value"] == 1).all()
    assert values["title"].unique("itemid")["value"].is_unique().all()
    first = values["categoryid"].sort("timestamp").unique("itemid", keep="first")
    sort = values["title"].unique("itemid").select("itemid", sort=pl.col("value").str.extract(r" (.+) \d+$"))
    share = first.join(sort, on="itemid").group_by("value").agg(pl.col("sort").mode().first(), pl.len())
    kept = first.join(sort, on="itemid").join(share, on="value").select((pl.col("sort") == pl.col("sort_right")).mean())
    assert kept.item() > 0.98, "categories are not of one sort; few items are misfiled"
