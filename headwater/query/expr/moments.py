"""Timestamps and intervals of the filter language: ISO 8601 text to microseconds, and calendar arithmetic by arrays."""

from __future__ import annotations

import datetime
import re
import zoneinfo
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Interval", "interval", "microseconds", "shifted"]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_DURATION = re.compile(
    r"([+-]?)P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?"
    r"(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:[.,](\d{1,6}))?S)?)?"
)
_LONGEST = 1_000_000


@dataclass(frozen=True)
class Interval:
    """A duration: months are of the calendar, so they have no length of their own.

    Attributes:
        months: twelve to a year.
        microseconds: of weeks, days, hours, minutes and seconds.
    """

    months: int
    microseconds: int

    def negated(self) -> Interval:
        """As far the other way."""
        return Interval(-self.months, -self.microseconds)


def microseconds(text: str, timezone: str | None) -> int:
    """A moment as microseconds since 1970 in UTC.

    Args:
        text: ISO 8601; a date alone is its midnight.
        timezone: IANA name that a text without an offset is in; None for UTC.

    Raises:
        ValueError: the text is no moment, or there is no such time zone.
    """
    moment = datetime.datetime.fromisoformat(text.strip())
    if moment.tzinfo is None:
        try:
            moment = moment.replace(tzinfo=zoneinfo.ZoneInfo(timezone) if timezone else datetime.UTC)
        except zoneinfo.ZoneInfoNotFoundError as error:
            raise ValueError(f"no time zone {timezone!r}") from error
    return (moment - _EPOCH) // datetime.timedelta(microseconds=1)


def interval(text: str) -> Interval:
    """An ISO 8601 duration, such as P1Y2M3DT4H5M6.5S or P2W.

    Raises:
        ValueError: the text is no duration, or one of its numbers is a million or more.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()[1:]):
        raise ValueError(f"{text!r} is no ISO 8601 duration")
    sign, *numbers, fraction = match.groups()
    years, months, weeks, days, hours, minutes, seconds = (int(one or 0) for one in numbers)
    if max(years, months, weeks, days, hours, minutes, seconds) >= _LONGEST:
        raise ValueError(f"{text!r} is too long")
    whole = ((weeks * 7 + days) * 24 + hours) * 3600 + minutes * 60 + seconds
    found = Interval(12 * years + months, whole * 1_000_000 + int((fraction or "").ljust(6, "0")))
    return found.negated() if sign == "-" else found


def shifted(moments: npt.NDArray[np.int64], months: int, more_microseconds: int) -> npt.NDArray[np.int64]:
    """Moments moved by calendar months in UTC, then by microseconds.

    A day that the new month does not have becomes its last: January 31 and a month is February 28 or 29.

    Args:
        moments: (n,) microseconds since 1970.
        months: may be negative.
        more_microseconds: may be negative.
    """
    if months == 0:
        return moments + more_microseconds
    days = moments.view("M8[us]").astype("M8[D]")
    start = days.astype("M8[M]")
    day = (days - start.astype("M8[D]")).astype(np.int64)
    target = start + np.timedelta64(months, "M")
    last = ((target + np.timedelta64(1, "M")).astype("M8[D]") - target.astype("M8[D]")).astype(np.int64) - 1
    moved = target.astype("M8[D]").astype(np.int64) + np.minimum(day, last)
    time_of_day = moments - days.astype("M8[us]").astype(np.int64)
    found: npt.NDArray[np.int64] = moved * 86_400_000_000 + time_of_day + more_microseconds
    return found
