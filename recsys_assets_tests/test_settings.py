"""A setting that was renamed is named as such, wherever its old name stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.settings import RENAMED, Settings, load_settings

PRESETS = Path(__file__).parents[1] / "recsys_assets" / "presets"


def test_the_table_of_renamed_settings_leads_to_settings() -> None:
    assert set(RENAMED.values()) <= set(Settings.model_fields)
    assert not set(RENAMED) & set(Settings.model_fields)


@pytest.mark.parametrize("variable", ["RECSYS_EXCLUDE_BOUGHT", "recsys_exclude_bought"])
def test_an_old_variable_names_the_new_one(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "true")
    with pytest.raises(ValueError, match=f"{variable} was renamed: set RECSYS_EXCLUDE_PURCHASED instead"):
        load_settings(dataset="retailrocket")


def test_an_old_key_of_a_data_set_names_the_new_one(tmp_path: Path) -> None:
    described = tmp_path / "dataset.toml"
    preset = (PRESETS / "retailrocket.toml").read_text()
    described.write_text(preset.replace("[defaults]", "[defaults]\nexclude_bought = true", 1))
    with pytest.raises(ValueError, match=r"\[defaults\]: exclude_bought was renamed: set exclude_purchased instead"):
        load_settings(dataset=str(described))


def test_the_new_name_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_EXCLUDE_PURCHASED", "true")
    assert load_settings(dataset="retailrocket")[0].exclude_purchased
