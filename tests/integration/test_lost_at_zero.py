"""A fire that was answered with 202 and then lost with everything: who finds it, when nothing runs any more."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from hermes_cron.ledger import FireState
from tests.integration.system import System, kill_group

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]
Make = Callable[..., System]


def lose_one(system: System) -> None:
    """Have one fire accepted, and everything of the agent killed before it is claimed."""
    system.start_nas()
    system.add("tide", "every 1h")
    assert system.cli("jobs", "run", "tide").returncode == 0
    system.env["HERMES_CRON_FAILPOINTS"] = "firing.received:sleep=60:*"
    serve = system.start_serve()
    del system.env["HERMES_CRON_FAILPOINTS"]
    system.wait(lambda: "job_id=tide" in system.log("nas") and "status=202" in system.log("nas"), "the 202")
    kill_group(serve)
    assert not system.ran("tide")


def wake_until_it_ran(system: System) -> None:
    """A platform that starts the agent when somebody connects, and lets it end when it is idle."""
    serve: subprocess.Popen[bytes] | None = None

    def launch() -> bool:
        nonlocal serve
        if (serve is None or serve.poll() is not None) and system.knocked():
            serve = system.start_serve("--exit-when-idle", "1")
        return bool(system.ran("tide"))

    system.wait(launch, "the lost fire to run", 60)


def check_the_one_outcome(system: System) -> None:
    system.wait(lambda: not any(fire.open for fire in system.store.fires("tide")), "the outcome")
    assert [fire.state for fire in system.store.fires("tide")] == [FireState.SUCCEEDED]


def test_i16_at_zero_nas_delivers_again_what_was_not_answered_by_an_arm(make_system: Make) -> None:
    system = make_system("memory://", settle="3")
    lose_one(system)
    wake_until_it_ran(system)
    assert "attempt=2" in system.log("nas") or system.log("nas").count("job_id=tide") >= 2
    check_the_one_outcome(system)


def test_i16_at_zero_the_ladder_wakes_us_where_nas_does_not_deliver_again(make_system: Make) -> None:
    # Without settlement, and with a ladder that is shortened to seconds.
    system = make_system("memory://", settle="0", env={"HERMES_CRON_CRON__CHRONOS__LADDER": "6s,60s"})
    lose_one(system)
    wake_until_it_ran(system)
    assert "job_id=_wake.1" in system.log("nas")
    assert system.log("nas").count("job_id=tide ") == 1
    check_the_one_outcome(system)
