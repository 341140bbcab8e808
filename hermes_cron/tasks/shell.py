"""`shell`: run a command on this machine. Off unless `tasks.shell.enabled`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import PurePath

from hermes_cron.clock import instant_text, monotonic
from hermes_cron.errors import TaskFailed, TaskInvalid
from hermes_cron.keeper import ending
from hermes_cron.run import Run
from hermes_cron.tasks.command import Ended, Tail, run_command
from hermes_cron.tasks.excerpt import last_of, one_line

INHERITED = ("PATH", "HOME", "LANG", "TZ")
"""What a command sees of our environment: the rest may hold secrets, and is none of its business."""

_RESULT_BYTES = 30 * 1024
"""What is kept of each stream: both together, as JSON, fit into a run's result."""


@dataclass(frozen=True, slots=True)
class Shell:
    """The task `shell`. Despite its name no shell reads the command: what is in `argv` is what is run."""

    enabled: bool

    def __call__(
        self, run: Run, argv: Sequence[str], *, cwd: str | None = None, env: Mapping[str, str] | None = None,
        input: str | None = None, timeout: float | None = None,  # noqa: A002 - the name that `subprocess` has taught people.
    ) -> dict[str, object]:  # fmt: skip
        """Run `argv` to its end: its exit code, and the tails of what it wrote.

        It sees PATH, HOME, LANG, TZ, what `env` adds, and CRON_JOB_ID, CRON_FIRE_AT, CRON_ATTEMPT and CRON_FENCE; its
        standard input is `input`, or nothing. It is stopped when the run is, and after `timeout` seconds.

        Raises:
            TaskInvalid: The task is off, or called with what cannot be.
            TaskFailed: The command cannot be started, was stopped, or ended with anything but 0.
        """
        if not self.enabled:
            raise TaskInvalid("The task shell is off; set tasks.shell.enabled: true.", field="task")
        _check(argv, cwd, env, input, timeout)
        until = monotonic() + (inf if timeout is None else timeout)
        try:
            ended = run_command(
                argv, cwd=cwd, env=_environment(run, env or {}), data=(input or "").encode(errors="replace"),
                stop=lambda: run.cancelled() or monotonic() >= until,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            place = f" in {cwd}" if cwd is not None else ""
            reason = error.strerror if isinstance(error, OSError) else error
            raise TaskFailed(f"{argv[0]} cannot be started{place}: {reason}.") from error
        if ended.stopped or ended.exit_code != 0:
            raise TaskFailed(_words(argv[0], ended))
        return {"exit_code": 0, "stdout": _shown(ended.stdout), "stderr": _shown(ended.stderr)}


def _check(argv: object, cwd: object, env: object, given: object, timeout: object) -> None:
    """Refuse what a job's JSON can hold and a command cannot take."""
    if isinstance(argv, str):
        hint = 'Write ["ls", "-l"], or ["sh", "-c", "..."] if a shell is to read it.'
        raise TaskInvalid("argv must be a list, and not one text.", hint=hint, field="args")
    items = argv if isinstance(argv, list | tuple) else []
    if not items or not items[0] or not all(isinstance(item, str) for item in items):
        raise TaskInvalid("argv must be a list of texts, the program first.", field="args")
    if cwd is not None and not isinstance(cwd, str):
        raise TaskInvalid("cwd must be the name of a folder.", field="args")
    pairs = env.items() if isinstance(env, Mapping) else ()
    if not isinstance(env, Mapping | None) or not all(isinstance(item, str) for pair in pairs for item in pair):
        raise TaskInvalid("env must be texts by name.", field="args")
    if not isinstance(given, str | None):
        raise TaskInvalid("input must be text.", field="args")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float | None) or not (timeout is None or timeout > 0):
        raise TaskInvalid("timeout must be seconds above zero.", field="args")


def _environment(run: Run, added: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    # Not HERMES_CRON_...: those are settings, and a hermes-cron that the command starts refuses unknown ones.
    about = {
        "CRON_JOB_ID": run.job_id,
        "CRON_FIRE_AT": instant_text(run.fire_at),
        "CRON_ATTEMPT": str(run.attempt),
        "CRON_FENCE": str(run.fence),
    }
    return {"PATH": os.defpath, **inherited, **about, **added}


def _shown(tail: Tail) -> str:
    text = tail.text()
    kept = last_of(text, _RESULT_BYTES - 64)
    left_out = tail.left_out + len(text[: len(text) - len(kept)].encode())
    return f"[{left_out} bytes before this are left out]\n{kept}" if left_out else kept


def _words(program: str, ended: Ended) -> str:
    name = PurePath(program).name
    said = one_line(ended.stderr.text(), end=True) or one_line(ended.stdout.text(), end=True)
    tail = f"; it said: {said}" if said else ""
    if ended.stopped:
        return f"{name} was stopped{tail}"
    return f"{name} {ending(ended.exit_code)}{tail}"
