"""`HermesCron`: what `-A module:app` names. A declaration of tasks and jobs; it opens nothing and is no hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, overload

from hermes_cron import grammar
from hermes_cron.clock import instant_text, utc_now
from hermes_cron.errors import JobExists, TaskInvalid
from hermes_cron.job import Job, check_job_id
from hermes_cron.policy import Policy
from hermes_cron.schedule import Schedule
from hermes_cron.task import Task

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Declared:
    """A job as the code declares it; it gets its instants when it is put into a store.

    `timezone` None is the configured one. `policy` holds only what was said.
    """

    id: str
    task: str
    schedule: str
    timezone: str | None = None
    anchor: str = "fire"
    args: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)


class HermesCron:
    """A name, tasks (`@app.task`) and jobs (`@app.cron`), for `-A module:app` to find."""

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise TaskInvalid(f"{name!r} cannot name an app: use letters, digits, _ . and -.", field="app")
        self.name = name
        self._tasks: dict[str, Task] = {}
        self._jobs: dict[str, Declared] = {}

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The declared tasks by name."""
        return MappingProxyType(self._tasks)

    @property
    def jobs(self) -> Mapping[str, Declared]:
        """The declared jobs by id."""
        return MappingProxyType(self._jobs)

    @overload
    def task(self, call: Callable[..., object], /) -> Task: ...

    @overload
    def task(
        self, call: None = None, /, *, name: str | None = None, timeout: float | None = None, bind: bool = False
    ) -> Callable[[Callable[..., object]], Task]: ...

    def task(
        self, call: Callable[..., object] | None = None, /, *, name: str | None = None,
        timeout: float | None = None, bind: bool = False,
    ) -> Task | Callable[[Callable[..., object]], Task]:  # fmt: skip
        """Declare a task: `@app.task`, or `@app.task(name="tide", timeout=600, bind=True)`.

        The name defaults to `module.function`.

        Raises:
            TaskInvalid: The name is taken or impossible, or this is no plain function.
        """

        def declare(call: Callable[..., object]) -> Task:
            task = Task(name or _name_of(call), call, timeout, bind)
            if task.name in self._tasks:
                raise TaskInvalid(f"There are two tasks {task.name!r} in {self.name}.", field="task")
            self._tasks[task.name] = task
            return task

        return declare if call is None else declare(call)

    def cron(
        self, schedule: str, *, id: str | None = None, timezone: str | None = None,  # noqa: A002 - people write id=.
        anchor: str = "fire",
        args: Mapping[str, Any] | None = None, bind: bool = False, **policy: Any,
    ) -> Callable[[Callable[..., object]], Task]:  # fmt: skip
        """Declare a task and a job of it in one: `@app.cron("0 6 * * 1-5", timezone="Europe/Lisbon")`.

        The id defaults to `app.function`; `policy` takes the fields of `Policy`.

        Raises:
            ScheduleError: The schedule or the zone cannot be read.
            JobInvalid: The id, the arguments or a policy is impossible.
            JobExists: A job of this app has this id.
        """
        written = _written(schedule, "UTC" if timezone is None else timezone, anchor)
        given = Job(self.name, "any", written, {} if args is None else args, Policy.from_dict(policy)).args

        def declare(call: Callable[..., object]) -> Task:
            job_id = id or f"{self.name}.{_plain_name(call)}"
            check_job_id(job_id)
            if job_id in self._jobs:
                raise JobExists(f"There are two jobs {job_id!r} in {self.name}.", field="id")
            task = self.task(bind=bind)(call) if not isinstance(call, Task) else call
            if self._tasks.get(task.name) is not task:
                raise TaskInvalid(f"The task {task.name!r} is not of the app {self.name}.", field="task")
            task.check(given)
            self._jobs[job_id] = Declared(job_id, task.name, schedule, timezone, anchor, dict(given), dict(policy))
            return task

        return declare


def _written(schedule: str, timezone: str, anchor: str) -> Schedule:
    now = utc_now()
    if grammar.read(schedule, now).kind == "once":
        # Its instant may have passed by now, and the module that declares it must still be imported.
        return Schedule("once", instant_text(now), timezone, anchor)
    return Schedule.parse(schedule, timezone=timezone, now=now, anchor=anchor)


def _name_of(call: Callable[..., object]) -> str:
    return f"{getattr(call, '__module__', '')}.{_plain_name(call)}"


def _plain_name(call: Callable[..., object]) -> str:
    if isinstance(call, Task):
        return call.name.rpartition(".")[2]
    return getattr(call, "__name__", type(call).__name__).strip("<>")
