"""Keys from a URL, kept on disk: used across an outage, trusted only where nobody else can write; and across a fork."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_cron.verify import kept
from hermes_cron.verify.jwks import JwksKeys
from tests.unit.verify.mint import FakeClock, Host, Pair, reason, settle


class TestOnDisk:
    @pytest.fixture
    def home(self, tmp_path: Path, host: Host, pair: Pair, clock: FakeClock) -> Path:
        host.publish(pair.jwk)
        first = JwksKeys(host.url, home=tmp_path, clock=clock, wait=50, deadline=40)
        assert reason(first, pair.kid) == "found"
        assert settle(first)
        host.calls = 0
        return tmp_path

    def test_only_we_can_read_it(self, home: Path, host: Host) -> None:
        place = kept.place_of(home, host.url)
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
        assert [file.name for file in place.parent.iterdir()] == [place.name]
        assert "127.0.0.1" not in place.name

    def test_a_fresh_one_is_used_without_a_fetch(self, home: Path, host: Host, pair: Pair, clock: FakeClock) -> None:
        clock.advance(299)
        keys = JwksKeys(host.url, home=home, clock=clock, wait=50, deadline=40)
        assert keys.ready()
        assert reason(keys, pair.kid) == "found"
        assert host.calls == 0

    def test_an_older_one_is_refreshed_in_the_background(
        self, home: Path, host: Host, pair: Pair, clock: FakeClock
    ) -> None:
        clock.advance(301)
        keys = JwksKeys(host.url, home=home, clock=clock, wait=50, deadline=40)
        assert reason(keys, pair.kid) == "found"
        assert settle(keys)
        assert host.calls == 1
        again = JwksKeys(host.url, home=home, clock=clock, wait=50, deadline=40)
        assert reason(again, pair.kid) == "found"
        assert host.calls == 1

    def test_it_bridges_an_outage_of_a_day_and_no_more(
        self, home: Path, host: Host, pair: Pair, clock: FakeClock
    ) -> None:
        host.say(b"", 503)
        clock.advance(24 * 3600)
        assert reason(JwksKeys(host.url, home=home, clock=clock, wait=50, deadline=40), pair.kid) == "found"
        clock.advance(1)
        assert reason(JwksKeys(host.url, home=home, clock=clock, wait=50, deadline=40), pair.kid) == "unavailable"

    def test_one_of_another_url_is_not_used(self, home: Path, host: Host, pair: Pair, clock: FakeClock) -> None:
        elsewhere = "http://127.0.0.1:1/jwks.json"
        kept.place_of(home, host.url).rename(kept.place_of(home, elsewhere))
        assert reason(JwksKeys(elsewhere, home=home, clock=clock, wait=50, deadline=40), pair.kid) == "unavailable"

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"url": "x"}', "[" * 100_000, "\0"])
    def test_a_damaged_one_is_not_used(self, home: Path, host: Host, pair: Pair, clock: FakeClock, text: str) -> None:
        kept.place_of(home, host.url).write_text(text)
        assert reason(JwksKeys(host.url, home=home, clock=clock, wait=50, deadline=40), pair.kid) == "found"
        assert host.calls == 1

    def test_one_that_others_could_have_written_is_not_used(
        self, home: Path, host: Host, pair: Pair, clock: FakeClock
    ) -> None:
        host.say(b"", 503)  # Or what is fetched behind our back would be laid there.
        place = kept.place_of(home, host.url)
        for spoil, mend in ((place, 0o600), (place.parent, 0o700)):
            spoil.chmod(0o777)
            assert not JwksKeys(host.url, home=home, clock=clock, wait=50, deadline=40).ready()
            spoil.chmod(mend)
        assert JwksKeys(host.url, home=home, clock=clock, wait=50, deadline=40).ready()

    def test_a_link_or_a_pipe_in_its_place_is_not_followed(self, home: Path, host: Host, clock: FakeClock) -> None:
        host.say(b"", 503)  # Or what is fetched behind our back would be laid there.
        place = kept.place_of(home, host.url)
        place.rename(home / "elsewhere.json")
        place.symlink_to(home / "elsewhere.json")
        assert not JwksKeys(host.url, home=home, clock=clock, wait=50, deadline=40).ready()
        place.unlink()
        os.mkfifo(place, 0o600)
        assert not JwksKeys(host.url, home=home, clock=clock, wait=50, deadline=40).ready()

    def test_a_home_that_cannot_be_written_harms_nothing(
        self, tmp_path: Path, host: Host, pair: Pair, clock: FakeClock
    ) -> None:
        host.publish(pair.jwk)
        (tmp_path / "jwks").write_text("in the way")
        keys = JwksKeys(host.url, home=tmp_path, clock=clock, wait=50, deadline=40)
        assert reason(keys, pair.kid) == "found"
        assert reason(keys, pair.kid) == "found"


FORK = """
import os, sys
from hermes_cron.verify.jwks import JwksKeys

keys = JwksKeys(sys.argv[1], wait=50, deadline=40)
keys._current()                 # the parent has a fetch in flight, in a thread that its child will not have
keys._lock.acquire()            # and one of its threads holds the lock
child = os.fork()
if child == 0:
    os._exit(0 if keys.find("es-1", "ES256") else 1)
print("forked", flush=True)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.processes
def test_a_forked_child_fetches_for_itself(host: Host, pair: Pair) -> None:
    host.publish(pair.jwk)
    at_once = host.answer
    host.answer = lambda handler: (host.release.wait(60), at_once(handler))[1]
    command = [sys.executable, "-c", FORK, host.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "forked\n"
        host.release.set()
        _, errors = parent.communicate(timeout=60)
    assert parent.returncode == 0, errors


def test_a_judged_fire_with_keys_on_disk_imports_no_http_client(
    tmp_path: Path, host: Host, pair: Pair, clock: FakeClock
) -> None:
    host.publish(pair.jwk)
    first = JwksKeys(host.url, home=tmp_path, clock=clock, wait=50, deadline=40)
    assert reason(first, pair.kid) == "found"
    assert settle(first)
    script = (
        "import sys, pathlib, datetime; from hermes_cron.verify.jwks import JwksKeys; "
        "clock = lambda: datetime.datetime.fromisoformat(sys.argv[3]); "
        "keys = JwksKeys(sys.argv[1], home=pathlib.Path(sys.argv[2]), clock=clock, wait=50, deadline=40); "
        "keys.find('es-1', 'ES256'); "
        "print('httpx' in sys.modules)"
    )
    command = [sys.executable, "-c", script, host.url, str(tmp_path), clock.now.isoformat()]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
