"""The record of accepted files: what changes it, and what makes a generation."""

from __future__ import annotations

from dataclasses import replace

from recsys_assets.ingest.accepted import Accepted, AcceptedFile

FILE = AcceptedFile("events", "a.csv", 10, "etag", "digest", ("2015-05-03",), version="v1", content="c")
KNOWN = Accepted().with_changes({"a.csv": FILE})


def test_what_changes_nothing_leaves_the_record_itself() -> None:
    assert KNOWN.with_changes({"a.csv": FILE}) is KNOWN
    assert KNOWN.with_changes({"a.csv": replace(FILE)}) is KNOWN, "an equal file"
    assert KNOWN.with_changes({"never-seen.csv": None}) is KNOWN, "a file that went before it was accepted"
    assert KNOWN.with_changes({}) is KNOWN


def test_only_other_contents_make_a_generation_and_change_their_days() -> None:
    assert (KNOWN.generation, dict(KNOWN.changed)) == (1, {"2015-05-03": 1})
    touched = KNOWN.with_changes({"a.csv": replace(FILE, fingerprint="another", version="v2")})
    assert (touched.generation, touched.files["a.csv"].fingerprint) == (1, "another")
    edited = KNOWN.with_changes({"a.csv": replace(FILE, digest="other", days=("2015-05-04",))})
    assert (edited.generation, dict(edited.changed)) == (2, {"2015-05-03": 2, "2015-05-04": 2})
    gone = KNOWN.with_changes({"a.csv": None})
    assert (gone.generation, gone.files, dict(gone.changed)) == (2, {}, {"2015-05-03": 2})
