"""A queue on which messages are signed, whatever carries it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from hermes_cron.clock import utc_now
from hermes_cron.fire import Fire
from hermes_cron.transport.message import encode, rejections
from hermes_cron.transport.signing import HEADER, Signer
from tests.conformance.brokers import Ground, until

SECRET, OTHER = "s" * 32, "o" * 32


@pytest.fixture
def signed(ground: Ground, tmp_path: Path) -> Ground:
    """The same queue, signed."""
    file = tmp_path / "signing"
    file.write_text(SECRET)
    ground.signing_key_file = str(file)
    rejections.clear()
    return ground


def test_a_signed_fire_comes_out_as_it_went_in(signed: Ground) -> None:
    fire, bell = Fire("backup", utc_now(), "fire", utc_now()), Fire("bell", kind="manual")
    broker = signed.open()
    broker.enqueue(fire)
    broker.enqueue(bell)
    with signed.consuming(broker) as taken:
        taken.wait(2)
    assert taken.deliveries[0].fire == fire
    assert taken.ids == ["backup", "bell"]
    assert not rejections


def test_what_we_did_not_sign_is_refused_counted_and_harms_nothing(signed: Ground) -> None:
    now, ours, theirs = utc_now(), Signer([SECRET.encode()], signed.queue), Signer([OTHER.encode()], signed.queue)
    body, old = encode(Fire("forged", now, received_at=now)), encode(Fire("old", now, received_at=now - timedelta(2)))
    broker = signed.open()
    until(lambda: broker.depth() == 0)
    with signed.consuming(broker) as taken:
        signed.put(body)
        signed.put(body, **{HEADER: theirs.sign(body)})
        signed.put(body, **{HEADER: ours.sign(body + b" ")})
        signed.put(body, **{HEADER: Signer([SECRET.encode()], "another").sign(body)})
        signed.put(old, **{HEADER: ours.sign(old)})
        undated = encode(Fire("undated", now))
        signed.put(undated, **{HEADER: ours.sign(undated)})
        broker.enqueue(Fire("good"))
        taken.wait(1)
        until(lambda: broker.depth() == 0)
    assert taken.ids == ["good"]
    assert rejections == {"unsigned": 1, "signature": 3, "age": 2}


def test_a_signature_does_no_harm_where_none_is_asked_for(ground: Ground) -> None:
    body, broker = encode(Fire("signed")), ground.open()
    until(lambda: broker.depth() == 0)
    with ground.consuming(broker) as taken:
        ground.put(body, **{HEADER: Signer([SECRET.encode()], ground.queue).sign(body)})
        taken.wait(1)
    assert taken.ids == ["signed"]
