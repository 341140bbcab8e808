"""What clock changes do to a schedule, in every zone of the tz database and in both directions."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from hermes_cron.errors import ScheduleError
from hermes_cron.schedule import Schedule, place

NOW = datetime(2026, 11, 24, 16, tzinfo=UTC)
ZONES = sorted(available_timezones() - {"localtime"})
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)

zones = st.sampled_from(ZONES)
bases = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))
minutes = st.sampled_from(["*", "*/15", "*/7", "7", "0,30", "10-12", "59", "0"])
hours = st.sampled_from(["*", "*/2", "2", "0", "1-3", "23", "0-23", "0,1,2,3,22,23"])
days = st.sampled_from(["* * *", "* * *", "* * *", "1 * *", "L * *", "* * 1-5", "* * SUN", "13 * FRI", "29 2 *"])
seconds = st.sampled_from(["", "", "", "0 ", "*/20 ", "59 "])
crons = st.tuples(seconds, minutes, hours, days).map(lambda parts: parts[0] + " ".join(parts[1:]))


def cron(text: str, zone: str) -> Schedule:
    return Schedule.parse(text, timezone=zone, now=NOW)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def walls(text: str, zone: str, since: str, count: int) -> list[str]:
    """The next fires as their zone's clocks show them, with the offset in hours."""
    schedule = cron(text, zone)
    fires = [fire.astimezone(ZoneInfo(zone)) for fire in schedule.upcoming(utc(since), count)]
    return [f"{fire:%d %H:%M} {(fire.utcoffset() or timedelta(0)) / HOUR:+g}" for fire in fires]


