"""Listening, and serving until a signal: real sockets, a real gunicorn, processes of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_cron.errors import AddressInUse, ConfigError
from hermes_cron.server import SETTINGS, command_line, listen, url_of
from tests.unit.parts import until
from tests.unit.served import served

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]

def say(*words):
    print(*words, flush=True)

def listening(url):
    say("url", url)
"""
GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class TestListen:
    def test_at_a_free_port(self) -> None:
        with listen("127.0.0.1:0") as sock:
            assert url_of(sock) == f"http://127.0.0.1:{sock.getsockname()[1]}"
            socket.create_connection(sock.getsockname(), 5).close()

    def test_no_connection_is_held_up_by_its_acknowledgements_however_early_it_comes(self) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            for bind in ("127.0.0.1:0", f"fd://{bound.fileno()}"):
                with listen(bind) as sock, socket.create_connection(sock.getsockname(), 5), sock.accept()[0] as taken:
                    assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def test_at_an_address_of_version_6(self) -> None:
        try:
            sock = listen("[::1]:0")
        except ConfigError:
            pytest.skip("there is no IPv6 here")
        with sock:
            assert url_of(sock) == f"http://[::1]:{sock.getsockname()[1]}"

    def test_a_taken_port_is_told(self) -> None:
        with listen("127.0.0.1:0") as sock:
            bind = f"127.0.0.1:{sock.getsockname()[1]}"
            with pytest.raises(AddressInUse, match=f"{bind} is taken"):
                listen(bind)

    @pytest.mark.parametrize(
        "bind",
        ["192.0.2.1:80", "no.such.host.invalid:80", "127.0.0.1:99999", "127.0.0.1:-1", "127.0.0.1", "", "127.0.0.1:x",
         "a\0b:80", "é" * 70 + ":80", "fd://x", "fd://", "fd://9999", "fd://-1", "unix:", "unix:/no/such/folder/x.sock",
         "unix:/" + "x" * 200, "unix:/tmp/a\0b"],
    )  # fmt: skip
    def test_what_cannot_be_listened_at_is_one_sentence(self, bind: str) -> None:
        with pytest.raises(ConfigError) as told:
            listen(bind)
        assert told.value.field == "web.bind"
        assert "Unknown error" not in str(told.value)
        assert "\n" not in str(told.value)

    def test_a_file_that_is_no_socket_is_refused(self, tmp_path: Path) -> None:
        with (tmp_path / "x").open("w") as file, pytest.raises(ConfigError):
            listen(f"fd://{file.fileno()}")

    def test_at_a_socket_that_was_handed_down(self) -> None:
        with socket.socket() as given:
            given.bind(("127.0.0.1", 0))
            with listen(f"fd://{given.fileno()}") as sock:
                assert url_of(sock) == f"http://127.0.0.1:{given.getsockname()[1]}"
                socket.create_connection(given.getsockname(), 5).close()

    def test_at_a_path(self, tmp_path: Path) -> None:
        path = tmp_path / "x.sock"
        with listen(f"unix:{path}") as sock:
            assert url_of(sock) == f"unix:{path}"
            with pytest.raises(AddressInUse):
                listen(f"unix:{path}")

    def test_at_a_path_that_a_dead_server_left_behind(self, tmp_path: Path) -> None:
        path = tmp_path / "x.sock"
        listen(f"unix:{path}").close()
        assert path.exists()
        with listen(f"unix:{path}"), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))

    def test_a_file_at_the_path_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "x.sock"
        path.write_text("precious")
        with pytest.raises(AddressInUse):
            listen(f"unix:{path}")
        assert path.read_text() == "precious"


