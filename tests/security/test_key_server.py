"""The key server hangs, is away, rotates, withdraws: what becomes of fires at the two processes of the shipped web."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from hermes_cron.clock import instant_text, utc_now
from hermes_cron.nas.room import open_keys
from hermes_cron.verify import kept
from hermes_cron.verify.jwks import PAUSE_S, WAIT_S
from tests.integration.system import AUDIENCE, System, children
from tests.security.front import BODY, PAIR, Front, statuses
from tests.unit.verify.mint import Host, good_claims, new_pair

pytestmark = [pytest.mark.processes, pytest.mark.redis, pytest.mark.timeout(240)]
SECOND = new_pair("ES256", "two")


@pytest.fixture
def warm(tmp_path: Path, redis_url: str, host: Host) -> Iterator[Front]:
    """The web, whose key set was fetched by an earlier start of it, and stands on disk."""
    host.publish(PAIR.jwk)
    chronos = "HERMES_CRON_CRON__CHRONOS__"
    new = Front(tmp_path, redis_url, **{f"{chronos}NAS_JWKS_URL": host.url, f"{chronos}NAS_PUBLIC_KEY": ""})
    try:
        new.start()
        # Whoever has a new set judges by it before it is kept, so that being ready is no sign that it stands on disk.
        new.system.wait(kept.place_of(new.system.home, host.url).exists, "the set stands on disk")
        yield new
    finally:
        new.close()


def wake(front: Front, host: Host, **ago: float) -> None:
    """The web ends, and starts anew with a set on disk that was fetched so long ago."""
    front.stop()
    place = kept.place_of(front.system.home, host.url)
    found = json.loads(place.read_text())
    found["fetched_at"] = instant_text(utc_now() - timedelta(**ago))
    place.write_text(json.dumps(found))
    front.start_again()


@contextmanager
def one_at_a_time(front: Front) -> Iterator[Iterator[int]]:
    """An iterator over the web's processes, all others of which are frozen meanwhile."""
    processes = front.system.wait(lambda: both if len(both := children(front.web.pid)) == 2 else [], "both processes")

    def each() -> Iterator[int]:
        for one in processes:
            for other in processes:
                os.kill(other, signal.SIGCONT if other == one else signal.SIGSTOP)
            yield one

    try:
        yield each()
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def fire(front: Front, signer: object = PAIR) -> int:
    claims = good_claims(utc_now(), iss=front.system.nas_url, aud=AUDIENCE)
    [status] = statuses(front.ask(front.request(token=signer.sign(claims))))  # type: ignore[attr-defined]  # a Pair.
    return status


def test_with_a_hanging_key_server_200_good_fires_are_answered_within_a_second_each(warm: Front, host: Host) -> None:
    host.hang()
    host.calls = 0
    wake(warm, host, minutes=10)
    times: list[tuple[int, float]] = []
    strangers: list[int] = []

    def good() -> None:
        for _ in range(20):
            began = time.monotonic()
            status = fire(warm)
            times.append((status, time.monotonic() - began))

    def strange() -> None:
        strangers.extend(fire(warm, SECOND) for _ in range(3))

    threads = [threading.Thread(target=target) for target in [good] * 10 + [strange] * 4]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(status for status, _ in times) == {202: 200}
    assert max(seconds for _, seconds in times) < WAIT_S, "none of them has waited for the keys"
    # Whoever signs with a key that nobody can look up now may be good: that is no refusal.
    assert set(strangers) == {503}
    assert host.calls <= 2 * (1 + (time.monotonic() - began) // PAUSE_S), "each process has one fetch in flight"


def test_a_flood_of_unknown_kids_makes_one_fetch_per_pause_at_each_process(warm: Front, host: Host) -> None:
    wake(warm, host)
    host.calls, began = 0, time.monotonic()
    unknown = [replace(SECOND, kid=f"kid-{number}") for number in range(40)]
    assert {fire(warm, signer) for signer in unknown} <= {401, 503}
    assert fire(warm) == 202
    assert 1 <= host.calls <= 2 * (1 + (time.monotonic() - began) // PAUSE_S)


def test_an_outage_of_the_key_server_refuses_nothing_it_need_not(warm: Front, host: Host) -> None:
    host.say(b"", 503)
    wake(warm, host, hours=23, minutes=50)
    assert {fire(warm) for _ in range(10)} == {202}
    answer = warm.ask(warm.request(token=SECOND.sign(good_claims(utc_now()))))
    assert statuses(answer) == [503]
    assert b"retry-after: " in answer.lower()
    assert statuses(warm.ask(warm.request(token="forged"))) == [401]
    bad = PAIR.sign(good_claims(utc_now(), aud="another"))
    assert statuses(warm.ask(warm.request(token=bad))) == [401]


def test_a_set_of_more_than_a_day_judges_nobody_and_is_no_refusal(warm: Front, host: Host) -> None:
    host.say(b"", 503)
    wake(warm, host, hours=24, minutes=1)
    assert fire(warm) == 503
    assert statuses(warm.ask(warm.request(token="forged"))) == [401]
    assert not warm.system.answers(f"{warm.system.callback_url}/readyz")


def test_rotation_is_picked_up_at_once_and_a_withdrawn_key_dies(warm: Front, host: Host) -> None:
    wake(warm, host)
    host.publish(SECOND.jwk)
    # Each process looks the new key up at its first sight of it, and has lost the old one with that.
    with one_at_a_time(warm) as both:
        assert [fire(warm, SECOND) for _ in both] == [202, 202]
    assert [fire(warm, SECOND) for _ in range(20)] == [202] * 20
    assert [fire(warm) for _ in range(20)] == [401] * 20
    assert host.calls <= 4


def test_a_key_withdrawn_meanwhile_dies_with_the_first_refresh(warm: Front, host: Host) -> None:
    host.publish(SECOND.jwk)
    wake(warm, host, minutes=6)
    # The first fire of each process is still judged by the set that it found on disk.
    warm.system.wait(lambda: [fire(warm) for _ in range(10)] == [401] * 10, "the old key's end", 5)


def test_no_fire_is_refused_while_nas_rotates_its_keys(make_system: Callable[..., System], redis_url: str) -> None:
    system = make_system(redis_url)
    system.start_nas()
    system.start_web()
    system.start_worker()
    system.wait(lambda: system.answers(f"{system.callback_url}/readyz"), "the web is ready")
    system.add("tide", "every 2s")
    system.wait(lambda: system.ran("tide"), "a run under the first key")
    # Published for longer than the web pauses between two looks: it is at the second key at its first fire.
    home = str(system.home / "nas")
    assert system.cli("nas", "keys", "rotate", "--home", home, "--overlap", "11s").returncode == 0
    [signs_at] = [key.signs_at for key, state in open_keys(system.home / "nas").listed() if state == "next"]
    assert signs_at is not None
    system.wait(lambda: len([row for row in system.ran("tide") if row[2] > signs_at.isoformat()]) >= 2, "two more runs")
    assert system.cli("jobs", "pause", "tide").returncode == 0
    assert "new keys at" in system.log("web0")
    assert "refused" not in system.log("web0")


def test_the_log_tells_what_became_of_the_keys_and_none_of_the_tokens(warm: Front, host: Host) -> None:
    wake(warm, host)
    host.publish(SECOND.jwk)
    token = SECOND.sign(good_claims(utc_now(), iss=warm.system.nas_url, aud=AUDIENCE))
    assert statuses(warm.ask(warm.request(BODY, token=token))) == [202]
    assert "new keys at" in warm.log()
    assert token.rpartition(".")[2] not in warm.log()
