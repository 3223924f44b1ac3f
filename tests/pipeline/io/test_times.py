"""Times in every form of RFC 3339 and ISO 8601, and nonsense."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.io.times import format_time, parse_time

MOMENT = datetime(2023, 5, 18, 10, 46, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2023-05-18T10:46:30Z", "2023-05-18t10:46:30z", "2023-05-18 10:46:30", "2023-05-18T1046:30",
        "2023-05-18T10:46:30.0000000Z", "2023-05-18T10:46:30.000000000+00:00", "20230518T104630Z",
        "2023-05-18T10:46:30,0Z", "2023-05-18T12:46:30+02:00", "2023-05-18T12:46:30+0200",
        "2023-05-18 12:46:30+02", "2023-05-18T10:46:30-00:00", "2023-05-18T09:46:30\u221201:00",
        "2023-138T10:46:30Z", "2023138T104630Z", "2023-W20-4T10:46:30Z", "2023W204T104630Z",
        "2023-05-18T10:46.5Z", "2023-05-18T10.775Z",
    ],
)  # fmt: skip
def test_one_moment_in_many_forms(text: str) -> None:
    assert parse_time(text) == MOMENT
    assert parse_time(text).tzinfo is UTC
    assert format_time(parse_time(text)) == "2023-05-18T10:46:30Z"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-05-18T10:46:30.1234567Z", "2023-05-18T10:46:30.123456Z"),
        ("2023-05-31T23:59:59.999999999Z", "2023-05-31T23:59:59.999999Z"),  # not of June
        ("2023-05-18", "2023-05-18T00:00:00Z"),
        ("2023-05-18T10", "2023-05-18T10:00:00Z"),
        ("2023-05-18T24:00:00Z", "2023-05-19T00:00:00Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2017-01-01T08:59:60+09:00", "2017-01-01T00:00:00Z"),
    ],
)
def test_moments_that_are_no_whole_second_or_no_moment(text: str, expected: str) -> None:
    assert format_time(parse_time(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "June", "2023", "2023-05", "2023-02-30", "2023-366", "2023-W54-1", "0000-01-01",
        "2023-05-18T", "2023-05-18T10:46:30+25:00", "2023-05-18T25:00Z", "2023-05-18T10:60Z",
        "2023-05-18T10:46:60Z", "2023-05-18T24:00:01Z", "2023-05-18T10:46:30.Z", "2023-05-18x10:46",
        "2023-05-18T10:46:30+00:00Z", "9999-12-31T23:59:59-12:00", "\u0662023-05-18", None, 5, 1.5,
        ["2023-05-18"], "2023-05-18T10:46:30Z/2023-05-18T10:46:31Z",
    ],
)  # fmt: skip
def test_nonsense_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_time(text)


@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
    st.integers(-23 * 60, 23 * 60),
)
def test_what_is_written_is_read(moment: datetime, minutes: int) -> None:
    there = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert parse_time(there.isoformat()) == there
    assert parse_time(format_time(there)) == there
    assert parse_time(moment) == moment.replace(tzinfo=UTC)
