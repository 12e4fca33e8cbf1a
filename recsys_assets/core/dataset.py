"""The description of a data set: its files, their columns, the meaning of events, the start of a day.

A ``dataset.toml`` is all that the platform needs to read a team's files. The package contains presets for some public
data sets. Every mistake in the file is an error that names the file and the field.
"""

from __future__ import annotations

import tomllib
from datetime import date
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator

from recsys_assets.core.contracts import IdTypes
from recsys_assets.core.faults import describe_faults

# With "as", which re-exports: a data set and its parts are imported from one module.
from recsys_assets.core.file_specs import AvailabilityWords as AvailabilityWords
from recsys_assets.core.file_specs import CategoriesSpec as CategoriesSpec
from recsys_assets.core.file_specs import DatasetError as DatasetError
from recsys_assets.core.file_specs import EmbeddingsSpec as EmbeddingsSpec
from recsys_assets.core.file_specs import EventNumbers as EventNumbers
from recsys_assets.core.file_specs import FileSpec as FileSpec
from recsys_assets.core.file_specs import Format as Format
from recsys_assets.core.file_specs import Model
from recsys_assets.core.file_specs import NumberFormat as NumberFormat
from recsys_assets.core.file_specs import PropertiesSpec as PropertiesSpec
from recsys_assets.core.file_specs import Property as Property
from recsys_assets.core.file_specs import PropertyColumns as PropertyColumns
from recsys_assets.core.file_specs import TimedFileSpec as TimedFileSpec
from recsys_assets.core.file_specs import TimeUnit as TimeUnit

Kind = Literal["events", "properties", "categories", "embeddings", "impressions"]

IMPRESSION, DISLIKE = "impression", "dislike"
"""Types of what the API knows of its answers, in every data set: they are no events of it."""
SERVED = "served"
"""The API's folder of the landing zone."""
_SERVED_FILES: dict[str, Kind] = {
    "served/events-*.jsonl.gz": "events",
    "served/impressions-*.jsonl.gz": "impressions",
    "served/items-*.jsonl.gz": "properties",
}


class EventType(Model):
    """A type of event.

    Args:
        name: of the type; the raw value where none is stated. Several raw values may be one type.
        weight: how much an event of the type says about interest.
        target: whether recommendations should bring it about.
    """

    name: str = Field(min_length=1)
    weight: float = Field(ge=0, allow_inf_nan=False)
    target: bool = False


class EventColumns(Model):
    """The names in the files of the canonical columns.

    Args:
        user_id: of the user.
        item_id: of the item.
        ts: of the time.
        event_type: of the type, unless all rows are of one type.
        order_id: of the order.
        quantity: of the number of units.
        price: of the price of a unit.
    """

    user_id: str
    item_id: str
    ts: str
    event_type: str | None = None
    order_id: str | None = None
    quantity: str | None = None
    price: str | None = None


class ServedColumns(EventColumns):
    """Those of the files of events that the API writes: they also name the answer that an event follows from."""

    recommendation_id: str


class ImpressionColumns(ServedColumns):
    """Those of the API's files of impressions."""

    release_id: str
    placement: str
    position: str
    source: str


class Unknown(Model):
    """Values that mean 'not known' in place of an id.

    Args:
        user_id: such values; the empty string matches a missing one.
    """

    user_id: tuple[str, ...] = ()


