"""Clock changes: when they come, and what they do to jobs."""

from __future__ import annotations

from datetime import UTC, datetime

from hermes_cron.job import Job
from hermes_cron.schedule import Schedule
from hermes_cron.simulation.clock_changes import ClockChange, clock_changes, surprises

SINCE, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 6, 1, tzinfo=UTC)


def test_it_finds_every_change_of_every_zone_once_and_in_order() -> None:
    found = clock_changes(["Europe/Lisbon", "UTC", "Australia/Lord_Howe", "Europe/Lisbon"], SINCE, UNTIL)
    lisbon = [change for change in found if change.timezone == "Europe/Lisbon"]
    assert [(f"{c.at:%Y-%m-%d %H:%M}", c.minutes) for c in lisbon] == [
        ("2026-03-29 01:00", 60), ("2026-10-25 01:00", -60), ("2027-03-28 01:00", 60),
    ]  # fmt: skip
    assert {change.minutes for change in found if change.timezone == "Australia/Lord_Howe"} == {30, -30}
    assert found == sorted(found, key=lambda change: change.at)
    assert clock_changes(["UTC"], SINCE, UNTIL) == []


def test_a_change_at_the_very_edge_counts_from_its_instant_on() -> None:
    change = ClockChange("Europe/Lisbon", datetime(2026, 3, 29, 1, tzinfo=UTC), 60)
    assert clock_changes(
        ["Europe/Lisbon"], datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 1, tzinfo=UTC)
    ) == [change]
    assert clock_changes(["Europe/Lisbon"], change.at, datetime(2026, 3, 30, tzinfo=UTC)) == []


def test_it_says_what_they_do_to_jobs_within_the_time() -> None:
    jobs = [
        Job(job_id, "t", Schedule.parse(text, timezone="Europe/Lisbon", now=SINCE))
        for job_id, text in (("night", "30 1 * * *"), ("day", "0 12 * * *"), ("often", "*/5 * * * *"))
    ]
    found = surprises(jobs, SINCE, UNTIL)
    assert list(found) == ["night"]
    assert [words.partition(" in ")[0] for words in found["night"]] == [
        "01:30 does not exist on 2026-03-29", "01:30 comes twice on 2026-10-25", "01:30 does not exist on 2027-03-28",
    ]  # fmt: skip
    assert surprises(jobs, SINCE, datetime(2026, 2, 1, tzinfo=UTC)) == {}
