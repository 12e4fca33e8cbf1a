"""Times that are written as text, in ISO 8601 or in a stated format, as microseconds since 1970.

A form with one meaning is read as it is: with ``Z``, `` UTC``, an offset of two or four digits, a zone in brackets, in
capitals or not, with separators or without. A form with several, such as ``01/02/2025``, needs a stated format. Days
that do not exist are null, as is everything else that is not of the form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

ISO = "iso"
"""In place of a format: ISO 8601, extended or basic."""
KNOWN_FORMATS = (
    "dd.mm.yyyy hh:mm:ss",
    "dd.mm.yyyy hh:mm",
    "dd.mm.yyyy",
    "mm/dd/yyyy hh:mm:ss",
    "mm/dd/yyyy hh:mm:ss am",
    "mm/dd/yyyy hh:mm",
    "mm/dd/yyyy hh:mm am",
    "mm/dd/yyyy",
    "dd/mm/yyyy hh:mm:ss",
    "dd/mm/yyyy hh:mm",
    "dd/mm/yyyy",
    "dd-mm-yyyy hh:mm:ss",
    "dd-mon-yyyy hh:mm:ss",
    "dd mon yyyy hh:mm:ss",
    "yyyy/mm/dd hh:mm:ss",
    "yyyymmddhhmmss",
)
"""Formats that exports are often written in; several may read the same text."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_ZONE = r"(?: ?(?P<zone>[Zz]|UTC|utc|GMT|gmt|[+-][0-9]{2}(?::?[0-9]{2})?))?(?:\[(?P<place>[A-Za-z][A-Za-z0-9_+/-]*)\])?"
_FRACTION = r"(?:[.,](?P<fraction>[0-9]{1,9}))?"
_EXTENDED = (
    r"^(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    rf"(?:[Tt ](?P<hour>[0-9]{{2}}):(?P<minute>[0-9]{{2}})(?::(?P<second>[0-9]{{2}}){_FRACTION})?{_ZONE})?$"
)
_BASIC = (
    r"^(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})"
    rf"[Tt](?P<hour>[0-9]{{2}})(?P<minute>[0-9]{{2}})(?:(?P<second>[0-9]{{2}}){_FRACTION})?{_ZONE}$"
)
_PARTS: Mapping[str, str] = {
    "yyyy": r"(?P<year>[0-9]{4})",
    "yy": r"(?P<short>[0-9]{2})",
    "mon": r"(?P<name>[A-Za-z]{3})[a-z]*\.?",
    "mm": r"(?P<month>[0-9]{1,2})",
    "dd": r"(?P<day>[0-9]{1,2})",
    "hh": r"(?P<hour>[0-9]{1,2})",
    "minute": r"(?P<minute>[0-9]{2})",
    "ss": rf"(?P<second>[0-9]{{2}}){_FRACTION}",
    "am": r"(?P<half>[AaPp])\.?[Mm]\.?",
}
_SLOT = 900_000_000
"""Microseconds of a quarter of an hour: clocks are only ever changed at the end of one."""
_FIRST_SLOT, _LAST_SLOT = -68_000_000, 281_000_000  # about the years 30 and 9983, within what datetime can hold
_EPOCH = datetime(1970, 1, 1)

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Times:
    """Times of rows.

    Args:
        micros: int64 microseconds since 1970 UTC, digits beyond them cut off; null where the text is no such time.
        skipped: whether it is null because clocks of the zone skip the time, in spring.
        repeated: how many lie in an hour that clocks of the zone repeat; they are taken as the first of the two.
    """

    micros: pa.Array
    skipped: Bools
    repeated: int = 0


def check_format(pattern: str) -> None:
    """Refuse what is not a format of times.

    Raises:
        ValueError: says what was expected.
    """
    parts = re.findall(r"\(\?P<(\w+)>", _expression(pattern).removesuffix(_ZONE + "$"))
    if len(parts) != len(set(parts)):
        raise ValueError(f"expected each part of a time once, found {pattern!r}")
    if not ({"year", "short"} & {*parts} and {"month", "name"} & {*parts} and "day" in parts):
        raise ValueError(f"expected year (yyyy or yy), month (mm or mon) and day (dd), found {pattern!r}")
    if {"minute", "second", "half"} & {*parts} and "hour" not in parts:
        raise ValueError(f"expected hours (hh) before minutes, found {pattern!r}")


