"""Load the application that `-A` names, and put together the tasks that jobs may name."""

from __future__ import annotations

import importlib
import sys
import traceback
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
    _add_current_folder()
    try:
        found = importlib.import_module(module_name)
        for part in (attribute or "app").split("."):
            found = getattr(found, part)
    except HermesCronError as error:
        # A task or a job of it was declared wrongly: that is said already, but not where.
        error.hint = " ".join(filter(None, (error.hint, _where(error))))
        raise
    except (Exception, SystemExit) as error:
        words = f"The application {spec!r} cannot be loaded: {type(error).__name__}: {error}"
        raise ConfigError(f"{words.rstrip('.')}.", hint=_what_to_do(error, module_name), field="app") from error
    if not isinstance(found, HermesCron):
        hint = f"Name the HermesCron of {module_name}, as in -A {module_name}:app."
        raise ConfigError(f"{spec!r} is a {type(found).__name__}, and not a HermesCron.", hint=hint, field="app")
    return found


def _add_current_folder() -> None:
    try:
        here = str(Path.cwd())
    except OSError:
        # It was removed under us: nothing can be imported from it.
        return
    if here not in sys.path:
        sys.path.insert(0, here)


def _what_to_do(error: BaseException, module_name: str) -> str:
    """Where the application itself failed; how to write -A, where it was not even found."""
    if where := _where(error):
        return where
    if module_name.endswith(".py"):
        return f"Write the module's name without .py: -A {module_name.removesuffix('.py')}:app."
    return "Write -A module:attr, from the folder in which `import module` works."


def _where(error: BaseException) -> str:
    """The line that it came from, if it is neither ours nor that of Python's own importing."""
    ours, machinery = str(Path(__file__).parent), (importlib.__file__, "<frozen importlib")
    frames = traceback.extract_tb(error.__traceback__)
    within = [frame for frame in frames if not frame.filename.startswith((ours, *machinery))]
    return f"It happened in {within[-1].filename}, line {within[-1].lineno}." if within else ""


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