@pytest.mark.parametrize(
    ("zone", "text", "since", "expected"),
    [
        # Lisbon: 28 March 2027 has no 01:00 to 02:00; 31 October has it twice.
        ("Europe/Lisbon", "30 1 * * *", "2027-03-27T12:00", ["28 02:00 +1", "29 01:30 +1"]),
        ("Europe/Lisbon", "0 30 1 * * *", "2027-03-27T12:00", ["28 02:00 +1", "29 01:30 +1"]),
        ("Europe/Lisbon", "30 1,2 * * *", "2027-03-27T12:00", ["28 02:00 +1", "28 02:30 +1", "29 01:30 +1"]),
        ("Europe/Lisbon", "0,30 1 * * *", "2027-03-27T12:00", ["28 02:00 +1", "29 01:00 +1"]),
        ("Europe/Lisbon", "0 1,2 * * *", "2027-03-27T12:00", ["28 02:00 +1", "29 01:00 +1"]),
        ("Europe/Lisbon", "30 * * * *", "2027-03-28T00:00", ["28 00:30 +0", "28 02:30 +1", "28 03:30 +1"]),
        ("Europe/Lisbon", "*/30 * * * *", "2027-03-28T00:15", ["28 00:30 +0", "28 02:00 +1", "28 02:30 +1"]),
        ("Europe/Lisbon", "*/30 1 * * *", "2027-03-27T12:00", ["29 01:00 +1", "29 01:30 +1"]),
        ("Europe/Lisbon", "30 1 * * *", "2027-10-30T12:00", ["31 01:30 +1", "01 01:30 +0"]),
        ("Europe/Lisbon", "15,45 1 * * *", "2027-10-30T12:00", ["31 01:15 +1", "31 01:45 +1", "01 01:15 +0"]),
        ("Europe/Lisbon", "30 * * * *", "2027-10-31T00:00", ["31 01:30 +1", "31 01:30 +0", "31 02:30 +0"]),
        ("Europe/Lisbon", "0 0-23 * * *", "2027-10-30T23:30", ["31 01:00 +1", "31 01:00 +0", "31 02:00 +0"]),
        ("Europe/Lisbon", "*/30 1 * * *", "2027-10-30T12:00", ["31 01:00 +1", "31 01:30 +1", "31 01:00 +0"]),
        # New York: 14 March 2027 has no 02:00 to 03:00; 7 November has 01:00 to 02:00 twice.
        ("America/New_York", "30 2 * * *", "2027-03-14T00:00", ["14 03:00 -4", "15 02:30 -4"]),
        ("America/New_York", "0 */2 * * *", "2027-03-14T04:00", ["14 00:00 -5", "14 03:00 -4", "14 04:00 -4"]),
        ("America/New_York", "*/20 * * * *", "2027-03-14T06:30", ["14 01:40 -5", "14 03:00 -4", "14 03:20 -4"]),
        ("America/New_York", "30 1 * * *", "2027-11-07T00:00", ["07 01:30 -4", "08 01:30 -5"]),
        ("America/New_York", "0 * * * *", "2027-11-07T04:30", ["07 01:00 -4", "07 01:00 -5", "07 02:00 -5"]),
        # Half an hour (Lord Howe), at midnight (Cairo), across midnight (Nuuk), a whole day (Apia).
        ("Australia/Lord_Howe", "15 2 * * *", "2027-10-02T12:00", ["03 02:30 +11", "04 02:15 +11"]),
        ("Australia/Lord_Howe", "*/10 3 * * *", "2027-10-02T15:40", ["03 03:00 +11", "03 03:10 +11"]),
        ("Australia/Lord_Howe", "45 1 * * *", "2027-04-03T12:00", ["04 01:45 +11", "05 01:45 +10.5"]),
        (
            "Australia/Lord_Howe",
            "*/15 * * * *",
            "2027-04-03T14:40",
            ["04 01:45 +11", "04 01:30 +10.5", "04 01:45 +10.5"],
        ),
        ("Africa/Cairo", "0 0 * * *", "2027-04-29T12:00", ["30 01:00 +3", "01 00:00 +3"]),
        ("Africa/Cairo", "*/30 0 * * *", "2027-04-29T12:00", ["01 00:00 +3", "01 00:30 +3"]),
        ("America/Nuuk", "30 23 * * *", "2027-03-27T12:00", ["28 00:00 -1", "28 23:30 -1"]),
        ("Pacific/Apia", "30 2 * * *", "2011-12-29T00:00", ["29 02:30 -10", "31 02:30 +14"]),
    ],
)
def test_a_clock_change_does_to_it_what_is_promised(zone: str, text: str, since: str, expected: list[str]) -> None:
    assert expected == walls(text, zone, since, len(expected))


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("2027-10-31T00:29:59.999999", "2027-10-31T00:30"),
        ("2027-10-31T00:30", "2027-11-01T01:30"),
        ("2027-10-31T00:30:00.000001", "2027-11-01T01:30"),
        ("2027-10-31T01:10", "2027-11-01T01:30"),
        ("2027-10-31T01:59:59.999999", "2027-11-01T01:30"),
    ],
)
def test_a_base_inside_the_repeated_hour_does_not_fire_the_day_again(base: str, expected: str) -> None:
    assert utc(expected) == cron("30 1 * * *", "Europe/Lisbon").next_after(utc(base))


def test_is_due_once_in_a_repeated_hour_whenever_it_is_asked() -> None:
    schedule = cron("30 1 * * *", "Europe/Lisbon")
    fire = utc("2027-10-31T00:30")
    for minute in range(0, 120, 7):
        assert fire == schedule.last_until(fire + minute * MINUTE, utc("2027-10-30T12:00"))
        assert 1 == schedule.count_between(utc("2027-10-30T12:00"), fire + minute * MINUTE)


def test_keeps_elapsed_time_for_every_in_any_zone() -> None:
    fires = cron("every 1h", "Europe/Lisbon").upcoming(utc("2027-03-27T22:00"), 8)
    assert {HOUR} == {later - earlier for earlier, later in pairwise(fires)}


