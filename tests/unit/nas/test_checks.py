"""What NAS checks of others: callback URLs, signatures, how often they call, when they want to be called."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
from datetime import UTC, datetime, timedelta

import pytest

from hermes_cron.errors import AddressRefused, ConfigError, OutboundError
from hermes_cron.nas.callback import Callbacks
from hermes_cron.nas.limits import Limits
from hermes_cron.nas.signature import _MOST_KEPT, WINDOW_S, Signatures, read_secret
from hermes_cron.outbound import Judge, is_public
from hermes_cron.settings import Secret
from tests.unit.nas.world import Clock

# The example of the scheme's own specification.
SPEC_SECRET = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
SPEC_BODY = b'{"test": 2432232314}'
SPEC_HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
SPEC_TIME = datetime.fromtimestamp(1614265330, UTC)


class Names:
    """A resolver with a list of its own."""

    def __init__(self, **known: str) -> None:
        self.known = known
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, allow: Judge, seconds: float) -> None:
        self.asked.append(f"{host}:{port}")
        if host not in self.known or seconds <= 0:
            raise OutboundError("no such name")
        if not allow(ipaddress.ip_address(self.known[host])):
            raise AddressRefused("no")


def test_a_public_name_is_good_and_asked_for_once_a_minute() -> None:
    names, now = Names(good="9.9.9.9"), [0.0]
    callbacks = Callbacks(is_public, look_up=names, seconds=lambda: now[0])
    for _ in range(3):
        assert callbacks.of(1).check("https://good/") == "https://good"
    assert names.asked == ["good:443"]
    names.known["good"] = "10.0.0.1"
    now[0] = 61
    for _ in range(2):
        with pytest.raises(ValueError, match="public addresses"):
            callbacks.of(1).check("https://good")
    assert len(names.asked) == 3, "what is refused is asked for each time, as it may be mended"


def test_a_name_that_does_not_resolve_now_is_taken() -> None:
    callbacks = Callbacks(is_public, look_up=Names())
    assert callbacks.of(1).check("http://asleep:8080/base/") == "http://asleep:8080/base"


def test_look_ups_of_one_call_end_together() -> None:
    now = [0.0]
    callbacks = Callbacks(is_public, look_up=Names(slow="10.0.0.1"), seconds=lambda: now[0]).of(1)
    now[0] = 5
    assert callbacks.check("http://slow") == "http://slow"


def test_no_more_than_two_look_ups_of_an_agent_are_under_way_and_others_have_their_own() -> None:
    asked: list[str] = []

    def look_up(host: str, port: int, allow: Judge, seconds: float) -> None:
        # A look-up that hangs, while more of the same agent's and one of another's come.
        asked.append(host)
        if host.startswith("hangs"):
            callbacks.of(1).check(f"http://hangs{len(asked)}" if len(asked) < 3 else "http://more")
            callbacks.of(2).check("http://other")

    callbacks = Callbacks(is_public, look_up=look_up)
    callbacks.of(1).check("http://hangs0")
    assert asked == ["hangs0", "hangs1", "other"]
    callbacks.of(1).check("http://later")
    assert asked[-1] == "later"


def test_where_every_address_is_allowed_nothing_is_looked_up() -> None:
    names = Names(near="127.0.0.1")
    callbacks = Callbacks(None, look_up=names)
    assert callbacks.of(1).check("http://near") == "http://near"
    assert names.asked == []


@pytest.mark.parametrize(
    "url",
    [None, 5, "", "http://", "near", "file:///x", "http://u@h", "http://u:p@h", "http://h/#", "http://h/?q=1",
     "http://h:0", "http://h:x", "http://h\n", "http://h/ x", "http://" + "h" * 2000],
)  # fmt: skip
def test_what_is_no_callback_is_refused(url: object) -> None:
    callbacks = Callbacks(None)
    with pytest.raises(ValueError, match="must be"):
        callbacks.of(1).check(url)


def test_a_dot_at_the_end_leads_to_the_same_place() -> None:
    callbacks = Callbacks(is_public, look_up=Names(near="127.0.0.1"))
    with pytest.raises(ValueError, match="public addresses"):
        callbacks.of(1).check("http://near.")


def test_it_verifies_the_example_of_the_specification() -> None:
    signatures = Signatures(read_secret(SPEC_SECRET), Clock(SPEC_TIME))
    assert signatures.good(SPEC_HEADERS, SPEC_BODY)
    assert not signatures.good(SPEC_HEADERS, SPEC_BODY + b" ")
    many = {**SPEC_HEADERS, "webhook-signature": "v1,AAAA v2,x " + SPEC_HEADERS["webhook-signature"]}
    assert signatures.good(many, SPEC_BODY)


@pytest.mark.parametrize("name", list(SPEC_HEADERS))
@pytest.mark.parametrize("value", ["", " ", "1", "v1,", "v1,\u00e9\ud800", "9" * 50, "-5", "\u0661"])
def test_any_other_header_is_refused(name: str, value: str) -> None:
    signatures = Signatures(read_secret(SPEC_SECRET), Clock(SPEC_TIME))
    assert not signatures.good({**SPEC_HEADERS, name: value}, SPEC_BODY)
    assert not signatures.good({key: text for key, text in SPEC_HEADERS.items() if key != name}, SPEC_BODY)


@pytest.mark.parametrize(("seconds", "good"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_the_window_is_five_minutes_both_ways(seconds: float, good: bool) -> None:
    clock = Clock(SPEC_TIME + timedelta(seconds=seconds))
    assert Signatures(read_secret(SPEC_SECRET), clock).good(SPEC_HEADERS, SPEC_BODY) is good


def test_without_a_secret_nothing_is_good() -> None:
    empty = base64.b64encode(hmac.digest(b"", b"m.1614265330.", hashlib.sha256)).decode()
    headers = {**SPEC_HEADERS, "webhook-id": "m", "webhook-signature": f"v1,{empty}"}
    for secret in (None, b""):
        assert not Signatures(secret, Clock(SPEC_TIME)).good(headers, b"")


def test_a_call_is_remembered_for_as_long_as_it_could_be_replayed() -> None:
    clock = Clock()
    signatures = Signatures(b"x", clock)
    assert not signatures.repeated("m")
    signatures.remember("m")
    clock.move(599)
    assert signatures.repeated("m")
    clock.move(1)
    assert not signatures.repeated("m")


@pytest.mark.parametrize("text", ["", "short", "whsec_", "whsec_!!!!", "whsec_" + "A" * 20, "\u00e9" * 40])
def test_a_weak_secret_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigError, match="base64 of 24 bytes or more") as caught:
        read_secret(Secret(text))
    assert not text or text not in str(caught.value)


def test_calls_are_counted_by_agent_and_forgiven_with_time() -> None:
    now = [0.0]
    limits = Limits(2, 3, seconds=lambda: now[0])
    assert [limits.wait(1) for _ in range(4)] == [0, 0, 0, 0.5]
    assert limits.wait(2) == 0
    now[0] = 0.5
    assert [limits.wait(1) for _ in range(2)] == [0, 0.5]
    now[0] = 1000
    assert [limits.wait(1) == 0 for _ in range(4)] == [True, True, True, False]


def test_what_costs_more_than_a_call_is_paid_for_by_the_next() -> None:
    now = [0.0]
    limits = Limits(2, 3, seconds=lambda: now[0])
    assert limits.wait(1) == 0
    limits.charge(1, 5)
    assert limits.wait(1) == 2
    assert limits.wait(2) == 0
    now[0] = 2
    assert [limits.wait(1) for _ in range(2)] == [0, 0.5]


def test_calls_are_remembered_within_their_window_and_never_more_than_so_many() -> None:
    clock = Clock()
    signatures = Signatures(b"x" * 24, clock)
    for n in range(_MOST_KEPT + 100):
        signatures.remember(f"{n}")
    assert len(signatures._seen) == _MOST_KEPT
    assert signatures.repeated(f"{_MOST_KEPT + 99}")
    clock.move(2 * WINDOW_S)
    assert not signatures.repeated(f"{_MOST_KEPT + 99}")
    signatures.remember("new")
    assert list(signatures._seen) == ["new"]
