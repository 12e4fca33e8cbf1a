"""Convert text columns to numbers and times; a value that does not parse is null, never an error or a wrong value."""

from __future__ import annotations

import narwhals as nw

from recsys_assets.core.dataset import TimeUnit

# [0-9] and not \d, which would also match digits of other scripts.
_INT64_MAX = "9223372036854775807"
_INT64_MIN = "9223372036854775808"
_OUT_OF_RANGE = 2**62  # microseconds: far outside any span of days
_FRACTION = {"s": 6, "ms": 3, "us": 0, "ns": 0}

_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,9})?)?"
_ZONE = r"( ?(Z|[+-][0-9]{2}:?[0-9]{2}))?"


def trimmed(text: nw.Expr) -> nw.Expr:
    """Text without surrounding white space; null if nothing is left."""
    stripped = text.str.strip_chars()
    return nw.when(stripped != "").then(stripped)


def to_int64(text: nw.Expr) -> nw.Expr:
    """Trimmed text as int64.

    Signs, leading zeros and a decimal part of zeros (``7.0``, which pandas writes for a column with gaps) are accepted.
    Exponents and values beyond int64 are null: digits go from text to integer and never through a float.
    """
    # Nearly all values are plain digits; the others are parsed in a column that is null elsewhere, which is cheap.
    plain = text.str.contains(r"^-?[0-9]{1,18}$")
    return nw.coalesce(nw.when(plain).then(text).cast(nw.Int64), _any_int64(nw.when(~plain).then(text)))


def _any_int64(text: nw.Expr) -> nw.Expr:
    valid = text.str.contains(r"^[+-]?[0-9]+(\.0*)?$")
    negative = text.str.starts_with("-")
    digits = text.str.replace(r"^[+-]?0*", "").str.replace(r"\.0*$", "")
    length = digits.str.len_chars()
    largest = nw.when(negative).then(nw.lit(_INT64_MIN)).otherwise(nw.lit(_INT64_MAX))
    fits = (length < len(_INT64_MAX)) | ((length == len(_INT64_MAX)) & (digits <= largest))
    sign = nw.when(negative).then(nw.lit("-")).otherwise(nw.lit(""))
    whole = nw.when(length > 0).then(digits).otherwise(nw.lit("0"))
    return nw.when(valid & fits).then(nw.concat_str(sign, whole)).cast(nw.Int64)


def to_float64(text: nw.Expr) -> nw.Expr:
    """Trimmed text as a finite float64; -0 becomes 0."""
    valid = text.str.contains(r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$")
    value = nw.when(valid).then(text).cast(nw.Float64)
    return nw.when(value.abs() < float("inf")).then(value + 0.0)


def to_micros(text: nw.Expr, unit: TimeUnit) -> nw.Expr:
    """Trimmed text as int64 microseconds since 1970, UTC; digits beyond microseconds are truncated.

    Numbers too large for int64 become a time outside every span, not null: they are times, but wrong ones.
    """
    return _iso_micros(text) if unit == "iso" else _epoch_micros(text, unit)


def _epoch_micros(text: nw.Expr, unit: TimeUnit) -> nw.Expr:
    places = _FRACTION[unit]
    plain = text.str.contains(rf"^[0-9]{{1,{18 - places}}}$")
    whole = nw.when(plain).then(text).cast(nw.Int64)
    micros = whole // 1000 if unit == "ns" else whole * 10**places
    return nw.coalesce(micros, _any_epoch_micros(nw.when(~plain).then(text), unit))


def _any_epoch_micros(text: nw.Expr, unit: TimeUnit) -> nw.Expr:
    valid = text.str.contains(r"^([+-]?[0-9]+|[0-9]+\.[0-9]*)$")
    out_of_range = nw.when(text.str.starts_with("-")).then(nw.lit(-_OUT_OF_RANGE)).otherwise(nw.lit(_OUT_OF_RANGE))
    whole = nw.coalesce(to_int64(text.str.replace(r"\..*$", "")), out_of_range)
    places = _FRACTION[unit]
    limit = _OUT_OF_RANGE // 10**places
    micros = whole // 1000 if unit == "ns" else whole.clip(-limit, limit) * 10**places
    if places:
        fraction = nw.concat_str(text.str.replace(r"^[^.]*\.?", ""), nw.lit("0" * places)).str.slice(0, places)
        micros = micros + nw.when(valid).then(fraction).cast(nw.Int64)
    return nw.when(valid).then(micros)


def _iso_micros(text: nw.Expr) -> nw.Expr:
    valid = text.str.contains(f"^{_DATE}({_CLOCK}{_ZONE})?$")
    text = nw.when(valid).then(text)

    def number(part: nw.Expr, present: nw.Expr | None = None) -> nw.Expr:
        part = part if present is None else nw.when(present).then(part).otherwise(nw.when(valid).then(nw.lit("0")))
        return part.cast(nw.Int64)

    clock = text.str.len_chars() > 10
    year, month, day = number(text.str.slice(0, 4)), number(text.str.slice(5, 2)), number(text.str.slice(8, 2))
    hour, minute = number(text.str.slice(11, 2), clock), number(text.str.slice(14, 2), clock)
    second = number(text.str.slice(17, 2), text.str.contains(r"^.{16}:"))
    digits = text.str.slice(20).str.replace(r"[^0-9].*$", "")
    fraction = number(nw.concat_str(digits, nw.lit("000000")).str.slice(0, 6), text.str.contains(r"^.{19}[.,]"))

    zoned = clock & text.str.contains(r"[+-][0-9]{2}:?[0-9]{2}$")
    zone = text.str.slice(-6).str.replace_all(":", "", literal=True).str.slice(-5)
    zone_hour, zone_minute = number(zone.str.slice(1, 2), zoned), number(zone.str.slice(3, 2), zoned)
    east = nw.when(zone.str.starts_with("-")).then(nw.lit(-1)).otherwise(nw.lit(1))

    exists = (
        month.is_between(1, 12)
        & day.is_between(1, _month_days(year, month))
        & (hour <= 23)
        & (minute <= 59)
        & (second <= 59)
        & (zone_hour <= 23)
        & (zone_minute <= 59)
    )
    minutes = (_days(year, month, day) * 24 + hour) * 60 + minute - east * (zone_hour * 60 + zone_minute)
    return nw.when(exists).then((minutes * 60 + second) * 1_000_000 + fraction)


def _leap(year: nw.Expr) -> nw.Expr:
    return ((year % 4 == 0) & (year % 100 != 0)) | (year % 400 == 0)


def _month_days(year: nw.Expr, month: nw.Expr) -> nw.Expr:
    february = nw.when(_leap(year)).then(nw.lit(29)).otherwise(nw.lit(28))
    others = nw.when(month.is_in([4, 6, 9, 11])).then(nw.lit(30)).otherwise(nw.lit(31))
    return nw.when(month == 2).then(february).otherwise(others)


def _days(year: nw.Expr, month: nw.Expr, day: nw.Expr) -> nw.Expr:
    """Days since 1970-01-01 of a Gregorian date (H. Hinnant, "chrono-compatible low-level date algorithms", 2013)."""
    # With years that start in March the leap day is last, so that all months before it have fixed lengths.
    after_february = month > 2
    year = nw.when(after_february).then(year).otherwise(year - 1)
    month = nw.when(after_february).then(month - 3).otherwise(month + 9)
    return year * 365 + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day - 1 - 719_468