def test_warns_of_missing_and_repeated_times_in_plain_words() -> None:
    assert [
        "01:30 does not exist on 2027-03-28 in Europe/Lisbon; it fires at 02:00.",
        "01:30 comes twice on 2027-10-31 in Europe/Lisbon; it fires the first time only.",
    ] == cron("30 1 * * *", "Europe/Lisbon").warnings(NOW)
    assert [
        "02:30:15 does not exist on 2027-03-14 in America/New_York; it fires at 03:00.",
    ] == cron("15 30 2 * * *", "America/New_York").warnings(NOW)
    assert [
        "01:00 does not exist on 2027-03-28 in Europe/Lisbon; it is left out.",
        "01:30 does not exist on 2027-03-28 in Europe/Lisbon; it is left out.",
        "01:00 comes twice on 2027-10-31 in Europe/Lisbon; it fires both times.",
    ] == cron("*/30 1 * * *", "Europe/Lisbon").warnings(NOW, count=3)


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("30 1 * * *", "UTC"),
        ("30 1 * * *", "Asia/Tokyo"),
        ("0 9 * * *", "Europe/Lisbon"),
        ("*/5 * * * *", "Europe/Lisbon"),
    ],
)
def test_does_not_warn_where_nothing_is_odd(text: str, zone: str) -> None:
    assert [] == cron(text, zone).warnings(NOW)


