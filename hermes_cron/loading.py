"""Load the application that `-A` names, and put together the tasks that jobs may name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

from hermes_cron.app import HermesCron
from hermes_cron.errors import ConfigError, HermesCronError, TaskInvalid
from hermes_cron.settings import TaskSettings
from hermes_cron.task import Task
from hermes_cron.tasks import box_tasks


def load_app(spec: str) -> HermesCron | None:
    """The application that `module:attr` names, from the current folder or the path; None for an empty spec.

    Raises:
        ConfigError: It cannot be imported, or is none.
    """
    if not spec:
        return None
    module_name, _, attribute = spec.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module_name)
        for part in (attribute or "app").split("."):
            found = getattr(found, part)
    except HermesCronError:
        raise
    except (Exception, SystemExit) as error:
        hint = "Write -A module:attr, from the folder in which `import module` works."
        words = f"The application {spec!r} cannot be loaded: {type(error).__name__}: {error}."
        raise ConfigError(words, hint=hint, field="app") from error
    if not isinstance(found, HermesCron):
        raise ConfigError(f"{spec!r} is {type(found).__name__}, and not a HermesCron.", field="app")
    return found


def all_tasks(settings: TaskSettings, app: HermesCron | None) -> Mapping[str, Task]:
    """The tasks that jobs may name: those in the box, and the application's.

    Raises:
        TaskInvalid: The application declares one of a name that is in the box.
    """
    box = box_tasks(settings)
    own = app.tasks if app is not None else {}
    for name in own:
        if name in box:
            raise TaskInvalid(f"The task {name!r} is in the box; give yours another name.", field="task")
    return {**box, **own}
