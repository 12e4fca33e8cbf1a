"""What becomes of a landing zone in which not all is well. Pure decisions over the record of accepted files.

**A file at fault** is set aside by name and reason, and no other file waits for it. Where an earlier version of it was
good, the rows of that version stay. How much a release lacks because of it is estimated in bytes: see :class:`Lacking`.

**A stray newest day**: one event with a wrong clock, months after all others, must not become the day as of which
everything is made. See :func:`stray_days`.

**Files that vanish** take their rows with them, as anybody expects of one file. That a lifecycle rule or an unmounted
disk takes a large share of the history away has to be agreed to by a person. See :func:`lost_share`. So has a file that
is replaced by one without a large share of its own rows: see :mod:`recsys_assets.ingest.shrinking`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from statistics import median

from recsys_assets.ingest.accepted import Accepted, AcceptedFile, FileKind, Quarantined

GAP_DAYS = 7
GAP_TIMES = 5
FEW = 0.1
_DAYS_BEFORE = 3
_USUAL = 28
_DATE = re.compile(r"(?<!\d)(\d{4})([-_]?)(\d{2})\2(\d{2})(?!\d)")
_KINDS: tuple[FileKind, ...] = ("events", "properties", "categories", "embeddings")
"""What recommendations are made of; what was shown (impressions) is only reported on."""
MOST_NAMED = 20
"""Names that a line tells; the others are a number."""

RowsByDay = Mapping[str, int]


def set_aside(file: AcceptedFile, reason: str, known: AcceptedFile | None) -> Quarantined:
    """The record of a file at fault.

    Args:
        file: as listed.
        reason: what is wrong with it.
        known: its last good version, whose rows stay; None if it has none.
    """
    missing = file.size
    # Where the same bytes were good before, the data set's description changed: it does not fit the file any more.
    if known is not None and known.fingerprint != file.fingerprint:
        missing = max(0, file.size - known.size)
    days = known.days if known is not None else _days_named(file.name)
    return Quarantined(file.kind, reason, file.listed, days, missing)


def _days_named(name: str) -> tuple[str, ...]:
    """The day that a file's name states; none if it states no date or several."""
    found: set[str] = set()
    for year, _, month, day in _DATE.findall(name):
        try:
            found.add(date(int(year), int(month), int(day)).isoformat())
        except ValueError:
            continue
    return tuple(found) if len(found) == 1 else ()


def waiting(accepted: Accepted) -> dict[str, str]:
    """What waits for a person, and why: files that are set aside or shrank, days that are held, files that vanished."""
    waits = {name: file.reason for name, file in accepted.quarantined.items() if not file.acknowledged}
    waits = {
        n: f"{why}; the rows of its last good version stay" if n in accepted.files else why for n, why in waits.items()
    }
    waits |= {f"day {day}": f"is held: {why}" for day, why in accepted.held.items()}
    if accepted.deletions:
        vanished = sentence(dict.fromkeys(accepted.deletions))
        waits["deletions"] = f"{len(accepted.deletions):,} files vanished with too many rows, which stay: {vanished}"
    for name, file in accepted.shrunk.items():
        waits[name] = f"has {file.rows:,} rows and had {file.before:,}, which stay"
    return waits


@dataclass(frozen=True)
class Lacking:
    """What the release of a day lacks because files are set aside.

    Attributes:
        files: the files and their reasons, acknowledged ones too.
        share: the estimated share of bytes that is missing, of files that nobody acknowledged: of the events of the
            day itself, or of all files of a kind, whichever is larger. A file's bytes are spread evenly over its days;
            one whose days nobody knows counts for this day.
        held: whether the release waits for a person.
    """

    files: Mapping[str, str]
    share: float
    held: bool

    def told(self) -> str:
        """The files and the share, in one line."""
        return f"{sentence(self.files)}; about {self.share:.1%} is missing" if self.files else "nothing"

    def facts(self) -> list[dict[str, str]]:
        """The files as a release states them; of very many, the first."""
        return [{"file": name, "reason": reason} for name, reason in sorted(self.files.items())[:100]]


def lacking(accepted: Accepted, day: str, most: float) -> Lacking:
    """What the release of a day lacks.

    Args:
        accepted: the files that count, and those that are set aside.
        day: the as-of day of the release.
        most: the largest share with which it is served; 0: none may be missing at all.
    """
    aside = {name: file for name, file in accepted.quarantined.items() if not file.days or min(file.days) <= day}
    counted = [file for file in aside.values() if not file.acknowledged and file.kind in _KINDS]
    share = max(_missing_share(accepted, counted, day, kind) for kind in _KINDS)
    return Lacking(
        {name: file.reason + (" (acknowledged)" if file.acknowledged else "") for name, file in aside.items()},
        share,
        share > most or (most == 0 and bool(counted)),
    )


