"""The ``placements.toml`` of a release: where it comes from, and that a bad one stops the release."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import dagster as dg
import pytest

from recsys_assets.assets.placements import fields_of_items, placements_file
from recsys_assets.core.dataset import load_dataset
from recsys_assets.settings import load_settings

GOOD = "[places.home]\nfilter = 'price < 5'\ngoal = 'transaction'\n"


def released(folder: Path, **settings: str) -> dict[str, str]:
    target = folder / "release"
    target.mkdir(exist_ok=True)
    made = placements_file(*load_settings(**settings), target)
    return {name: path.read_text() for name, path in made.items()}


def dataset_in(folder: Path) -> str:
    preset = resources.files("recsys_assets.presets").joinpath("retailrocket.toml")
    shutil.copy(str(preset), folder / "dataset.toml")
    return str(folder / "dataset.toml")


def test_it_lies_beside_the_data_set_or_where_the_setting_says(tmp_path: Path) -> None:
    dataset = dataset_in(tmp_path)
    assert released(tmp_path, dataset=dataset) == {}
    (tmp_path / "placements.toml").write_text(GOOD)
    assert released(tmp_path, dataset=dataset) == {"placements.toml": GOOD}
    other = tmp_path / "other.toml"
    other.write_text("[places.cart]\n")
    assert released(tmp_path, dataset=dataset, placements=str(other)) == {"placements.toml": "[places.cart]\n"}


def test_a_preset_has_none_unless_the_setting_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "placements.toml").write_text(GOOD)
    assert released(tmp_path, dataset="retailrocket") == {}
    assert released(tmp_path, dataset="retailrocket", placements="placements.toml") == {"placements.toml": GOOD}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "RECSYS_PLACEMENTS: .*placements.toml cannot be read"),
        ("[places.home]\ngoal = 'sale'", r"placements.toml: places.home.goal: .*\(addtocart, transaction, view\)"),
        ("[places.home]\nfilter = 'colour == 1'", "placements.toml: places.home.filter: unknown field 'colour'"),
        ("[[rules]]\nname = 'r'\naction = 'pin'\nposition = 1\nitems = ['a']", "rules.0.items: ids of items are int64"),
    ],
)
def test_a_mistake_stops_the_release_and_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "placements.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(dg.Failure) as raised:
        released(tmp_path, placements=str(path))
    assert raised.match(message)
    assert not list((tmp_path / "release").iterdir())


def test_filters_may_ask_about_what_the_data_set_states() -> None:
    retailrocket = load_dataset("retailrocket")
    known = {"item_id", "age_days"}
    assert fields_of_items(retailrocket) == known | {"category", "root", "depth", "available", "price", "brand"}
    assert fields_of_items(retailrocket.model_copy(update={"categories": None})) == known | {
        "category", "available", "price", "brand",
    }  # fmt: skip
    assert fields_of_items(retailrocket.model_copy(update={"properties": None})) == known
