"""The models that an experiment may name, each with the parameters that it takes and their ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

ClassWeight = Literal["balanced"] | None


class Params(BaseModel):
    """Parameters of a kind of model."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class BoostingParams(Params):
    """Of CatBoost's trees; see :class:`recsys_assets.core.ranking.model.RankerParams`."""

    iterations: int = Field(default=300, ge=1, le=5000)
    learning_rate: float = Field(default=0.1, ge=0.001, le=1)
    depth: int = Field(default=6, ge=1, le=12)
    l2: float = Field(default=3.0, ge=0, le=1000)
    early_stopping: int = Field(default=30, ge=1, le=1000)


class CatBoostRankerParams(BoostingParams):
    """Of CatBoost with a ranking loss."""

    loss: Literal["QuerySoftMax", "YetiRank", "QueryRMSE", "PairLogit"] = "QuerySoftMax"


class LogisticParams(Params):
    """Of scikit-learn's ``LogisticRegression``."""

    C: float = Field(default=1.0, ge=0.00001, le=100_000)
    class_weight: ClassWeight = None
    max_iter: int = Field(default=500, ge=1, le=10_000)


class ForestParams(Params):
    """Of scikit-learn's ``RandomForestClassifier``."""

    n_estimators: int = Field(default=100, ge=1, le=1000)
    max_depth: int = Field(default=8, ge=1, le=24)
    min_samples_leaf: int = Field(default=5, ge=1, le=10_000)
    max_features: Literal["sqrt", "log2"] | Annotated[float, Field(gt=0, le=1)] = "sqrt"
    class_weight: ClassWeight = None


class GeneratorParams(Params):
    """Of a generator's own order; ``by`` is checked where the generators are known."""

    by: str = "fused"


@dataclass(frozen=True)
class Kind:
    """A model that an experiment may name.

    Attributes:
        params: the class of its parameters.
        about: description for people.
    """

    params: type[Params]
    about: str


KINDS: Mapping[str, Kind] = {
    "catboost_ranker": Kind(CatBoostRankerParams, "CatBoost with a ranking loss over each user's list"),
    "catboost_classifier": Kind(BoostingParams, "CatBoost with a loss over single candidates"),
    "logistic_regression": Kind(LogisticParams, "scikit-learn's logistic regression on standardised features"),
    "random_forest": Kind(ForestParams, "scikit-learn's random forest"),
    "generator": Kind(GeneratorParams, "the order of one generator, or of their fusion; nothing is trained"),
}
"""The allow-list, by the name that a file uses."""
