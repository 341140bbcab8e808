"""`hermes-cron demo`: the whole circle on loopback, every part real, each thing seen before it is said."""

from __future__ import annotations

import hashlib
import json
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import click

from hermes_cron import bootstrap, contract
from hermes_cron.cli.embedded import AUDIENCE, Embedded, Launcher
from hermes_cron.clock import instant_text, monotonic, utc_now
from hermes_cron.errors import HermesCronError
from hermes_cron.interfaces import Store
from hermes_cron.ledger import FireState
from hermes_cron.nas.room import open_keys
from hermes_cron.outbound import Answer, Outbound
from hermes_cron.run import Run

JOB = "tide"
FIRES = 4
MOST_FIRES = 9
"""On a slow machine starting the agent takes so long that it sleeps after every other fire only."""

_WAIT_S = 40.0
_DEADLINE_S = 15.0
_LOOK_S = 0.05


@dataclass(slots=True)
class Demo:
    """The parts of one demo, and what was seen to happen."""

    embedded: Embedded
    launcher: Launcher
    store: Store
    outbound: Outbound
    began: float = field(default_factory=monotonic)
    seen: dict[str, bool] = field(default_factory=dict)

    def say(self, text: str, *, good: bool | None = None) -> None:
        """Print one step with the time since the start."""
        mark = {None: " ", True: click.style("✓", fg="green"), False: click.style("✗", fg="red")}[good]
        click.echo(f"{monotonic() - self.began:6.1f} s {mark} {text}")

    def check(self, what: str, good: bool, text: str) -> None:
        """Say what was seen, and remember whether it was as it must be."""
        self.seen[what] = good
        self.say(text, good=good)

    def wait(self, what: str, until: Callable[[], bool], seconds: float = _WAIT_S) -> None:
        """Wait until something is so.

        Raises:
            HermesCronError: It does not come about, or the agent has failed.
        """
        end = monotonic() + seconds
        while not until():
            if self.launcher.failed or monotonic() > end:
                log = self.embedded.log("agent")[-1500:]
                raise HermesCronError(f"Waited for {what}: {self.launcher.failed or 'it did not come'}.\n{log}")
            time.sleep(_LOOK_S)

    def runs(self) -> list[Run]:
        """The job's runs that succeeded, oldest first."""
        runs = [run for run in self.store.runs(JOB) if run.state == "succeeded"]
        return sorted(runs, key=lambda run: run.fire_at)

    def post(self, token: str, body: bytes) -> Answer:
        """Post a fire to the agent, which is woken by it if need be."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        url = self.embedded.agent_url + contract.FIRE_PATH
        return self.outbound.request("POST", url, headers=headers, body=body, deadline=_DEADLINE_S)


@click.command()
def demo() -> None:
    """See it work: NAS fires, a sleeping agent wakes, runs, arms its next fire and sleeps again.

    Its own NAS, webhook, worker, store and queue on free ports of this machine; nothing is left behind.
    """
    click.echo("hermes-cron demo: a job every 3 seconds, on an agent that sleeps in between.\n")
    with Embedded("hermes_cron.cli.demo_app:app") as embedded:
        launcher = Launcher(embedded, "1")
        store = bootstrap.the_store(embedded.config)
        outbound = Outbound()
        shown = Demo(embedded, launcher, store, outbound)
        try:
            _play(shown)
            good = _closing_table(shown)
        finally:
            launcher.stop()
            outbound.close()
            store.close()
    if not good:
        sys.exit(1)


def _play(shown: Demo) -> None:
    embedded = shown.embedded
    shown.say("starting NAS, which will hold the alarms ...")
    embedded.start_nas()
    shown.say(f"NAS answers at {embedded.nas_url}", good=True)
    shown.say(f"the agent's address is {embedded.agent_url}; nothing runs there yet: it is asleep")
    embedded.run(["jobs", "add", JOB, "--schedule", "every 3s", "--task", "demo.tide", "--args", '{"place": "Lisbon"}'])
    record = shown.store.read(JOB)
    armed = record is not None and not record.arm.wanted and record.arm.armed_at is not None
    shown.check("armed", armed, f"job {JOB!r} added from the command line; NAS holds its alarm before that returned")
    shown.launcher.start()
    number = 0
    while number < FIRES or (shown.launcher.sleeps < 2 and number < MOST_FIRES):
        number += 1
        _one_fire(shown, number)
    _forged(shown)
    _replay(shown)
    _pause(shown)
    shown.wait("the agent to go to sleep", lambda: not shown.launcher.awake())
    shown.say("nothing is due any more: the agent sleeps, and would for years", good=True)


def _one_fire(shown: Demo, number: int) -> None:
    wakes = shown.launcher.wakes
    shown.wait(f"fire {number}", lambda: len(shown.runs()) >= number)
    run = shown.runs()[number - 1]
    how = "NAS woke the agent" if shown.launcher.wakes > wakes or number == 1 else "NAS fired"
    shown.say(
        f"fire {number} of {run.fire_at:%H:%M:%S}: {how}, ran {_lateness(run):.2f} s after its instant", good=True
    )
    click.echo(f"           {json.loads(run.result)}")


def _forged(shown: Demo) -> None:
    body = _body(shown.runs()[-1])
    keys = open_keys(shown.embedded.home / "stranger")
    keys.new("ES256")
    answer = shown.post(keys.sign(_claims(shown, body)), body)
    shown.check("forged", answer.status == 401, f"a fire signed with a stranger's key: {answer.status}, as it must be")


def _replay(shown: Demo) -> None:
    run = shown.runs()[0]
    body = _body(run)
    answer = shown.post(open_keys(shown.embedded.home / "nas").sign(_claims(shown, body)), body)
    shown.wait("the replay to be decided", lambda: f"the fire of {JOB} {run.fire_at} is refused" in _log(shown))
    times = sum(1 for other in shown.store.runs(JOB) if other.fire_at == run.fire_at)
    shown.check(
        "replay", answer.status == 202 and times == 1,
        f"the fire of {run.fire_at:%H:%M:%S} once more, signed well: {answer.status}, and still {times} run of it",
    )  # fmt: skip


def _pause(shown: Demo) -> None:
    shown.embedded.run(["jobs", "pause", JOB])
    agreed = _nas_holds(shown)
    shown.check("paused", JOB not in agreed, "job paused from the command line: NAS holds no alarm for it any more")
    shown.wait("every fire to have its outcome", lambda: not any(fire.open for fire in shown.store.fires(JOB)))


def _nas_holds(shown: Demo) -> Mapping[str, str]:
    token = (shown.embedded.home / "token").read_text().strip()
    answer = shown.outbound.request(
        "GET", shown.embedded.nas_url + contract.LIST_PATH, headers={"Authorization": f"Bearer {token}"},
        deadline=_DEADLINE_S,
    )  # fmt: skip
    return {row["job_id"]: row["fire_at"] for row in json.loads(answer.body)["armed"]}


def _closing_table(shown: Demo) -> bool:
    runs, launcher = shown.runs(), shown.launcher
    fires = shown.store.fires(JOB)
    late = [_lateness(run) for run in runs]
    outcomes = {state: sum(1 for fire in fires if fire.state is state) for state in FireState}
    counts = {state: count for state, count in outcomes.items() if count}
    # One may have come due while the job was paused, and on a machine so slow that starting the agent takes longer than
    # three seconds the last of several is run: the ledger tells of each.
    passed = outcomes[FireState.SKIPPED] + outcomes[FireState.MISSED]
    counted = outcomes[FireState.SUCCEEDED] + passed == len(fires)
    shown.seen["fires"] = counted and len(runs) >= FIRES and outcomes[FireState.SUCCEEDED] == len(runs)
    shown.seen["sleep"] = launcher.sleeps >= 2 and launcher.wakes >= 2
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    rows = {
        "fires": f"{len(fires)}: {told}", "runs": len(runs), "woken by NAS": launcher.wakes,
        "gone to sleep": launcher.sleeps, "lateness p50": f"{statistics.median(late):.2f} s",
        "lateness max": f"{max(late):.2f} s",
        "refused": f"{int(shown.seen['forged'])} forged (401), {int(shown.seen['replay'])} replay (no second run)",
    }  # fmt: skip
    click.echo("")
    for name, value in rows.items():
        click.echo(f"  {name:<14} {value}")
    bad = [what for what, good in shown.seen.items() if not good]
    click.echo("")
    if bad:
        click.echo(click.style(f"Not as it must be: {', '.join(bad)}.", fg="red"), err=True)
        return False
    took = timedelta(seconds=round(monotonic() - shown.began))
    click.echo(click.style(f"Everything was seen to happen, in {took.total_seconds():.0f} s.", fg="green"))
    click.echo("Lateness includes starting the sleeping agent. Next: `hermes-cron dev`, or the README's ten lines.")
    return True


def _lateness(run: Run) -> float:
    return 0.0 if run.started_at is None else (run.started_at - run.fire_at).total_seconds()


def _log(shown: Demo) -> str:
    return shown.embedded.log("agent")


def _body(run: Run) -> bytes:
    return json.dumps({"job_id": run.job_id, "fire_at": instant_text(run.fire_at)}).encode()


def _claims(shown: Demo, body: bytes) -> dict[str, object]:
    now = int(utc_now().timestamp())
    return {
        "iss": shown.embedded.nas_url, "aud": AUDIENCE, "purpose": contract.PURPOSE, "iat": now, "exp": now + 60,
        "jti": secrets.token_urlsafe(16), **json.loads(body), "body_sha256": hashlib.sha256(body).hexdigest(),
    }  # fmt: skip
