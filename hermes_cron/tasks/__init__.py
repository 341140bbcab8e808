"""The tasks that come in the box: `shell`, `http` and `prompt`."""

from __future__ import annotations

from hermes_cron.settings import TaskSettings
from hermes_cron.task import Task
from hermes_cron.tasks.http_call import HttpCall
from hermes_cron.tasks.prompt import Prompt
from hermes_cron.tasks.shell import Shell


def box_tasks(settings: TaskSettings) -> dict[str, Task]:
    """Every task of the box by name; one that is off is there too, and says so when it is called."""
    return {
        "shell": Task("shell", Shell(settings.shell.enabled), bind=True),
        "http": Task("http", HttpCall(settings.http.allow_private), bind=True),
        "prompt": Task("prompt", Prompt(settings.prompt.url, settings.prompt.api_key_file), bind=True),
    }


def off(settings: TaskSettings) -> dict[str, str]:
    """The tasks of the box that are off, and the key that enables each."""
    enabled = {
        "shell": (settings.shell.enabled, "tasks.shell.enabled"), "prompt": (settings.prompt.url, "tasks.prompt.url"),
    }  # fmt: skip
    return {name: key for name, (on, key) in enabled.items() if not on}
