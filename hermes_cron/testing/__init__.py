"""What you test your own jobs with: your app in this process, its clock frozen, its NAS faked. Nothing is waited for.

Your tasks run as they are, in the thread that calls `advance`, through the rules of the real thing: NAS holds one alarm
per job and delivers it, signed, to the real webhook; the fire is claimed, the next alarm armed, the body run, its
outcome written. Between two alarms the app sleeps, as it does at zero.

>>> from hermes_cron import HermesCron
>>> from hermes_cron.testing import FrozenCron
>>> app = HermesCron("reports")
>>> @app.cron("0 6 * * *", timezone="Europe/Lisbon")
... def morning():
...     return "good morning"
>>> with FrozenCron(app, at="2026-03-28T00:00Z") as cron:  # clocks go forward on the 29th
...     for run in cron.advance(to="2026-03-30T00:00Z"):
...         print(run.job_id, run.started_at, run.state, run.result)
reports.morning 2026-03-28 06:00:00+00:00 succeeded "good morning"
reports.morning 2026-03-29 05:00:00+00:00 succeeded "good morning"

It needs no plugin and imports no test framework: make a fixture of it in a line, with your app and your instant.
"""

from __future__ import annotations

from hermes_cron.testing.frozen import FrozenCron
from hermes_cron.testing.nas import Delivered, FakeNas
from hermes_cron.testing.tokens import BAD_TOKENS, TokenMinter
from hermes_cron.testing.web import Answer

__all__ = ["BAD_TOKENS", "Answer", "Delivered", "FakeNas", "FrozenCron", "TokenMinter"]
