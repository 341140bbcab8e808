"""Scale-to-zero cron you can trust. The public door: declare with `HermesCron`, build on the values and the seams.

`hermes_cron.client.Client` is the programmatic door to jobs (`hermes_cron.bootstrap.open_client` opens it from the
configuration); `hermes_cron.errors` has every error by its stable code.
"""

from __future__ import annotations

from hermes_cron.app import HermesCron
from hermes_cron.errors import HermesCronError
from hermes_cron.fire import Fire
from hermes_cron.interfaces import Broker, CronScheduler, FireVerifier, Store
from hermes_cron.job import Job
from hermes_cron.policy import Policy
from hermes_cron.run import Run
from hermes_cron.schedule import Schedule
from hermes_cron.task import Task
from hermes_cron.version import __version__

__all__ = [
    "Broker",
    "CronScheduler",
    "Fire",
    "FireVerifier",
    "HermesCron",
    "HermesCronError",
    "Job",
    "Policy",
    "Run",
    "Schedule",
    "Store",
    "Task",
    "__version__",
]
