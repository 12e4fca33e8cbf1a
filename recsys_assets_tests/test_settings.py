"""Names of settings: renamed ones, unknown ones, and those of the file ``.env``."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from recsys_api.settings import Settings as ApiSettings
from recsys_assets.core.environment import unknown_variables
from recsys_assets.definitions import build_resources
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


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("RECSYS_STORGE_URI", "RECSYS_STORGE_URI: is not a setting; did you mean RECSYS_STORAGE_URI?"),
        ("RECSYS_XYZZY", "RECSYS_XYZZY: is not a setting"),
        ("recsys_sed", "recsys_sed: is not a setting; did you mean RECSYS_SEED?"),
    ],
)
def test_a_variable_that_is_no_setting_is_told(monkeypatch: pytest.MonkeyPatch, variable: str, said: str) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ValueError) as error:  # noqa: PT011 (compared below)
        load_settings()
    assert str(error.value).splitlines() == [said]


def test_all_faults_are_told_at_once_a_line_each_in_words_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_SEDE", "1")
    monkeypatch.setenv("RECSYS_SEED", "-1")
    monkeypatch.setenv("RECSYS_ENGINE", "pandas")
    with pytest.raises(ValueError) as error:  # noqa: PT011 (compared below)
        load_settings()
    assert str(error.value).splitlines() == [
        "RECSYS_SEDE: is not a setting; did you mean RECSYS_SEED?",
        "RECSYS_ENGINE: expected 'polars', 'duckdb' or 'spark' (found 'pandas')",
        "RECSYS_SEED: expected at least 0 (found '-1')",
    ]


@pytest.mark.parametrize(
    ("links", "landing", "said"),
    [
        ("disk", "", "RECSYS_LANDING_LINKS: expected absolute paths of folders, comma separated (found 'disk')"),
        ("/disk", "s3://bucket/drop", "RECSYS_LANDING_LINKS: a landing zone on S3 has no links"),
    ],
)
def test_folders_for_links_are_paths_of_this_machine(
    links: str, landing: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_LANDING_LINKS", links)
    monkeypatch.setenv("RECSYS_LANDING_URI", landing)
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        load_settings()
    monkeypatch.setenv("RECSYS_LANDING_LINKS", " /disk, /more disks,")
    monkeypatch.setenv("RECSYS_LANDING_URI", "")
    settings, dataset = load_settings()
    assert settings.landing_links == "/disk,/more disks"
    assert build_resources(settings, dataset)["landing"].links == ["/disk", "/more disks"]


def test_settings_of_the_api_are_not_judged_by_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_API_MAX_EVENTS", "10")
    monkeypatch.setenv("RECSYS_EVENTS_PER_USER", "10")
    load_settings()


def test_no_setting_of_the_graph_looks_like_a_misspelt_one_of_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(f"RECSYS_{name.upper()}", "1")
    assert unknown_variables({*ApiSettings.model_fields, "api_port", "api_url"}, of_the_api=True) == []


def test_a_file_in_the_folder_keeps_settings_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("RECSYS_SEED=7\nRECSYS_FACTORS=8\n")
    monkeypatch.setenv("RECSYS_FACTORS", "16")
    settings, _ = load_settings()
    assert (settings.seed, settings.factors) == (7, 16)


def test_a_misspelt_line_of_the_file_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("RECSYS_FACTOR=8\n")
    with pytest.raises(ValueError, match=r"RECSYS_FACTOR: is not a setting; did you mean RECSYS_FACTORS\?"):
        load_settings()
