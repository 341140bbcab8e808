"""Keys from a URL, against a real host on loopback: slow, huge, wandering, garbled, rotating, down."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hermes_cron.errors import ConfigError
from hermes_cron.verify import jwks
from hermes_cron.verify.jwks import JwksKeys
from hermes_cron.verify.reasons import Reason
from tests.unit.verify.mint import FakeClock, Host, Pair, reason, settle, until


@pytest.fixture
def keys(host: Host, clock: FakeClock) -> JwksKeys:
    return JwksKeys(host.url, clock=clock, wait=50, deadline=40)


class TestUrl:
    @pytest.mark.parametrize(
        "url",
        ["http://nas.example/jwks", "ftp://nas.example", "file:///etc/passwd", "https://", "https://u:p@nas.example/",
         "http://localhost.evil.example/", "http://127.0.0.1.evil.example/", "http://127.1/", "", "nas",
         "https://[::1"],
    )  # fmt: skip
    def test_only_https_is_taken_where_it_is_not_loopback(self, url: str) -> None:
        with pytest.raises(ConfigError) as caught:
            JwksKeys(url)
        assert caught.value.field == "cron.chronos.nas_jwks_url"
        assert "u:p" not in str(caught.value)

    @pytest.mark.parametrize(
        "url", ["https://nas.example/jwks", "http://localhost:1/", "http://127.0.0.1/", "http://[::1]:80/"]
    )
    def test_https_and_loopback_are_taken_and_nothing_is_opened(self, url: str) -> None:
        before = set(threading.enumerate())
        JwksKeys(url)
        assert set(threading.enumerate()) <= before


class TestFetching:
    def test_the_first_token_waits_for_the_keys(self, host: Host, keys: JwksKeys, pair: Pair) -> None:
        host.publish(pair.jwk)
        assert host.calls == 0
        assert reason(keys, pair.kid) == "found"
        assert reason(keys, pair.kid) == "found"
        assert host.calls == 1
        assert keys.ready()

    def test_being_asked_whether_it_is_ready_has_keys_fetched_and_does_not_wait(
        self, host: Host, keys: JwksKeys, pair: Pair
    ) -> None:
        host.publish(pair.jwk)
        assert not keys.ready()
        assert until(keys.ready)
        assert host.calls == 1

    def test_a_hanging_host_costs_the_time_to_wait_once(self, host: Host, clock: FakeClock, pair: Pair) -> None:
        assert jwks.WAIT_S == 2.0
        keys = JwksKeys(host.url, clock=clock, wait=0.5)
        host.hang()
        start = time.monotonic()
        assert reason(keys, pair.kid) == "unavailable"
        assert 0.5 <= time.monotonic() - start < 30
        assert until(lambda: host.calls == 1)

    def test_a_dripping_host_ends_at_the_total_deadline(self, host: Host, clock: FakeClock, pair: Pair) -> None:
        keys = JwksKeys(host.url, clock=clock, deadline=0.3)
        host.drip()
        start = time.monotonic()
        assert reason(keys, pair.kid) == "unavailable"
        assert settle(keys)
        assert time.monotonic() - start < 40

    def test_an_answer_that_comes_late_still_fills_the_cache(self, host: Host, clock: FakeClock, pair: Pair) -> None:
        keys = JwksKeys(host.url, clock=clock, wait=0.05)
        host.publish(pair.jwk)
        at_once = host.answer
        host.answer = lambda handler: (host.release.wait(60), at_once(handler))[1]
        assert reason(keys, pair.kid) == "unavailable"
        host.release.set()
        assert settle(keys)
        assert reason(keys, pair.kid) == "found"
        assert host.calls == 1

    @pytest.mark.parametrize(
        ("body", "status"),
        [(b"", 200), (b"<html>", 200), (b"[]", 200), (b'{"keys": []}', 200), (b'{"keys": [{"kty": "oct"}]}', 200),
         (b"\xff", 200), (b"[" * 100_000, 200), (b"{}", 404), (b"{}", 500), (b"{}", 204)],
        ids=range(10),
    )  # fmt: skip
    def test_garbage_is_as_good_as_nothing(
        self, host: Host, keys: JwksKeys, pair: Pair, clock: FakeClock, body: bytes, status: int
    ) -> None:
        host.say(body, status)
        assert reason(keys, pair.kid) == "unavailable"
        host.publish(pair.jwk)
        clock.advance(10)
        assert reason(keys, pair.kid) == "found"

    def test_a_huge_answer_is_not_taken(self, host: Host, keys: JwksKeys, pair: Pair) -> None:
        host.say(json.dumps({"keys": [pair.jwk], "pad": "x" * jwks.MAX_BYTES}).encode())
        assert reason(keys, pair.kid) == "unavailable"

    def test_a_redirect_is_not_followed(self, host: Host, keys: JwksKeys, pair: Pair) -> None:
        def wander(handler: object) -> None:
            assert host.calls == 1
            host.publish(pair.jwk)
            to_itself(handler)  # type: ignore[arg-type]  # loosely typed, as tests are.

        host.say(b"", 302, {"Location": host.url})
        to_itself, host.answer = host.answer, wander
        assert reason(keys, pair.kid) == "unavailable"
        assert host.calls == 1

    def test_nobody_there_is_unavailable_and_never_a_refusal(self, pair: Pair, clock: FakeClock) -> None:
        keys = JwksKeys("http://127.0.0.1:1/jwks.json", clock=clock)
        assert reason(keys, pair.kid) == "unavailable"
        assert reason(keys, None) == "unavailable"

    def test_the_pause_counts_failures(self, host: Host, keys: JwksKeys, pair: Pair, clock: FakeClock) -> None:
        host.say(b"", 500)
        for _ in range(20):
            assert reason(keys, pair.kid) == "unavailable"
        assert host.calls == 1
        clock.advance(9.9)
        assert reason(keys, pair.kid) == "unavailable"
        assert host.calls == 1
        clock.advance(0.2)
        assert reason(keys, pair.kid) == "unavailable"
        assert host.calls == 2

    def test_one_fetch_is_in_flight_and_all_who_wait_get_its_answer(
        self, host: Host, keys: JwksKeys, pair: Pair
    ) -> None:
        host.publish(pair.jwk)
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda _: reason(keys, pair.kid), range(64)))
        assert set(found) == {"found"}
        assert host.calls == 1


class TestRotation:
    @pytest.fixture(autouse=True)
    def _first(self, host: Host, keys: JwksKeys, pair: Pair) -> None:
        host.publish(pair.jwk)
        assert reason(keys, pair.kid) == "found"

    def test_an_unknown_kid_is_looked_up_once(
        self, host: Host, keys: JwksKeys, pair: Pair, other: Pair, clock: FakeClock
    ) -> None:
        clock.advance(11)
        host.publish(pair.jwk, other.jwk)
        assert reason(keys, other.kid) == "found"
        assert reason(keys, pair.kid) == "found"
        assert host.calls == 2

    def test_a_flood_of_unknown_kids_makes_one_fetch_per_pause(
        self, host: Host, keys: JwksKeys, pair: Pair, clock: FakeClock
    ) -> None:
        for round_ in range(3):
            clock.advance(11)
            assert {reason(keys, f"k{round_}-{number}") for number in range(50)} == {Reason.UNKNOWN_KEY}
            assert host.calls == 2 + round_
            assert reason(keys, pair.kid) == "found"

    def test_an_unknown_kid_is_unavailable_while_the_host_is(
        self, host: Host, keys: JwksKeys, pair: Pair, clock: FakeClock
    ) -> None:
        clock.advance(11)
        host.say(b"", 503)
        assert reason(keys, "new") == "unavailable"
        assert reason(keys, "new") == "unavailable"
        assert reason(keys, pair.kid) == "found"
        assert host.calls == 2

    def test_few_wait_for_an_unknown_kid_and_known_ones_never_do(
        self, host: Host, keys: JwksKeys, pair: Pair, clock: FakeClock
    ) -> None:
        clock.advance(11)
        host.hang()
        with ThreadPoolExecutor(12) as pool:
            waiting = [pool.submit(reason, keys, "new") for _ in range(12)]
            assert until(lambda: sum(one.done() for one in waiting) == 12 - jwks.WAITING)
            start = time.monotonic()
            assert reason(keys, pair.kid) == "found"
            assert time.monotonic() - start < 20
            host.release.set()
        assert {one.result() for one in waiting} == {"unavailable"}

    def test_a_known_kid_with_another_algorithm_causes_no_fetch(
        self, host: Host, keys: JwksKeys, pair: Pair, clock: FakeClock
    ) -> None:
        clock.advance(11)
        assert reason(keys, pair.kid, "RS256") == Reason.WRONG_KEY
        assert host.calls == 1

    def test_a_key_without_an_id_is_for_tokens_without_one(
        self, host: Host, keys: JwksKeys, pair: Pair, other: Pair, clock: FakeClock
    ) -> None:
        clock.advance(11)
        host.publish({name: value for name, value in other.jwk.items() if name != "kid"})
        assert reason(keys, "new") == Reason.UNKNOWN_KEY
        assert reason(keys, None) == "found"

    def test_an_old_set_is_refreshed_behind_the_token_that_uses_it(
        self, host: Host, keys: JwksKeys, pair: Pair, clock: FakeClock
    ) -> None:
        clock.advance(299)
        assert reason(keys, pair.kid) == "found"
        assert host.calls == 1
        clock.advance(2)
        host.hang()
        assert reason(keys, pair.kid) == "found"
        assert until(lambda: host.calls == 2)

    def test_a_withdrawn_key_dies_with_the_cache(
        self, host: Host, keys: JwksKeys, pair: Pair, other: Pair, clock: FakeClock
    ) -> None:
        host.publish(other.jwk)
        clock.advance(301)
        keys.ready()
        assert settle(keys)
        assert reason(keys, pair.kid) == Reason.UNKNOWN_KEY
        assert reason(keys, other.kid) == "found"

    @pytest.mark.parametrize("body", [b"garbage", b'{"keys": []}', b'{"keys": [{"kty": "oct", "k": "AA"}]}'])
    def test_a_good_set_is_replaced_by_a_good_set_only(
        self, host: Host, keys: JwksKeys, pair: Pair, clock: FakeClock, body: bytes
    ) -> None:
        host.say(body)
        for _ in range(3):
            clock.advance(301)
            assert reason(keys, pair.kid) == "found"
            assert settle(keys)
        assert host.calls == 4

    def test_no_set_is_used_for_more_than_a_day(self, host: Host, keys: JwksKeys, pair: Pair, clock: FakeClock) -> None:
        host.say(b"", 500)
        clock.advance(24 * 3600)
        assert reason(keys, pair.kid) == "found"
        assert settle(keys)
        clock.advance(11)
        assert not keys.ready()
        assert settle(keys)
        assert reason(keys, pair.kid) == "unavailable"

    def test_a_clock_that_is_set_back_keeps_no_set_alive(
        self, host: Host, keys: JwksKeys, pair: Pair, clock: FakeClock
    ) -> None:
        clock.advance(-3600)
        host.say(b"", 500)
        assert reason(keys, pair.kid) == "unavailable"
        assert host.calls == 2
