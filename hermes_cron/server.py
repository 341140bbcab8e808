"""Serve a WSGI application under gunicorn: the settings we ship, and a listening socket of our own. gunicorn's home.

`SETTINGS` is what `hermes-cron web`, `serve` and `nas serve` run with; deploy/gunicorn.conf.py says the same for who
starts gunicorn by hand, and a test holds the two together.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from gunicorn import glogging
from gunicorn.app.base import BaseApplication
from gunicorn.config import make_settings

from hermes_cron.errors import AddressInUse, ConfigError, HermesCronError

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

T = TypeVar("T")

_masters: set[int] = set()
"""The process that serves, as its children know it."""

_log = logging.getLogger("hermes_cron.server")
_BACKLOG = 2048
BOOT_ERROR = 3
"""The code with which a worker process tells gunicorn that another try will not help."""


SETTINGS: Mapping[str, Any] = {
    "worker_class": "gthread",
    "threads": 8,
    "timeout": 30,
    "graceful_timeout": 30,
    "keepalive": 5,
    "backlog": _BACKLOG,
    # One socket in the user's home, by which any task of this user could stop the server.
    "control_socket_disable": True,
    # Without this a client on loopback may set SCRIPT_NAME, and turn our routes into others.
    "forwarder_headers": "",
    "forwarded_allow_ips": "",
    # The parser that our tests have met: another one must not be taken up because some package brought it.
    "http_parser": "python",
    "limit_request_line": 2048,
    "limit_request_fields": 50,
    # A fire token is at most 8 KiB (contract.MAX_TOKEN_BYTES), and stands behind the word Bearer.
    "limit_request_field_size": 8220,
    "worker_tmp_dir": "/dev/shm" if Path("/dev/shm").is_dir() else None,  # noqa: S108 - only a heartbeat is kept there.
}


def listen(bind: str) -> socket.socket:
    """A listening socket at `host:port`, `[v6]:port`, `unix:/path` or `fd://N` (one that was handed down).

    A socket that a dead server left behind at the path is replaced.

    Raises:
        AddressInUse: Somebody listens there.
        ConfigError: One cannot listen there.
    """
    try:
        return _bound(bind)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(f"{bind} is taken.", hint="Give another --bind, or end what listens there.") from error
        raise ConfigError(f"Nobody can listen at {bind}: {error.strerror or error}.", field="web.bind") from error
    except (ValueError, TypeError, OverflowError) as error:
        hint = "Write host:port (0.0.0.0:8080, [::1]:8080), fd://3 or unix:/path."
        raise ConfigError(f"{ascii(bind)[:200]} is no address to listen at.", hint=hint, field="web.bind") from error


def _bound(bind: str) -> socket.socket:
    if bind.startswith("fd://"):
        return _listening(socket.socket(fileno=os.dup(int(bind.removeprefix("fd://")))), None)
    if bind.startswith("unix:"):
        return _at_path(bind.removeprefix("unix:"))
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return _listening(sock, lambda: sock.bind((host, int(port))))


def _at_path(path: str) -> socket.socket:
    if not path or "\0" in path:
        raise ValueError("no path")
    if _abandoned(path):
        Path(path).unlink()
    sock = socket.socket(socket.AF_UNIX)
    return _listening(sock, lambda: sock.bind(path))


def _abandoned(path: str) -> bool:
    """Whether there is a socket at which nobody listens any more."""
    if not Path(path).is_socket():
        return False
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _listening(sock: socket.socket, bind: Callable[[], None] | None) -> socket.socket:
    try:
        if bind is not None:
            bind()
        if sock.family != socket.AF_UNIX:
            # Before the first connection, which inherits it: an answer is sent in two pieces, and without this the
            # second waits until the client acknowledges the first. gunicorn says the same, but only once it is loaded.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def url_of(sock: socket.socket) -> str:
    """Where the socket is reached: `http://host:port`, or `unix:/path`."""
    name = sock.getsockname()
    if isinstance(name, str | bytes):
        return f"unix:{os.fsdecode(name)}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"


def serve(
    make_app: Callable[[], WsgiApp],
    *,
    bind: str,
    workers: int = 1,
    threads: int = 8,
    graceful_seconds: float = 10,
    keepalive_seconds: int = SETTINGS["keepalive"],
    on_start: Callable[[], None] | None = None,
    on_stop: Callable[[], None] | None = None,
    on_listen: Callable[[str], None] | None = None,
) -> None:
    """Serve until a signal ends it, in `workers` processes of so many threads each.

    `make_app` and then `on_start` are called in each worker process after the fork, so that they may start threads
    and open connections; `on_stop` when the process ends, within `graceful_seconds`; `on_listen` once, in the
    master, with the URL. A connection is kept open for another request for `keepalive_seconds`; with 0 it is not.

    Raises:
        AddressInUse: Somebody listens at `bind`.
        ConfigError: One cannot listen there.
        HermesCronError: A worker process could not start; it has said why.
    """
    sock = listen(bind)
    url = url_of(sock)
    options = {
        **SETTINGS, "bind": [f"fd://{sock.detach()}"], "workers": workers, "threads": threads,
        "keepalive": keepalive_seconds, "graceful_timeout": max(1, round(graceful_seconds)), "logger_class": _Log,
        "when_ready": lambda arbiter: on_listen(url) if on_listen else None,
        "post_worker_init": lambda worker: _started(on_start),
        "worker_exit": lambda arbiter, worker: _stopped(on_stop),
    }  # fmt: skip
    master = os.getpid()
    _masters.add(master)
    # All that is loaded by now stays: no process looks through it for garbage, nor copies it for that.
    gc.freeze()
    try:
        _Application(make_app, options).run()
    except SystemExit as end:
        _ended(end, master)


def _ended(end: SystemExit, master: int) -> None:
    if os.getpid() != master:
        # A worker process ends here: what its parent does after `serve` is not its to do.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))
    if end.code == BOOT_ERROR:
        raise HermesCronError("The server could not start.", hint="The line before this one says why.") from end
    if end.code:
        raise HermesCronError(f"The server ended with code {end.code}.") from end


def end_from_within() -> None:
    """Ask gunicorn, from one of its worker processes, to end gracefully.

    A worker whose master was killed ends by itself; who is its parent then is not ours to end.
    """
    if os.getppid() in _masters:
        os.kill(os.getppid(), signal.SIGTERM)


def command_line(bind: str, workers: int) -> list[str]:
    """The plain gunicorn command that serves the webhook with the same settings."""
    flags = [f"--bind={bind}", f"--workers={workers}"]
    known = make_settings()
    for name, value in SETTINGS.items():
        if value is not None:
            flag = known[name].cli[-1]
            flags.append(flag if known[name].action == "store_true" else f"{flag}={value}")
    return ["gunicorn", *flags, "hermes_cron.wsgi:application"]


class _Log(glogging.Logger):  # type: ignore[misc]  # gunicorn has no types.
    """gunicorn's messages through our logging: one format, one place; what went well is not news."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True
        if logging.getLogger().getEffectiveLevel() > logging.DEBUG:
            self.error_log.setLevel(logging.WARNING)


class _Application(BaseApplication):  # type: ignore[misc]  # gunicorn has no types.
    """gunicorn with an application and options of ours, and no file or command line of its own."""

    def __init__(self, make_app: Callable[[], WsgiApp], options: Mapping[str, Any]) -> None:
        self._make_app = make_app
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        """Take our options."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> WsgiApp:
        """The application; called in each worker process."""
        return _or_exit(self._make_app)


def _started(on_start: Callable[[], None] | None) -> None:
    if on_start is not None:
        _or_exit(on_start)


def _stopped(on_stop: Callable[[], None] | None) -> None:
    if on_stop is None:
        return
    try:
        on_stop()
    except Exception:  # noqa: BLE001 - whatever it was, the process must still end.
        _log.exception("the end of the process did not go well")


def _or_exit(make: Callable[[], T]) -> T:
    try:
        return make()
    except HermesCronError as error:
        # A traceback would hide the sentence from its reader.
        print(f"hermes-cron: {error} [{error.code}]", file=sys.stderr)  # noqa: T201 - it is for people.
        sys.exit(BOOT_ERROR)
