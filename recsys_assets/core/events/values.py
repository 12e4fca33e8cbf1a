"""Convert text columns to numbers and times; a value that does not parse is null, never an error or a wrong value."""

from __future__ import annotations

import re
from typing import Literal

import narwhals as nw

from recsys_assets.core.contracts import IdType
from recsys_assets.core.dataset import NumberFormat

EpochUnit = Literal["s", "ms", "us", "ns"]

# [0-9] and not \d, which would also match digits of other scripts.
_INT64_MAX = "9223372036854775807"
_INT64_MIN = "9223372036854775808"
_OUT_OF_RANGE = 2**62  # microseconds: far outside any span of days
_FRACTION = {"s": 6, "ms": 3, "us": 0, "ns": 0}

_FLOAT = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
PLAIN = NumberFormat()
HIGHEST_PRICE = 1e9
"""What is higher is no price: sums of prices times weights have to stay within 64 bits (``exact_sum``)."""
NO_ID = ("null", "(null)", "none", "nan", "<na>", "\\n", "undefined", "true", "false")
"""What SQL, Python, pandas, MySQL, JavaScript and PHP write where there is no value, in lower case. Taken for an id,
one such word would make a person of all who have none."""
_UNSEEN = r"[\x00-\x1f\x7f-\x9f\x{200B}\x{200E}\x{200F}\x{2028}-\x{202E}\x{2060}-\x{206F}]"
"""Control characters, ends of lines, and those that have no width or turn the direction."""
_SPACES = r" \x{A0}\x{202F}"


def trimmed(text: nw.Expr) -> nw.Expr:
    """Text without surrounding white space; null if nothing is left."""
    stripped = text.str.strip_chars()
    return nw.when(stripped != "").then(stripped)


def stated_id(text: nw.Expr) -> nw.Expr:
    """Trimmed text of an id; null for the words by which exports write that there is none (:data:`NO_ID`)."""
    return nw.when(~text.str.to_lowercase().is_in(NO_ID)).then(text)


def to_text_id(text: nw.Expr) -> nw.Expr:
    """Trimmed text as a string id; null if it holds what nobody sees, as an id with it only looks like another one."""
    return nw.when(~text.str.contains(_UNSEEN)).then(text)


def to_id(text: nw.Expr, kind: IdType) -> nw.Expr:
    """Trimmed text as an id of the type that a data set states; null if it is none."""
    return to_int64(text) if kind == "int64" else to_text_id(text)


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


def to_float64(text: nw.Expr, numbers: NumberFormat = PLAIN) -> nw.Expr:
    """Trimmed text as a finite float64; -0 becomes 0.

    Args:
        text: the column.
        numbers: how its numbers are written. A sign between thousands must be between groups of three digits.
    """
    if numbers != PLAIN:
        text = _plain(text, numbers)
    valid = text.str.contains(_FLOAT)
    value = nw.when(valid).then(text).cast(nw.Float64)
    positive_zero = nw.when((value.abs() > 0) | value.is_null()).then(value).otherwise(nw.lit(0.0))
    return nw.when(value.abs() < float("inf")).then(positive_zero)


def is_number(text: nw.Expr, numbers: NumberFormat = PLAIN) -> nw.Expr:
    """Whether trimmed text is a number, however large, or a word for one that is none (``nan``, ``inf``)."""
    if numbers != PLAIN:
        text = _plain(text, numbers)
    word = text.str.contains(r"(?i)^[+-]?(nan|inf|infinity)$")
    return nw.when(word | text.str.contains(_FLOAT)).then(nw.lit(True)).otherwise(nw.lit(False))


def to_price(text: nw.Expr, numbers: NumberFormat = PLAIN) -> nw.Expr:
    """Trimmed text as a price, from 0 (free) to :data:`HIGHEST_PRICE`; null if it is none."""
    value = to_float64(text, numbers)
    return nw.when((value >= 0) & (value <= HIGHEST_PRICE)).then(value)


def _plain(text: nw.Expr, numbers: NumberFormat) -> nw.Expr:
    """Numbers with a decimal point and nothing else; null where the text is not written as stated."""
    for affix in sorted(numbers.affixes, key=len, reverse=True):
        text = text.str.replace(rf"(?i)^\s*{re.escape(affix)}\s*|\s*{re.escape(affix)}\s*$", "")
    decimal, between = re.escape(numbers.decimal), numbers.thousands
    whole = "[0-9]*"
    if between:
        group = f"[{_SPACES}]" if between == " " else re.escape(between)
        whole = rf"([0-9]*|[0-9]{{1,3}}({group}[0-9]{{3}})+)"
        valid = text.str.contains(rf"^[+-]?{whole}({decimal}[0-9]*)?$")
        text = nw.when(valid).then(text).str.replace_all(group, "")
    else:
        valid = text.str.contains(rf"^[+-]?{whole}({decimal}[0-9]*)?([eE][+-]?[0-9]+)?$")
        text = nw.when(valid).then(text)
    return text if numbers.decimal == "." else text.str.replace(decimal, ".")


def to_micros(text: nw.Expr, unit: EpochUnit) -> nw.Expr:
    """Trimmed text as int64 microseconds since 1970, UTC; digits beyond microseconds are truncated.

    Numbers too large for int64 become a time outside every span, not null: they are times, but wrong ones.
    """
    return nw.coalesce(_epoch_micros(text, unit), _scientific_micros(text, unit))


def _scientific_micros(text: nw.Expr, unit: EpochUnit) -> nw.Expr:
    """Times such as ``1.7e9``, as some exports write numbers; to the microsecond where a float can tell it."""
    written = text.str.contains(r"^[0-9]+(\.[0-9]*)?[eE][+-]?[0-9]+$")
    number = to_float64(nw.when(written).then(text))
    micros = number / 1000 if unit == "ns" else number * 10.0 ** _FRACTION[unit]
    return micros.round(0).clip(0, float(_OUT_OF_RANGE)).cast(nw.Int64)


def _epoch_micros(text: nw.Expr, unit: EpochUnit) -> nw.Expr:
    places = _FRACTION[unit]
    plain = text.str.contains(rf"^[0-9]{{1,{18 - places}}}$")
    whole = nw.when(plain).then(text).cast(nw.Int64)
    micros = whole // 1000 if unit == "ns" else whole * 10**places
    return nw.coalesce(micros, _any_epoch_micros(nw.when(~plain).then(text), unit))


def _any_epoch_micros(text: nw.Expr, unit: EpochUnit) -> nw.Expr:
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
