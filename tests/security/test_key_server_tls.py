"""The key set over https, from a real TLS server: what both processes of the shipped web trust, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.system import System
from tests.security.certificates import DAY, Authority, key_server, self_signed
from tests.security.front import PAIR, Front, statuses
from tests.security.names import Names
from tests.security.test_key_server import fire, one_at_a_time
from tests.unit.verify.mint import Host

pytestmark = [pytest.mark.processes, pytest.mark.redis, pytest.mark.timeout(240)]
HOST = "keys.example"
CHRONOS = "HERMES_CRON_CRON__CHRONOS__"
Make = Callable[..., Front]

# What is wrong with a certificate, and what the log must say of it.
BAD = {
    "of nobody we trust": "unable to get local issuer certificate",
    "signed by itself": "self-signed certificate",
    "that has run out": "certificate has expired",
    "that is not good yet": "certificate is not yet valid",
    "of another host": "Hostname mismatch",
}


class Tls:
    """A key server with a name, an authority that the web trusts, and webs that have their keys from there."""

    def __init__(self, folder: Path, redis_url: str, stack: ExitStack) -> None:
        self._folder, self._redis_url, self._stack = folder, redis_url, stack
        self.names = Names(folder / "names")
        self.names.lead(HOST, "127.0.0.1")
        self.trusted = Authority.new(folder / "trusted.pem")
        self.host = Host()
        self.host.publish(PAIR.jwk)

    def certificate(self, kind: str) -> Path:
        file = self._folder / "server.pem"
        if kind == "of nobody we trust":
            return Authority.new(self._folder / "stranger.pem").issue(file, HOST)
        if kind == "signed by itself":
            return self_signed(file, HOST)
        begins = {"that has run out": -3 * DAY, "that is not good yet": DAY}.get(kind, -DAY)
        return self.trusted.issue(file, "other.example" if kind == "of another host" else HOST, begins=begins)

    def serve(self, kind: str = "good") -> str:
        """Serve with such a certificate; the URL of the keys."""
        port = self._stack.enter_context(key_server(self.host, self.certificate(kind)))
        return f"https://{HOST}:{port}/jwks.json"

    def front(self, url: str) -> Front:
        """A web with its keys from there, that answers, ready or not."""
        env = {f"{CHRONOS}NAS_JWKS_URL": url, f"{CHRONOS}NAS_PUBLIC_KEY": "", "SSL_CERT_FILE": str(self.trusted.file)}
        front = Front(self._folder, self._redis_url, **env, **self.names.env)
        self._stack.callback(front.close)
        front.start_again()
        return front


@pytest.fixture
def tls(tmp_path: Path, redis_url: str) -> Iterator[Tls]:
    with ExitStack() as stack:
        yield Tls(tmp_path, redis_url, stack)


def check_puts_off(front: Front, why: str) -> None:
    """Both processes answer a good fire with 503 and what is no token with 401, queue nothing, and say why."""
    with one_at_a_time(front) as both:
        for _ in both:
            answer = front.ask(front.request())
            assert statuses(answer) == [503]
            assert b"retry-after: " in answer.lower()
            assert statuses(front.ask(front.request(token="forged"))) == [401]
    assert front.queued() == 0
    assert not front.system.answers(f"{front.system.callback_url}/readyz")
    front.system.wait(lambda: why in front.log(), "the reason in the log")
    done = front.system.cli("doctor", "--network")
    assert done.returncode == 1
    [finding] = [line for line in done.stdout.splitlines() if line.startswith("fail  keys ")]
    assert why in finding
    assert done.stderr == "", "it is said once"
    assert "Traceback" not in front.log()


def test_the_keys_of_a_server_whose_authority_is_trusted_judge_fires_at_both_processes(tls: Tls) -> None:
    front = tls.front(tls.serve())
    front.system.wait(lambda: front.system.answers(f"{front.system.callback_url}/readyz"), "the web is ready")
    with one_at_a_time(front) as both:
        for _ in both:
            # The first look at a process has its keys fetched; it is 202 or put off, and never refused.
            front.system.wait(lambda: fire(front) == 202, "a fire that is taken")
            assert statuses(front.ask(front.request(token="forged"))) == [401]
    assert tls.host.calls >= 1
    assert front.system.cli("doctor", "--network").stdout.count("a fire token could be judged now") == 1


@pytest.mark.parametrize("kind", BAD)
def test_a_certificate_that_is_bad_puts_every_good_fire_off_and_the_log_says_why(tls: Tls, kind: str) -> None:
    front = tls.front(tls.serve(kind))
    check_puts_off(front, BAD[kind])
    assert tls.host.calls == 0, "nothing was asked over such a connection"


def test_no_redirect_leads_from_https_to_http(tls: Tls, host: Host) -> None:
    host.publish(PAIR.jwk)
    tls.host.say(b"", 302, {"Location": host.url})
    front = tls.front(tls.serve())
    check_puts_off(front, "the answer was 302")
    assert tls.host.calls >= 1
    assert host.calls == 0


def test_what_speaks_no_tls_is_no_key_server_of_https(tls: Tls, host: Host) -> None:
    host.publish(PAIR.jwk)
    check_puts_off(tls.front(host.url.replace("http://127.0.0.1", f"https://{HOST}")), "WRONG_VERSION_NUMBER")


def test_plain_http_is_for_loopback_and_a_name_that_only_says_so_is_none(tls: Tls, host: Host) -> None:
    tls.names.lead("localhost", "93.184.215.14")
    host.publish(PAIR.jwk)
    front = tls.front(host.url.replace("127.0.0.1", "localhost"))
    check_puts_off(front, "localhost leads to 93.184.215.14")
    assert host.calls == 0


@pytest.mark.parametrize("url", [f"http://{HOST}/jwks.json", "http://192.168.0.1/jwks.json",
                                 "https://user:pass@keys.example/jwks.json", "file:///etc/jwks.json",
                                 "http://localhost.evil.example/jwks.json"])  # fmt: skip
def test_the_web_does_not_start_with_keys_over_a_way_that_others_can_change(
    make_system: Callable[..., System], redis_url: str, url: str
) -> None:
    system = make_system(redis_url, env={f"{CHRONOS}NAS_JWKS_URL": url})
    done = system.cli("web", "--bind", "127.0.0.1:0", "--workers", "2")
    assert done.returncode == 78
    assert "cron.chronos.nas_jwks_url must be" in done.stderr
    assert "pass@" not in done.stderr