@pytest.mark.parametrize(
    ("zone", "suggestion"),
    [
        ("Lisbon", "Europe/Lisbon"),
        ("europe/lisbon", "Europe/Lisbon"),
        ("Europe/Lisbn", "Europe/Lisbon"),
        ("America/New York", "America/New_York"),
        ("utc", "UTC"),
        ("Europe/../Europe/Lisbon", "Europe/Lisbon"),
        ("../x", "tz database"),
        ("/etc/localtime", ""),
        ("localtime", ""),
        ("Europe", ""),
        ("right/UTC", ""),
        ("posixrules", ""),
        ("", "tz database"),
        ("x\0", ""),
        ("\ud800", ""),
        ("Z" * 10_000, "tz database"),
        (None, "tz database"),
        ([], "tz database"),
    ],
)
def test_refuses_an_unknown_zone_with_a_suggestion(zone: str, suggestion: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        cron("@daily", zone)
    assert caught.value.field == "timezone"
    assert suggestion in caught.value.hint
    assert caught.value.hint


@pytest.mark.parametrize("zone", ZONES)
def test_every_zone_loads_and_gives_fires(zone: str) -> None:
    for text in ("30 2 * * *", "*/10 * * * *"):
        fires = cron(text, zone).upcoming(NOW, 4)
        assert [NOW, *fires] == sorted({NOW, *fires})
        assert 5 == len({NOW, *fires})


@settings(max_examples=300, deadline=None)
@given(zones, bases, crons)
def test_fires_strictly_increase_from_any_base(zone: str, base: datetime, text: str) -> None:
    schedule = cron(text, zone)
    fires = schedule.upcoming(base, 30)
    assert len(fires) == 30
    assert all(earlier < later for earlier, later in pairwise([base, *fires]))
    assert all(fire.tzinfo is UTC and not fire.microsecond for fire in fires)
    assert [schedule.next_after(earlier) for earlier in [base, *fires[:-1]]] == fires
    halves = [earlier + (later - earlier) / 2 for earlier, later in pairwise([base, *fires])]
    assert [schedule.next_after(half) for half in halves] == fires


@settings(max_examples=200, deadline=None)
@given(zones, bases, crons, st.integers(0, 40), st.timedeltas(timedelta(0), timedelta(days=3)))
def test_last_and_count_agree_with_walking(
    zone: str, base: datetime, text: str, ahead: int, further: timedelta
) -> None:
    schedule = cron(text, zone)
    fires = schedule.upcoming(base, 41)
    moment = min(fires[ahead] + further, fires[-1])
    due = [fire for fire in fires if fire <= moment]
    assert due[-1] == schedule.last_until(moment, base)
    assert len(due) == schedule.count_between(base, moment)
    before = schedule.last_until(due[-1] - timedelta(microseconds=1), base)
    assert (due[-2] if len(due) > 1 else None) == before


@settings(max_examples=100, deadline=None)
@given(bases, st.integers(2, 10**6), st.integers(0, 10**4), st.floats(0, 1))
def test_every_agrees_with_its_own_arithmetic(base: datetime, step: int, count: int, share: float) -> None:
    schedule = Schedule("every", f"every {step}s")
    fire = base + timedelta(seconds=step) * count
    moment = fire + timedelta(seconds=share)
    assert (fire if count else None) == schedule.last_until(moment, base)
    assert count == schedule.count_between(base, moment)
    assert fire + timedelta(seconds=step) == schedule.next_after(fire)


def slot(fire: datetime, zone: ZoneInfo, hour: int, minute: int) -> date:
    """The local day that a daily fire stands for: its own, or the day before when a gap moved it over midnight."""
    local = fire.astimezone(zone)
    return local.date() if (hour, minute) <= (local.hour, local.minute) else local.date() - timedelta(days=1)


@settings(max_examples=300, deadline=None)
@given(zones, bases, st.integers(0, 23), st.integers(0, 59))
@example("America/Nuuk", datetime(2027, 3, 1, tzinfo=UTC), 23, 30)
@example("Africa/Cairo", datetime(2027, 4, 20, tzinfo=UTC), 0, 0)
@example("America/Havana", datetime(2027, 10, 20, tzinfo=UTC), 0, 30)
@example("Africa/Casablanca", datetime(2027, 1, 20, tzinfo=UTC), 2, 30)
@example("Antarctica/Troll", datetime(2027, 3, 1, tzinfo=UTC), 1, 30)
def test_a_daily_fixed_time_fires_once_for_each_local_day(zone: str, base: datetime, hour: int, minute: int) -> None:
    local = ZoneInfo(zone)
    fires = cron(f"{minute} {hour} * * *", zone).upcoming(base, 400)
    slots = [slot(fire, local, hour, minute) for fire in fires]
    missing = {(later - earlier).days for earlier, later in pairwise(slots)} - {1}
    # Only a zone that moves over the date line leaves out a day, and none has since 2011.
    assert missing <= ({2} if base.year <= 2011 else set())


@settings(max_examples=150, deadline=None)
@given(
    zones, bases, st.sampled_from([("*", "*"), ("*/15", "*"), ("7", "*"), ("*/20", "1-3"), ("*/9", "0"), ("*", "23")])
)
@example("Australia/Lord_Howe", datetime(2027, 10, 2, 2, tzinfo=UTC), ("*/9", "*"))
@example("Europe/Lisbon", datetime(2027, 10, 30, 12, tzinfo=UTC), ("*/20", "1-3"))
@example("Africa/Cairo", datetime(2027, 4, 29, tzinfo=UTC), ("*/9", "0"))
@example("Antarctica/Troll", datetime(2027, 3, 27, 12, tzinfo=UTC), ("*/20", "1-3"))
@example("America/Nuuk", datetime(2027, 10, 30, 12, tzinfo=UTC), ("*", "23"))
def test_what_repeats_fires_at_exactly_the_minutes_its_clock_shows(
    zone: str, base: datetime, fields: tuple[str, str]
) -> None:
    base = base.replace(second=0, microsecond=0)
    minute, hour = (matching(text, limit) for text, limit in zip(fields, (60, 24), strict=True))
    span = [base + i * MINUTE for i in range(1, 2 * 24 * 60)]
    clocks = [(instant, instant.astimezone(ZoneInfo(zone))) for instant in span]
    assume(all(clock.second == 0 for _, clock in clocks))
    shown = [instant for instant, clock in clocks if clock.minute in minute and clock.hour in hour]
    assert shown == cron(f"{fields[0]} {fields[1]} * * *", zone).upcoming(base, len(shown))


def matching(text: str, limit: int) -> set[int]:
    """What a cron field of a star, a step, a range or a number allows."""
    if text.startswith("*"):
        return set(range(0, limit, int(text[2:] or 1)))
    first, _, last = text.partition("-")
    return set(range(int(first), int(last or first) + 1))


@settings(max_examples=300, deadline=None)
@given(zones, st.datetimes(datetime(1850, 1, 1), datetime(2060, 1, 1)))
def test_a_wall_time_has_one_instant_and_later_walls_no_earlier_one(zone: str, wall: datetime) -> None:
    info = ZoneInfo(zone)
    instant = place(wall, info)
    shown = instant.astimezone(info).replace(tzinfo=None, fold=0)
    assert shown == wall or (shown > wall and shown.microsecond == 0)
    assert instant <= place(wall + MINUTE, info)
