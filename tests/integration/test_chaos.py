"""The short, seeded part of the chaos runs; `python -m tests.chaos` and `tests.chaos.sweep` go on for longer."""

from __future__ import annotations

import argparse
import shutil

import pytest

from hermes_cron.failpoints import NAMES
from tests.chaos.__main__ import chaos
from tests.chaos.sweep import sweep

pytestmark = [
    pytest.mark.processes,
    pytest.mark.redis,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis: redis-server is not installed"),
]


@pytest.mark.timeout(300)
def test_i12_i16_no_fire_is_lost_while_everything_is_killed_frozen_and_cut_off() -> None:
    report = chaos(argparse.Namespace(
        minutes=0.5, seed=7, store="sqlite", broker="redis", workers=3, pace=1.2, calm=20.0, keep=False
    ))  # fmt: skip
    assert report["good"], report
    assert report["kills"] >= 8
    assert report["fires_due"] > 60


@pytest.mark.timeout(600)
def test_i6_i12_a_death_at_every_named_place_loses_nothing() -> None:
    report = sweep("sqlite", "redis", NAMES)
    assert report["good"], report
    assert report["died_at"] == list(NAMES)
