"""What a landing zone may hold beside good files: nothing of it is opened, and none of it stops the others."""

from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path

import pytest

from recsys_assets.core.dataset import load_dataset
from recsys_assets.definitions import build_resources
from recsys_assets.ingest.listing import Listing, list_keys, list_landing, shown
from recsys_assets.settings import load_settings
from recsys_assets.storage.local import LocalStore
from recsys_assets.storage.objects import NotFound
from recsys_assets_tests.s3_servers import S3Server, boto3_client

pytestmark = pytest.mark.faults

DATASET = load_dataset("retailrocket")
WANTED = ("events-a.csv", "more/events-b.csv")
UNRELATED = ("notes-caf\udce9.txt", "re\nadme.txt", "a\\b.txt", "weird\x07.log", ".DS_Store")
HOSTILE = ("events-caf\udce9.csv", "events-\n1.csv", "events\\1.csv", "more/events-\x1b[2J.csv")
SHOWN = [r"events-\n1.csv", r"events-caf\udce9.csv", r"events\\1.csv", r"more/events-\x1b[2J.csv"]
HIDDEN = {".snapshot/": "its name begins with a dot"}


def is_wanted(name: str) -> bool:
    return DATASET.kind_of(name) is not None


def of(listing: Listing) -> tuple[list[str], dict[str, str]]:
    """Good files by name, and the faults of the others."""
    assert all(file.name.encode() for file in listing.files), "every name can be printed and stored"
    assert all(file.name.isprintable() for file in listing.files)
    good = sorted(file.name for file in listing.files if not file.fault)
    return good, {file.name: file.fault for file in listing.files if file.fault}


def folder(tmp_path: Path, *names: str) -> LocalStore:
    for name in names:
        path = tmp_path / "zone" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name.encode("utf-8", "replace").decode())
    return LocalStore(tmp_path / "zone")


def test_names_that_nothing_else_could_keep_are_refused_and_unrelated_ones_are_not_looked_at(tmp_path: Path) -> None:
    landing = folder(tmp_path, *WANTED, *UNRELATED, *HOSTILE, ".snapshot/events-a.csv")
    listing = list_landing(landing, is_wanted)
    good, faults = of(listing)
    assert good == list(WANTED)
    assert sorted(faults) == SHOWN
    assert all("rename it" in fault for fault in faults.values())
    assert listing.skipped == HIDDEN


def test_keys_of_s3_are_judged_as_files_of_a_folder_are() -> None:
    keys = [*WANTED, *UNRELATED, *HOSTILE, ".snapshot/events-a.csv", "more/", "more//events.csv", "/events.csv"]
    listing = list_keys(
        [*((key, 0 if key.endswith("/") else 1, "e") for key in keys), ("events.csv/", 7, "e")], "s3://b", is_wanted
    )
    good, faults = of(listing)
    assert good == list(WANTED)
    assert sorted(faults) == sorted([*SHOWN, "/events.csv", "more//events.csv", "events.csv/"])
    assert listing.skipped == HIDDEN


def test_hostile_keys_on_a_server_hide_no_file(moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", str(moto.options.endpoint))
    monkeypatch.setenv("AWS_DEFAULT_REGION", str(moto.options.region))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", str(moto.options.access_key_id))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", str(moto.options.secret_access_key))
    client = boto3_client(moto.options)
    for key in (
        *WANTED,
        "a//b.txt",
        "more//events.csv",
        "events\\1.csv",
        ".snapshot/events-a.csv",
        "old/",
    ):
        client.put_object(Bucket=moto.bucket, Key=f"drop/{key}", Body=b"" if key.endswith("/") else b"x")
    settings, _ = load_settings(landing_uri=f"s3://{moto.bucket}/drop", storage_uri=str(tmp_path))
    zone = build_resources(settings, DATASET)["landing"].zone()
    listed = zone.listing()
    assert sorted(name for name, file in listed.items() if not file.fault) == list(WANTED)
    assert sorted(name for name, file in listed.items() if file.fault) == [
        "events\\\\1.csv", "more//events.csv",
    ]  # fmt: skip
    assert zone.skipped == HIDDEN


