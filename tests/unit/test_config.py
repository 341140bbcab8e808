"""Where settings come from, which of them wins, and what is said of those that cannot be used."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hermes_cron.config import Config, example_yaml, load, secrets_in
from hermes_cron.errors import ConfigError
from hermes_cron.keys import OPTIONS, names_file, value_of, variable
from hermes_cron.settings import Secret, Settings

CRON = "HERMES_CRON_CRON__"
NAMES_FILES = [key for key in OPTIONS if names_file(key, "x")]
PEM = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"


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


def from_env(env: dict[str, str], key: str, text: str) -> object:
    return value_of(load(environ={**env, variable(key): text}).settings, key)


def shown(config: Config, key: str) -> str:
    return next(row.shown for row in config.rows() if row.key == key)


# Where the file is.


def test_it_needs_no_file_and_no_environment(env: dict[str, str]) -> None:
    config = load(environ=env)
    url = f"sqlite:///{env['HERMES_CRON_HOME']}/hermes-cron.db"
    assert config.settings.store.url == url
    assert (config.file, config.notes, set(config.sources.values())) == (None, (), {"default"})
    assert config.settings.cron == Settings().cron
    assert not config.home.exists()


def test_it_lives_in_the_users_home_by_default(tmp_path: Path) -> None:
    assert load(environ={"HOME": str(tmp_path)}).home == tmp_path / ".hermes-cron"
    assert load(environ={"HOME": str(tmp_path), "HERMES_CRON_HOME": ""}).home == tmp_path / ".hermes-cron"
    assert load(environ={"HOME": str(tmp_path), "HERMES_CRON_HOME": "~/x"}).home == tmp_path / "x"


def test_it_makes_a_relative_home_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(environ={"HERMES_CRON_HOME": "x"}).home == tmp_path / "x"


def test_it_finds_the_file_in_its_home_then_by_variable_then_by_name(tmp_path: Path, env: dict[str, str]) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.yaml").write_text("app: in_home")
    (tmp_path / "b.yaml").write_text("app: by_variable")
    (tmp_path / "c.yaml").write_text("app: by_name")
    assert load(environ=env).settings.app == "in_home"
    env["HERMES_CRON_CONFIG"] = str(tmp_path / "b.yaml")
    assert load(environ=env).settings.app == "by_variable"
    config = load(tmp_path / "c.yaml", environ=env)
    assert (config.settings.app, config.file) == ("by_name", tmp_path / "c.yaml")
    assert config.sources["app"] == f"file {tmp_path / 'c.yaml'}"


def test_it_misses_a_named_file_that_is_not_there(tmp_path: Path) -> None:
    gone = tmp_path / "gone.yaml"
    assert str(refused(gone)) == f"There is no file {gone} (or no way to it), and --config names it."
    assert "HERMES_CRON_CONFIG names it" in str(refused(environ={"HERMES_CRON_CONFIG": str(gone)}))


def test_it_does_not_pass_over_a_default_file_that_it_cannot_read(tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.yaml").symlink_to(tmp_path / "gone")
    assert "cannot be read: No such file" in str(refused(environ=env))


# Which source wins.


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(tmp_path: Path, env: dict[str, str]) -> None:
    path = written(tmp_path, "worker: {concurrency: 2, pool: processes, lease_seconds: 60}\n")
    env |= {"HERMES_CRON_WORKER__CONCURRENCY": "3", "HERMES_CRON_WORKER__POOL": "threads"}
    config = load(path, environ=env, flags={"worker.concurrency": 5, "worker.pool": None})
    worker = config.settings.worker
    assert (worker.concurrency, worker.pool, worker.lease_seconds, worker.drain_seconds) == (5, "threads", 60.0, 30.0)
    assert [config.sources[f"worker.{name}"] for name in ("concurrency", "pool", "lease_seconds", "drain_seconds")] == [
        "flag worker.concurrency", "environment HERMES_CRON_WORKER__POOL", f"file {path}", "default",
    ]  # fmt: skip


def test_every_key_has_its_variable(env: dict[str, str]) -> None:
    assert variable("broker.url") == "HERMES_CRON_BROKER__URL"
    assert variable("cron.chronos.portal_url") == "HERMES_CRON_CRON__CHRONOS__PORTAL_URL"
    config = load(environ={**env, "HERMES_CRON_APP": "proj:app"})
    assert (config.settings.app, config.sources["app"]) == ("proj:app", "environment HERMES_CRON_APP")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("worker.concurrency", " 12 ", 12),
        ("worker.lease_seconds", "45", 45.0),
        ("worker.drain_seconds", "2m", 120.0),
        ("tasks.shell.enabled", "true", True),
        ("tasks.shell.enabled", "0", False),
        ("tasks.shell.enabled", "Yes", True),
        ("cron.chronos.ladder", "15m, 3h", (900.0, 10_800.0)),
        ("cron.chronos.ladder", "[15m,'3h']", (900.0, 10_800.0)),
        ("cron.chronos.ladder", "[]", ()),
        ("cron.chronos.ladder", "", ()),
        ("cron.chronos.access_token", "12345\n", Secret("12345")),
        ("broker.queue", "12345", "12345"),
    ],
)
def test_it_parses_text_for_the_keys_that_want_no_text(env: dict[str, str], key: str, text: str, value: object) -> None:
    assert from_env(env, key, text) == value
    assert value_of(load(environ=env, flags={key: text}).settings, key) == value


def test_an_empty_variable_takes_a_value_of_the_file_back(tmp_path: Path, env: dict[str, str]) -> None:
    path = written(tmp_path, "cron: {provider: chronos, chronos: {access_token: abc}}")
    config = load(path, environ={**env, CRON + "PROVIDER": "", CRON + "CHRONOS__ACCESS_TOKEN": ""})
    assert (config.settings.cron.provider, bool(config.settings.cron.chronos.access_token)) == ("", False)
    assert config.sources["cron.provider"] == f"environment {CRON}PROVIDER"


def test_a_bad_value_that_is_overruled_harms_nobody(tmp_path: Path, env: dict[str, str]) -> None:
    path = written(tmp_path, "worker: {concurrency: many}")
    assert load(path, environ=env, flags={"worker.concurrency": 2}).settings.worker.concurrency == 2


# Home and file names.


@pytest.mark.parametrize("home", ["$HERMES_CRON_HOME", "${HERMES_CRON_HOME}"])
def test_it_puts_its_home_into_the_stores_url(env: dict[str, str], home: str) -> None:
    assert from_env(env, "store.url", f"sqlite:///{home}/x.db") == f"sqlite:///{env['HERMES_CRON_HOME']}/x.db"
    assert from_env(env, "store.url", "sqlite:///~/x.db") == f"sqlite:///{env['HOME']}/x.db"
    assert from_env(env, "store.url", "postgresql://a:~/b@h/d") == "postgresql://a:~/b@h/d"
    assert from_env(env, "store.url", "sqlite:///$HERMES_CRON_HOMES/x") == "sqlite:///$HERMES_CRON_HOMES/x"


@pytest.mark.parametrize("key", NAMES_FILES)
def test_file_names_start_from_home_from_the_user_or_from_beside_the_file(
    tmp_path: Path, env: dict[str, str], key: str
) -> None:
    assert from_env(env, key, "$HERMES_CRON_HOME/k") == env["HERMES_CRON_HOME"] + "/k"
    assert from_env(env, key, "~/k") == env["HOME"] + "/k"
    assert from_env(env, key, "k") == "k"
    *sections, last = key.split(".")
    path = written(tmp_path, "".join(f"{section}: {{" for section in sections) + f"{last}: k" + "}" * len(sections))
    assert value_of(load(path, environ=env).settings, key) == str(tmp_path / "k")


def test_every_key_that_names_a_file_is_among_them() -> None:
    assert [key for key, option in OPTIONS.items() if re.search(r"\bfile\b", option.about)] == NAMES_FILES


def test_a_public_key_that_is_written_out_is_left_as_it_is(tmp_path: Path, env: dict[str, str]) -> None:
    block = PEM.replace("\n", "\n      ")
    path = written(tmp_path, f"cron:\n  chronos:\n    nas_public_key: |\n      {block}")
    assert load(path, environ=env).settings.cron.chronos.nas_public_key == PEM
    jwk = '{"kty": "EC", "x": "~/$HERMES_CRON_HOME"}'
    assert from_env(env, "cron.chronos.nas_public_key", jwk) == jwk


# Another program's file.


def test_it_reads_its_part_of_another_programs_file_when_told_to(tmp_path: Path, env: dict[str, str]) -> None:
    path = written(tmp_path, "model: {a: 1, a: 2}\ncron: {provider: chronos}\nterminal: !x {}\n")
    assert "no key model" in str(refused(path))
    config = load(path, environ=env, lenient=True)
    assert config.settings.cron.provider == "chronos"
    assert config.notes == (f"{path}: left alone, as they are no keys of ours: model, terminal.",)


def test_it_takes_no_file_for_another_programs_that_has_no_cron_section(tmp_path: Path) -> None:
    assert "no key model" in str(refused(written(tmp_path, "model: {}\nbroker: {}\n"), lenient=True))


def test_it_passes_over_no_unknown_key_inside_its_own_sections(tmp_path: Path) -> None:
    assert "no key cron.provder" in str(refused(written(tmp_path, "model: 1\ncron: {provder: x}\n"), lenient=True))


# What is empty.


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n", "broker:\n", "cron:\n  chronos:\n    # x: 1\n",
                                     "app:\n", "cron: {timezone: null}"])  # fmt: skip
def test_what_is_empty_changes_nothing(tmp_path: Path, env: dict[str, str], content: str) -> None:
    config = load(written(tmp_path, content), environ=env)
    assert config.settings == load(environ=env).settings
    assert set(config.sources.values()) == {"default"}


def test_it_reads_past_a_byte_order_mark(tmp_path: Path, env: dict[str, str]) -> None:
    assert load(written(tmp_path, b"\xef\xbb\xbfapp: a\r\n"), environ=env).settings.app == "a"


# What is shown.


def test_it_masks_secrets_in_what_it_shows(tmp_path: Path, env: dict[str, str]) -> None:
    env |= {
        CRON + "CHRONOS__ACCESS_TOKEN": "hunter2", CRON + "CHRONOS__ACCESS_TOKEN_COMMAND": "curl -H hunter2",
        "HERMES_CRON_BROKER__URL": "amqp://me:hunter2@host/", "HERMES_CRON_STORE__URL": "postgresql://h/d?password=hunter2",
        CRON + "CHRONOS__NAS_PUBLIC_KEY": PEM,
    }  # fmt: skip
    config = load(environ=env)
    assert "hunter2" not in repr(config.rows())
    assert shown(config, "cron.chronos.access_token") == "***"
    assert shown(config, "cron.chronos.access_token_command") == "curl ***"
    assert shown(config, "broker.url") == "amqp://me:***@host/"
    assert shown(config, "cron.chronos.nas_public_key") == "-----BEGIN PUBLIC KEY----- ..."
    assert "me:hunter2" not in repr(config)


def test_it_lists_every_key_with_its_source(env: dict[str, str]) -> None:
    rows = load(environ={**env, "HERMES_CRON_WORKER__DRAIN_SECONDS": "2m"}).rows()
    assert [row.key for row in rows] == list(OPTIONS)
    assert {row.key: (row.shown, row.source) for row in rows} | {
        "cron.chronos.ladder": ("[15m, 3h, 24h, 7d]", "default"),
        "tasks.shell.enabled": ("false", "default"),
        "worker.concurrency": ("4", "default"),
        "worker.drain_seconds": ("120", "environment HERMES_CRON_WORKER__DRAIN_SECONDS"),
    } == {row.key: (row.shown, row.source) for row in rows}


# The example.


def test_the_example_changes_nothing_as_it_is(tmp_path: Path, env: dict[str, str]) -> None:
    config = load(written(tmp_path, example_yaml()), environ=env)
    assert (config.settings, set(config.sources.values())) == (load(environ=env).settings, {"default"})


def test_the_example_gives_the_defaults_with_every_key_in_force(tmp_path: Path, env: dict[str, str]) -> None:
    path = written(tmp_path, re.sub(r"(?m)^( *)#([a-z_]+:)", r"\1\2", example_yaml()))
    config = load(path, environ=env)
    assert (config.settings, set(config.sources.values())) == (load(environ=env).settings, {f"file {path}"})


def test_no_line_of_the_example_is_too_long_to_read() -> None:
    assert max(map(len, example_yaml().splitlines())) <= 120


# The cost.


def test_it_imports_no_yaml_library_while_there_is_no_file(tmp_path: Path) -> None:
    program = (
        "import sys, hermes_cron.config as c; c.load(environ={'HERMES_CRON_HOME': '/'}); print('yaml' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=90, cwd=tmp_path)
    assert answer.stdout.strip() == b"False"


def test_it_knows_the_secrets_that_stand_in_it() -> None:
    found = load(
        environ={"HERMES_CRON_HOME": "/nowhere"},
        flags={
            "store.url": "postgresql://cron:hunt%40r2@db/cron?sslpassword=tide-lock",
            "cron.chronos.access_token": "atoken-1", "broker.url": "amqp://guest:abc@queue//",
            "cron.chronos.portal_url": "https://nas.example/path",
        },
    )  # fmt: skip
    assert set(secrets_in(found.settings)) == {"hunt%40r2", "hunt@r2", "tide-lock", "atoken-1"}
    assert secrets_in(load(environ={"HERMES_CRON_HOME": "/nowhere"}).settings) == ()
