"""``placements.toml``: what it may state, and that every mistake is named by file and field."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from recsys_assets.core.contracts import IdType
from recsys_assets.core.placements.config import Placement, Placements, PlacementsError, parse_placements
from recsys_assets.core.placements.rules import BlockRule, Boost, PinRule

EXAMPLE = Path(__file__).parents[3] / "docs" / "placements.toml"
EVENTS = {"view", "transaction"}


def parse(text: str, ids: IdType = "int64") -> Placements:
    return parse_placements(text, "shop/placements.toml", ids, event_types=EVENTS)


def test_what_a_file_states() -> None:
    placements = parse("""
        [[rules]]
        name = "no spirits"
        action = "block"
        filter = 'root == "13"'

        [places.home]
        mode = "offline"
        k = 5
        sources = { similar_items = 2, popular = 0.5 }
        filter = "available"
        boosts = [{ filter = "age_days < 30", factor = 2 }]
        rotate_after = 3
        goal = "transaction"

        [[places.home.rules]]
        name = "campaign"
        action = "pin"
        items = [7, 0]
        position = 1
        from = 2015-06-01T02:00:00+02:00
        until = 2015-06-02T00:00:00Z
    """)
    home = placements.places["home"]
    assert placements.rules == (BlockRule(name="no spirits", action="block", filter='root == "13"'),)
    assert (home.mode, home.k, home.goal, home.rotate_after) == ("offline", 5, "transaction", 3)
    assert home.sources == {"similar_items": 2.0, "popular": 0.5}
    assert home.boosts == (Boost(filter="age_days < 30", factor=2.0),)
    (pin,) = home.rules
    assert isinstance(pin, PinRule)
    assert (pin.items, pin.position) == ((7, 0), 1)
    assert (pin.starts, pin.until) == (datetime(2015, 6, 1, tzinfo=UTC), datetime(2015, 6, 2, tzinfo=UTC))


def test_a_place_that_states_nothing_has_defaults_and_an_empty_file_no_places() -> None:
    assert parse("[places.home]").places == {"home": Placement()}
    assert parse("") == Placements()


def test_the_example_of_the_documents_is_right() -> None:
    placements = parse_placements(
        EXAMPLE.read_text(), "example", "int64", event_types={"view", "addtocart", "transaction"}
    )
    assert set(placements.places) == {"home", "cart", "email"}


RULE = '[[places.home.rules]]\nname = "r"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[places", "not TOML"),
        ("[place.home]", "place: is not known; did you mean places"),
        ("[places.Home]", "places.Home.*expected text of the form"),
        ("[places.home]\ncolour = 1", "places.home.colour: is not known"),
        ("[places.home]\nmode = 'fast'", r"places.home.mode: .*'blend', 'offline' or 'online' \(found 'fast'\)"),
        ("[places.home]\nk = '5'", r"places.home.k: .*expected a whole number \(found '5'\)"),
        ("[places.home]\nk = 0", "places.home.k: .*expected at least 1"),
        ("[places.home]\nsources = { magic = 1 }", "places.home.sources.magic.*'recommendations', 'online'"),
        ("[places.home]\nsources = { popular = 0 }", "places.home.sources.popular: .*expected more than 0"),
        ("[places.home]\nsources = { popular = inf }", "places.home.sources.popular: .*finite"),
        ("[places.home]\nrotate_after = 0", "places.home.rotate_after: .*expected at least 1"),
        (
            "[places.home]\ngoal = 'sale'",
            r"places.home.goal: must be an event type .*\(transaction, view\) \(found 'sale'",
        ),
        ("[places.home]\nfilter = 'colour == 1'", "places.home.filter: unknown field 'colour' .* at character 1"),
        ("[places.home]\nfilter = 'price <'", "places.home.filter: expected .* at character 8"),
        (
            "[places.home]\nboosts = [{ filter = 'available', factor = 2 }, { filter = 'depth', factor = 2 }]",
            "places.home.boosts.1.filter: depth is not true or false",
        ),
        (
            "[places.home]\nboosts = [{ filter = 'available', factor = 0 }]",
            "places.home.boosts.0.factor: .*expected more than 0",
        ),
        (f"{RULE}action = 'fly'", "places.home.rules.0: .*'fly'"),
        (f"{RULE}action = 'block'", "places.home.rules.0.block: state either items or filter"),
        (f"{RULE}action = 'block'\nitems = [1]\nfilter = 'available'", "rules.0.block: state either items or filter"),
        (f"{RULE}action = 'block'\nitems = []", "rules.0.block.items: .*expected at least 1, found 0"),
        (f"{RULE}action = 'block'\nitems = ['a']", r"places.home.rules.0.items: ids of items are int64 \(found 'a'\)"),
        (f"{RULE}action = 'block'\nfilter = 'item_id == \"a\"'", "places.home.rules.0.filter: item_id is compared"),
        (f"{RULE}action = 'boost'\nitems = [1]\nfactor = 0.5", "rules.0.boost.factor: .*expected more than 1"),
        (f"{RULE}action = 'bury'\nitems = [1]\nfactor = 1.5", "rules.0.bury.factor: .*less than 1"),
        (f"{RULE}action = 'pin'\nitems = [1]\nposition = 0", "rules.0.pin.position: expected at least 1"),
        (f"{RULE}action = 'cap'\nat_most = 1\nitems = [1]", "rules.0.cap.items: is not known"),
        (f"{RULE}action = 'cap'\nat_most = 1\nper = 'price'", "rules.0.cap.per: .*'category' or 'root'"),
        (f"{RULE}action = 'block'\nitems = [1]\nfrom = 2015-06-01T00:00:00", "rules.0.block.from: .*a time zone"),
        (f"{RULE}action = 'block'\nitems = [1]\nfrom = 2015-06-01", "rules.0.block.from: expected a time"),
        (
            f"{RULE}action = 'block'\nitems = [1]\nfrom = 2015-06-01T00:00:00Z\nuntil = 2015-06-01T00:00:00Z",
            "rules.0.block: until .* must be after from",
        ),
        (
            f"[[rules]]\nname = 'r'\naction = 'block'\nitems = [1]\n{RULE}action = 'block'\nitems = [2]",
            "places.home.rules: two rules of one place have the same name: r",
        ),
    ],
)
def test_mistakes_are_named_by_file_and_field(text: str, message: str) -> None:
    with pytest.raises(PlacementsError, match=f"^shop/placements.toml: .*{message}"):
        parse(text)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(PlacementsError) as raised:
        parse("[places.a]\nfilter = 'x'\ngoal = 'y'\n[places.b]\nfilter = 'price'")
    for field in ("places.a.filter", "places.a.goal", "places.b.filter"):
        assert field in str(raised.value)


def test_a_filter_or_cap_about_what_the_data_set_does_not_state_is_a_mistake() -> None:
    text = f"[places.home]\nfilter = 'available and not price < 5'\n{RULE}action = 'cap'\nat_most = 2"
    with pytest.raises(PlacementsError) as raised:
        parse_placements(text, "f", "int64", fields={"item_id", "available"})
    assert "places.home.filter: the data set states no price of its items" in str(raised.value)
    assert "places.home.rules.0.per: the data set states no category of its items" in str(raised.value)


def test_ids_are_those_of_the_data_set() -> None:
    text = f"{RULE}action = 'block'\nitems = ['a', 7]"
    with pytest.raises(PlacementsError, match=r"items: ids of items are string \(found 7\)"):
        parse(text, "string")
