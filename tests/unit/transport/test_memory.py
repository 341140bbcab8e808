"""`memory://`: one queue for everybody in the process who names it."""

from __future__ import annotations

import uuid

from hermes_cron.fire import Fire
from hermes_cron.transport import memory, open_broker
from tests.conformance.brokers import Ground, until


def test_brokers_with_one_queue_share_it_and_see_what_the_other_holds() -> None:
    ground = Ground("memory://")
    web, worker = ground.open(), ground.open()
    web.enqueue(Fire("backup"))
    assert worker.depth() == 1
    with ground.consuming(worker, acks=False) as taken:
        taken.wait(1)
        assert web.depth() == 1
        taken.deliveries[0].ack()
        until(lambda: web.depth() == 0)
    assert open_broker("memory://", f"hc-test-{uuid.uuid4().hex}").depth() == 0


def test_closing_one_broker_loses_nothing_of_another() -> None:
    ground = Ground("memory://")
    web, worker = ground.open(), ground.open()
    web.enqueue(Fire("backup"))
    worker.depth()
    worker.close()
    assert web.depth() == 1


def test_the_rejected_are_kept_while_the_process_lives() -> None:
    ground = Ground("memory://")
    with ground.consuming() as taken:
        ground.put(b'{"v": 2}')
        ground.open().enqueue(Fire("good"))
        taken.wait(1)
    ((reason, body),) = memory.rejected[ground.queue]
    assert "version" in reason
    assert body == b'{"v": 2}'