def zone_of(name: str) -> ZoneInfo | None:
    """The time zone of a name; None if there is none."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return None


def parse_time(text: str, pattern: str = ISO, zone: str = "UTC") -> int | None:
    """One text as microseconds since 1970; None if it is no time of the form. See :func:`read_times`."""
    return read_times(pa.array([text], pa.string()), pattern, zone).micros[0].as_py()


def read_times(texts: pa.Array, pattern: str = ISO, zone: str = "UTC") -> Times:
    """Trimmed texts as times.

    Args:
        texts: strings.
        pattern: :data:`ISO`, or a format such as ``dd.mm.yyyy hh:mm:ss``.
        zone: of times that name neither an offset nor a zone.
    """
    found = Times(pa.nulls(len(texts), pa.int64()), np.zeros(len(texts), np.bool_))
    for expression in (_EXTENDED, _BASIC) if pattern == ISO else (_expression(pattern),):
        left = pc.call_function("is_null", [found.micros]) if found.micros.null_count else None
        if left is None or not pc.call_function("any", [pc.call_function("is_valid", [texts.filter(left)])]).as_py():
            break
        places = np.flatnonzero(left.to_numpy(zero_copy_only=False))
        some = _matched(texts.filter(left), expression, zone)
        found.skipped[places] |= some.skipped
        found = Times(_put(found.micros, places, some.micros), found.skipped, found.repeated + some.repeated)
    return found


def _put(into: pa.Array, places: Ints, values: pa.Array) -> pa.Array:
    """An array with other values at some places."""
    if len(places) == len(into):
        return values
    index = np.full(len(into), -1, np.int64)
    index[places] = np.arange(len(places))
    chosen = values.take(pa.array(index, mask=index < 0))
    return pc.call_function("coalesce", [into, chosen])


@cache
def _expression(pattern: str) -> str:
    """A format as a regular expression; ``mm`` after hours are minutes.

    Raises:
        ValueError: it contains letters that mean nothing.
    """
    out, hours = "", False
    lower = pattern.lower()
    at = 0
    while at < len(lower):
        part = next(
            (one for one in ("yyyy", "yy", "mon", "mm", "dd", "hh", "ss", "am") if lower.startswith(one, at)), ""
        )
        if not part:
            if lower[at].isalnum() and lower[at] != "t":
                raise ValueError(f"expected yyyy, yy, mm, mon, dd, hh, ss, am and signs, found {pattern[at:]!r} in it")
            out += re.escape(pattern[at])
            at += 1
            continue
        hours = hours or part == "hh"
        out += _PARTS["minute" if part == "mm" and hours else part]
        at += len(part)
    return f"^{_fixed(out, pattern)}{_ZONE}$"


def _fixed(expression: str, pattern: str) -> str:
    """Without signs between them, parts have two digits each: nothing else says where one ends."""
    return expression if re.search(r"[^A-Za-z]", pattern) else expression.replace("{1,2}", "{2}")


def _matched(texts: pa.Array, expression: str, zone: str) -> Times:
    """Times of the texts that match an expression."""
    parts = pc.call_function("extract_regex", [texts], pc.ExtractRegexOptions(expression))
    # Fields have values also where the struct is null.
    matched = parts.is_valid().to_numpy(zero_copy_only=False)
    named = {field.name: parts.field(index) for index, field in enumerate(parts.type)}
    year, month, day = _date(named, len(texts))
    hour, minute, second = (_number(named.get(name), len(texts)) for name in ("hour", "minute", "second"))
    if "half" in named:
        late = pc.call_function("is_in", [named["half"]], pc.SetLookupOptions(value_set=pa.array(["p", "P"])))
        matched &= (hour >= 1) & (hour <= 12)
        hour = hour % 12 + 12 * late.to_numpy(zero_copy_only=False)
    months = (year - 1970) * 12 + month - 1
    first, following = (_first_day(months + more) for more in (0, 1))
    matched &= (month >= 1) & (month <= 12) & (day >= 1) & (day <= following - first)
    matched &= (hour <= 23) & (minute <= 59) & (second <= 59)
    local = (((first + day - 1) * 24 + hour) * 60 + minute) * 60 + second
    micros = local * 1_000_000 + _fraction(named.get("fraction"), len(texts))
    offset, has_offset, offset_exists = _offsets(named["zone"])
    matched &= offset_exists
    micros -= offset
    skipped, repeated = np.zeros(len(texts), np.bool_), 0
    for place, rows in _places(named["place"], matched & ~has_offset, zone):
        there = zone_of(place)
        if there is None:
            matched[rows] = False
            continue
        shift, missing, twice = _shifts(micros[rows], there)
        micros[rows] -= shift
        matched[rows] &= ~missing
        skipped[rows] = missing
        repeated += int(twice.sum())
    return Times(pa.array(micros, mask=~matched), skipped, repeated)


def _date(named: Mapping[str, Any], rows: int) -> tuple[Ints, Ints, Ints]:
    if "short" in named:
        short = _number(named["short"], rows)
        year = short + np.where(short < 69, 2000, 1900)  # as POSIX has it
    else:
        year = _number(named["year"], rows)
    if "name" not in named:
        return year, _number(named["month"], rows), _number(named["day"], rows)
    name = pc.call_function("utf8_lower", [named["name"]])
    options = pc.SetLookupOptions(value_set=pa.array(_MONTHS))
    month = pc.call_function("index_in", [name], options).fill_null(-1).to_numpy(zero_copy_only=False) + 1
    return year, month.astype(np.int64), _number(named["day"], rows)


def _number(digits: Any, rows: int) -> Ints:
    """Digits as numbers, 0 where there are none."""
    if digits is None:
        return np.zeros(rows, np.int64)
    filled = pc.call_function("utf8_lpad", [digits.fill_null("0")], pc.PadOptions(width=1, padding="0"))
    return filled.cast(pa.int64()).to_numpy(zero_copy_only=False)


def _fraction(digits: Any, rows: int) -> Ints:
    """Decimals of a second as microseconds."""
    if digits is None:
        return np.zeros(rows, np.int64)
    six = pc.call_function("utf8_rpad", [digits.fill_null("")], pc.PadOptions(width=6, padding="0"))
    cut = pc.call_function("utf8_slice_codeunits", [six], pc.SliceOptions(start=0, stop=6))
    return cut.cast(pa.int64()).to_numpy(zero_copy_only=False)


def _first_day(months: Ints) -> Ints:
    """Days from 1970 to the first of a month that is counted from there."""
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def _offsets(zones: pa.Array) -> tuple[Ints, Bools, Bools]:
    """Microseconds east of Greenwich, whether an offset is stated, and whether there is such an offset."""
    known = zones.fill_null("").dictionary_encode()
    values: list[tuple[int, bool, bool]] = []
    for text in known.dictionary.to_pylist():
        if not text or text[0] not in "+-":
            values.append((0, bool(text), True))
            continue
        digits = text[1:].replace(":", "").ljust(4, "0")
        hours, minutes = int(digits[:2]), int(digits[2:])
        east = (hours * 60 + minutes) * 60_000_000
        values.append((-east if text[0] == "-" else east, True, hours <= 23 and minutes <= 59))
    table = np.array(values, np.int64).reshape(-1, 3)[known.indices.to_numpy(zero_copy_only=False)]
    return table[:, 0], table[:, 1].astype(np.bool_), table[:, 2].astype(np.bool_)


def _places(places: pa.Array, local: Bools, zone: str) -> list[tuple[str, Ints]]:
    """Rows of local times by their zone."""
    if not local.any():
        return []
    names = places.fill_null("")
    own = pc.call_function("not_equal", [names, pa.scalar("")]).to_numpy(zero_copy_only=False)
    found = [(zone, np.flatnonzero(local & ~own))] if zone != "UTC" else []
    for name in names.filter(pa.array(local & own)).unique().to_pylist():
        same = pc.call_function("equal", [names, pa.scalar(name)]).to_numpy(zero_copy_only=False)
        found.append((name, np.flatnonzero(local & same)))
    return [(name, rows) for name, rows in found if len(rows)]


def _shifts(local: Ints, zone: ZoneInfo) -> tuple[Ints, Bools, Bools]:
    """Microseconds east of Greenwich of local times; which of them do not exist there, and which twice."""
    slots, rows = np.unique(np.clip(local // _SLOT, _FIRST_SLOT, _LAST_SLOT), return_inverse=True)
    first, second = (
        np.array([_east(_EPOCH + timedelta(microseconds=int(slot) * _SLOT), zone, fold) for slot in slots], np.int64)
        for fold in (0, 1)
    )
    return first[rows], (first < second)[rows], (first > second)[rows]


def _east(local: datetime, zone: ZoneInfo, fold: int) -> int:
    return (local.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta()) // timedelta(microseconds=1)
