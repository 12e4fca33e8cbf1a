"""Shapes of the responses, as the OpenAPI document states them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Id = int | str


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RankedItem(_Model):
    """One item of a list."""

    item_id: Id = Field(description="the item, in the data set's own id type", examples=[187946])
    score: float = Field(description="score by its source; comparable only within one source", examples=[0.8731])
    rank: int = Field(description="place in this response: 1 is best, dense", ge=1, examples=[1])
    source: str = Field(
        description="what put the item here: ranker, fused or a generator, such as popular or trending",
        examples=["ranker"],
    )


class WeighedFeature(_Model):
    """A feature, and what it added to the score of an item in the list of the release."""

    name: str = Field(description="of the feature: a column of the ranker", examples=["ui_hours_since"])
    value: float | None = Field(description="its value; null is unknown", examples=[3.0])
    contribution: float = Field(description="what it adds to the score; below zero it speaks against", examples=[0.81])


class Why(_Model):
    """Why an item is there."""

    generators: dict[str, int] | None = Field(
        description="generators that proposed the item, with the rank that each gave it; null where the release does "
        "not say",
        examples=[{"covisit": 2, "repeat": 1}],
    )
    features: list[WeighedFeature] | None = Field(
        description="features that weighed most for its place in the list of the release, the strongest first; null "
        "likewise"
    )
    others: float | None = Field(description="what all other features add to the score; null likewise")
    baseline: float | None = Field(description="the score without any contribution; null likewise")
    offline_rank: int | None = Field(description="place in the user's list of the release", examples=[3])
    because_of: list[Id] = Field(description="items that the model started from, the newest first")
    events: list[dict[str, Any]] = Field(description="the user's newest events with these items")
    rules: list[str] = Field(description="rules of `placements.toml` that moved it")


class RecommendedItem(RankedItem):
    """One item of an answer."""

    rules: list[str] | None = Field(default=None, description="rules that moved the item; absent: none did")
    why: Why | None = Field(default=None, description="only with `explain`")


class _Answer(_Model):
    release_id: str = Field(
        description="release that the whole response comes from", examples=["2015-08-02-4f1c9a7be2d0"]
    )
    as_of: date = Field(description="last day whose events the release knows", examples=["2015-08-02"])


class _List(_Answer):
    items: list[RankedItem] = Field(description="best first; no item twice")


class Recommendations(_Answer):
    """What to show a user."""

    recommendation_id: str = Field(
        description="names this answer; events that follow from it should carry it",
        examples=["01JQ3Z2N7G4W3F9K5T1M8R6XAB"],
    )
    model: str | None = Field(description="what ordered the lists of the release", examples=["2015-08-02-4f1c9a7be2d0"])
    user_id: Id | None = Field(description="the user asked for; null for a visit without one", examples=[1150086])
    mode: Literal["blend", "offline", "online", "fallback"] = Field(
        description="the parts that the answer is made of; `fallback` where nothing is personal"
    )
    personalised: bool = Field(description="false if all items are those that everybody gets")
    fallbacks: dict[str, int] = Field(
        description="number of items that stand in for personal ones, by reason", examples=[{"short_list": 2}]
    )
    items: list[RecommendedItem] = Field(description="best first; no item twice")


class ManyRecommendations(_Model):
    """Answers in the order of the users asked for."""

    answers: list[Recommendations]


class Reranked(_List):
    """The given items in another order."""

    user_id: Id | None = Field(description="the user asked for", examples=[1150086])


class SimilarItems(_List):
    """Items that go with an item."""

    item_id: Id = Field(description="the item asked for", examples=[187946])


class SeededItem(RankedItem):
    """An item, and the one that it goes with."""

    because_of: Id = Field(description="the given item that brought it", examples=[187946])


class BecauseOf(_Answer):
    """Items that go with several items."""

    items: list[SeededItem] = Field(description="best first; no item twice")


class PopularItems(_List):
    """What is popular now."""

    category: str | None = Field(description="the category asked for; null for the whole catalogue", examples=["1051"])


class Item(_Model):
    """What is known of an item, by the release at the end of its day and by changes since; null is not known."""

    release_id: str = Field(description="release that knows it", examples=["2015-08-02-4f1c9a7be2d0"])
    as_of: date = Field(description="last day whose events the release knows", examples=["2015-08-02"])
    item_id: Id = Field(description="the item asked for", examples=[187946])
    known: bool = Field(description="whether the release or a change knows it; if false, all below is null")
    has_catalogue: bool = Field(
        description="false for a release from before there were catalogues: it knows no item, and serves some still"
    )
    category: str | None = Field(description="its last known category", examples=["1051"])
    root: str | None = Field(description="the root above that category; null for one that is not in the tree")
    depth: int | None = Field(description="depth of that category; 1 for a root", ge=1, examples=[3])
    available: bool | None = Field(description="its last known availability; true where never stated")
    price: float | None = Field(description="its last known price", examples=[12.5])
    brand: str | None = Field(description="its last known brand", examples=["Ada"])
    title: str | None = Field(description="its last known title", examples=["Running shoes"])
    first_seen: date | None = Field(
        description="first day with an event or a property; null if only a list of the release names the item"
    )
    age_days: int | None = Field(description="days from `first_seen` to `as_of`; 0 on the day itself", ge=0)
    changed: dict[str, datetime] = Field(
        description="fields that `PUT /items` changed since the release, and when",
        examples=[{"price": "2015-08-03T09:30:00.000000Z"}],
    )


class ItemsChanged(_Model):
    """Changes of items that are durable, and served by the worker that answered."""

    items: int = Field(description="items that were named", ge=1, examples=[1])
    changes: int = Field(description="fields that were stated, of all items together", ge=1, examples=[2])
    ts: datetime = Field(description="from when on they hold, UTC", examples=["2015-08-03T09:30:00.000000Z"])


class ReleasedFile(_Model):
    """One file of a release."""

    name: str = Field(examples=["recommendations.rows.arrow"])
    bytes: int = Field(ge=0, examples=[18273640])
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Release(_Model):
    """The release being served: which bytes every answer is made of."""

    release_id: str = Field(examples=["2015-08-02-4f1c9a7be2d0"])
    as_of: date = Field(description="last day whose events the release knows", examples=["2015-08-02"])
    generation: int = Field(description="how often the pointer has moved", ge=0, examples=[12])
    previous: str | None = Field(description="release that was served before", examples=["2015-08-01-93d0e7c2a1b4"])
    pinned: bool = Field(description="whether publishing leaves it served")
    instead_of: str | None = Field(
        description="the current release, where that is damaged and the one before it, which is this one, is served"
    )
    manifest_sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="digest of the manifest, checked against the pointer"
    )
    loaded_at: datetime = Field(description="when this process began to serve it")
    beyond_horizon: bool | None = Field(
        description="whether its last day is longer ago than `facts.horizon_days`, for which its lists were judged; "
        "null where it does not state them"
    )
    rows: dict[str, int] = Field(description="ranked rows per list", examples=[{"recommendations": 180000}])
    facts: dict[str, Any] = Field(
        description="what the pipeline states: data set, id types, what ordered the lists, digests of the inputs"
    )
    files: list[ReleasedFile]


class Pinned(_Answer):
    """Where the pointer stands."""

    generation: int = Field(ge=0, examples=[13])
    previous: str | None = Field(description="release that was served before", examples=["2015-08-01-93d0e7c2a1b4"])
    pinned: bool = Field(description="whether publishing leaves it there")
    withdrawn: list[str] = Field(description="releases that a rollback has withdrawn")


class StoredRelease(_Answer):
    """A release of the store."""

    withdrawn: bool = Field(description="whether a rollback has withdrawn it")


class ReleaseList(_Model):
    """The releases of the store."""

    current: str | None = Field(description="the one that the pointer names", examples=["2015-08-02-4f1c9a7be2d0"])
    pinned: bool = Field(description="whether publishing leaves it there")
    releases: list[StoredRelease] = Field(description="the newest first")


class Partition(_Model):
    """A partition that was read."""

    asset: str = Field(examples=["recommendations"])
    day: str = Field(examples=["2015-08-02"])
    sha256: str


class TracedPartition(Partition):
    """A partition and what determined its bytes."""

    rows: int
    code_version: str
    params: dict[str, Any]
    run_id: str = Field(description="Dagster's run; empty where there was none")
    inputs: list[Partition]


class ChangedPartition(Partition):
    """A partition that was built again since."""

    now: str = Field(description="its hash now")


class LandingFile(_Model):
    """A file of the landing zone; what is null is not accepted any more."""

    digest: str
    name: str | None
    kind: str | None
    size: int | None
    content: str | None = Field(description="sha256 of its content")


class LineageTrace(_Answer):
    """What a release was made from, down to the landing files."""

    inputs: list[Partition] = Field(description="what it was made from directly")
    partitions: list[TracedPartition]
    landing_files: list[LandingFile]
    missing: list[Partition] = Field(description="partitions of which the store has no record any more")
    changed: list[ChangedPartition] = Field(description="partitions that were built again since")
    truncated: bool = Field(description="whether there are more partitions than one answer holds")


class Liveness(_Model):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Readiness(_Model):
    """Whether requests for data are answered."""

    ready: bool
    release_id: str | None = Field(description="release being served", examples=["2015-08-02-4f1c9a7be2d0"])
    as_of: date | None = Field(description="its day", examples=["2015-08-02"])
    instead_of: str | None = Field(
        description="the current release, where that is damaged and the one before it is served in its place"
    )
    problem: str | None = Field(
        description="why there is no release, why a newer one could not be loaded and the old one is still served, or "
        "which of its files have been damaged since"
    )


class EventsAdded(_Model):
    """Events that are durable now."""

    accepted: int = Field(description="events that are new", ge=0, examples=[1])
    duplicates: int = Field(description="events whose id was known already; they change nothing", ge=0, examples=[0])
    event_ids: list[str] = Field(
        description="the id of each event, in the order of the request", examples=[["01K0QZ5W8M2T4V6X8Z0B2D4F6H"]]
    )


class StoredEvent(_Model):
    """An event as it was posted."""

    event_id: str = Field(examples=["01K0QZ5W8M2T4V6X8Z0B2D4F6H"])
    user_id: Id
    item_id: Id
    event_type: str = Field(examples=["view"])
    ts: datetime = Field(description="when it happened, UTC")
    session_id: str | None = None
    recommendation_id: str | None = None
    release_id: str | None = None
    placement: str | None = None
    position: int | None = None
    source: str | None = None
    order_id: str | None = None
    quantity: float | None = None
    price: float | None = None


class UserEvents(_Model):
    """What a user did, as far as the API remembers it."""

    user_id: Id = Field(description="the user asked for", examples=[1150086])
    events: list[StoredEvent] = Field(description="newest first")


class UserDeleted(_Model):
    """A user who is forgotten here, and whom the graph is asked to erase."""

    user_id: Id = Field(description="the user", examples=[1150086])
    deleted_events: int = Field(description="events that were deleted", ge=0, examples=[17])
    erasure_request: str = Field(
        description="the request, in the store, which is gone once the person is erased from all that was built",
        examples=["erasures/requests/5f0c9f3e1b7a4d215f0c9f3e1b7a4d21.json"],
    )
