"""What a schedule may say, what it refuses, and the arithmetic on its fires."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_cron.errors import ScheduleError
from hermes_cron.schedule import Schedule

NOW = datetime(2026, 11, 24, 16, 0, 0, 250_000, tzinfo=UTC)

CRON = """
*/5 * * * * -> */5 * * * * ; 0 9 * jan mon,thu -> 0 9 * JAN MON,THU ; 15 0 9 * * * -> 15 0 9 * * *
0 9 L * * -> 0 9 L * * ; 0 9 LW * * -> 0 9 LW * * ; 0 9 * * 5l -> 0 9 * * 5L ; 0 9 * * mon#1 -> 0 9 * * MON#1
@hourly -> 0 * * * * ; @daily -> 0 0 * * * ; @midnight -> 0 0 * * * ; @weekly -> 0 0 * * 0
@monthly -> 0 0 1 * * ; @yearly -> 0 0 1 1 * ; @Annually -> 0 0 1 1 * ; daily at 09:00 -> 0 9 * * *
every day at 9 AM -> 0 9 * * * ; weekdays at 9am -> 0 9 * * MON-FRI
every weekday at 17:45 -> 45 17 * * MON-FRI ; weekends at noon -> 0 12 * * SAT,SUN
daily at midnight -> 0 0 * * * ; daily at 12am -> 0 0 * * * ; daily at 12:30pm -> 30 12 * * *
mon,thu at 14:30 -> 30 14 * * MON,THU ; Thursday and Monday at 14:30 -> 30 14 * * MON,THU
mon, wed and fri at 8am -> 0 8 * * MON,WED,FRI ; mondays at 9am -> 0 9 * * MON
every monday at 9:30pm -> 30 21 * * MON ; fri-mon at 09:00 -> 0 9 * * MON,FRI,SAT,SUN
mon-sun at 09:00 -> 0 9 * * * ; daily at 09:00:15 -> 15 0 9 * * *
"""

REFUSED = """
every 0s ; in 0m ; 0m ; every 0h0m ; every -5m ; -5m ; in -5m ; +-5m ; every 1.5h ; every 5 ; 5 ; every
every month ; every 2 years ; every 5 minuts ; every 1h1h ; every 99999999999999999999d ; in 36526d
every monday ; every * minutes ; 0 0 31 2 * ; 0 0 30,31 2 * ; 0 0 31 4,6 * ; 0 0 */30 2 1#5 ; 60 * * * *
* 24 * * * ; 0 0 0 * * ; 0 0 * 13 * ; 0 0 * * 8 ; */0 * * * * ; 5-1 * * * * ; 0 0 ? * * ; 0 0 15W * * ; * * * *
* * * * * * * ; 1,,2 * * * * ; 2027-02-31T00:00 ; 2027-13-01 ; 2030-01-31T09:00+99:00 ; 2020-01-01T00:00Z
2026-11-24T16:00:00.25Z ; 2200-01-01 ; 9999-12-31T23:59:59-12:00 ; 0001-01-01T00:00+05:00 ; daily ; hourly
monday ; daily at 9 ; daily at 25:00 ; daily at 09:60 ; daily at 13pm ; daily at 0am ; funday at 9am ; @reboot
@every 5m ; @ ; + ; - ; /etc/passwd
"""

ODD: list[Any] = [
    *("", "   ", " at 9am", "daily at ", "in ", "x" * 257, "* * * * *" + " " * 300, "every 9" + "9" * 200 + "s"),
    *("\u0663\u0660m", "every 5\u00b2m", "every\u00a05m", "30m\n", "\x00", "\ud800", "*/5 * * * *\x1b[0m"),
    *(None, 5, b"30m", ["30m"]),
]


def items(table: str) -> list[str]:
    """The items of a table above."""
    return table.strip().replace("\n", " ; ").split(" ; ")


def parse(text: str, zone: str = "UTC", anchor: str = "fire") -> Schedule:
    return Schedule.parse(text, timezone=zone, now=NOW, anchor=anchor)


@pytest.mark.parametrize("line", items(CRON))
def test_reads_as_cron(line: str) -> None:
    text, _, canonical = line.partition(" -> ")
    schedule = parse(text)
    assert ("cron", canonical) == (schedule.kind, schedule.text)


def test_reads_cron_whatever_its_spaces() -> None:
    assert "0 9 * * 1-5" == parse("  0   9 * *\t1-5 ").text


@pytest.mark.parametrize(
    ("text", "canonical", "seconds"),
    [
        ("every 90s", "every 90s", 90),
        ("every 15m", "every 15m", 900),
        ("every 60m", "every 1h", 3_600),
        ("every 2h", "every 2h", 7_200),
        ("every 1d", "every 1d", 86_400),
        ("every 7d", "every 1w", 604_800),
        ("every 30 seconds", "every 30s", 30),
        ("Every Hour", "every 1h", 3_600),
        ("every second", "every 1s", 1),
        ("every 1h30m", "every 90m", 5_400),
        ("every 1 hour and 30 minutes", "every 90m", 5_400),
        ("every 1h, 30m, 5s", "every 5405s", 5_405),
    ],
)
def test_reads_as_every(text: str, canonical: str, seconds: int) -> None:
    schedule = parse(text)
    assert ("every", canonical, timedelta(seconds=seconds)) == (schedule.kind, schedule.text, schedule.period)
    assert NOW + timedelta(seconds=seconds) == schedule.next_after(NOW)


@pytest.mark.parametrize(
    ("text", "zone", "instant"),
    [
        ("in 30m", "UTC", "2026-11-24T16:30:00.250000+00:00"),
        ("30m", "UTC", "2026-11-24T16:30:00.250000+00:00"),
        ("+90s", "UTC", "2026-11-24T16:01:30.250000+00:00"),
        ("in 1h30m", "Europe/Lisbon", "2026-11-24T17:30:00.250000+00:00"),
        ("1 hour 30 minutes 5 seconds", "UTC", "2026-11-24T17:30:05.250000+00:00"),
        ("2030-01-31T09:00:00Z", "Asia/Tokyo", "2030-01-31T09:00:00+00:00"),
        ("2030-01-31T09:00:00+02:00", "Asia/Tokyo", "2030-01-31T07:00:00+00:00"),
        ("2030-01-31T09:00", "Asia/Tokyo", "2030-01-31T00:00:00+00:00"),
        ("2030-01-31 09:00:00.5", "UTC", "2030-01-31T09:00:00.500000+00:00"),
        ("at 2030-01-31 at 09:00", "UTC", "2030-01-31T09:00:00+00:00"),
        ("2030-01-31", "UTC", "2030-01-31T00:00:00+00:00"),
        ("2027-03-28T01:30", "Europe/Lisbon", "2027-03-28T01:00:00+00:00"),
        ("2027-10-31T01:30", "Europe/Lisbon", "2027-10-31T00:30:00+00:00"),
    ],
)
def test_reads_as_once(text: str, zone: str, instant: str) -> None:
    schedule = parse(text, zone)
    assert ("once", instant, None) == (schedule.kind, schedule.text, schedule.period)
    at = datetime.fromisoformat(instant)
    assert [at] == schedule.upcoming(NOW, 3)
    assert schedule.next_after(at) is None


@pytest.mark.parametrize("text", [*items(REFUSED), *ODD])
def test_refuses_with_field_reason_and_suggestion(text: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse(text)
    assert caught.value.field == "schedule"
    assert caught.value.message.endswith(".")
    assert caught.value.hint
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0 0 31 2 *", "Day 31 never happens in month 2."),
        ("61 * * * *", "minute field '61'"),
        ("every 5 minuts", "Did you mean 'minutes'?"),
        ("funday at 9am", "Did you mean 'sunday'?"),
        ("every 5", "Write 5m for minutes"),
        ("@every 5m", "Write 'every 5m'."),
        ("2027-02-31T00:00", "day is out of range for month"),
        ("2020-01-01T00:00Z", "in the past"),
        ("every monday", "Write 'every monday at 09:00'."),
        ("hourly", "Write '@hourly'."),
    ],
)
def test_says_what_is_wrong_and_what_to_write(text: str, told: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse(text)
    assert told in str(caught.value)


@pytest.mark.parametrize(("text", "anchor"), [("@daily", "completion"), ("in 5m", "completion"), ("every 5m", "start")])
def test_refuses_an_anchor_that_does_not_go_with_it(text: str, anchor: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse(text, anchor=anchor)
    assert caught.value.field == "anchor"


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text("0123456789*/,-#LW? @everydaint:+mhsd", max_size=40))
def test_arbitrary_text_raises_nothing_but_a_schedule_error(text: str) -> None:
    try:
        schedule = parse(text, "Europe/Lisbon")
    except ScheduleError as error:
        refused = error.field
    else:
        assert Schedule.from_dict(schedule.to_dict()) == schedule
        assert schedule.describe()
        return
    assert refused == "schedule"


_ITEM = st.sampled_from(
    ["*", "0", "1", "59", "7", "31", "L", "LW", "5L", "MON", "JAN", "MON#2", "1-5", "MON-FRI", "?", ""]
)
_PART = st.lists(st.tuples(_ITEM, st.sampled_from(["", "", "/2", "/90", "/0"])).map("".join), min_size=1, max_size=3)


@settings(max_examples=300, deadline=None)
@given(st.lists(_PART.map(",".join), min_size=5, max_size=6).map(" ".join))
def test_arbitrary_cron_fields_raise_nothing_but_a_schedule_error(text: str) -> None:
    try:
        schedule = parse(text)
    except ScheduleError:
        return
    fires = schedule.upcoming(NOW, 5)
    assert all(earlier < later for earlier, later in pairwise([NOW, *fires]))
    assert schedule.describe()
    assert schedule.period is not None


@pytest.mark.parametrize(
    ("text", "anchor"),
    [("*/5 * * * *", "fire"), ("every 90s", "fire"), ("every 2h", "completion"), ("30m", "fire"), ("@daily", "fire")],
)
def test_survives_json_and_comes_back_equal(text: str, anchor: str) -> None:
    schedule = parse(text, "Europe/Lisbon", anchor)
    back = Schedule.from_dict(json.loads(json.dumps(schedule.to_dict())))
    assert schedule == back
    assert (schedule.source, hash(schedule)) == (back.source, hash(back))
    assert schedule.upcoming(NOW, 3) == back.upcoming(NOW, 3)


def test_is_equal_however_it_was_written() -> None:
    assert parse("daily at midnight") == parse("@daily") == parse("0  0 * * *")
    assert parse("every 60m") == parse("every hour")
    assert parse("@daily") != parse("@daily", "Europe/Lisbon")
    assert parse("every 1h") != parse("every 1h", anchor="completion")


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kind": "cron"},
        {"kind": "cron", "text": "nonsense"},
        {"kind": "every", "text": "every 0s"},
        {"kind": "once", "text": "soon"},
        {"kind": "once", "text": "2030-01-01T00:00:00"},
        {"kind": "never", "text": "0 0 * * *"},
        {"kind": "cron", "text": None},
        {"kind": [], "text": "0 0 * * *"},
        {"kind": "cron", "text": "0 0 * * *", "timezone": "Mars/Phobos"},
        {"kind": "cron", "text": "0 0 * * *", "colour": "red"},
    ],
)
def test_refuses_a_stored_form_that_is_none(data: dict[str, str]) -> None:
    with pytest.raises(ScheduleError):
        Schedule.from_dict(data)


@pytest.mark.parametrize(
    ("text", "period"),
    [
        ("* * * * * *", timedelta(seconds=1)),
        ("*/5 * * * *", timedelta(minutes=5)),
        ("*/7 * * * *", timedelta(minutes=4)),
        ("0 9 * * *", timedelta(days=1)),
        ("0 9 * * 1-5", timedelta(days=1)),
        ("0 9 * * MON", timedelta(days=7)),
        ("0 0 1 * *", timedelta(days=28)),
        ("0,10 9 1 1 *", timedelta(minutes=10)),
        ("0 0 29 2 *", timedelta(days=1461)),
    ],
)
def test_knows_its_shortest_usual_period(text: str, period: timedelta) -> None:
    assert period == parse(text, "Europe/Lisbon").period


def test_fires_on_29_february_in_the_next_leap_years() -> None:
    fires = parse("0 12 29 2 *").upcoming(NOW, 2)
    assert [datetime(2028, 2, 29, 12, tzinfo=UTC), datetime(2032, 2, 29, 12, tzinfo=UTC)] == fires


def test_takes_either_day_field_when_both_are_set() -> None:
    fires = parse("0 0 1,15 * MON").upcoming(NOW, 4)
    assert [30, 1, 7, 14] == [fire.day for fire in fires]


def test_every_counts_from_the_previous_fire_without_drift() -> None:
    schedule = parse("every 90s")
    fires = schedule.upcoming(NOW, 1000)
    assert NOW + timedelta(seconds=90_000) == fires[-1]


def test_every_counts_elapsed_time_whatever_zone_its_base_is_told_in() -> None:
    schedule = parse("every 1d", "Europe/Lisbon")
    base = datetime(2027, 3, 27, 12, tzinfo=UTC).astimezone(schedule.zone)
    moment = datetime(2027, 3, 30, 12, tzinfo=UTC).astimezone(schedule.zone)
    assert datetime(2027, 3, 28, 12, tzinfo=UTC) == schedule.next_after(base)
    assert datetime(2027, 3, 30, 12, tzinfo=UTC) == schedule.last_until(moment, base)
    assert 3 == schedule.count_between(base, moment)


def test_durations_count_elapsed_time_whatever_zone_now_is_told_in() -> None:
    eve = datetime(2027, 3, 27, 12, tzinfo=UTC)
    local = eve.astimezone(parse("@daily", "Europe/Lisbon").zone)
    assert "2027-03-28T12:00:00+00:00" == Schedule.parse("in 24h", timezone="Europe/Lisbon", now=local).text


def test_finds_the_last_fire_of_a_year_asleep_without_walking_it() -> None:
    until = NOW + timedelta(days=365)
    assert until == parse("every 1s").last_until(until, NOW)
    assert until.replace(microsecond=0) == parse("* * * * * *", "Europe/Lisbon").last_until(until, NOW)
    assert parse("every 1s").count_between(NOW, until) is None
    assert parse("* * * * * *").count_between(NOW, until, limit=100) is None


def test_last_until_is_none_when_nothing_came_due() -> None:
    for text in ("every 1h", "@hourly", "in 1h"):
        schedule = parse(text)
        assert schedule.last_until(NOW + timedelta(minutes=1), NOW) is None
        assert schedule.last_until(NOW - timedelta(days=1), NOW) is None
        assert 0 == schedule.count_between(NOW, NOW - timedelta(days=1))


def test_last_until_includes_its_moment_and_excludes_its_start() -> None:
    hour = datetime(2026, 11, 24, 17, tzinfo=UTC)
    for text in ("@hourly", "2026-11-24T17:00Z"):
        schedule = parse(text)
        assert hour == schedule.last_until(hour, NOW)
        assert 1 == schedule.count_between(NOW, hour)
        assert schedule.last_until(hour, hour) is None
        assert 0 == schedule.count_between(hour, hour)


def test_ends_with_the_year_9999() -> None:
    late = datetime(9999, 12, 31, 23, 59, 30, tzinfo=UTC)
    for zone in ("UTC", "Pacific/Auckland", "America/New_York"):
        for text in ("* * * * *", "0 0 * * *", "every 1h"):
            assert Schedule.from_dict({**parse(text, zone).to_dict()}).upcoming(late + timedelta(seconds=29), 5) == []
    with pytest.raises(ScheduleError):
        Schedule.parse("every 1h", now=late)
    with pytest.raises(ScheduleError):
        Schedule.parse("in 1h", now=late)


def test_takes_a_base_in_any_offset() -> None:
    base = NOW.astimezone(timezone(timedelta(hours=-7)))
    fire = parse("@hourly").next_after(base)
    assert (datetime(2026, 11, 24, 17, tzinfo=UTC), UTC) == (fire, fire.tzinfo if fire else None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 9 * * 1-5", "At 09:00 on Monday through Friday (Europe/Lisbon)"),
        ("every 90s", "every 90 seconds"),
        ("every 60m", "every hour"),
        ("2030-01-31T09:00", "once, at 2030-01-31T09:00:00+00:00"),
    ],
)
def test_describes_itself_in_words(text: str, words: str) -> None:
    assert words == parse(text, "Europe/Lisbon").describe()


def test_says_that_it_counts_from_the_end_of_a_run() -> None:
    assert "every 2 hours, counted from the end of the last run" == parse("every 2h", anchor="completion").describe()


def test_warns_that_a_bare_duration_means_once() -> None:
    assert ["'30m' means once; write 'every 30m' to repeat."] == parse("30m").warnings(NOW)
    assert [] == parse("in 30m").warnings(NOW)
    assert [] == parse("every 30m").warnings(NOW)
