"""Which generators a graph uses, by the settings and by what the data set brings."""

from __future__ import annotations

import pytest

from recsys_assets.core.generator_registry import BUILT_IN
from recsys_assets.core.retrieval.protocol import GeneratorQuota
from recsys_assets.core.retrieval.selection import quotas_of, select_generators


def no_embeddings(asset: str) -> bool:
    return asset == "item_embeddings"


EXTRAS = {"content"}
"""Generators without a measured gain; docs/benchmarks.md has the figures."""


def test_by_default_generators_with_a_gain_are_selected_as_far_as_there_are_data():
    assert set(BUILT_IN.names) - set(select_generators("", BUILT_IN, lambda _: False, "shop")) == EXTRAS
    assert set(BUILT_IN.names) - set(select_generators("", BUILT_IN, no_embeddings, "shop")) == EXTRAS | {"nearest"}


def test_settings_turn_the_others_on():
    assert tuple(select_generators("all", BUILT_IN, lambda _: False, "shop")) == BUILT_IN.names
    assert set(BUILT_IN.names) - set(select_generators("all", BUILT_IN, no_embeddings, "shop")) == {"nearest"}
    assert list(select_generators("content", BUILT_IN, no_embeddings, "shop")) == ["content"]
    with_content = select_generators("", BUILT_IN, no_embeddings, "shop", extras=("content",))
    assert set(BUILT_IN.names) - set(with_content) == EXTRAS - {"content"} | {"nearest"}


def test_requested_generators_are_in_the_order_of_the_registry():
    assert list(select_generators("repeat,als,popular", BUILT_IN, no_embeddings, "shop")) == [
        "popular",
        "als",
        "repeat",
    ]


def test_a_request_that_cannot_be_met_is_an_error():
    with pytest.raises(ValueError, match=r"RECSYS_GENERATORS: unknown: best, factors; there are popular, "):
        select_generators("als,factors,best", BUILT_IN, no_embeddings, "shop")
    with pytest.raises(ValueError, match="'nearest' reads item_embeddings, for which data set 'shop' has no files"):
        select_generators("popular,nearest", BUILT_IN, no_embeddings, "shop")


def test_quotas_are_shares_and_never_empty():
    selected = select_generators("popular,trending,repeat", BUILT_IN, no_embeddings, "shop")
    assert quotas_of(selected, 100) == {
        "popular": GeneratorQuota(100, 0.5),
        "trending": GeneratorQuota(100, 0.5),
        "repeat": GeneratorQuota(100, 20.0),
    }
    assert {quota.k for quota in quotas_of(selected, 1).values()} == {1}