class EventsSpec(TimedFileSpec):
    """Event files.

    Args:
        columns: the names of the columns.
        event_type: the raw type of every row, for files without such a column (a list of purchases).
        types: raw value to event type. Rows of other types are rejected.
        unknown: values that mean 'unknown'; such a row is kept as an event without a user.
        numbers: how prices and quantities are written.
        positive_quantity: reject rows with a quantity of 0 or less, such as returns and cancellations.
    """

    columns: SerializeAsAny[EventColumns]
    event_type: str | None = None
    types: dict[str, EventType] = Field(min_length=1)
    unknown: Unknown = Unknown()
    numbers: EventNumbers = EventNumbers()
    positive_quantity: bool = False

    @field_validator("types", mode="before")
    @classmethod
    def _name_defaults_to_raw_value(cls, types: Any) -> Any:
        if not isinstance(types, dict):
            return types
        table = cast(dict[str, Any], types)
        return {
            raw: cast(Any, {"name": raw, **kind} if isinstance(kind, dict) else kind) for raw, kind in table.items()
        }

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if (self.columns.event_type is None) == (self.event_type is None):
            raise ValueError("state either columns.event_type or event_type (one type for all rows)")
        if self.event_type is not None and self.event_type not in self.types:
            raise ValueError(f"event_type {self.event_type!r} is not in types {sorted(self.types)}")
        if len({t.name for t in self.types.values()}) != len(set(self.types.values())):
            raise ValueError("types of one name must have one weight and one target")
        if not any(t.target for t in self.types.values()):
            raise ValueError("types: at least one must be a target")
        if self.positive_quantity and self.columns.quantity is None:
            raise ValueError("positive_quantity needs columns.quantity")
        return self


class BotsSpec(Model):
    """When a user of a day counts as a bot (:class:`~recsys_assets.core.activity.bots.BotRule`).

    Args:
        enabled: if false, no user is flagged.
        per_minute: minimum pace of a bot in moments (distinct seconds with an event) per active minute.
        times_typical: minimum pace of a bot as a multiple of the mean pace of the day's users.
        moments: minimum number of moments on the day for a pace to count.
        hours: users who act in at least this many hours of a day are bots whatever their pace.
    """

    enabled: bool = True
    per_minute: float = Field(default=10.0, ge=1, le=60)
    times_typical: float = Field(default=5.0, ge=1, le=60)
    moments: int = Field(default=30, ge=2)
    hours: int = Field(default=22, ge=2, le=24)


