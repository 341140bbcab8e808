"""`Attended`: one child process as its worker sees it: told, heard, and, where telling does not help, killed."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

from hermes_cron.clock import monotonic
from hermes_cron.handover import MOST_BYTES, Lines, Load, as_ended, line, load_message, run_message
from hermes_cron.keeper import Keeper, ending, write_some
from hermes_cron.pool.output import ChildOutput
from hermes_cron.run import Run, RunState, StopSign

GRACE_S = 5.0
"""From telling a body that it is to stop to ending it. The task `shell` gives its command 4 s of it."""

TERM_S = 1.0
"""From SIGTERM, at which a body gets SystemExit, to SIGKILL. A lease that is lost lasts for 10 s more."""

_LOST_S = 5.0
_END_S = 0.5
_POLL_S = 0.1
_CHUNK = 64 * 1024
_COMMAND = (sys.executable, "-m", "hermes_cron.child")


class Attended:
    """One child, from its start to its end. One thread at a time has it; to kill it is anybody's."""

    def __init__(self, load: Load, grace: float = GRACE_S, hide: Sequence[str] = ()) -> None:
        """Start it; a body has `grace` seconds to stop when it is told to, and no output of a run has `hide` in it.

        Raises:
            OSError: It cannot be started.
        """
        self.ready = False
        self.broken = ""
        self.runs = 0
        self.begun = False
        self.output = ChildOutput(hide)
        self._grace = grace
        self._ended: Mapping[str, Any] | None = None
        self._last = False
        self._garbled = False
        self._lines = Lines(MOST_BYTES)
        self._stop_at = inf
        self._terminated = False
        self._channel, theirs = socket.socketpair()
        try:
            self._keeper = Keeper(
                _COMMAND, os.environ, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )  # fmt: skip
        except BaseException:
            self._channel.close()
            raise
        finally:
            theirs.close()
        self._channel.setblocking(False)
        self._pipes = selectors.DefaultSelector()
        self._pipes.register(self._keeper.lifeline, selectors.EVENT_WRITE, bytearray(self._keeper.words))
        self._pipes.register(self._channel, selectors.EVENT_READ | selectors.EVENT_WRITE, bytearray())
        self._pipes.register(self._keeper.status, selectors.EVENT_READ, self._keeper.hear)
        child = self._keeper.process
        for pipe, take in ((child.stdout, self.output.stdout), (child.stderr, self.output.stderr)):
            if pipe is not None:
                self._pipes.register(pipe, selectors.EVENT_READ, take)
        self._send(load_message(load))

    @property
    def gone(self) -> bool:
        """Whether it takes no more runs: it has ended, or cannot be heard any more."""
        return self._keeper.over or self._channel.fileno() < 0 or self._channel not in self._pipes.get_map()

    @property
    def fit(self) -> bool:
        """Whether it can be given another run: the last one ended, and nobody had to raise a hand."""
        left_well = not self._terminated and not self._last
        return not self.gone and left_well and (self._ended is not None or not self.runs)

    def until_ready(self, seconds: float, over: Callable[[], bool]) -> str:
        """Wait until it has loaded what it is to load; why it did not, or nothing."""
        until = monotonic() + seconds
        while not (self.ready or self.broken or self.gone or over()) and monotonic() < until:
            self._pump(_POLL_S)
        if self.ready or self.broken:
            return self.broken
        if not self.gone:
            return f"it was not ready after {seconds:g} s"
        self._settle()
        return f"it {self._how()} before it was ready"

    def look(self) -> bool:
        """Take what it says while it has nothing to do; whether it can still be given a run."""
        self._pump(0)
        return not self.gone

    def run(self, run: Run, sign: StopSign, timeout: float | None) -> Run:
        """Have it run one run, and wait for the end. `abandoned` says that the process died of it, by itself."""
        self.runs += 1
        self.output.begin(f"run {run.id}")
        self.begun, self._ended, self._stop_at = False, None, inf
        over_at = inf if timeout is None else monotonic() + timeout
        self._send({"run": run_message(run)})
        while self._ended is None and not self.gone:
            self._pump(_POLL_S)
            if self._stop_at == inf and (sign.up() or monotonic() >= over_at):
                # By its own clock it knows that its time is over.
                if sign.up():
                    self._send({"stop": sign.reason, "hand_back": sign.hand_back})
                self._stop_at = monotonic()
            if self._push(monotonic() - self._stop_at):
                break
        self._stop_at, over = inf, monotonic() >= over_at
        self._settle()
        said = self.output.end()
        return replace(self._outcome(run, sign, timeout, over=over), output=said)

    def kill(self) -> None:
        """Kill it, and whatever of its group is left. May be called from any thread."""
        self._keeper.signal(signal.SIGKILL)

    def kill_if_overdue(self) -> None:
        """Kill it if it was told to stop, and had its time. May be called from any thread."""
        if monotonic() >= self._stop_at + self._grace + TERM_S:
            self.kill()

    def let_go(self) -> None:
        """Tell it that nothing more will come: it ends by itself, if it is not stuck."""
        if self._channel.fileno() >= 0:
            self._forget(self._channel)
            try:
                self._channel.shutdown(socket.SHUT_WR)
            except OSError:
                return

    def until_over(self, until: float) -> None:
        """Wait for its end until then."""
        while not self._keeper.over and monotonic() < until:
            self._pump(_POLL_S)

    def close(self) -> None:
        """Kill what is left of its group, and give everything back."""
        self._pipes.close()
        self._keeper.close()
        self._channel.close()

    def _push(self, seconds: float) -> bool:
        """Be clearer, so many seconds after it was told to stop; whether there is no hope of its ever ending."""
        over = seconds - self._grace
        if over >= 0 and not self._terminated:
            self._terminated = True
            self._send({"end": True})
            self._keeper.signal(signal.SIGTERM)
        if over >= TERM_S:
            self.kill()
        # Even a killed process can hang, in a system call; we do not hang with it.
        return over >= TERM_S + _LOST_S

    def _settle(self) -> None:
        """Of one that is gone take the last words, and how it ended."""
        if self._ended is not None:
            self._pump(0)
            return
        self.until_over(monotonic() + _END_S)
        self._garbled = not self._keeper.over
        self.kill()
        self.until_over(monotonic() + _END_S)
        until = monotonic() + _END_S
        while self._pump(0) and monotonic() < until:
            pass

    def _outcome(self, run: Run, sign: StopSign, timeout: float | None, *, over: bool) -> Run:
        if self._ended is not None:
            try:
                return as_ended(run, self._ended)
            except (KeyError, TypeError, ValueError) as error:
                # Its body may still be at work.
                self._last = True
                return replace(run, state=RunState.FAILED, error=f"its end cannot be read: {error!r}"[:200])
        if sign.up():
            return replace(run, state=RunState.CANCELLED, error=sign.reason)
        if over:
            return replace(run, state=RunState.FAILED, error=f"timed out after {timeout:g} s, and was killed")
        return replace(run, state=RunState.ABANDONED, error=f"its process {self._how()}")

    def _how(self) -> str:
        if self._garbled:
            return "could not be heard any more, and was killed"
        if self._keeper.error:
            return f"cannot be started: {os.strerror(self._keeper.error)}"
        return ending(self._keeper.exit_code)

    def _send(self, message: Mapping[str, object]) -> None:
        if not self.gone:
            pending = self._pipes.get_key(self._channel).data
            pending += line(message)
            self._pipes.modify(self._channel, selectors.EVENT_READ | selectors.EVENT_WRITE, pending)

    def _pump(self, seconds: float) -> bool:
        """Move what can be moved, waiting for it as long as this; whether there was anything."""
        moved = False
        for key, events in self._pipes.select(seconds):
            moved = True
            if events & selectors.EVENT_WRITE:
                self._write(key)
            if events & selectors.EVENT_READ:
                chunk = _read(key.fd)
                if chunk is None:
                    continue
                if callable(key.data):
                    key.data(chunk)
                elif chunk:
                    self._hear(chunk)
                if not chunk:
                    self._forget(key.fileobj)
        return moved

    def _write(self, key: selectors.SelectorKey) -> None:
        del key.data[: write_some(key.fd, memoryview(bytes(key.data[:_CHUNK])))]
        if key.data:
            return
        if key.fileobj is self._channel:
            self._pipes.modify(self._channel, selectors.EVENT_READ, key.data)
        else:
            self._pipes.unregister(key.fileobj)

    def _forget(self, pipe: Any) -> None:
        if pipe in self._pipes.get_map():
            self._pipes.unregister(pipe)

    def _hear(self, chunk: bytes) -> None:
        try:
            for message in self._lines.add(chunk):
                if "log" in message:
                    self.output.log(*message["log"])
                elif "said" in message:
                    self.output.said(*message["said"])
                elif "ended" in message:
                    self._ended, self._last = message["ended"], bool(message.get("last"))
                self.ready = self.ready or "ready" in message
                self.begun = self.begun or "begun" in message
                self.broken = self.broken or str(message.get("broken", ""))
        except (ValueError, TypeError) as error:
            # Somebody else writes there, and nothing that comes can be trusted any more.
            self.output.log(logging.WARNING, "hermes_cron.pool", f"a child says what cannot be read: {error}")
            self._forget(self._channel)


def _read(descriptor: int) -> bytes | None:
    """What there is; nothing at its end, None where there was nothing after all."""
    try:
        return os.read(descriptor, _CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""
