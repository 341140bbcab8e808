"""What is said of a configuration that cannot be used: what and where, what must stand there, and no secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hermes_cron.config import load
from hermes_cron.errors import ConfigError


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HERMES_CRON_HOME": str(tmp_path / "home"), "HOME": str(tmp_path / "user")}


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "config.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path: Path | None = None, **given: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path, **{"environ": {}, **given})  # type: ignore[arg-type]  # loosely typed, as tests are.
    return caught.value


# Unknown keys.


@pytest.mark.parametrize(
    ("content", "key", "line", "hint"),
    [
        ("app: a\nbroker:\n  uri: redis://h\n", "broker.uri", 3, "Did you mean broker.url?"),
        ("brokr:\n  url: redis://h\n", "brokr", 1, "Did you mean broker?"),
        ("provider: chronos\n", "provider", 1, "Did you mean cron.provider?"),
        ("cron:\n  portal_url: https://n\n", "cron.portal_url", 2, "Did you mean cron.chronos.portal_url?"),
        ("cron:\n\n  chronos:\n    jwks_url: https://n\n", "cron.chronos.jwks_url", 4,
         "Did you mean cron.chronos.nas_jwks_url?"),
        ("store:\n  zzz: 1\n", "store.zzz", 2, "In store there are url, keep_fires, keep_days."),
        ("true: 1\n", "true", 1, "There are app, cron, broker, store, web, worker, tasks."),
        ("broker: {<<: {url: redis://h}}\n", "broker.<<", 1, "In broker there are url, queue, signing_key_file."),
    ],
)  # fmt: skip
def test_it_names_an_unknown_key_and_a_likely_one(tmp_path: Path, content: str, key: str, line: int, hint: str) -> None:
    path = written(tmp_path, content)
    error = refused(path)
    assert (error.message, error.hint) == (f"There is no key {key} ({path}, line {line}).", hint)
    assert (error.field, error.exit_code, error.code) == (key, 78, "config_invalid")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("HERMES_CRON_BROKER_URL", "Did you mean HERMES_CRON_BROKER__URL?"),
        ("HERMES_CRON_CHRONOS__PORTAL_URL", "Did you mean HERMES_CRON_CRON__CHRONOS__PORTAL_URL?"),
        ("HERMES_CRON_PROVIDER", "Did you mean HERMES_CRON_CRON__PROVIDER?"),
        ("HERMES_CRON_CRON", "Names are like HERMES_CRON_BROKER__URL."),
        ("HERMES_CRON_PORT", "Names are like"),
        ("HERMES_CRON_", "Names are like"),
    ],
)
def test_it_names_an_unknown_variable_and_a_likely_one(name: str, hint: str) -> None:
    error = refused(environ={name: "hunter2"})
    assert error.message == f"The environment variable {name} is no key of hermes-cron."
    assert error.hint.startswith(hint)
    assert "hunter2" not in str(error)


def test_it_leaves_variables_alone_that_are_no_keys(env: dict[str, str]) -> None:
    own = ["LOG_LEVEL", "LOG_FORMAT", "FAILPOINTS", "TEST_REDIS", "TEST_POSTGRES"]
    env |= {f"HERMES_CRON_{name}": "x" for name in own} | {"HERMES_HOME": "x", "hermes_cron_x": "x"}
    assert set(load(environ=env).sources.values()) == {"default"}


def test_it_leaves_alone_what_kubernetes_sets_for_a_service_of_its_name(env: dict[str, str]) -> None:
    for service in ("HERMES_CRON", "HERMES_CRON_WEB"):
        tcp = f"{service}_PORT_8080_TCP"
        env |= {
            f"{service}_SERVICE_HOST": "10.0.0.1", f"{service}_SERVICE_PORT": "8080",
            f"{service}_SERVICE_PORT_HTTP": "8080", f"{service}_PORT": "tcp://10.0.0.1:8080",
            tcp: "tcp://10.0.0.1:8080", f"{tcp}_PROTO": "tcp", f"{tcp}_PORT": "8080", f"{tcp}_ADDR": "10.0.0.1",
        }  # fmt: skip
    assert set(load(environ=env).sources.values()) == {"default"}


def test_it_names_an_unknown_flag() -> None:
    error = refused(flags={"broker.uri": "redis://h"})
    assert str(error) == "There is no key broker.uri (given as a flag). Did you mean broker.url?"


# Values that cannot be used.


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("worker:\n  concurrency: many\n", "worker.concurrency must be a whole number from 1 to 1000 ({0}, line 2)."),
        ("worker:\n  concurrency: '4'\n", "worker.concurrency must be a whole number from 1 to 1000 ({0}, line 2)."),
        ("app: 12\n", "app must be text; put it in quotes ({0}, line 1)."),
        ("app: 2026-99-99\n", "app must be plain text, a number, true or false, or a list ({0}, line 1)."),
        ("app: !!python/name:os.system\n", "app must be plain text, a number, true or false, or a list ({0}, line 1)."),
        ("app: &a [*a]\n", "app must be text; put it in quotes ({0}, line 1)."),
        ("cron:\n  timezone: Europe/Lisbonne\n",
         "cron.timezone must be a time zone like Europe/Lisbon or UTC (did you mean Europe/Lisbon?) ({0}, line 2)."),
        ("broker: redis://h\n",
         "broker is a section of keys, and here it has a value ({0}, line 1). "
         "In broker there are url, queue, signing_key_file."),
        ("cron: {chronos: [1]}\n", "cron.chronos is a section of keys, and here it has a value ({0}, line 1). In "),
        ("[]\n", "{0} must hold keys with values, like"),
        ("hello\n", "{0} must hold keys with values, like"),
        ("broker:\n  url: redis://a\nstore: {}\nbroker:\n  url: redis://b\n",
         "broker stands twice in {0}: in line 1 and in line 4. Remove one of them."),
    ],
)  # fmt: skip
def test_it_says_in_one_sentence_what_is_wrong_and_where(tmp_path: Path, content: str, sentence: str) -> None:
    path = written(tmp_path, content)
    assert str(refused(path)).startswith(sentence.format(path))


def test_it_names_the_variable_or_the_flag_that_is_wrong(env: dict[str, str]) -> None:
    error = refused(environ={**env, "HERMES_CRON_WORKER__POOL": "fibers"})
    assert str(error) == "worker.pool must be one of threads, processes (HERMES_CRON_WORKER__POOL)."
    error = refused(environ=env, flags={"web.bind": "here"})
    assert "web.bind must be host:port" in str(error)
    assert "(given as a flag)" in str(error)
    assert "UTF-8" in str(refused(environ={**env, "HERMES_CRON_APP": "\udc80"}))


@pytest.mark.parametrize(
    "content",
    [
        "cron: {chronos: {access_token: *hunter2}}",
        "cron: {chronos: {access_token: !hunter2 x}}",
        "cron: {chronos: {access_token: [hunter2]}}",
        "cron: {chronos: {access_token: {hunter2: 1}}}",
        "cron: {chronos: {access_token: 'hunter2}}",
        "cron: {chronos: {access_token: @hunter2}}",
        'cron: {chronos: {access_token: "\\hunter2"}}',
        "cron: {chronos: {nas_public_key: hunter2 PRIVATE KEY}}",
        "cron:\n  chronos:\n    access_token: hunter2: x",
        "broker: {url: 'amqp:/me:hunter2@host'}",
    ],
)
def test_it_never_shows_a_value_in_an_error(tmp_path: Path, content: str) -> None:
    error = refused(written(tmp_path, content))
    told = [str(error), repr(error), str(error.__cause__)]
    assert error.__suppress_context__
    assert "hunter2" not in " ".join(told)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("broker:\n\turl: redis://h\n", "{0}, line 2, column 1: a tab stands where YAML takes spaces only. Indent"),
        ("broker: [1\n", "{0}, line 2, column 1: not YAML: did not find expected ',' or ']'."),
        ("app: a: b\n", "{0}, line 1, column 7: not YAML: mapping values are not allowed"),
        ("app: a\n---\napp: b\n", "{0}, line 2, column 1: not YAML: but found another document."),
        ("app: \x01\n", "{0} is not YAML: it has control characters"),
        ("app: " + "[" * 100_000, "{0}"),
        (b"app: a\nbroker:\n  url: \xff\n", "{0}, line 3, is not UTF-8 text."),
        (b"a" * (1024 * 1024 + 1), "{0} is larger than 1024 KiB"),
    ],
)
def test_it_says_where_a_file_is_no_yaml(tmp_path: Path, content: str | bytes, problem: str) -> None:
    path = written(tmp_path, content)
    assert str(refused(path)).startswith(problem.format(path))


def test_an_alias_that_unfolds_to_a_billion_values_is_not_unfolded(tmp_path: Path, env: dict[str, str]) -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    assert load(written(tmp_path, bomb + "cron: {}"), environ=env, lenient=True).notes
    assert "must be text" in str(refused(written(tmp_path, bomb + "cron: {timezone: *a29}"), lenient=True))


def test_it_waits_for_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert str(refused(tmp_path / "pipe")) == f"{tmp_path / 'pipe'} is no ordinary file."
    assert "no ordinary file" in str(refused(tmp_path))
