"""Times as catalogues and services write them: every form of RFC 3339 and of ISO 8601."""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

_DAY = (
    r"(?P<year>\d{4})(?:-?(?P<month>\d\d)-?(?P<day>\d\d)|-?(?P<ordinal>\d{3})"
    r"|-?W(?P<week>\d\d)-?(?P<weekday>\d))"
)
_CLOCK = r"(?P<hour>\d\d)(?::?(?P<minute>\d\d)(?::?(?P<second>\d\d))?)?(?:[.,](?P<decimals>\d+))?"
_ZONE = r"[Zz]|(?P<sign>[+\-\u2212])(?P<zone_hours>\d\d)(?::?(?P<zone_minutes>[0-5]\d))?"
_TIME = re.compile(rf"{_DAY}(?:(?:[Tt]| +){_CLOCK} ?(?:{_ZONE})?)?", re.ASCII)
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}


def parse_time(text: Any) -> datetime:
    """A time in UTC, from RFC 3339 or ISO 8601, or from a datetime; without zone it is UTC.

    A day alone is its first moment. Decimals beyond microseconds are cut off, not rounded: a
    rounded time could lie in the next month. A leap second is the first moment after it.

    Raises:
        ValueError: It is something else, or such a time does not exist.
    """
    try:
        if isinstance(text, datetime):
            return (text if text.tzinfo else text.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(text, str):
            return _parsed(text)
    except OverflowError:
        raise ValueError(f"{text!r} lies beyond the years 1 to 9999") from None
    raise ValueError(f"{text!r} is no time of RFC 3339 or ISO 8601")


@lru_cache(1024)  # an item's times are read more than once, and those of its neighbours are its own
def _parsed(text: str) -> datetime:
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no time of RFC 3339 or ISO 8601")
    midnight = datetime.combine(_day(found), datetime.min.time(), UTC)
    time = midnight + _since_midnight(found) - _shift(found)
    if found["second"] == "60" and (time.hour, time.minute, time.second) != (0, 0, 0):
        raise ValueError(f"{text!r} is no leap second")
    return time


def format_time(time: datetime) -> str:
    """A time as RFC 3339 in UTC, as `parse_time` and all other readers of it understand."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _day(found: re.Match[str]) -> date:
    year = int(found["year"])
    if found["ordinal"]:
        day = date(year, 1, 1) + timedelta(int(found["ordinal"]) - 1)
        if day.year != year:
            raise ValueError(f"year {year} has no day {found['ordinal']}")
        return day
    if found["week"]:
        return date.fromisocalendar(year, int(found["week"]), int(found["weekday"]))
    return date(year, int(found["month"]), int(found["day"]))


def _since_midnight(found: re.Match[str]) -> timedelta:
    parts = {name: int(found[name]) for name in _SECONDS if found[name]}
    if not parts:
        return timedelta()
    last = next(name for name in _SECONDS if name in parts)  # which the decimals are of
    decimals = found["decimals"] or "0"
    fraction = _SECONDS[last] * 1_000_000 * int(decimals) // 10 ** len(decimals)
    whole = sum(count * _SECONDS[name] for name, count in parts.items())
    passed = timedelta(seconds=whole, microseconds=fraction)
    if parts.get("minute", 0) > 59 or parts.get("second", 0) > 60 or passed > timedelta(1, 1):
        raise ValueError(f"no day has the time {found[0]}")
    if parts["hour"] == 24 and passed != timedelta(1):  # 24:00 is the end of the day
        raise ValueError(f"no day has the time {found[0]}")
    return passed


def _shift(found: re.Match[str]) -> timedelta:
    if not found["sign"]:
        return timedelta()
    shift = timedelta(hours=int(found["zone_hours"]), minutes=int(found["zone_minutes"] or 0))
    if shift >= timedelta(1):
        raise ValueError(f"{found[0]} has a time zone of {found['zone_hours']} hours")
    return shift if found["sign"] == "+" else -shift
