"""Answers of one visit: fresh events count in the next answer, and nothing is shown that must not be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from fastapi.testclient import TestClient

from recsys_api.settings import Settings
from recsys_assets.storage.catalogue import KnownItem
from recsys_assets_tests.api.conftest import client_of, eventually
from recsys_assets_tests.api.publishing import Content, publish

DAY = "2015-08-02"
HATS, SHOES = range(20), range(20, 40)
ITEMS = [
    KnownItem(item, "hats" if item in HATS else "shoes", "clothes", 2, item != 39, float(item), None)
    for item in range(60)
]
# Whoever clicks on a hat clicks on the next ones; the same for shoes.
SESSIONS = [[start + step for step in range(4)] for _ in range(3) for start in (*range(17), *range(20, 37))]
FACTS = {
    "event_types": {"view": {"weight": 1.0, "target": False}, "buy": {"weight": 5.0, "target": True}},
    "as_of_end": "2015-08-03T00:00:00+00:00",
    "rules": {"repeats": True, "exclude_purchased": True},
}
PLACEMENTS = """
[[rules]]
name = "no sandals"
action = "block"
items = [25]

[places.cart]
mode = "online"
k = 4

[places.cheap]
filter = "price < 8"

[places.mixed]
sources = { similar_items = 1, popular = 1 }

