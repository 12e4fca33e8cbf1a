"""Faults are told in our own words, whatever is wrong with whichever field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from recsys_api.settings import Settings as ApiSettings
from recsys_assets.core.dataset import Dataset
from recsys_assets.core.experiments.kinds import KINDS
from recsys_assets.core.faults import describe_faults, message_of
from recsys_assets.core.placements.config import Placements
from recsys_assets.settings import Settings

ODD: list[Any] = [None, "", "x" * 300, -1, 10**12, 1.5, float("inf"), True, [], ["", -1], {}, {"no such": 1}]
MODELS: list[type[BaseModel]] = [Dataset, Placements, Settings, ApiSettings, *(kind.params for kind in KINDS.values())]


def faults_of(model: type[BaseModel]) -> Iterator[Any]:
    """What is wrong with odd values in each field, and in each field of the tables in it."""
    for name, field in model.model_fields.items():
        for value in ODD:
            try:
                TypeAdapter(model).validate_python({name: value})
            except ValidationError as error:
                yield from error.errors()
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from faults_of(kind)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__qualname__)
def test_no_fault_is_told_in_the_words_of_the_library(model: type[BaseModel]) -> None:
    faults = list(faults_of(model))
    assert faults
    for fault in faults:
        message = message_of(fault)
        assert message != "cannot be used", fault["type"]
        assert not {"Input", "Field", "Value", "Extra"} & set(message.split()), message


class Inner(BaseModel, extra="forbid"):
    """A table."""

    price: int = 0


class Outer(BaseModel, extra="forbid"):
    """A table of tables, by name and in a list."""

    by_name: dict[str, Inner] = {}
    listed: list[Inner] | None = None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"listd": []}, "listd: is not known; did you mean listed?"),
        ({"by_name": {"a": {"prise": 1}}}, "by_name.a.prise: is not known; did you mean price?"),
        ({"listed": [{}, {"prise": 1}]}, "listed.1.prise: is not known; did you mean price?"),
        ({"listed": [{"weight": 1}]}, "listed.0.weight: is not known"),
    ],
)
def test_an_unknown_field_names_the_known_one_of_its_table(content: Any, said: str) -> None:
    with pytest.raises(ValidationError) as error:
        Outer.model_validate(content)
    assert describe_faults(error.value, "file", Outer) == [said]
