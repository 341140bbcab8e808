"""`prompt`: put a prompt to an OpenAI-compatible agent API; how a Hermes agent runs its jobs."""

from __future__ import annotations

from dataclasses import dataclass
from json import dumps, loads
from pathlib import Path
from typing import Any

from hermes_cron.errors import ConfigError, TaskFailed, TaskInvalid
from hermes_cron.outbound import any_address
from hermes_cron.privacy import fault
from hermes_cron.run import Run
from hermes_cron.tasks.calling import call, check_timeout
from hermes_cron.tasks.excerpt import first_of
from hermes_cron.tasks.http_call import refusal

_ANSWER_BYTES = 4 * 1024 * 1024
_RESULT_BYTES = 60 * 1024
_KEY_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True)
class Prompt:
    """The task `prompt`; `url` is what `/chat/completions` is added to, `api_key_file` may be empty."""

    url: str
    api_key_file: str

    def __call__(
        self, run: Run, prompt: str, *, model: str | None = None, system: str | None = None, timeout: float = 600.0
    ) -> dict[str, object]:
        """Put `prompt` to the agent once, and wait for its answer: the text, and the model's name.

        Raises:
            TaskInvalid: The task is off, or called with what cannot be.
            ConfigError: The key's file cannot be used.
            TaskFailed: The answer is a refusal or no completion, or the run was stopped.
            OutboundError: No whole answer came within `timeout` seconds.
        """
        if not self.url:
            raise TaskInvalid("The task prompt is off; set tasks.prompt.url.", field="task")
        body = _request(prompt, model, system, timeout)
        key = self._key()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        url = f"{self.url}/chat/completions"
        answer = call(
            run, "POST", url, allow=any_address, headers=headers, body=body, timeout=timeout, max_bytes=_ANSWER_BYTES
        )
        text = answer.body.decode(errors="replace")
        # Some servers repeat the key that they refuse.
        text = text.replace(key, "***") if key else text
        if not answer.ok:
            raise TaskFailed(refusal("POST", url, answer.status, text))
        return _completion(text)

    def _key(self) -> str:
        """The key, read anew for each call, so that it can be changed without a restart."""
        if not self.api_key_file:
            return ""
        where = f"tasks.prompt.api_key_file ({self.api_key_file})"
        try:
            path = Path(self.api_key_file)
            unsafe = fault(path)
            if unsafe:
                raise ConfigError(f"{where} is not believed: {unsafe}.", field="tasks.prompt.api_key_file")
            with path.open("rb") as file:
                key = file.read(_KEY_BYTES).decode("ascii").strip()
        except OSError as error:
            raise ConfigError(
                f"{where} cannot be read: {error.strerror}.", field="tasks.prompt.api_key_file"
            ) from error
        except UnicodeDecodeError:
            key = ""
        if not key or not key.isprintable():
            raise ConfigError(f"{where} must hold the key on one line.", field="tasks.prompt.api_key_file")
        return key


def _request(prompt: object, model: object, system: object, timeout: object) -> bytes:
    if not isinstance(prompt, str) or not prompt.strip():
        raise TaskInvalid("prompt must be text.", field="args")
    if not isinstance(model, str | None) or not isinstance(system, str | None):
        raise TaskInvalid("model and system must be text.", field="args")
    check_timeout(timeout)
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    asked: dict[str, object] = {"messages": messages, "stream": False}
    if model:
        asked["model"] = model
    return dumps(asked).encode()


def _completion(text: str) -> dict[str, object]:
    try:
        found: Any = loads(text)
        said = found["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        said = None
    if not isinstance(said, str):
        raise TaskFailed("the answer is no chat completion with a text in it")
    model = found.get("model")
    return {"text": first_of(said, _RESULT_BYTES), "model": model[:200] if isinstance(model, str) else ""}
