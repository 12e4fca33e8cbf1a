"""Models and their search."""

from __future__ import annotations

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from recsys_assets.core.settings.kinds import days


class LearningSettings(BaseSettings):
    """Models and their search."""

    factors: int = Field(
        default=64, ge=1, le=1024, description="length of the vectors that ALS makes of users and items"
    )
    als_iterations: int = Field(default=10, ge=1, le=500, description="rounds of ALS")
    tuning_trials: int = Field(default=6, ge=1, le=500, description="parameter sets that Optuna tries for a ranker")
    tuning_fusion_trials: int = Field(
        default=500, ge=0, le=10_000, description="weights of the generators to evaluate; 0: they stay as they are"
    )
    tuning_als_trials: int = Field(
        default=0,
        ge=0,
        le=500,
        description="parameter sets that Optuna tries for ALS; 0: none, since each takes as long as fitting ALS",
    )
    tuning_seconds: float = Field(
        default=0,
        ge=0,
        le=86_400,
        description="seconds after which a search begins no further trial; 0: no limit, since with one the result "
        "depends on how fast the machine is",
    )
    tuning_every_days: int = days(
        7, "days that found parameters serve, counted from the first day; then they are searched anew"
    )
    tuning_storage_uri: SecretStr = Field(
        default=SecretStr(""),
        description="where searches are kept, so that one that was cut off goes on: a folder, `sqlite:///…`, "
        "`postgresql://…`, or `memory`: nowhere",
    )
    min_evaluated_users: int = Field(
        default=30, ge=1, description="with fewer users, nobody wins and the fused generators order the lists"
    )
    refit: bool = Field(
        default=True,
        description="the champion learns once more before it orders lists, from the newest window as well, on which it "
        "was judged; `false`: it serves as it was judged",
    )
    seed: int = Field(default=0, ge=0, description="seed of everything random")
