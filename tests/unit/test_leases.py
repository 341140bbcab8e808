"""Leases: renewed every third, lost on the boot-time clock, and never outlived by a body."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import pytest

from hermes_cron.errors import StoreBusy, StoreError
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Store
from hermes_cron.leases import TAKEN, UNREACHABLE, Leases
from hermes_cron.rules import change
from hermes_cron.rules.claim import Claimer, claim
from hermes_cron.rules.progress import begin
from hermes_cron.run import Run, StopSign
from tests.unit.parts import LEASE, Between, FakeClock, Seconds, add, until


@dataclass
class Home:
    """Leases over a real store; `boot` moves its clock too, and `away` is what every change meets."""

    store: Store
    clock: FakeClock
    boot: Seconds = field(default_factory=Seconds)
    away: Exception | None = None
    hangs: float = 0.0
    meets: Callable[[], None] = lambda: None
    changes: int = 0
    given_up: int = 0
    stack: ExitStack = field(default_factory=ExitStack)
    lease: timedelta = LEASE

    def __post_init__(self) -> None:
        self.leases = Leases(Between(self.store, self.between), self.lease, boot=self.boot, give_up=self.give_up)  # type: ignore[arg-type]

    def between(self, name: str) -> None:
        self.changes += 1
        self.pass_time(self.hangs)
        self.meets()
        if self.away is not None:
            raise self.away

    def give_up(self) -> None:
        self.given_up += 1

    def pass_time(self, seconds: float) -> None:
        self.boot.advance(seconds)
        self.clock.advance(seconds)

    def live(self, seconds: float, step: float = 0.5) -> None:
        """Let so many seconds pass, with a look every half of one."""
        for _ in range(round(seconds / step)):
            self.pass_time(step)
            self.leases.look()

    def claimed(self, job_id: str = "a", **policies: object) -> Run:
        add(self.store, job_id, **policies)
        self.clock.advance(15 * 60)
        fire = partial(claim, fire=Fire(job_id), claimer=Claimer("w", self.lease))
        run = self.store.change(job_id, fire).run
        assert run is not None
        return run

    def begun(self, job_id: str = "a") -> tuple[Run, StopSign]:
        run = self.claimed(job_id)
        sign = self.stack.enter_context(self.leases.keep(run))
        begun = self.store.change(job_id, partial(begin, run=run, lease=self.lease))
        assert isinstance(begun, Run)
        sign.inside = True
        return begun, sign

    def kept(self, run: Run) -> Run:
        return self.store.runs(run_id=run.id)[0]


@pytest.fixture
def home(store: Store, clock: FakeClock) -> Iterator[Home]:
    new = Home(store, clock)
    with new.stack:
        yield new


def test_renews_every_third_of_the_lease(home: Home) -> None:
    run, sign = home.begun()
    home.live(9.5)
    assert home.changes == 0
    home.live(0.5)
    assert home.changes == 1
    assert home.kept(run).lease_until == home.clock() + LEASE
    home.live(9.5)
    assert home.changes == 1
    home.live(60.5)
    assert home.changes == 8
    assert not sign.up()


def test_renews_what_is_claimed_and_has_not_begun(home: Home) -> None:
    run = home.claimed()
    home.stack.enter_context(home.leases.keep(run))
    home.live(45)
    assert home.kept(run).lease_until > home.clock() + timedelta(seconds=19)


def test_renews_no_more_once_the_context_is_over(home: Home) -> None:
    run = home.claimed()
    with home.leases.keep(run):
        assert home.leases.runs() == [run]
    home.live(100)
    assert (home.changes, home.leases.runs(), home.given_up) == (0, [], 0)


def test_forgets_a_run_whose_context_raised(home: Home) -> None:
    with pytest.raises(ZeroDivisionError), home.leases.keep(home.claimed()):
        _ = 1 / 0
    assert home.leases.runs() == []


def test_tells_the_body_that_it_was_cancelled_at_the_next_renewal(home: Home) -> None:
    run, sign = home.begun()
    home.store.change("a", partial(change.cancel_run, run_id=run.id, reason="by Ann"))
    home.live(9.5)
    assert not sign.up()
    home.live(0.5)
    assert (sign.up(), sign.reason, sign.hand_back) == (True, "by Ann", False)
    home.live(60)
    assert (home.kept(run).open, home.given_up) == (True, 0)
    assert home.kept(run).lease_until > home.clock()


def test_i6_stops_the_body_of_a_run_that_was_taken_over_and_writes_nothing(home: Home) -> None:
    run, sign = home.begun()
    home.clock.advance(31)
    taken = home.store.change("a", partial(claim, fire=Fire("a"), claimer=Claimer("other", LEASE))).run
    assert taken is not None
    before = home.store.read("a"), home.kept(run)
    home.live(10)
    assert (sign.up(), sign.reason, sign.hand_back) == (True, TAKEN, True)
    assert (home.store.read("a"), home.kept(run)) == before
    home.live(60)
    assert home.store.read("a") == before[0]


@pytest.mark.parametrize("fault", [StoreError("away"), StoreBusy("locked")])
def test_goes_on_without_a_store_until_ten_seconds_before_the_end(home: Home, fault: Exception) -> None:
    _, sign = home.begun()
    home.away = fault
    home.live(19.5)
    assert not sign.up()
    home.live(0.5)
    assert (sign.up(), sign.reason, sign.hand_back) == (True, UNREACHABLE, True)


def test_counts_from_before_the_last_renewal_was_sent(home: Home) -> None:
    _, sign = home.begun()
    home.hangs = 2.0
    home.live(10)
    assert home.changes == 1
    home.hangs, home.away = 0.0, StoreError("away")
    home.live(17.5)
    assert not sign.up()
    home.live(0.5)
    assert sign.up()


def test_tries_every_second_while_the_store_is_away_and_goes_on_when_it_is_back(home: Home) -> None:
    run, sign = home.begun()
    home.away = StoreError("away")
    home.live(15)
    assert 5 <= home.changes <= 7
    home.away = None
    home.live(1)
    home.live(60)
    assert not sign.up()
    assert home.kept(run).lease_until > home.clock()


def test_counts_the_time_that_the_machine_was_suspended(home: Home) -> None:
    _, sign = home.begun()
    home.away = StoreError("away")
    home.pass_time(3600)
    home.leases.look()
    assert sign.up()


def test_renews_after_a_suspension_when_nobody_took_over(home: Home) -> None:
    run, sign = home.begun()
    home.pass_time(3600)
    home.leases.look()
    assert not sign.up()
    assert home.kept(run).lease_until == home.clock() + LEASE


def test_ends_the_process_when_a_body_does_not_return_in_five_seconds(home: Home) -> None:
    home.begun()
    home.away = StoreError("away")
    home.live(24.5)
    assert home.given_up == 0
    home.live(0.5)
    assert home.given_up == 1


def test_ends_the_process_for_a_body_that_was_taken_over_too(home: Home) -> None:
    home.begun()
    home.clock.advance(31)
    home.store.change("a", partial(claim, fire=Fire("a"), claimer=Claimer("other", LEASE)))
    home.live(14.5)
    assert home.given_up == 0
    home.live(0.5)
    assert home.given_up == 1


def test_keeps_the_process_when_the_body_has_returned(home: Home) -> None:
    _, sign = home.begun()
    home.away = StoreError("away")
    home.live(20)
    sign.inside = False
    home.live(60)
    assert home.given_up == 0


def test_keeps_the_process_while_no_body_has_started(home: Home) -> None:
    sign = home.stack.enter_context(home.leases.keep(home.claimed()))
    home.away = StoreError("away")
    home.live(60)
    assert (sign.up(), home.given_up) == (True, 0)


def test_a_store_that_hangs_delays_the_stop_of_nobody(home: Home) -> None:
    signs = [home.begun(f"job{number}")[1] for number in range(12)]
    stopped: dict[int, float] = {}
    began = home.boot()

    def note() -> None:
        for number, sign in enumerate(signs):
            if sign.up():
                stopped.setdefault(number, home.boot() - began)

    home.hangs, home.away, home.meets = 3.0, StoreBusy("it hangs"), note
    while len(stopped) < 12 and home.boot() - began < 120:
        home.live(0.5)
        note()
    # One hanging call and one tick may come in between; not one for each run.
    assert max(stopped.values()) <= 20 + 3 + 3 + 0.5


@pytest.mark.parametrize("seconds", [15, 16, 20, 25])
def test_a_short_lease_is_renewed_before_it_counts_as_lost(store: Store, clock: FakeClock, seconds: int) -> None:
    home = Home(store, clock, lease=timedelta(seconds=seconds))
    with home.stack:
        signs = [home.begun(f"job{number}")[1] for number in range(3)]
        home.boot.at += 0.1
        home.hangs = 0.3
        for _ in range(40):
            home.pass_time(0.5)
            home.leases.look()
        assert not any(sign.up() for sign in signs)


def test_asks_every_body_to_hand_its_fire_back(home: Home) -> None:
    (_, one), (_, two) = home.begun("one"), home.begun("two")
    two.put_up("cancelled")
    home.leases.ask_all("its worker drains")
    assert (one.reason, one.hand_back) == ("its worker drains", True)
    assert (two.reason, two.hand_back) == ("cancelled", False)


def test_asks_those_that_were_being_claimed_meanwhile_too(home: Home) -> None:
    home.leases.ask_all("its worker drains")
    _, sign = home.begun()
    assert (sign.up(), sign.reason, sign.hand_back) == (True, "its worker drains", True)


def test_i17_one_bad_run_leaves_the_others_renewed(home: Home) -> None:
    _, _ = home.begun("bad")
    run, _ = home.begun("good")

    def meets() -> None:
        broken.append(1)
        if len(broken) % 2:
            raise AssertionError("a bug")

    broken: list[int] = []
    home.meets = meets
    home.live(10)
    assert home.kept(run).lease_until == home.clock() + LEASE


def test_its_thread_looks_and_ends(home: Home) -> None:
    run, _ = home.begun()
    home.pass_time(10)
    home.leases.start()
    assert until(lambda: home.changes == 1)
    home.leases.stop()
    assert not home.leases._thread.is_alive()
    assert home.kept(run).lease_until == home.clock() + LEASE
