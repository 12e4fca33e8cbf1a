"""Music: sessions of consecutive tracks of one artist, with repeats.

A listener has favourite artists of a few genres. A session starts with one of them, or with any artist of the genres,
plays on with tracks of the artist (the hits more often), and moves to another now and then. So the last artist says
what comes next, and what was played before is played again.
"""

from __future__ import annotations

import numpy as np

from recsys_assets.sample.regimes.world import MINUTE_MS, Floats, Ints, World, choose, visit_times, zipf

DAYS, LISTENERS, GENRES, ARTISTS, TRACKS = 56, 240, 10, 120, 12
FAVOURITES, FAVOURITE, STAYS, GOES_ON, LONGEST = 6, 0.8, 0.85, 0.88, 30


def make(seed: int) -> World:
    """The events of the regime.

    Args:
        seed: equal seeds give equal events.

    Returns:
        Plays. Truth: ``artist`` of each track, ``genre`` of each artist, ``favourite`` artists [listeners, favourites].
    """
    rng = np.random.default_rng([seed, 4])
    genre = rng.integers(0, GENRES, ARTISTS)
    likes = rng.dirichlet(np.full(GENRES, 0.25), LISTENERS)
    fame = rng.permutation(zipf(ARTISTS, 0.7))
    appeal = fame + np.log(1e-4 + likes[:, genre])
    favourite = choose(rng, appeal, np.full(LISTENERS, FAVOURITES))[1].reshape(LISTENERS, FAVOURITES)
    loved = rng.dirichlet(np.full(FAVOURITES, 1.0), LISTENERS).cumsum(axis=1)
    any_artist = np.exp(appeal).cumsum(axis=1)
    hits = np.exp(zipf(TRACKS, 1.0)).cumsum()
    pace = np.minimum(rng.lognormal(np.log(0.25), 0.6, LISTENERS), 0.9)
    rows: dict[str, list[Ints]] = {"user": [], "item": [], "ms": []}

    def artist_of(listener: Ints) -> Ints:
        mine = favourite[listener, _drawn(rng, loved[listener])]
        return np.where(rng.random(len(listener)) < FAVOURITE, mine, _drawn(rng, any_artist[listener]))

    for day in range(DAYS):
        listener = np.flatnonzero(rng.random(LISTENERS) < pace)
        begin, artist = visit_times(rng, day, len(listener)), artist_of(listener)
        for position in range(LONGEST):
            track = artist * TRACKS + _drawn(rng, np.broadcast_to(hits, (len(listener), TRACKS)))
            rows["user"].append(listener)
            rows["item"].append(track)
            rows["ms"].append(begin + position * 4 * MINUTE_MS + rng.integers(0, 2 * MINUTE_MS, len(listener)))
            stays = rng.random(len(listener)) < GOES_ON
            listener, begin, artist = listener[stays], begin[stays], artist[stays]
            artist = np.where(rng.random(len(listener)) < STAYS, artist, artist_of(listener))
    truth = {"artist": np.arange(ARTISTS * TRACKS) // TRACKS, "genre": genre, "favourite": favourite}
    return World.of(DAYS, rows, truth)


def _drawn(rng: np.random.Generator, until: Floats) -> Ints:
    """A column for each row of running sums of weights [rows, columns]."""
    point = rng.random(len(until)) * until[:, -1]
    return (until <= point[:, None]).sum(axis=1)
