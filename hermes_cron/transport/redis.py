"""`redis://` and `rediss://`: a list per queue, with what consumers hold unacknowledged kept beside it.

Beside the list `Q` stand `Q.unacked`, `Q.unacked_index` and `Q.unacked_mutex`, named after it so that we give back
nobody else's messages and nobody gives back ours, and `Q.rejected`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import math
import os
import ssl
from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from kombu.connection import Connection
from kombu.transport import redis as kombu_redis

from hermes_cron.clock import instant_text, monotonic, utc_now
from hermes_cron.errors import BrokerError
from hermes_cron.interfaces import Broker
from hermes_cron.settings import mask_url
from hermes_cron.transport.broker import KombuBroker
from hermes_cron.transport.envelope import Envelope, sound
from hermes_cron.transport.line import KEPT_REJECTED, Line, Parcel, Place
from hermes_cron.transport.signing import Signer
from hermes_cron.transport.waiting import Wake

VISIBILITY_S = 120
"""After so many seconds an unacknowledged message is given back: later than a worker holds an early fire."""

_RESTORE_S = 5.0
_SILENCE_S = 12.0
_KEPT_BYTES = 16 * 1024
_log = logging.getLogger("hermes_cron.transport")
_looked: set[tuple[int, str]] = set()


class _Channel(kombu_redis.Channel):
    """A channel that keeps its client (kombu makes one per command), can stop to pop, and reads with care."""

    Message = Envelope
    taking = False

    @property
    def active_queues(self) -> list[str]:
        """The queues to pop from: none while nothing is to be taken. A pop that is out already is still read."""
        return list(super().active_queues) if self.taking else []

    @contextlib.contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """A client for one command; not the one that is busy popping."""
        yield client or (self.client if self.client.connection is None else self._kept)

    @cached_property
    def _kept(self) -> Any:
        return self._create_client()

    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous)  # type: ignore[no-untyped-call]  # kombu is annotated in part.
        read = client.parse_response

        def parse_response(connection: Any, command_name: Any, **options: Any) -> Any:
            answer = read(connection, command_name, **options)
            if command_name == "BRPOP" and answer:
                return [answer[0], sound(answer[1], answer[0].decode(), self)]
            return answer

        # What was popped goes to kombu by here, and by here only.
        client.parse_response = parse_response
        return client


class _Transport(kombu_redis.Transport):
    Channel = _Channel


class RedisLine(Line):
    """A line to a Redis server."""

    counts_reserved = True

    def __init__(self, place: Place) -> None:
        self._restored = -math.inf
        self._heard = monotonic()
        self._consuming = False
        options = {
            "visibility_timeout": VISIBILITY_S, "unacked_restore_throttle": 1, "unacked_mutex_expire": 10,
            "unacked_key": f"{place.queue}.unacked", "unacked_index_key": f"{place.queue}.unacked_index",
            "unacked_mutex_key": f"{place.queue}.unacked_mutex", "priority_steps": [0],
            "socket_timeout": place.deadline, "socket_connect_timeout": place.deadline, "socket_keepalive": True,
            "health_check_interval": 10, "retry_on_timeout": False, "client_name": "hermes-cron",
        }  # fmt: skip
        tls = urlsplit(place.url).scheme == "rediss"
        connection = Connection(
            place.url, transport=_Transport, transport_options=options,
            ssl={"ssl_cert_reqs": ssl.CERT_REQUIRED} if tls else False,
        )  # fmt: skip
        super().__init__(place, connection)

    def depth(self) -> int:
        """How many messages wait in the queue or are held unacknowledged by anybody."""
        with self.channel.conn_or_acquire() as client, client.pipeline() as pipe:
            return sum(pipe.llen(self.place.queue).hlen(f"{self.place.queue}.unacked").execute())

    def set_aside(self) -> int:
        """How many rejected messages are in their list."""
        with self.channel.conn_or_acquire() as client:
            return int(client.llen(f"{self.place.queue}.rejected"))

    def allow(self, most: int) -> None:
        """Take messages, or not: they come one by one, so the number does not matter."""
        if not self._consuming:
            # kombu notes here, and only here, which queues are active.
            self._consuming = self.channel.taking = True
            self.channel.basic_consume(self.place.queue, no_ack=False, callback=self._arrive, consumer_tag="fires")
        self.channel.taking = most > 0

    def wait(self, wake: Wake, seconds: float) -> None:
        """Wait for the answer to a pop, which the server gives after a second at the latest."""
        cycle = self._transport.cycle
        cycle.on_poll_start()
        if wake.wait(cycle.fds, seconds):
            with contextlib.suppress(TimeoutError):
                self._transport.drain_events(self._link, timeout=0)
            self._heard = monotonic()
        elif not self.channel.taking:
            self._heard = monotonic()
        elif monotonic() - self._heard > _SILENCE_S:
            raise ConnectionError(f"the server has been silent for {_SILENCE_S:g} s")

    def tend(self) -> None:
        """Give back what consumers that died had held."""
        if monotonic() - self._restored < _RESTORE_S:
            return
        self._restored = monotonic()
        try:
            self._transport.cycle.maybe_restore_messages()
        except Exception as error:  # noqa: BLE001 - A server that is full refuses this, and goes on serving pops.
            _log.warning("messages of %s could not be given back: %s", self.place.where, self.place.reason(error))

    def reject(self, parcel: Parcel, reason: str) -> None:
        """Move a message to the list of the rejected."""
        kept = {
            "rejected_at": instant_text(utc_now()), "reason": reason, "content_type": parcel.content_type,
            "bytes": len(parcel.body), "body": base64.b64encode(parcel.body[:_KEPT_BYTES]).decode(),
        }  # fmt: skip
        key = f"{self.place.queue}.rejected"
        try:
            with self.channel.conn_or_acquire() as client, client.pipeline() as pipe:
                pipe.lpush(key, json.dumps(kept)).ltrim(key, 0, KEPT_REJECTED - 1).execute()
        finally:
            self.channel.basic_reject(parcel.tag, requeue=False)

    def close(self) -> None:
        """Read the answer to the last pop, give back what came, and end."""
        self.channel.taking = False
        try:
            super().close()
        finally:
            self._disconnect()

    def drop(self) -> None:
        """End at once; what was held stays held until its time is up, as it may still be acknowledged."""
        with contextlib.suppress(Exception):
            if self.channel is not None:
                self.channel.qos.restore_at_shutdown = False
                self._disconnect()
            super().close()

    def _disconnect(self) -> None:
        for client in (self.channel.client, self.channel.__dict__.get("_kept")):
            if client is not None:
                client.connection_pool.disconnect()

    def _prepare(self) -> None:
        self._look()
        super()._prepare()

    def _look(self) -> None:
        """Look once per process whether the server is one that keeps what it is given."""
        key = (os.getpid(), self.place.url)
        if key in _looked:
            return
        with self.channel.conn_or_acquire() as client:
            try:
                about = {**client.info("memory"), **client.info("cluster")}
            except Exception as error:  # noqa: BLE001 - Many a server does not let itself be asked.
                _log.debug("%s does not tell its settings: %s", mask_url(self.place.url), self.place.reason(error))
                about = {}
        if about.get("cluster_enabled"):
            raise BrokerError(
                f"{mask_url(self.place.url)} is a Redis cluster, which cannot carry the queue.",
                hint="Name a Redis server that is not part of one.", field="broker.url",
            )  # fmt: skip
        _looked.add(key)
        policy = about.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            _log.warning("%s may drop queued fires: its maxmemory-policy is %s; set it to noeviction",
                         mask_url(self.place.url), policy)  # fmt: skip


def open_redis(url: str, queue: str, deadline: float, signer: Signer | None = None) -> Broker:
    """A broker over a queue on a Redis server."""
    return KombuBroker(Place(url, queue, deadline, signer), RedisLine)
