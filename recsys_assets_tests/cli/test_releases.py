"""Moving what is served from the command line, which waits for no queue."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from recsys_assets import jobs
from recsys_assets.cli import releases as cli
from recsys_assets.resources.naming import Names
from recsys_assets.storage.releases import Releases
from recsys_assets.storage.uri import open_store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Releases:
    monkeypatch.setenv("RECSYS_STORAGE_URI", str(tmp_path / "store"))
    return Releases(open_store(str(tmp_path / "store")))


def publish(releases: Releases, day: str, folder: Path) -> str:
    path = folder / day
    path.write_text(day)
    return releases.publish(day, {"lists": path}, {}).release_id


def test_a_rollback_stays_until_it_is_lifted(
    releases: Releases, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out == "there is no release yet\n"
    first, second = (publish(releases, day, tmp_path) for day in ("2015-08-01", "2015-08-02"))
    assert cli.main(["rollback"]) == 0
    assert capsys.readouterr().out == (
        f"{second}  withdrawn by a rollback\n{first}  served  pinned: new releases wait for unpin\n"
    )
    third = publish(releases, "2015-08-03", tmp_path)
    assert cli.main(["unpin"]) == 0
    assert capsys.readouterr().out.splitlines() == [third, f"{second}  withdrawn by a rollback", f"{first}  served"]
    assert cli.main(["rollback", third]) == 0
    assert cli.main(["pin"]) == 0
    assert f"{third}  served  pinned" in capsys.readouterr().out


def test_what_cannot_be_done_is_said_in_one_line(
    releases: Releases, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, told in ((["pin"], "nothing has been published"), (["rollback"], "no release before this one")):
        assert cli.main(arguments) == 1
        assert told in capsys.readouterr().err
    known = publish(releases, "2015-08-01", tmp_path)
    assert cli.main(["rollback", "2015-08-01-000000000000"]) == 1
    assert f"stored are: {known}" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["dagster.yaml", "docker/dagster.yaml"])
def test_a_rollback_finds_a_free_place_while_backfills_and_automation_run(file: str) -> None:
    limits = yaml.safe_load((ROOT / file).read_text())["concurrency"]["runs"]
    tagged = {limit["key"]: limit["limit"] for limit in limits["tag_concurrency_limits"]}
    assert tagged.keys() == {"dagster/backfill", "recsys/store"}
    assert tagged["dagster/backfill"] == 1, "oldest day first"
    assert limits["max_concurrent_runs"] - sum(tagged.values()) >= 2
    built = jobs.build(Names())
    for job in map(built.__getitem__, ("rollback_release", "pin_release", "unpin_release", "approve_release")):
        assert int(job.tags["dagster/priority"]) > 0
        assert not job.tags.keys() & tagged
        assert [node.definition.pools for node in job.nodes] == [set()], "it waits for nothing that publishes"
