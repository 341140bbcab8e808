"""`amqp://` and `amqps://`: a durable quorum queue; what is rejected goes to the queue `Q.rejected`."""

from __future__ import annotations

import contextlib
import ssl
import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from amqp.exceptions import MessageNacked, PreconditionFailed
from kombu.connection import Connection

from hermes_cron.clock import monotonic
from hermes_cron.errors import BrokerError
from hermes_cron.interfaces import Broker
from hermes_cron.transport.broker import KombuBroker
from hermes_cron.transport.line import KEPT_REJECTED, Line, Parcel, Place
from hermes_cron.transport.message import CONTENT_TYPE
from hermes_cron.transport.signing import Signer
from hermes_cron.transport.waiting import Wake

HEARTBEAT_S = 10
_MOST = 100
_READ_S = 0.05
_AGAIN_S = 0.05
_REJECTED_BYTES = 64 * 1024 * 1024


class AmqpLine(Line):
    """A line to a server that speaks AMQP.

    The server hands out messages by itself, up to a consumer's credit. So that it never hands out more than is
    allowed, acknowledgements wait in `_acks` until `allow` knows how much the credit they free is worth.
    """

    def __init__(self, place: Place) -> None:
        self._used = monotonic()
        self._returned = False
        self._consumer = ""
        self._count = 0
        self._credit = 0
        self._acks: list[Parcel] = []
        parts = urlsplit(place.url)
        files = {name.removeprefix("ssl_"): value for name, value in parse_qsl(parts.query)}
        secure = {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": parts.hostname, **files}
        super().__init__(place, Connection(
            urlunsplit(parts._replace(query="")), connect_timeout=place.deadline, heartbeat=HEARTBEAT_S,
            ssl=secure if parts.scheme == "amqps" else False, transport_options={"confirm_publish": True},
        ))  # fmt: skip

    @property
    def stale(self) -> bool:
        """Whether the server has given it up: nobody sends heartbeats by a line that lies idle."""
        return monotonic() - self._used > HEARTBEAT_S

    def publish(self, body: bytes, seconds: float) -> None:
        """Put a message on the queue; returns when the server has confirmed it, and was able to route it."""
        until = monotonic() + seconds
        while not self._confirmed(body, max(until - monotonic(), _READ_S)):
            # A queue that was declared a moment ago may not have a leader yet. What is refused was not kept.
            if monotonic() + _AGAIN_S > until:
                raise ConnectionError("the server does not take the message")
            time.sleep(_AGAIN_S)

    def allow(self, most: int) -> None:
        """Acknowledge what is to be, and see that the server's credit is what is allowed, or less."""
        most = min(most, _MOST)
        freed = sum(1 for parcel in self._acks if parcel.tag[1] == self._consumer)
        if self._consumer and (self._credit + freed > most or self._credit == 0 < most):
            self.channel.basic_cancel(self._consumer)
            self._consumer = ""
        acks, self._acks = self._acks, []
        for parcel in acks:
            self.channel.basic_ack(parcel.tag[0])
        if self._consumer:
            self._credit += freed
        elif most > 0 and not self.arrived:
            self._consume(most)

    def wait(self, wake: Wake, seconds: float) -> None:
        """Wait for what the server sends, and read one message of it."""
        transport = self._link.transport
        unread = getattr(transport.sock, "pending", int)()
        if unread or wake.wait([transport.sock.fileno()], seconds):
            # No timeout of 0: with that, a frame that is only half there would be waited for without end.
            with contextlib.suppress(TimeoutError):
                self._link.drain_events(timeout=_READ_S)

    def tend(self) -> None:
        """Send a heartbeat if one is due; raises if the server's have stopped."""
        self._link.heartbeat_tick()

    def ack(self, parcel: Parcel) -> None:
        """Acknowledge a message at the next `allow`; one of an earlier line is the server's again already."""
        if parcel.line is self:
            self._acks.append(parcel)

    def reject(self, parcel: Parcel, reason: str) -> None:
        """Have the server move a message to the queue of the rejected."""
        self.channel.basic_reject(parcel.tag[0], requeue=False)
        self._repaid(parcel)

    def set_aside(self) -> int:
        """How many messages are in the queue of the rejected, which is made here if need be."""
        found = self.channel.queue_declare(
            queue=f"{self.place.queue}.rejected", durable=True, auto_delete=False,
            arguments={"x-max-length": KEPT_REJECTED, "x-max-length-bytes": _REJECTED_BYTES},
        )  # fmt: skip
        return int(found.message_count)

    def put_back(self, parcel: Parcel) -> None:
        """Give a message back to the queue, for anybody."""
        if parcel.line is self:
            self.channel.basic_reject(parcel.tag[0], requeue=True)
            self._repaid(parcel)

    def close(self) -> None:
        """Acknowledge what is to be, and end: the server takes back the rest by itself."""
        self.allow(0)
        super().close()

    def drop(self) -> None:
        """Close the socket."""
        with contextlib.suppress(Exception):
            self._link.collect()

    def _prepare(self) -> None:
        # py-amqp waits for answers without end, where nobody gave the socket itself a limit.
        self._link.transport.sock.settimeout(self.place.deadline)
        self.channel.auto_decode = False
        self.channel.events["basic_return"].add(self._not_routed)
        try:
            self.set_aside()
            super()._prepare()
        except PreconditionFailed as error:
            raise BrokerError(
                f"The queue {self.place.where} exists already, and is of another make: {self.place.reason(error)}.",
                hint="Delete it if nobody needs it, or name another broker.queue.", field="broker.queue",
            ) from error  # fmt: skip

    def _declare(self) -> Any:
        return self.channel.queue_declare(
            queue=self.place.queue, durable=True, auto_delete=False,
            arguments={
                "x-queue-type": "quorum",
                "x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{self.place.queue}.rejected",
            },
        )  # fmt: skip

    def _consume(self, most: int) -> None:
        self._count += 1
        self._consumer, self._credit = f"fires-{self._count}", most
        self.channel.basic_qos(0, most, False)
        self.channel.basic_consume(self.place.queue, self._consumer, callback=self._arrive)

    def _arrive(self, message: Any) -> None:
        super()._arrive(message)
        consumer = message.delivery_info["consumer_tag"]
        # A consumer's credit is paid back by what came by itself only.
        self.arrived[-1].tag = (message.delivery_tag, consumer)
        if consumer == self._consumer:
            self._credit -= 1

    def _repaid(self, parcel: Parcel) -> None:
        if parcel.tag[1] == self._consumer:
            self._credit += 1

    def _confirmed(self, body: bytes, seconds: float) -> bool:
        self._returned = False
        message = self.channel.prepare_message(
            body, None, CONTENT_TYPE, "utf-8", self._headers(body), {"delivery_mode": 2}
        )
        try:
            self.channel.basic_publish(
                message, exchange="", routing_key=self.place.queue, mandatory=True,
                timeout=seconds, confirm_timeout=seconds,
            )  # fmt: skip
        except MessageNacked:
            return False
        finally:
            self._used = monotonic()
        if self._returned:
            raise ConnectionError("the queue is gone")
        return True

    def _not_routed(self, *_: Any) -> None:
        self._returned = True


def open_amqp(url: str, queue: str, deadline: float, signer: Signer | None = None) -> Broker:
    """A broker over a queue on a server that speaks AMQP."""
    return KombuBroker(Place(url, queue, deadline, signer), AmqpLine)