@pytest.mark.processes
class TestServe:
    def test_serves_and_ends_on_sigterm(self) -> None:
        script = (
            APP
            + """
server.serve(lambda: app, bind="127.0.0.1:0", on_start=lambda: say("start", os.getpid()),
             on_stop=lambda: say("stop", os.getpid()), on_listen=listening)
say("after", os.getpid())
"""
        )
        with served(script) as new:
            pid = new.says("start ")
            assert pid.encode() in new.ask(GET).split(b"\r\n")
            assert new.end() == 0
            assert new.says("stop ") == pid
            assert new.says("after ") == str(new.process.pid)
            assert new.lines.count(f"stop {pid}") == 1
            assert [line for line in new.lines if "Traceback" in line] == []

    def test_serves_in_several_processes(self) -> None:
        script = (
            APP
            + """
server.serve(lambda: app, bind="127.0.0.1:0", workers=2, on_start=lambda: say("start", os.getpid()),
             on_listen=listening)
"""
        )
        with served(script) as new:
            assert until(lambda: len([line for line in new.lines if line.startswith("start")]) == 2)
            assert new.ask(GET)
            assert new.end() == 0
            assert len([line for line in new.lines if line.startswith("start")]) == 2

    def test_serves_at_a_path(self, tmp_path: Path) -> None:
        script = APP + "server.serve(lambda: app, bind=sys.argv[1], on_listen=listening)"
        with served(script, f"unix:{tmp_path}/x.sock") as new:
            assert new.ask(GET).startswith(b"HTTP/1.1 200")
            assert new.end() == 0

    def test_ends_from_within(self) -> None:
        script = (
            APP
            + """
def start():
    threading.Timer(0.1, server.end_from_within).start()

server.serve(lambda: app, bind="127.0.0.1:0", on_start=start, on_stop=lambda: say("stop"))
"""
        )
        with served(script) as new:
            assert new.wait() == 0
            new.says("stop")

    def test_never_ends_who_is_not_its_master(self) -> None:
        script = (
            APP
            + """
import ctypes, signal

def start():
    threading.Thread(target=end).start()

def end():
    master = os.getppid()
    os.kill(master, signal.SIGKILL)
    while os.getppid() == master:
        time.sleep(0.01)
    server.end_from_within()
    say("called")

PR_SET_CHILD_SUBREAPER = 36
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
signal.signal(signal.SIGTERM, lambda *_: say("hit"))
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    server.serve(lambda: app, bind="127.0.0.1:0", on_start=start)
try:
    while True:
        os.waitpid(-1, 0)
except ChildProcessError:
    say("over")
"""
        )
        with served(script) as new:
            new.says("called")
            new.says("over")
            assert "hit" not in new.lines

    def test_lets_a_long_stop_finish_in_its_time(self) -> None:
        script = (
            APP
            + """
def stop():
    say("stopping")
    time.sleep(2)
    say("stopped")

server.serve(lambda: app, bind="127.0.0.1:0", graceful_seconds=60, on_stop=stop, on_listen=listening)
"""
        )
        with served(script) as new:
            new.ask(GET)
            new.process.terminate()
            new.says("stopping")
            # Who calls now must not hang until the end: it is to try again elsewhere.
            with pytest.raises(OSError, match=r"refused|reset"):
                new.ask(GET)
            assert new.wait() == 0
            new.says("stopped")

    @pytest.mark.parametrize("where", ["on_start=bad", "on_stop=lambda: say('stop'), on_start=bad", "make"])
    def test_says_one_sentence_when_it_cannot_start(self, where: str) -> None:
        call = "server.serve(bad, bind='127.0.0.1:0')"
        if where != "make":
            call = f"server.serve(lambda: app, bind='127.0.0.1:0', {where})"
        script = (
            APP
            + f"""
from hermes_cron.errors import ConfigError, HermesCronError

def bad():
    raise ConfigError("web.bind is odd.", hint="Mend it.")

try:
    {call}
except HermesCronError as error:
    say("told", error)
    sys.exit(7)
"""
        )
        with served(script) as new:
            assert new.wait() == 7
            assert "hermes-cron: web.bind is odd. Mend it. [config_invalid]" in new.lines
            assert new.says("told ").startswith("The server could not start.")
            assert [line for line in new.lines if "Traceback" in line] == []

    def test_a_bug_at_the_start_is_not_tried_forever(self) -> None:
        script = (
            APP
            + """
from hermes_cron.errors import HermesCronError

def bad():
    raise ZeroDivisionError("a bug")

try:
    server.serve(lambda: app, bind="127.0.0.1:0", on_start=bad)
except HermesCronError as error:
    sys.exit(7)
"""
        )
        with served(script) as new:
            assert new.wait() == 7
            assert any("ZeroDivisionError: a bug" in line for line in new.lines)

    def test_a_stop_that_raises_still_ends(self) -> None:
        script = (
            APP
            + """
def bad():
    raise ZeroDivisionError("a bug")

server.serve(lambda: app, bind="127.0.0.1:0", on_stop=bad, on_listen=listening)
"""
        )
        with served(script) as new:
            new.ask(GET)
            assert new.end() == 0

    def test_a_taken_port_is_told_before_anything_starts(self) -> None:
        script = (
            APP
            + """
from hermes_cron.errors import AddressInUse

try:
    server.serve(lambda: say("made") or app, bind=sys.argv[1])
except AddressInUse as error:
    say("told", error)
"""
        )
        with listen("127.0.0.1:0") as sock, served(script, url_of(sock).removeprefix("http://")) as new:
            assert new.wait() == 0
            assert "is taken" in new.says("told ")
            assert "made" not in new.lines


@pytest.mark.processes
def test_gunicorn_takes_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "given.py").write_text("def application(environ, start_response):\n    return []\n")
    command = command_line("127.0.0.1:0", 3)
    assert command[0] == "gunicorn"
    assert command[-1] == "hermes_cron.wsgi:application"
    check = [sys.executable, "-m", *command[:-1], "--print-config", "given:application"]
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(check, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environ, check=False)
    assert ran.returncode == 0, ran.stderr
    shown = dict(line.split(" = ", 1) for line in ran.stdout.splitlines() if " = " in line)
    shown = {name.strip(): value.strip() for name, value in shown.items()}
    for name, value in SETTINGS.items():
        wanted = {"worker_class": "gthread"}.get(name, str(value))
        assert shown[name].strip("'[]") in (wanted, wanted.strip("'[]")), name
    assert shown["workers"] == "3"