def test_links_and_special_files_are_refused_by_name_and_never_opened(tmp_path: Path) -> None:
    landing = folder(tmp_path, *WANTED)
    zone, outside = tmp_path / "zone", tmp_path / "secret"
    outside.mkdir()
    (outside / "events-old.csv").write_text("secret")
    links = {
        "events-inside.csv": zone / "events-a.csv",
        "events-outside.csv": outside / "events-old.csv",
        "events-gone.csv": zone / "nothing.csv",
        "events-self.csv": zone / "events-self.csv",
        "events-null.csv": Path("/dev/null"),
        "round": zone,
        "more/archive": outside,
    }
    for name, target in links.items():
        (zone / name).symlink_to(target)
    os.mkfifo(zone / "events-fifo.csv")
    os.mkfifo(zone / "unrelated")
    with socket.socket(socket.AF_UNIX) as bound:
        here = Path.cwd()
        os.chdir(zone)  # the address of a socket is short
        try:
            bound.bind("events-socket.csv")
        finally:
            os.chdir(here)
        listing = list_landing(landing, is_wanted)
    good, faults = of(listing)
    assert good == ["events-a.csv", "events-inside.csv", "more/events-b.csv"]
    assert {name: " ".join(fault.split()[:6]) for name, fault in faults.items()} == {
        "events-outside.csv": "it is a link out of",
        "events-gone.csv": "it is a link to a",
        "events-self.csv": "cannot be read: Too many levels",
        "events-null.csv": "it is a device, not a",
        "events-fifo.csv": "it is a FIFO, not a",
        "events-socket.csv": "it is a socket, not a",
    }
    assert sorted(listing.skipped) == ["more/archive/", "round/"]
    assert all("not followed" in reason for reason in listing.skipped.values())


def test_links_lead_out_only_into_folders_that_are_named_and_each_folder_is_read_once(tmp_path: Path) -> None:
    landing = folder(tmp_path, *WANTED, ".old/events-z.csv")
    zone, disk = tmp_path / "zone", tmp_path / "disk"
    folder(tmp_path, "../disk/deep/events-c.csv", "../other/events-d.csv")
    links = {
        "archive": disk,  # first by name, so that the files are read under it
        "deep": disk / "deep",
        "events-c.csv": disk / "deep" / "events-c.csv",
        "events-d.csv": tmp_path / "other" / "events-d.csv",
        "gone": disk / "none",
        "inside": zone / "more",
        "old": zone / ".old",
        "other": tmp_path / "other",
    }
    for name, target in links.items():
        (zone / name).symlink_to(target)
    (disk / "events-out.csv").symlink_to(tmp_path / "other" / "events-d.csv")
    (disk / "round").symlink_to(disk)
    (disk / "zone").symlink_to(zone)
    # A folder beside the one that is named, with a name that begins like it.
    (tmp_path / "disk2").mkdir()
    (zone / "beside").symlink_to(tmp_path / "disk2")
    listing = list_landing(landing, is_wanted, links=(str(disk),))
    good, faults = of(listing)
    assert good == ["archive/deep/events-c.csv", "events-a.csv", "events-c.csv", "more/events-b.csv"]
    out = "it is a link out of the landing zone, into no folder that RECSYS_LANDING_LINKS names"
    assert faults == {"archive/events-out.csv": out, "events-d.csv": out}
    assert {name: reason for name, reason in listing.skipped.items() if "RECSYS_LANDING_LINKS" not in reason} == {
        ".old/": "its name begins with a dot",
        "archive/round/": "links to folders are not followed twice; its files are read as archive/",
        "archive/zone/": "links to folders of the landing zone are not followed, since the folder itself is read",
        "deep/": "links to folders are not followed twice; its files are read as archive/deep/",
        "gone/": "links to a folder that does not exist now, or may not be looked into",
        "inside/": "links to folders of the landing zone are not followed, since the folder itself is read",
        "old/": "links to hidden folders are not followed",
    }
    assert listing.unseen == {".old/", "beside/", "gone/", "old/", "other/"}

    above = list_landing(landing, is_wanted, links=(str(tmp_path),))
    assert {"archive/", "other/", "beside/"}.isdisjoint(above.skipped)
    assert sum(file.name.endswith("events-b.csv") for file in above.files) == 1, "the zone is below what is named"
    assert list_landing(landing, is_wanted, "other", links=(str(disk),)).files == ()


def test_a_file_that_became_a_fifo_after_it_was_listed_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.csv")
    for read in (LocalStore(tmp_path).open, LocalStore(tmp_path).get):
        with pytest.raises(NotFound, match=r"events\.csv does not exist as a regular file"):
            read("events.csv")


def test_a_listing_of_a_folder_names_only_what_is_below_it(tmp_path: Path) -> None:
    landing = folder(tmp_path, *WANTED)
    assert of(list_landing(landing, is_wanted, "more"))[0] == ["more/events-b.csv"]
    assert list_landing(landing, is_wanted, "none") == Listing((), {})
    assert list(map(partial(shown), ["ü a", "\u202egnp.csv"])) == ["ü a", r"\u202egnp.csv"]
