"""What the ledger may forget of a job, and that the audit tells it from what was lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from hermes_cron.ledger import DEAD_LETTER, Entry, FireState, Keep
from hermes_cron.rules.trim import to_trim

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
entries = st.lists(
    st.builds(
        lambda key, days, state, later: Entry(
            "a", str(key), NOW - days * DAY, state, settled_at=None if later is None else NOW - (days - later) * DAY
        ),
        st.integers(0, 10**6), st.integers(0, 300), st.sampled_from(FireState), st.sampled_from([None, 0, 0, 50]),
    ),
    max_size=60, unique_by=lambda entry: entry.key,
)  # fmt: skip
keeps = st.builds(
    Keep, st.integers(0, 20), st.integers(0, 200).map(lambda days: days * DAY), st.integers(1, 9)
)  # fmt: skip


@given(entries, keeps, st.booleans())
def test_what_it_promises_to_keep_it_keeps(made: list[Entry], keep: Keep, gone: bool) -> None:
    went = to_trim(made, keep, NOW, gone=gone)
    left = [entry for entry in made if entry not in went]
    assert not any(entry.open for entry in went), "I12"
    assert all(entry.settled_at is not None and entry.settled_at < NOW - keep.span for entry in went)
    assert keep.fires or not went, "for ever"
    assert [entry.fire_at for entry in went] == sorted(entry.fire_at for entry in went), "the oldest first"
    if not gone:
        newest = sorted(made, key=lambda entry: entry.fire_at, reverse=True)
        assert not [e for e in newest[: keep.fires] if e in went and e.state not in DEAD_LETTER]
        dead = [entry for entry in newest if entry.state in DEAD_LETTER]
        assert not [entry for entry in dead[: keep.dead] if entry in went]
    assert to_trim(left, keep, NOW, gone=gone) == [], "once is enough"


@given(entries, keeps, st.booleans())
def test_in_small_steps_it_comes_to_the_same(made: list[Entry], keep: Keep, gone: bool) -> None:
    at_once, left = to_trim(made, keep, NOW, gone=gone), list(made)
    while step := to_trim(left, keep, NOW, gone=gone)[:3]:
        left = [entry for entry in left if entry not in step]
    assert {entry.key for entry in left} == {entry.key for entry in made} - {entry.key for entry in at_once}