def _missing_share(accepted: Accepted, aside: list[Quarantined], day: str, kind: FileKind) -> float:
    files = [file for file in accepted.files.values() if file.kind == kind and not file.copy_of]
    missing = [file for file in aside if file.kind == kind]
    shares = [_share(sum(file.missing for file in missing), sum(file.size for file in files))]
    if kind == "events":
        of_day = sum(file.size / len(file.days) for file in files if day in file.days)
        lost = sum(file.missing / len(file.days or (day,)) for file in missing if day in (file.days or (day,)))
        shares.append(_share(lost, of_day))
    return max(shares)


def _share(missing: float, there: float) -> float:
    return missing / (missing + there) if missing else 0.0


def far_apart(days: Collection[str]) -> bool:
    """Whether a gap between some days is long enough for a stray day to come after it."""
    return any(gap > GAP_DAYS for gap in _gaps(sorted(days)))


def _gaps(days: Sequence[str]) -> list[int]:
    return [(date.fromisoformat(after) - date.fromisoformat(day)).days for day, after in pairwise(days)]


def stray_days(rows: RowsByDay, taken: tuple[str, ...] = ()) -> dict[str, str]:
    """The newest days with events that are too far from the others and too small to be believed, and why.

    The days after a gap are stray if the gap is longer than :data:`GAP_DAYS` days and than :data:`GAP_TIMES` times the
    usual gap between days with events (their median), and if all of them together have fewer rows than :data:`FEW`
    times the median day. So data of one day, weekly data and the first day after a holiday go on; and stray days are
    taken when more follows.

    Args:
        rows: events by day.
        taken: days that a person has said to take.
    """
    days = sorted(day for day, count in rows.items() if count)
    gaps = _gaps(days)
    for at in range(_DAYS_BEFORE, len(days)):
        usual = median(gaps[max(0, at - _USUAL) : at - 1])
        before = median(rows[day] for day in days[max(0, at - _USUAL) : at])
        after = days[at:]
        if (
            gaps[at - 1] > max(GAP_DAYS, GAP_TIMES * usual)
            and sum(rows[day] for day in after) < FEW * before
            and not set(after) & set(taken)
        ):
            why = f"{gaps[at - 1]} days after {days[at - 1]}, where a day has about {before:,.0f}"
            return dict.fromkeys(after, why)
    return {}


def lost_share(before: Mapping[FileKind, RowsByDay], after: Mapping[FileKind, RowsByDay]) -> float:
    """The largest share of rows of one kind of files that is in ``before`` and, on the same day, not in ``after``."""
    shares = [0.0]
    for kind, rows in before.items():
        lost = Counter(rows) - Counter(after.get(kind, {}))
        shares.append(lost.total() / max(1, sum(rows.values())))
    return max(shares)


def acknowledged(accepted: Accepted, files: Collection[str]) -> Accepted:
    """The record after a person has said to go on without some files.

    Raises:
        ValueError: names those that are not set aside.
    """
    if unknown := sorted(set(files) - accepted.quarantined.keys()):
        raise ValueError(f"not set aside: {', '.join(unknown)}; set aside are: {sentence(accepted.quarantined)}")
    known = {name: replace(accepted.quarantined[name], acknowledged=True) for name in files}
    return accepted.with_quarantined(files, known)


def taking(accepted: Accepted, days: Collection[str]) -> Accepted:
    """The record after a person has said to take some days that are held.

    Raises:
        ValueError: names those that are not held.
    """
    if unknown := sorted(set(days) - accepted.held.keys()):
        raise ValueError(f"not held: {', '.join(unknown)}; held are: {', '.join(accepted.held) or 'none'}")
    return replace(accepted, taken=tuple(sorted({*accepted.taken, *days})))


def sentence(names: Mapping[str, object]) -> str:
    """Some names and, where they are stated, reasons: the first few, and how many more there are."""
    first = [f"{name} ({why})" if isinstance(why, str) else name for name, why in sorted(names.items())[:MOST_NAMED]]
    more = len(names) - len(first)
    return ", ".join([*first, *([f"and {more:,} more"] if more > 0 else [])]) or "none"