[places.rotating]
rotate_after = 2
"""
CONTENT = Content(
    recommendations={1: [5, 6, 7, 8, 9, 45, 46, 47, 48, 49], 2: [5, 6]},
    similar_items={20: [50, 51, 52], 58: [39, 55, 56]},
    top_popular={"all": [*range(30, 39), *range(40, 60)], "category:hats": [3, 2, 1]},
    user_histories={1: [4, 3], 3: [5, 6]},
    purchased={1: [3], 3: [5]},
    items=ITEMS,
    sessions=SESSIONS,
    placements=PLACEMENTS,
    explained=3,
)


@pytest.fixture
def client(make_settings: Callable[..., Settings], store_uri: str) -> Iterator[TestClient]:
    publish(store_uri, DAY, CONTENT, **FACTS)
    with client_of(make_settings(api_open_writes=True)) as client:
        yield client


def act(client: TestClient, user: int, item: int, event_type: str = "view") -> None:
    response = client.post("/events", json={"user_id": user, "item_id": item, "event_type": event_type})
    assert response.status_code == 200, response.text


def ask(client: TestClient, user: int, **params: Any) -> dict[str, Any]:
    response = client.get(f"/recommendations/{user}", params=params)
    assert response.status_code == 200, response.text
    return held(client, "/recommendations/{user_id}", "get", response.json())


def held(client: TestClient, path: str, method: str, body: dict[str, Any]) -> dict[str, Any]:
    """The body, after holding it against the OpenAPI document."""
    document = client.get("/openapi.json").json()
    schema = document["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(body, {**schema, "components": document["components"]})
    return body


def items(body: dict[str, Any]) -> list[int]:
    found = [item["item_id"] for item in body["items"]]
    assert len(set(found)) == len(found), "an item twice"
    return found


def test_new_users_and_items_without_a_refit(client: TestClient) -> None:
    """A user whom no model was fitted on gets what follows from the first click."""
    before = ask(client, 77, k=4)
    assert (before["mode"], before["personalised"], before["fallbacks"]) == ("fallback", False, {"unknown_user": 4})
    act(client, 77, 21)
    after = ask(client, 77, k=3)
    assert after["mode"] == "online"
    assert after["personalised"] is True
    assert after["fallbacks"] == {}
    assert {item["source"] for item in after["items"]} == {"sessions"}
    assert set(items(after)) <= {*SHOES}
    assert after["recommendation_id"] != before["recommendation_id"]
    # An item that no model knows, but others resemble.
    act(client, 78, 58)
    assert items(ask(client, 78, k=2)) == [55, 56]


def test_a_click_counts_in_the_next_answer_online_at_odd_places_offline_at_even_ones(client: TestClient) -> None:
    assert items(ask(client, 1, k=4)) == [5, 6, 7, 8]
    act(client, 1, 22)
    body = ask(client, 1, k=6)
    assert body["mode"] == "blend"
    assert items(body)[1::2] == [5, 6, 7]
    assert set(items(body)[0::2]) <= {*SHOES}
    assert [item["source"] for item in body["items"]][1::2] == ["ranker"] * 3
    assert items(ask(client, 1, k=4, mode="offline")) == [5, 6, 7, 8]
    assert set(items(ask(client, 1, k=3, mode="online"))) & {*SHOES}


def test_pages_follow_one_another_without_repeats(client: TestClient) -> None:
    act(client, 1, 22)
    whole = items(ask(client, 1, k=20))
    pages = [ask(client, 1, k=7, offset=offset) for offset in (0, 7, 14)]
    assert [item for page in pages for item in items(page)][:20] == whole
    assert [item["rank"] for item in pages[1]["items"]] == list(range(8, 15))
    too_deep = client.get("/recommendations/1?k=100&offset=150")
    assert too_deep.status_code == 422
    assert too_deep.json()["errors"][0]["field"] == "offset"


def test_seen_items_do_not_return(client: TestClient) -> None:
    """What was bought, disliked or excluded is not shown; what was seen is not, if the caller says so."""
    act(client, 1, 5, "dislike")
    act(client, 1, 6, "buy")
    found = items(ask(client, 1, k=30, exclude=[7, 30]))
    assert {3, 5, 6, 7, 30} & {*found} == set(), "3 was bought in the days of the release"
    act(client, 1, 8)
    assert 8 in items(ask(client, 1, k=30))
    assert {4, 8} & {*items(ask(client, 1, k=30, exclude_seen=True))} == set()


def test_unavailable_items_are_not_shown(client: TestClient) -> None:
    act(client, 9, 37)
    act(client, 9, 38)
    act(client, 9, 58)
    assert 39 not in items(ask(client, 9, k=40, mode="online"))
    assert 39 not in items(ask(client, 9, k=40))


def test_exactly_k_where_the_catalogue_has_them(client: TestClient) -> None:
    act(client, 1, 22)
    for k in (1, 10, 40):
        assert len(items(ask(client, 1, k=k))) == k
    hats = ask(client, 1, k=20, category="hats")
    assert len(items(hats)) == 19, "all but the one that was bought"
    assert {*items(hats)} <= {*HATS}
    assert hats["fallbacks"]["short_list"] > 0, "what stands in is counted"
    assert {*items(ask(client, 5, k=5, filter='category == "shoes" and price < 26'))} <= {20, 21, 22, 23, 24}
    assert items(ask(client, 5, k=5, filter="price < 0")) == []


def test_a_bad_parameter_names_its_field(client: TestClient) -> None:
    for params, field in (
        ({"filter": "colour == 1"}, "filter"),
        ({"placement": "nowhere"}, "placement"),
        ({"exclude": "x"}, "exclude.0"),
        ({"exclude": "x" * 513}, "exclude.0"),
        ({"k": 0}, "k"),
        ({"mode": "live"}, "mode"),
    ):
        response = client.get("/recommendations/1", params=params)
        assert response.status_code == 422, params
        assert response.json()["errors"][0]["field"] == field
    body = {"users": [{"user_id": 1}, {"user_id": "ann"}]}
    assert client.post("/recommendations", json=body).json()["errors"][0]["field"] == "users.1.user_id"


def test_placements_shape_answers_and_rules_are_named(client: TestClient) -> None:
    act(client, 1, 24)
    cart = ask(client, 1, placement="cart")
    assert (cart["mode"], len(items(cart))) == ("online", 4)
    assert 25 not in items(ask(client, 1, k=40)), "blocked everywhere"
    assert {*items(ask(client, 2, k=3, placement="cheap"))} <= set(range(8))
    act(client, 6, 20)
    assert items(ask(client, 6, k=4, placement="mixed")) == [50, 30, 51, 31]
    boosted = client.post(
        "/recommendations",
        json={"users": [{"user_id": 2}], "k": 2, "boost": [{"filter": "item_id == 6", "factor": 10}]},
    )
    answer = boosted.json()["answers"][0]
    assert items(answer) == [6, 5]
    assert answer["items"][0]["rules"] == ["boost 1"]


def test_what_was_shown_and_not_clicked_rotates(client: TestClient) -> None:
    assert items(ask(client, 2, k=2, placement="rotating")) == [5, 6]
    act(client, 2, 5, "impression")
    act(client, 2, 5, "impression")
    assert items(ask(client, 2, k=2, placement="rotating")) == [6, 5]
    assert items(ask(client, 2, k=2)) == [5, 6], "elsewhere it stays"
    for item in (5, 6):
        act(client, 1, item, "impression")
        act(client, 1, item, "impression")
    assert items(ask(client, 1, k=2, placement="rotating")) == [7, 8], "others take the places"


def test_a_visit_without_a_user_and_a_basket(client: TestClient) -> None:
    body = client.post("/sessions/recommendations", json={"seen": [21], "basket": [22], "k": 5}).json()
    held(client, "/sessions/recommendations", "post", body)
    assert body["user_id"] is None
    assert body["mode"] == "online"
    assert 22 not in items(body)
    assert set(items(body)[:2]) <= {*SHOES}


def test_a_given_list_gets_the_order_of_the_user(client: TestClient) -> None:
    given = [59, 8, 9, 5, 59]
    body = client.post("/rerank", json={"user_id": 1, "items": given}).json()
    held(client, "/rerank", "post", body)
    assert sorted(items(body)) == [5, 8, 9, 59], "all of them, no others"
    assert items(body)[-1] != 5
    assert items(client.post("/rerank", json={"user_id": 999, "items": given}).json()) == [59, 8, 9, 5]


def test_an_answer_is_explained(client: TestClient) -> None:
    act(client, 1, 22)
    body = ask(client, 1, k=4, explain=True)
    online, offline = body["items"][:2]
    assert online["why"]["because_of"][0] == 22
    assert online["why"]["events"][0]["item_id"] == 22
    assert offline["why"]["offline_rank"] == 1
    assert offline["why"]["generators"] == {"repeat": 7}
    assert offline["why"]["features"] == [{"name": "ui_events", "value": 3.0, "contribution": 0.5}]
    assert (offline["why"]["others"], offline["why"]["baseline"]) == (0.25, -1.0)
    assert online["why"]["generators"] is online["why"]["features"] is online["why"]["baseline"] is None


def test_the_first_items_of_a_list_are_explained_by_their_place_in_it(client: TestClient) -> None:
    """Wherever the answer shows them; beyond, and for strangers, the release does not say."""
    body = ask(client, 1, k=3, offset=1, mode="offline", explain=True)
    assert items(body) == [6, 7, 8]
    assert [item["why"]["offline_rank"] for item in body["items"]] == [2, 3, 4]
    assert [item["why"]["generators"] for item in body["items"]] == [{"repeat": 8}, {"repeat": 9}, None]
    short = ask(client, 2, k=3, mode="offline", explain=True)["items"]
    assert [item["why"]["generators"] for item in short] == [{"repeat": 7}, {"repeat": 8}, None]
    assert {item["why"]["generators"] for item in ask(client, 12345, k=3, explain=True)["items"]} == {None}
    assert "why" not in ask(client, 1, k=1)["items"][0]


def test_a_release_without_explanations_answers_all_the_same(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    publish(store_uri, DAY, replace(CONTENT, explained=0), **FACTS)
    with client_of(make_settings()) as client:
        [item] = ask(client, 1, k=1, explain=True)["items"]
        assert item["why"]["offline_rank"] == 1
        assert {item["why"][name] for name in ("generators", "features", "others", "baseline")} == {None}


def test_a_deleted_user_gets_what_a_stranger_gets(client: TestClient) -> None:
    act(client, 1, 22)
    assert client.delete("/users/1").status_code == 200
    body = ask(client, 1, k=4)
    assert body["mode"] == "fallback"
    assert items(body) == items(ask(client, 12345, k=4))


def test_several_seeds_take_turns_and_name_themselves(client: TestClient) -> None:
    body = client.post("/similar", json={"items": [58, 20], "k": 4, "exclude": [55]}).json()
    held(client, "/similar", "post", body)
    found = [(item["item_id"], item["because_of"]) for item in body["items"]]
    assert found == [(56, 58), (50, 20), (51, 20), (52, 20)], "39 is not available"


def test_what_trends_now_reaches_strangers_where_the_release_serves_what_trends(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    content = replace(CONTENT, top_popular={"all": [1, 2, 3], "trending": [7, 8, 9]}, fallback="trending")
    publish(store_uri, DAY, content, **FACTS, trending_half_life_days=0.5)
    with client_of(make_settings(api_open_writes=True)) as client:
        assert items(ask(client, 500, k=3)) == [7, 8, 9]
        for user in (601, 602):
            act(client, user, 33)
        for _ in range(5):
            act(client, 603, 34)  # one user alone pushes nothing
        eventually(lambda: len(client.get("/events/603").json()["events"]) == 5)
        act(client, 604, 33)
        eventually(lambda: items(ask(client, 500, k=3)) == [33, 7, 8])


def test_what_trends_now_reaches_everybody_where_events_count_half_within_hours(
    make_settings: Callable[..., Settings], store_uri: str
) -> None:
    """Whichever list the last nights spoke for: news of the night are old in the morning."""
    places = "[places.ticker]\nsources = { trending = 1 }\n"
    content = replace(CONTENT, top_popular={"all": [1, 2, 3], "trending": [7, 8, 9]}, fallback="all", placements=places)
    publish(store_uri, DAY, content, **FACTS, trending_half_life_days=0.125)
    with client_of(make_settings(api_open_writes=True)) as client:
        for user in (601, 602):
            act(client, user, 33)
        assert items(ask(client, 500, k=3)) == [1, 2, 3], "nothing speaks against the list of the release"
        assert items(ask(client, 1, k=3)) == [5, 6, 7]
        act(client, 603, 33)
        eventually(lambda: items(ask(client, 500, k=6)) == [33, 7, 8, 9, 1, 2])
        known = ask(client, 1, k=6)
        assert items(known) == [33, 5, 7, 6, 8, 9], "what trends at odd places, the list of last night at even ones"
        assert (known["mode"], known["fallbacks"]) == ("blend", {})
        assert items(ask(client, 1, k=3, mode="offline")) == [5, 6, 7]
        assert items(ask(client, 1, placement="ticker", k=3)) == [33, 7, 8]
        publish(store_uri, "2015-08-03", content, **FACTS, trending_half_life_days=1.0)
        client.post("/admin/reload")
        eventually(lambda: ask(client, 500)["as_of"] == "2015-08-03")
        assert items(ask(client, 500, k=3)) == [1, 2, 3], "what counts for days can wait for the night"
        assert items(ask(client, 1, k=3)) == [5, 6, 7]
        assert items(ask(client, 1, placement="ticker", k=3)) == [7, 8, 9]
        publish(store_uri, "2015-08-04", content, **FACTS, trending_half_life_days=0.125)
        client.post("/admin/reload")
        eventually(lambda: items(ask(client, 500, k=3)) == [33, 7, 8])  # what was read before counts once more
