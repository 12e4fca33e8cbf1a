"""Names of things: a title and a brand for each item, so that people see what a list is about.

Items of one taste belong to one theme, those of one style share a brand, and those of one category are of one sort.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys_assets.sample.catalog import STYLES, Ints

_THEMES = {
    "running": ("shoe", "jacket", "watch", "socks", "cap"),
    "kitchen": ("knife", "pan", "kettle", "mixer", "board"),
    "garden": ("spade", "hose", "lamp", "bench", "pot"),
    "studio": ("headphones", "speaker", "turntable", "guitar", "cable"),
    "nursery": ("puzzle", "train", "doll", "blocks", "kite"),
    "office": ("desk", "chair", "lamp", "notebook", "pen"),
    "camping": ("tent", "stove", "mattress", "lantern", "backpack"),
    "bath": ("towel", "mirror", "basket", "scale", "soap"),
    "pet": ("leash", "bowl", "bed", "brush", "toy"),
    "bike": ("helmet", "lock", "pump", "saddle", "bell"),
    "craft": ("yarn", "brush", "canvas", "scissors", "clay"),
    "photo": ("lens", "tripod", "bag", "flash", "frame"),
}
_LOOKS = ("Light", "Classic", "Bold", "Plain", "Soft", "Fine", "Wide", "Warm")
_BRANDS = ("Alvane", "Brisk", "Corro", "Delmar", "Estig", "Farrow", "Givre", "Hollin", "Ister", "Jorvik", "Kelda")
_SORTS = 5


def titles_and_brands(items: Ints, shelves: Ints) -> tuple[pl.Series, pl.Series]:
    """A title and a brand for each item.

    Args:
        items: numbers of items.
        shelves: of each item, ``[taste, style, category]`` flat.

    Returns:
        The titles, such as ``Light running shoe 102``, and the brands.
    """
    theme, style, sort = shelves // (STYLES * _SORTS), shelves // _SORTS % STYLES, shelves % _SORTS
    things = np.array([[f"{name} {sort}" for sort in sorts] for name, sorts in _THEMES.items()])
    thing = pl.Series("thing", things[theme % len(_THEMES), sort])
    look = pl.Series("look", np.array(_LOOKS)[(theme + style * 3) % len(_LOOKS)])
    brand = pl.Series("brand", np.array(_BRANDS)[(theme * STYLES + style) % len(_BRANDS)])
    named = pl.DataFrame([thing, look, pl.Series("number", items)])
    return named.select(pl.format("{} {} {}", "look", "thing", "number")).to_series(), brand
