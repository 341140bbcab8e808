"""`python -m hermes_cron.child`: one process of a worker's pool; runs what it is handed, one run after another.

The channel to the worker comes as standard input, so that nothing else has to be inherited; the body gets an empty
one instead. What the body prints goes to the worker too, by a pipe of its own: it cannot be taken for a message.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from hermes_cron.capture import recording
from hermes_cron.clock import utc_now
from hermes_cron.errors import HermesCronError
from hermes_cron.execution import execute
from hermes_cron.handover import Lines, ended_message, line, read_load, read_run
from hermes_cron.loading import all_tasks, load_app
from hermes_cron.output import Recorder
from hermes_cron.run import Run, StopSign
from hermes_cron.task import Task

_CHUNK = 64 * 1024
_LOG_CHARS = 8000
_TWICE = 70
_PR_SET_PDEATHSIG = 1
_OOM_SCORE = "500"


class Channel:
    """The way to the worker. What a fork of this process says does not go there: it would be taken for ours."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @property
    def ours(self) -> bool:
        """Whether this is still the process that the channel was given to."""
        return os.getpid() == self._pid

    def tell(self, message: Mapping[str, object]) -> None:
        """Send one message.

        Raises:
            OSError: The worker cannot be reached any more.
        """
        with self._lock:
            self._channel.sendall(line(message))

    def messages(self) -> Iterator[Mapping[str, Any]]:
        """What the worker says, until it is gone."""
        lines = Lines()
        with contextlib.suppress(OSError):
            while chunk := self._channel.recv(_CHUNK):
                yield from lines.add(chunk)


class Forward(logging.Handler):
    """Hands what is logged here to the worker, whose log it belongs in."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001 - a mistake in a log call must not end a body.
            text = f"{record.msg} (which cannot be filled in: {type(error).__name__})"
        if len(text) > _LOG_CHARS:
            text = f"{text[: _LOG_CHARS // 2]} ... {text[-_LOG_CHARS // 2 :]}"
        if self._channel.ours:
            with contextlib.suppress(OSError):
                self._channel.tell({"log": [record.levelno, record.name, text]})
        else:
            sys.stderr.write(f"{record.levelname} {record.name}: {text}\n")


class Told(Recorder):
    """What commands of a body say is taken down by the worker: it still has it when this process is gone."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(utc_now)
        self._channel = channel

    def printed(self, source: str, chunk: bytes) -> None:
        """Send it. What cannot be sent says by itself that the worker is gone."""
        if self._channel.ours:
            with contextlib.suppress(OSError):
                self._channel.tell({"said": [source, chunk.decode("latin-1")]})


class Child:
    """Runs what comes, in the main thread, where a body may handle signals; listens in another."""

    def __init__(self, channel: Channel, messages: Iterator[Mapping[str, Any]], tasks: Mapping[str, Task]) -> None:
        self._channel = channel
        self._told = Told(channel)
        self._messages = messages
        self._tasks = tasks
        self._orders: queue.SimpleQueue[tuple[Run, StopSign] | None] = queue.SimpleQueue()
        self._sign: StopSign | None = None
        self._asked = False

    def serve(self) -> None:
        """Run one run after another, until the worker lets go."""
        signal.signal(signal.SIGTERM, self._end_body)
        threading.Thread(target=self._listen, name="hermes-cron-channel", daemon=True).start()
        while (order := self._orders.get()) is not None:
            run, sign = order
            try:
                self._channel.tell({"begun": True})
                with recording(self._told):
                    ended = execute(run, self._tasks, sign, utc_now)
                self._report(ended)
            except OSError as error:
                sys.stderr.write(f"the worker of run {run.id} cannot be reached: {error}\n")
                end_group()

    def _report(self, ended: Run) -> None:
        if not self._channel.ours:
            # A body that forked and let both return: its other half is the one that was asked.
            os._exit(_TWICE)
        for stream in (sys.stdout, sys.stderr):
            # A body may have closed it, or put anything in its place.
            with contextlib.suppress(Exception):
                stream.flush()
        self._sign = None
        # What else there was no memory for, nobody knows.
        last = ended.error.startswith("MemoryError")
        self._channel.tell({"ended": ended_message(ended), "last": last})

    def _listen(self) -> None:
        for message in self._messages:
            if "run" in message:
                self._sign = StopSign()
                self._orders.put((read_run(message["run"]), self._sign))
            elif "stop" in message and self._sign is not None:
                self._sign.put_up(message["stop"], hand_back=message["hand_back"])
            elif "end" in message:
                self._asked = True
                os.kill(os.getpid(), signal.SIGTERM)
        if self._sign is not None:
            # The worker is gone, and with it the lease: nothing of this may go on.
            end_group()
        self._orders.put(None)

    def _end_body(self, number: int, frame: FrameType | None) -> None:
        if not self._channel.ours:
            # A fork of the body's, which is to end like any other process.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        # Who stops a whole service signals every process of it; what that means for a run is for the worker to say.
        if self._asked and self._sign is not None:
            self._sign.hear()
            raise SystemExit("it did not stop when it was asked to")


def end_group() -> None:
    """Kill this process, and whatever it started that stayed in its group."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(_TWICE)


def _private_channel() -> socket.socket:
    """The channel on a descriptor that nothing inherits, and an empty standard input in its place."""
    channel = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return channel


def _tie_to_the_keeper() -> None:
    """Linux: die when the keeper does, and before the worker does where memory runs out."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)


def main() -> None:
    """Load what is to be loaded, say so, and run what comes."""
    _tie_to_the_keeper()
    # A body that is killed takes along what it had not passed on.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is a text stream over a pipe.
    channel = Channel(_private_channel())
    messages = channel.messages()
    first = next(messages, None)
    if first is None:
        return
    load = read_load(first)
    root = logging.getLogger()
    root.handlers[:] = [Forward(channel)]
    root.setLevel(load.level)
    try:
        tasks = all_tasks(load.tasks, load_app(load.app))
    except HermesCronError as error:
        channel.tell({"broken": str(error)})
        return
    channel.tell({"ready": True})
    Child(channel, messages, tasks).serve()


if __name__ == "__main__":
    main()
