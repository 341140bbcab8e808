"""State: what we make is for its owner alone whatever the umask is, and what others could have written is refused."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.system import System

pytestmark = [pytest.mark.processes, pytest.mark.timeout(240)]
Make = Callable[..., System]


@pytest.fixture
def no_umask() -> Iterator[None]:
    """Nothing is taken from the rights that a program asks for."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(root: Path) -> list[str]:
    """Everything from here on that others could read or enter."""
    found = [root, *root.rglob("*")]
    return sorted(f"{path} {oct(path.lstat().st_mode)}" for path in found if stat.S_IMODE(path.lstat().st_mode) & 0o077)


@pytest.mark.redis
def test_all_that_the_processes_keep_is_for_their_user_alone_under_umask_0(
    make_system: Make, redis_url: str, tmp_path: Path, no_umask: None
) -> None:
    state = tmp_path / "state"
    home = state / "deep" / "home"
    system = make_system(redis_url, env={"HERMES_CRON_HOME": str(home)})
    system.token_file = state / "token"
    nas = ("--home", str(state / "nas" / "deep"))
    state.mkdir(0o700)
    fd = system.nas_socket.fileno()
    system.start("nas", "nas", "serve", *nas, "--bind", f"fd://{fd}", "--public-url", system.nas_url,
                 "--allow-private-callbacks", fds=(fd,))  # fmt: skip
    system.wait(lambda: system.answers(system.nas_url + "/healthz"), "NAS answers")
    agent = ("nas", "agents", "add", "it", "--audience", "agent:it", "--token-file", str(system.token_file))
    assert system.cli(*agent, *nas).returncode == 0
    assert system.cli("nas", "keys", "rotate", *nas).returncode == 0
    assert system.cli("nas", "keys", "new", "--home", str(state / "another" / "nas")).returncode == 0
    system.start_web()
    system.wait(lambda: system.answers(f"{system.callback_url}/readyz"), "the web is ready")
    system.start_worker()
    system.add("tide", "every 1s")
    system.wait(lambda: system.ran("tide"), "a run")

    def kept() -> set[str]:
        return {path.name.rpartition(".")[2] for path in state.rglob("*") if path.is_file()}

    system.wait(lambda: {"db", "json", "token"} <= kept(), "a store, a key set and a token")
    assert (home / "jwks").is_dir()
    assert open_to_others(state) == []


def test_the_store_and_the_homes_parents_are_private_under_umask_0(
    make_system: Make, tmp_path: Path, no_umask: None
) -> None:
    for command, name in ((("jobs", "list"), "a"), (("nas", "keys", "new"), "b")):
        state = tmp_path / name
        system = make_system("memory://", provider="", env={"HERMES_CRON_HOME": str(state)})
        assert system.cli(*command).returncode == 0
        assert open_to_others(state) == []


SECRETS = {
    "the secret of cron-key": ({"CRON__VERIFIER": "cron-key", "CRON__KEY_FILE": "{}"}, ("web",), "s" * 40),
    "a pinned key": ({"CRON__CHRONOS__NAS_PUBLIC_KEY": "{}", "CRON__CHRONOS__NAS_JWKS_URL": ""}, ("web",), "no key"),
    "the queue's signing key": ({"BROKER__SIGNING_KEY_FILE": "{}"}, ("web",), "s" * 40),
    "the API keys": ({"WEB__API_KEYS_FILE": "{}"}, ("web",), ""),
    "the access token": ({"CRON__CHRONOS__ACCESS_TOKEN_FILE": "{}"}, ("arms", "reconcile"), "token"),
    "the configuration": ({"CONFIG": "{}"}, ("web",), "{}"),
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_file_that_others_may_write_to_is_refused_by_its_name(make_system: Make, tmp_path: Path, name: str) -> None:
    variables, command, text = SECRETS[name]
    file = tmp_path / "watched"
    file.write_text(text)
    file.chmod(0o666)
    env = {f"HERMES_CRON_{key}": value.replace("{}", str(file)) for key, value in variables.items()}
    system = make_system("memory://", env={"HERMES_CRON_BROKER__URL": "redis://127.0.0.1:1/0", **env})
    done = system.cli(*command)
    assert done.returncode not in (0, 2)
    assert "may write" in done.stderr
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr
    assert "s" * 40 not in done.stderr


def test_the_key_of_a_prompt_is_refused_when_others_may_write_to_it(make_system: Make, tmp_path: Path) -> None:
    file = tmp_path / "prompt-key"
    file.write_text("secret-of-the-agent-api")
    file.chmod(0o602)
    env = {"HERMES_CRON_TASKS__PROMPT__URL": "http://127.0.0.1:1", "HERMES_CRON_TASKS__PROMPT__API_KEY_FILE": str(file)}
    system = make_system("memory://", provider="", env=env)
    system.start_serve()
    system.wait(lambda: system.answers(f"{system.callback_url}/healthz"), "serve answers")
    system.add("ask", "in 1s", "prompt", "--args", '{"prompt": "hello"}')
    run = system.wait(lambda: [run for run in system.store.runs("ask") if not run.open], "the run's end")[0]
    assert str(file) in str(run.error)
    assert "may write" in str(run.error)
