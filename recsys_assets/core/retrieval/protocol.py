"""The interface of generators and their inputs; :mod:`~recsys_assets.core.generator_registry` lists them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Self, TypeVar

import narwhals as nw
import pyarrow as pa

from recsys_assets.core.clock import last_days
from recsys_assets.core.engine import Engine, Frame, Memoize, passthrough
from recsys_assets.core.generator_registry import GeneratorRegistry
from recsys_assets.core.models.als import AlsFitParams
from recsys_assets.core.models.session_model import SessionModel
from recsys_assets.core.retrieval.generators import user_history

if TYPE_CHECKING:  # SciPy takes half a second, which loading the graph must not cost
    from recsys_assets.core.models.cf_ensemble import CfEnsemble

_PAIR = ["user_id", "item_id"]


@dataclass(frozen=True)
class GeneratorQuota:
    """Candidates per user of a generator, and its weight in the fusion (0: it adds candidates alone)."""

    k: int
    weight: float = 1.0


@dataclass(frozen=True)
class CandidateParams:
    """How candidates are found.

    Args:
        quotas: of the generators by name; one that is not here gives no candidates.
        fusion_constant: c of the fused score, sum of weight / (c + rank). The usual 60 fuses lists of hundreds; here
            the first few places decide.
        activity_days: window of the users' history.
        active_days: users with activity in the last so many days get candidates.
        popular_days: window of the items' features.
        trending_days: window of ``item_trend``.
        factors_days: window of the histories that the models of users and items take.
        factors_half_life: days in which a day's weight halves in these histories.
        als: how the vectors of items were fitted, onto which histories are folded.
        ensemble_weights: of the models of 'cf_ensemble' by name; 1 where a model has none.
        repeat_half_life: days in which a day's weight halves for 'repeat'.
        repeat_popularity: exponent of an item's recent user days (of the trending window) for 'repeat'.
        covisit_half_life: days in which a seed's weight halves for 'covisit'.
        covisit_seeds: last distinct items of a user that 'covisit' starts from.
        covisit_neighbours: neighbours per seed.
        favourite_categories: categories per user for 'category' and 'content'.
        new_item_days: for how many days an item is new, for 'content'.
        new_item_users: most user days, in the window of popularity, of an item that 'content' recommends.
        repeats: whether items that the user interacted with may be recommended again.
        exclude_unavailable: leave out items known to be unavailable.
    """

    quotas: Mapping[str, GeneratorQuota] = field(default_factory=dict)
    fusion_constant: float = 10.0
    activity_days: int = 60
    active_days: int = 30
    popular_days: int = 28
    trending_days: int = 7
    factors_days: int = 90
    factors_half_life: float = 30.0
    als: AlsFitParams = field(default_factory=AlsFitParams)
    ensemble_weights: Mapping[str, float] = field(default_factory=dict)
    repeat_half_life: float = 90.0
    repeat_popularity: float = 0.35
    covisit_half_life: float = 30.0
    covisit_seeds: int = 50
    covisit_neighbours: int = 50
    favourite_categories: int = 3
    new_item_days: int = 14
    new_item_users: int = 10
    repeats: bool = True
    exclude_unavailable: bool = True


@dataclass(frozen=True, kw_only=True)
class FeatureInputs:
    """The frames that features are made of, all as of day D; the activity windows with ``dt``.

    ``user_activity`` reaches back to the first day where repeats are off: what a user had is not recommended, ever.

    ``cf_ensemble`` are the models of users and items, None where nothing reads them.
    ``memoize`` keeps frames that do not depend on the users: all parts of the inputs share them. ``memoize_part`` keeps
    those that are read more than once within a part.
    """

    user_activity: Frame
    item_activity: Frame
    item_features: Frame
    cf_ensemble: CfEnsemble | None = None
    # A function as a plain default would be a method of the class.
    memoize: Memoize = field(default_factory=lambda: passthrough)
    memoize_part: Memoize = field(default_factory=lambda: passthrough)

    @property
    def of_users(self) -> tuple[Frame, ...]:
        """The frames that have a user_id."""
        return (self.user_activity,)

    def with_users(self, *frames: Frame) -> Self:
        """The inputs with other rows of :attr:`of_users`."""
        (user_activity,) = frames
        return replace(self, user_activity=user_activity)


@dataclass(frozen=True, kw_only=True)
class CandidateInputs(FeatureInputs):
    """The frames that candidates are made of, beside those of their features.

    ``clicks`` are the clean events of the window of ``session_model``, which is None where nothing reads it.
    ``fitted_models`` are the states of the fitted generators, by name.
    """

    top_popular: Frame
    covisited_items: Frame
    item_factors: Frame
    clicks: Frame
    session_model: SessionModel | None = None
    fitted_models: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def of_users(self) -> tuple[Frame, ...]:
        """See :class:`FeatureInputs`."""
        return *super().of_users, self.clicks

    def with_users(self, *frames: Frame) -> Self:
        """See :class:`FeatureInputs`."""
        user_activity, clicks = frames
        return replace(super().with_users(user_activity), clicks=clicks)


def active_users(user_activity: Frame, as_of: date, params: CandidateParams) -> Frame:
    """user_id, each once, of the users who get candidates."""
    return last_days(user_activity, as_of, params.active_days).select("user_id").unique()


def active_history(inputs: FeatureInputs, as_of: date, end: datetime, params: CandidateParams) -> tuple[Frame, Frame]:
    """The users who get candidates, and their :func:`user_history` as of the end of D."""
    users = inputs.memoize_part("users", active_users(inputs.user_activity, as_of, params))
    history = user_history(inputs.user_activity, as_of, end, params.activity_days, params.repeat_half_life)
    return users, inputs.memoize_part("history", history.join(users, on="user_id", how="semi"))


def model_history(
    inputs: FeatureInputs,
    users: Frame,
    as_of: date,
    end: datetime,
    params: CandidateParams,
    half_life: float | None = None,
) -> Frame:
    """The histories that the models of users and items take: user_id, item_id (unique pairs) and weight.

    Args:
        inputs: as of the end of D.
        users: user_id.
        as_of: D.
        end: the instant at which D ends.
        params: window and half-life.
        half_life: that of a model which has its own.
    """
    half_life = half_life or params.factors_half_life
    history = user_history(inputs.user_activity, as_of, end, params.factors_days, half_life)
    pairs = weighted_pairs(history.join(users, on="user_id", how="semi"))
    return inputs.memoize_part(f"model_history {half_life:g}", pairs)


def weighted_pairs(history: Frame) -> Frame:
    """user_id, item_id and weight of a :func:`user_history`, without pairs whose weight is 0."""
    return history.filter(nw.col("fresh_weight") > 0).select(*_PAIR, weight=nw.col("fresh_weight"))


@dataclass(frozen=True)
class RetrievalContext:
    """The input of a derived generator.

    Attributes:
        engine: where the frames run.
        inputs: as of the end of D.
        params: windows, half-lives and rules.
        as_of: D.
        end: the instant at which D ends.
        users: user_id of those who get candidates.
        history: :func:`~recsys_assets.core.retrieval.generators.user_history` of these users.
    """

    engine: Engine
    inputs: CandidateInputs
    params: CandidateParams
    as_of: date
    end: datetime
    users: Frame
    history: Frame

    def more(self, k: int) -> int:
        """How many items to ask a model for, which may know less of a history than is left out in the end."""
        return k if self.params.repeats else 2 * k

    @property
    def model_history(self) -> Frame:
        """:func:`model_history` of the users."""
        return model_history(self.inputs, self.users, self.as_of, self.end, self.params)

    def by_users(self, history: Frame, recommend: Callable[[pa.Table], pa.Table]) -> Frame:
        """What a model recommends to the histories of users; each call gets all rows of some users, ordered.

        Args:
            history: user_id, item_id and any columns.
            recommend: gives user_id, item_id and score.
        """
        ids = {name: arrow_type(history.collect_schema()[name]) for name in _PAIR}
        schema = pa.schema([*ids.items(), ("score", pa.float64())])
        order = [(name, "ascending") for name in _PAIR]
        return self.engine.map_users(history, lambda some: recommend(some.sort_by(order)), schema)

    @property
    def interacted(self) -> Frame | None:
        """user_id, item_id of the pairs that may not be recommended, however old; None where repeats are allowed."""
        if self.params.repeats:
            return None
        ever = self.inputs.user_activity.filter(nw.col("dt") <= self.as_of).select(*_PAIR).unique()
        return self.inputs.memoize_part("interacted", ever.join(self.users, on="user_id", how="semi"))

    def unavailable_items(self) -> pa.Array:
        """item_id of the items that may be recommended to no user."""
        items = self._unavailable().collect(backend="polars").to_arrow()["item_id"].combine_chunks()
        return items if self.params.exclude_unavailable else items.slice(0, 0)

    def _unavailable(self) -> Frame:
        unavailable = self.inputs.item_features.filter(~nw.col("available")).select("item_id")
        return self.inputs.memoize("unavailable", unavailable)

    def available(self, items: Frame) -> Frame:
        """The rows whose item may be recommended."""
        if not self.params.exclude_unavailable:
            return items
        return items.join(self._unavailable(), on="item_id", how="anti")

    def not_interacted(self, pairs: Frame) -> Frame:
        """The rows (user_id, item_id, …) without :attr:`interacted`."""
        return pairs if self.interacted is None else pairs.join(self.interacted, on=_PAIR, how="anti")


@dataclass(frozen=True)
class FitContext:
    """The input of a fitted generator, all as of D.

    Attributes:
        engine: where the frames run.
        frames: by asset: ``user_activity`` without bots, and what else the generator reads; windows of days with
            ``dt``.
        as_of: D.
        end: the instant at which D ends.
        active_days: users with activity in the last so many days get candidates.
        horizon_days: days after D whose targets count as hits.
        half_life: days in which a day's weight halves in :meth:`history`.
        repeats: whether items that a user interacted with may be recommended again.
        k: candidates per user.
        seed: of every random choice.
    """

    engine: Engine
    frames: Mapping[str, Frame]
    as_of: date
    end: datetime
    active_days: int
    horizon_days: int
    half_life: float
    repeats: bool
    k: int
    seed: int = 0

    def users(self, day: date | None = None) -> pa.ChunkedArray:
        """user_id, ascending, of those who were active in the last days up to a day (D by default)."""
        activity = last_days(self.frames["user_activity"], day or self.as_of, self.active_days)
        return _rows(activity.select("user_id").unique(), "user_id")["user_id"]

    def history(self, day: date | None = None) -> pa.Table:
        """Interactions up to the end of a day (D by default): user_id, item_id, weight, which decays with age.

        Ordered by user_id and item_id; each pair once.
        """
        until = day or self.as_of
        activity = self.frames["user_activity"].filter(nw.col("dt") <= until)
        pairs = user_history(activity, until, self.end - (self.as_of - until), _EVER, self.half_life)
        return _rows(weighted_pairs(pairs), *_PAIR)

    def targets(self, after: date) -> pa.Table:
        """Target events after a day and up to D: user_id, item_id, ordered, each pair once."""
        activity = self.frames["user_activity"].filter((nw.col("dt") > after) & (nw.col("targets") > 0))
        return _rows(activity.select(*_PAIR).unique(), *_PAIR)


_EVER = 10_000
"""Days, more than any window that is read: the history is all of it."""


@dataclass(frozen=True, kw_only=True)
class Generator:
    """A source of candidates.

    Attributes:
        about: what it recommends.
        share: its quota as a share of the candidates per user in the settings.
        weight: in the fusion, until a search finds a better one.
        on_by_default: whether it is used where ``RECSYS_GENERATORS`` names none; False without a measured gain.
    """

    about: str
    share: float = 1.0
    weight: float = 1.0
    on_by_default: bool = True


@dataclass(frozen=True, kw_only=True)
class Derived(Generator):
    """A generator that needs no fit of its own: lazy frames over assets that have other uses too.

    Attributes:
        recommend: gives user_id, item_id and score: at least the k best of each user, as far as there are so many.
            With a column ``rank`` it gives exactly the k best. What the user interacted with is left out afterwards
            where repeats are off; with ``rank``, it is left out already.
    """

    recommend: Callable[[RetrievalContext, int], Frame]


@dataclass(frozen=True, kw_only=True)
class Fitted(Generator):
    """A model of its own: it is fitted in an asset, and recommends to any history.

    The same call serves all active users, the users of a training window and one visitor. So what it recommends to a
    history must not depend on the others of the table.

    Attributes:
        fit: gives the state, as it is stored: all that ``recommend`` needs, and no pickle.
        recommend: takes the state, histories (user_id, item_id and weight, unique pairs, ordered), k, and the item_id
            that may not be recommended; gives user_id, item_id and score, each pair once, at least the k best.
        reads: assets that the fit needs beside ``user_activity``.
        code_version: change it when the same inputs give other candidates.
    """

    fit: Callable[[FitContext], bytes]
    recommend: Callable[[bytes, pa.Table, int, pa.Array], pa.Table]
    reads: tuple[str, ...] = ()
    code_version: str = "1"


G = TypeVar("G", bound=Generator)


def derived(registry: GeneratorRegistry, name: str) -> Derived:
    """A derived generator by its name."""
    return _load(registry, name, Derived)


def fitted(registry: GeneratorRegistry, name: str) -> Fitted:
    """A generator with an asset of its own by its name.

    Raises:
        TypeError: what another package registered is not one.
    """
    return _load(registry, name, Fitted)


def generator(registry: GeneratorRegistry, name: str) -> Generator:
    """Any generator by its name; raises as :func:`fitted`."""
    return fitted(registry, name) if name in registry.fitted else derived(registry, name)


def _load(registry: GeneratorRegistry, name: str, kind: type[G]) -> G:
    source = registry.load(name)
    if not isinstance(source, kind):
        raise TypeError(
            f"generator {name!r}: {registry.where[name]} is a {type(source).__name__}, expected a {kind.__name__}"
        )
    return source


def arrow_type(dtype: nw.dtypes.DType) -> pa.DataType:
    """The Arrow type of ids."""
    return pa.string() if dtype == nw.String else pa.int64()


def _rows(frame: Frame, *order: str) -> pa.Table:
    return frame.sort(*order).collect(backend="polars").to_arrow()
