"""`Line`: one connection to the queue's server, with one channel, used by one thread at a time.

The part that all transports share. Messages are taken raw from the channel: none of kombu's decoders ever sees one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from kombu.connection import Connection

from hermes_cron.settings import mask_url
from hermes_cron.transport.message import CONTENT_TYPE
from hermes_cron.transport.signing import HEADER, Signer
from hermes_cron.transport.waiting import Wake

KEPT_REJECTED = 1000
"""How many rejected messages are kept for a person to look at; older ones make room."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which queue, where, and how many seconds one call about it may take in all."""

    url: str = field(repr=False)
    queue: str
    deadline: float
    signer: Signer | None = field(default=None, repr=False)

    @property
    def where(self) -> str:
        """The queue and its server for people, without a password."""
        return f"{self.queue!r} at {mask_url(self.url)}"

    def reason(self, error: Exception) -> str:
        """What an error says, without a password that a library may have put into it."""
        said = str(error) or type(error).__name__
        password = urlsplit(self.url).password
        for secret in (password, unquote(password)) if password else ():
            said = said.replace(secret, "***")
        return said.rstrip(".")


@dataclass(slots=True, eq=False)
class Parcel:
    """One message as it came, unread, and the line it came by."""

    line: Line
    tag: Any
    body: bytes
    content_type: str | None
    signature: str | None = None


class Line:
    """A connection that is open from the start; in `arrived` lie the messages that came and were not looked at."""

    counts_reserved = False
    """Whether `depth` has in it what consumers hold unacknowledged."""

    def __init__(self, place: Place, connection: Connection) -> None:
        self.place = place
        self.arrived: deque[Parcel] = deque()
        self.channel: Any = None
        # Not `connection.connect()`: that would try again by itself, with pauses of its own.
        self._transport: Any = connection.transport
        self._link: Any = self._transport.establish_connection()
        try:
            self.channel = self._transport.create_channel(self._link)
            self._prepare()
        except BaseException:
            self.drop()
            raise

    @property
    def stale(self) -> bool:
        """Whether it lay idle for too long to be trusted."""
        return False

    def publish(self, body: bytes, seconds: float) -> None:
        """Put a message on the queue, within about so many seconds; returns when the server has it."""
        headers, properties = self._headers(body), {"delivery_mode": 2, "delivery_info": {}}
        message = self.channel.prepare_message(
            body, content_type=CONTENT_TYPE, content_encoding="utf-8", headers=headers, properties=properties
        )
        # The default exchange has no bindings that could get lost, and then messages with them.
        self.channel.basic_publish(message, exchange="", routing_key=self.place.queue)

    def depth(self) -> int:
        """How many messages wait in the queue."""
        return int(self._declare().message_count)

    def set_aside(self) -> int:
        """How many rejected messages are kept to be looked at."""
        raise NotImplementedError

    def allow(self, most: int) -> None:
        """Let at most so many more messages come from now on; 0 stops them."""
        raise NotImplementedError

    def wait(self, wake: Wake, seconds: float) -> None:
        """Let messages arrive, until some did, `wake` rang, or so many seconds have gone."""
        raise NotImplementedError

    def tend(self) -> None:
        """Do what has to be done about once a second."""

    def ack(self, parcel: Parcel) -> None:
        """Let the queue forget a message, even one that came by an earlier line where that is possible."""
        self.channel.basic_ack(parcel.tag)

    def reject(self, parcel: Parcel, reason: str) -> None:
        """Take a message out of the queue for good, and keep it aside where that is possible."""
        raise NotImplementedError

    def put_back(self, parcel: Parcel) -> None:
        """Give a message back to the queue, for anybody."""
        self.channel.basic_reject(parcel.tag, requeue=True)

    def close(self) -> None:
        """End the connection in good order: what came by it and was not acknowledged goes back to the queue."""
        self._transport.close_connection(self._link)

    def drop(self) -> None:
        """End the connection at once, whatever its state; asks the server nothing and never raises."""
        raise NotImplementedError

    def _headers(self, body: bytes) -> dict[str, str]:
        """What travels beside a message: its signature, if messages are signed here."""
        return {} if self.place.signer is None else {HEADER: self.place.signer.sign(body)}

    def _prepare(self) -> None:
        self._declare()

    def _declare(self) -> Any:
        return self.channel.queue_declare(queue=self.place.queue, durable=True, auto_delete=False)

    def _arrive(self, message: Any) -> None:
        # Nothing else happens inside kombu's callback: no handler runs in it, so no error can leave it.
        body = message.body or b""
        raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else bytes(body)
        kind, headers = getattr(message, "content_type", None), getattr(message, "headers", None)
        signature = headers.get(HEADER) if isinstance(headers, dict) else None
        self.arrived.append(Parcel(self, message.delivery_tag, raw, _text(kind), _text(signature)))


def _text(found: object) -> str | None:
    return found if isinstance(found, str) else None