class Dataset(Model):
    """A data set.

    Args:
        name: short name; part of default paths.
        ids: id types of users and items.
        start_date: first day; earlier events are rejected.
        end_date: day after the last; None if there is none.
        day_starts_at: when a day starts, in UTC: with ``03:00``, 02:59 belongs to the day before. Whole hours.
        session_gap_minutes: a longer pause between two events of a user starts a new session.
        repeats: whether items that a user has interacted with may be recommended again.
        defaults: values of settings that suit this data set, by the name of the setting.
        bots: the rule by which users count as bots, which no model learns from.
        events: event files.
        properties: files of item properties, if any.
        categories: files of the category tree, if any.
        embeddings: files of item embeddings, if any.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    ids: IdTypes = IdTypes()
    start_date: date
    end_date: date | None = None
    day_starts_at: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):00$")] = "00:00"
    session_gap_minutes: int = Field(default=30, ge=1, le=1440)
    repeats: bool = True
    defaults: dict[str, bool | int | float] = Field(default_factory=dict[str, bool | int | float])
    bots: BotsSpec = BotsSpec()
    events: EventsSpec
    properties: PropertiesSpec | None = None
    categories: CategoriesSpec | None = None
    embeddings: EmbeddingsSpec | None = None

    @field_validator("ids", mode="before")
    @classmethod
    def _known_ids(cls, ids: Any) -> Any:
        if isinstance(ids, dict) and (extra := sorted(set(cast(dict[str, Any], ids)) - {"user", "item"})):
            raise ValueError(f"expected user and item, found {', '.join(extra)}")
        return cast(Any, ids)

    @model_validator(mode="after")
    def _ends_after_start(self) -> Self:
        if self.end_date is not None and self.end_date <= self.start_date:
            raise ValueError(f"end_date {self.end_date} must be after start_date {self.start_date}")
        return self

    @property
    def boundary_hours(self) -> int:
        """Hours after midnight UTC at which a day starts."""
        return int(self.day_starts_at[:2])

    @property
    def event_types(self) -> dict[str, EventType]:
        """The event types by canonical name."""
        return {t.name: t for t in self.events.types.values()}

    def spec(self, kind: Kind) -> FileSpec | None:
        """The files of one kind, if the data set has any; the API alone has impressions."""
        specs: dict[Kind, FileSpec | None] = {
            "events": self.events,
            "properties": self.properties,
            "categories": self.categories,
            "embeddings": self.embeddings,
        }
        return specs.get(kind)

    @property
    def served(self) -> Dataset:
        """The data set in files that the API writes: our own column names and types, whatever other files have."""
        columns = ServedColumns(**{name: name for name in ServedColumns.model_fields})
        events = EventsSpec(
            files=_patterns("events"),
            format="jsonl",
            columns=columns,
            time_unit="iso",
            types=self.event_types,
            positive_quantity=self.events.positive_quantity,
        )
        properties = PropertiesSpec(
            files=_patterns("properties"),
            format="jsonl",
            columns=PropertyColumns(**{name: name for name in PropertyColumns.model_fields}),
            time_unit="iso",
            names={name: name for name in get_args(Property)},
        )
        return self.model_copy(update={"events": events, "properties": properties})

    @property
    def shown(self) -> Dataset:
        """The data set in the API's files of impressions, which read like events of two types of their own."""
        shown = ImpressionColumns.model_fields.keys() - {"order_id", "quantity", "price"}
        # Not validated: no such type is a target.
        events = EventsSpec.model_construct(
            files=_patterns("impressions"),
            format="jsonl",
            columns=ImpressionColumns(**{name: name for name in shown}),
            time_unit="iso",
            types={name: EventType(name=name, weight=0) for name in (IMPRESSION, DISLIKE)},
        )
        return self.model_copy(update={"events": events})

    def of_file(self, name: str) -> Dataset:
        """The data set in the file at this path below the landing zone: itself, :attr:`served` or :attr:`shown`."""
        if not is_served(name):
            return self
        return self.shown if self.kind_of(name) == "impressions" else self.served

    def kind_of(self, name: str) -> Kind | None:
        """The kind of the file at this path below the landing zone; None if neither the data set nor the API has it."""
        if is_served(name):
            return next((kind for pattern, kind in _SERVED_FILES.items() if fnmatchcase(name, pattern)), None)
        return next(
            (kind for kind in get_args(Kind) if (spec := self.spec(kind)) is not None and spec.matches(name)), None
        )


def is_served(name: str) -> bool:
    """Whether a file of the landing zone lies in the folder of the API; no pattern of a data set matches there."""
    return name.startswith(f"{SERVED}/")


def _patterns(kind: Kind) -> tuple[str, ...]:
    """The files of one kind that the API writes."""
    return tuple(pattern for pattern, of_kind in _SERVED_FILES.items() if of_kind == kind)


def presets() -> list[str]:
    """Names of the data sets that the package contains."""
    folder = resources.files("recsys_assets.presets")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_dataset(name_or_path: str | Path) -> Dataset:
    """Read a data set: a preset by name, anything else as the path of a ``dataset.toml``.

    Raises:
        DatasetError: there is no such preset or file, or a field is missing, unknown or wrong; names file and field.
    """
    names = presets()
    if str(name_or_path) in names:
        source = f"preset {name_or_path}"
        text = resources.files("recsys_assets.presets").joinpath(f"{name_or_path}.toml").read_text("utf-8")
    else:
        source, path = str(name_or_path), Path(name_or_path)
        if not path.is_file():
            raise DatasetError(f"{source}: expected a preset ({', '.join(names)}) or the path of a dataset.toml")
        text = path.read_text("utf-8")
    try:
        return Dataset.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise DatasetError(f"{source}: not TOML: {error}") from error
    except ValidationError as error:
        faults = describe_faults(error, "data set", Dataset)
        raise DatasetError("\n".join(f"{source}: {fault}" for fault in faults)) from error
