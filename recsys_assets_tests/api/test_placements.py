"""The placements of a release come with it, and one that cannot be used leaves the old release served."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from recsys_api.reloader import Reloader
from recsys_api.settings import Settings
from recsys_api.snapshot import Snapshot
from recsys_assets.core.placements.config import Placements
from recsys_assets.storage.catalogue import KnownItem
from recsys_assets_tests.api.publishing import Content, publish

RULES = """
[[rules]]
name = "everywhere"
action = "block"
items = [1]

[places.home]
k = 3

[[places.home.rules]]
name = "at home"
action = "block"
filter = "age_days > 2"
"""
ITEMS = [KnownItem(n, None, None, None, True, None, date(2015, 8, n)) for n in (1, 2)]


def test_a_release_brings_its_placements_and_filters(make_settings: Callable[..., Settings], store_uri: str) -> None:
    reloader = Reloader(make_settings())

    def serve(day: str, placements: str | None) -> Snapshot:
        publish(store_uri, day, Content({}, top_popular={"all": [1]}, items=ITEMS, placements=placements))
        reloader.refresh()
        assert reloader.current
        return reloader.current

    snapshot = serve("2015-08-04", RULES)
    home = snapshot.placements.places["home"]
    assert (home.k, [rule.name for rule in (*snapshot.placements.rules, *home.rules)]) == (3, ["everywhere", "at home"])
    assert snapshot.filters.mask("age_days > 2").tolist() == [True, False], "ages are those of the day of the release"

    assert serve("2015-08-05", None).placements == Placements(), "a later release without any"
    assert serve("2015-08-06", "[places.home]\nk = 0").as_of == "2015-08-05"
    assert "placements.toml: places.home.k" in str(reloader.problem)
