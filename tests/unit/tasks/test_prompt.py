"""What is asked of an agent, what is kept of its answer, and that its key is shown nowhere."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from hermes_cron.errors import ConfigError, TaskFailed, TaskInvalid
from hermes_cron.execution import MAX_RESULT_BYTES
from hermes_cron.run import Run
from hermes_cron.settings import PromptSettings, TaskSettings
from hermes_cron.task import Task
from hermes_cron.tasks import box_tasks

KEY = "sk-hunter2"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    return path


@pytest.fixture
def prompt(target: Any, key_file: Path) -> Task:
    return box_tasks(TaskSettings(prompt=PromptSettings(target.url + "/v1", str(key_file))))["prompt"]


def completion(content: Any, **more: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}], **more}).encode()


def test_it_is_off_until_it_has_a_url(run: Run) -> None:
    with pytest.raises(TaskInvalid, match=r"prompt is off; set tasks\.prompt\.url"):
        box_tasks(TaskSettings())["prompt"](run, "hello")


def test_it_asks_and_gives_the_answer(run: Run, target: Any, prompt: Task) -> None:
    target.body = completion("good morning", model="hermes")
    assert prompt(run, "hello", model="m", system="be kind") == {"text": "good morning", "model": "hermes"}
    ((method, path, headers, body),) = target.asked
    assert (method, path, headers["authorization"]) == ("POST", "/v1/chat/completions", f"Bearer {KEY}")
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello"}]
    assert json.loads(body) == {"model": "m", "messages": messages, "stream": False}


def test_it_leaves_out_what_was_not_given(run: Run, target: Any) -> None:
    target.body = completion("x")
    task = box_tasks(TaskSettings(prompt=PromptSettings(target.url)))["prompt"]
    assert task(run, "hello") == {"text": "x", "model": ""}
    ((_, _, headers, body),) = target.asked
    assert json.loads(body) == {"messages": [{"role": "user", "content": "hello"}], "stream": False}
    assert "authorization" not in headers


def test_it_reads_the_key_anew_for_each_call(run: Run, target: Any, prompt: Task, key_file: Path) -> None:
    target.body = completion("x")
    prompt(run, "hello")
    key_file.write_text("sk-new")
    prompt(run, "hello")
    assert [asked[2]["authorization"] for asked in target.asked] == [f"Bearer {KEY}", "Bearer sk-new"]


@pytest.mark.parametrize("content", [b"", b"a\nb", b"\xff\xff", b"  \n"])
def test_a_key_file_that_holds_no_key_is_named(
    run: Run, target: Any, prompt: Task, key_file: Path, content: bytes
) -> None:
    key_file.write_bytes(content)
    with pytest.raises(ConfigError, match="must hold the key on one line"):
        prompt(run, "hello")
    key_file.unlink()
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        prompt(run, "hello")
    assert target.asked == []


def test_its_key_is_shown_nowhere(run: Run, target: Any, prompt: Task, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    target.status, target.body = 401, f"incorrect key {KEY}".encode()
    with pytest.raises(TaskFailed) as caught:
        prompt(run, "hello")
    assert str(caught.value) == f"POST {target.url}/v1/chat/completions answered 401: incorrect key ***"
    target.status, target.body = 200, completion(f"your key is {KEY}")
    assert prompt(run, "hello")["text"] == "your key is ***"
    assert KEY not in caplog.text


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"choices": []}', completion(None), b"[" * 100_000])
def test_an_answer_that_is_no_completion_is_a_failure(run: Run, target: Any, prompt: Task, body: bytes) -> None:
    target.body = body
    with pytest.raises(TaskFailed, match="no chat completion"):
        prompt(run, "hello")


def test_what_it_keeps_fits_into_a_result(run: Run, target: Any, prompt: Task) -> None:
    target.body = completion("ä" * 200_000, model="m" * 5000)
    answer = prompt(run, "hello")
    assert str(answer["text"]).endswith("ä\n[the rest is left out]")
    assert len(json.dumps(answer, ensure_ascii=False).encode()) <= MAX_RESULT_BYTES


@pytest.mark.parametrize(
    "given", [{"prompt": ""}, {"prompt": 1}, {"prompt": "x", "model": 1}, {"prompt": "x", "timeout": -1}]
)
def test_it_refuses_what_cannot_be_asked(run: Run, target: Any, prompt: Task, given: dict[str, Any]) -> None:
    with pytest.raises(TaskInvalid):
        prompt(run, **given)
    assert target.asked == []
