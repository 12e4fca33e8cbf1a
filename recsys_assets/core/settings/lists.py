"""Lists and their rules."""

from __future__ import annotations

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from recsys_assets.core.settings.kinds import Share


class ListSettings(BaseSettings):
    """Lists and their rules."""

    generators: str = Field(
        default="",
        description="generators that recommend candidates, such as `popular,covisit,repeat`; empty: those with a "
        "measured gain ([table](generators.md)); `all`: every one",
    )
    candidates_k: int = Field(
        default=40,
        ge=3,
        le=500,
        description="candidates per user from each generator; of popular and trending ones, those that unknown users "
        "get too are as many, else half (popular) or a third (trending)",
    )
    popular_k: int = Field(
        default=200, ge=1, le=1000, description="items per popularity list: all, trending, each category"
    )
    similar_k: int = Field(default=30, ge=1, le=500, description="similar items kept per item")
    recommendations_k: int = Field(default=100, ge=1, le=100, description="recommendations kept per user")
    explained_items: int = Field(
        default=10,
        ge=0,
        le=100,
        description="first items of each list for which a release can say why: the generators' ranks, and the features "
        "that weighed most; each takes about 30 bytes of the store; 0: none",
    )
    exclude_unavailable: bool = Field(
        default=True, description="leave out items that are known to be unavailable at the end of the day"
    )
    exclude_purchased: bool = Field(
        default=False,
        description="exclude items that the user purchased within `RECSYS_ACTIVITY_DAYS`; where the data set says "
        "`repeats = false`, items that the user interacted with are excluded anyway",
    )
    category_cap: int = Field(
        default=0, ge=0, le=100, description="most items of one category in a list; 0: any number"
    )
    diversity: Share = Field(
        default=0.0,
        description="how much lists vary in categories at the cost of relevance: 0 not at all, 0.1 to 0.3 a little "
        "(maximal marginal relevance); `ranker_evaluation` shows what it costs",
    )
    new_item_quota: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="share of each list that is kept for items younger than `RECSYS_NEW_ITEM_DAYS`: with 0.1 the 10th, "
        "20th and each further tenth place, as far as there are such candidates; 0: none",
    )

    @field_validator("generators")
    @classmethod
    def _names_alone(cls, value: str) -> str:
        """Without blanks; which names there are is known where the graph is built."""
        return ",".join(name.strip() for name in value.split(",") if name.strip())
