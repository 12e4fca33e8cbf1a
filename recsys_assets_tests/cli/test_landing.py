"""The command that tells what of the landing zone waits for a person, and does what the person decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys_assets.cli.landing import main
from recsys_assets.ingest.accepted import Quarantined, change_accepted, read_accepted
from recsys_assets.storage.local import LocalStore


def test_what_waits_is_listed_and_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, folder in (("RECSYS_STORAGE_URI", "store"), ("RECSYS_LANDING_URI", "landing"), ("DAGSTER_HOME", "home")):
        (tmp_path / folder).mkdir()
        monkeypatch.setenv(name, str(tmp_path / folder))
    store = LocalStore(tmp_path / "store")
    assert main([]) == 0
    assert capsys.readouterr().out == "nothing: waits for a person\n"

    aside = {"events_bad.csv": Quarantined("events", "cut off", "version")}
    change_accepted(store, lambda accepted: accepted.with_quarantined(aside, aside))
    assert main([]) == 0
    assert capsys.readouterr().out == "events_bad.csv: cut off\n"

    for words in (["acknowledge", "events_other.csv"], ["take", "2015-05-03"]):
        assert main(words) == 1, "what does not wait is refused"
        assert f"{words[1]}; " in capsys.readouterr().err
    assert not read_accepted(store).quarantined["events_bad.csv"].acknowledged
    assert main(["acknowledge", "events_bad.csv"]) == 0
    assert read_accepted(store).quarantined["events_bad.csv"].acknowledged
    assert main([]) == 0
    assert capsys.readouterr().out == "nothing: waits for a person\n"
