"""`load`: the configuration from flags, the environment and a file, by the schema in `settings`.

A flag wins over the environment, the environment over the file, the file over the default. Whatever cannot be used is a
`ConfigError` that names the key and where its value came from, and never shows the value: it may be a secret.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import parse_qsl, unquote, urlsplit

from hermes_cron.errors import ConfigError
from hermes_cron.given import Given, from_environment, from_file, from_flags
from hermes_cron.keys import OPTIONS, PARTS, PREFIX, made_of, names_file, value_of
from hermes_cron.settings import NO_SECRET, Option, Secret, Settings, duration_text, mask_url

_NOTHING: Mapping[str, object] = MappingProxyType({})
_LEAST_SECRET = 4
_SECRET_NAME = re.compile("(?i)pass|pwd|token|secret|key")
_HOME = re.compile(r"\$HERMES_CRON_HOME\b|\$\{HERMES_CRON_HOME\}")


@dataclass(frozen=True, slots=True)
class Row:
    """One key for people: what it is, with secrets masked, where that came from, and what it is about."""

    key: str
    shown: str
    source: str
    about: str


@dataclass(frozen=True, slots=True)
class Config:
    """The settings in force, and where each came from: default, `file PATH`, `environment NAME` or `flag KEY`."""

    settings: Settings
    home: Path
    file: Path | None
    sources: Mapping[str, str] = field(repr=False)
    notes: tuple[str, ...] = ()

    def rows(self) -> list[Row]:
        """Every key in the schema's order, fit to be shown to anybody."""
        return [
            Row(key, _shown(key, value_of(self.settings, key)), self.sources[key], option.about)
            for key, option in OPTIONS.items()
        ]


def load(
    path: str | Path | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    flags: Mapping[str, object] = _NOTHING,
    lenient: bool = False,
) -> Config:
    """The configuration; opens the file and nothing else, and makes nothing.

    The file is `path`, else HERMES_CRON_CONFIG, else config.yaml in HERMES_CRON_HOME if there is one. `flags` are by
    dotted key, and None is a flag that was not given. `lenient` lets the file be another program's too: with a `cron`
    section in it, top-level keys that are not ours become notes.

    Raises:
        ConfigError: A key, a value or the file is not as it must be.
    """
    home = _home(environ)
    file = _file(path, environ, home)
    given, notes = from_file(file, lenient=lenient) if file else ({}, ())
    given |= from_environment(environ) | from_flags(flags)
    values = {key: _value(key, option, given.get(key), home, environ) for key, option in OPTIONS.items()}
    sources = {key: given[key].source if key in given else "default" for key in OPTIONS}
    return Config(made_of(values), home, file, MappingProxyType(sources), notes)


def secrets_in(settings: Settings) -> tuple[str, ...]:
    """The secrets that stand in the settings themselves, the longest first; what stands in files is not looked at."""
    found = set[str]()
    for key in OPTIONS:
        value = value_of(settings, key)
        if isinstance(value, Secret):
            found.add(value.reveal())
        elif isinstance(value, str) and "://" in value:
            found |= _secrets_of(value)
    return tuple(sorted((text for text in found if len(text) >= _LEAST_SECRET), key=len, reverse=True))


def example_yaml() -> str:
    """A file with every key, commented out at its default: as it is, it changes nothing."""
    lines = [
        "# Configuration of hermes-cron. Every key stands here at its default.",
        "# A flag wins over the environment (broker.url: HERMES_CRON_BROKER__URL), and that over this file.",
        "",
    ]
    for key, part in PARTS.items():
        depth = "  " * key.count(".")
        name = key.rpartition(".")[2]
        if isinstance(part, Option):
            lines += [f"{depth}# {part.about}", f"{depth}#{name}: {_yaml(part.default)}"]
        else:
            lines += [] if depth else [""]
            lines += [f"{depth}# {(part.__doc__ or '').splitlines()[0]}", f"{depth}{name}:"]
    return "\n".join(lines) + "\n"


def _home(environ: Mapping[str, str]) -> Path:
    named = environ.get(PREFIX + "HOME", "")
    if "\0" in named:
        raise ConfigError("HERMES_CRON_HOME must be the name of a folder.", field="HERMES_CRON_HOME")
    home = Path(_tilde(named or "~/.hermes-cron", environ))
    if not named and not home.is_absolute():
        raise ConfigError("This user has no home directory.", hint="Set HERMES_CRON_HOME.", field="HERMES_CRON_HOME")
    return home.absolute()


def _file(path: str | Path | None, environ: Mapping[str, str], home: Path) -> Path | None:
    named = str(path) if path is not None else environ.get(PREFIX + "CONFIG", "")
    if not named:
        default = home / "config.yaml"
        return default if os.path.lexists(default) else None
    file = Path(_HOME.sub(lambda _: str(home), _tilde(named, environ))).absolute()
    if not os.path.lexists(file):
        teller = "--config" if path is not None else "HERMES_CRON_CONFIG"
        raise ConfigError(f"There is no file {file} (or no way to it), and {teller} names it.", field=teller)
    return file


def _tilde(name: str, environ: Mapping[str, str]) -> str:
    user = environ.get("HOME", "")
    if user and (name == "~" or name.startswith("~/")):
        return user + name[1:]
    return os.path.expanduser(name)  # noqa: PTH111 - Path drops a name's end, "./" and "//", and we keep what is written.


def _value(key: str, option: Option, given: Given | None, home: Path, environ: Mapping[str, str]) -> object:
    if given is None:
        value = option.default
    elif given.value == "" and option.default in ("", NO_SECRET):
        # Empty is how a key is taken back: HERMES_CRON_CRON__PROVIDER= goes back to the built-in.
        value = option.default
    else:
        value = _understood(key, option, given)
    if isinstance(value, str) and value and (key == "store.url" or names_file(key, value)):
        value = _HOME.sub(lambda _: str(home), value)
        if key == "store.url":
            return re.sub(r"(?<=^sqlite:///)~/", lambda _: _tilde("~/", environ), value)
        value = _tilde(value, environ)
        base = given.base if given is not None else None
        return str(base / value) if base is not None else value
    return value


def _understood(key: str, option: Option, given: Given) -> object:
    try:
        if isinstance(given.value, str):
            given.value.encode()
        return option.read(given.value)
    except UnicodeEncodeError:
        raise ConfigError(f"{key} must be UTF-8 text ({given.where}).", field=key) from None
    except ValueError as error:
        raise ConfigError(f"{key} {error} ({given.where}).", field=key) from None


def _shown(key: str, value: object) -> str:
    if isinstance(value, Secret):
        return "***" if value else ""
    if isinstance(value, tuple | bool | float):
        return _yaml(value)
    text = mask_url(str(value)) if "://" in str(value) else str(value)
    if key.endswith("_command") and len(text.split(None, 1)) > 1:
        # People write tokens into the arguments of commands.
        return text.split(None, 1)[0] + " ***"
    return text.splitlines()[0] + " ..." if "\n" in text else text


def _secrets_of(url: str) -> set[str]:
    """What `mask_url` hides, as it stands there and as it is meant."""
    hidden = {value for name, value in parse_qsl(urlsplit(url).query) if _SECRET_NAME.search(name)}
    hidden.add(urlsplit(url).password or "")
    return {*hidden, *map(unquote, hidden)}


def _yaml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(duration_text(item) for item in value)}]"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool | int):
        return str(value).lower()
    text = value.reveal() if isinstance(value, Secret) else str(value)
    return text if re.fullmatch(r"[A-Za-z][\w./:$-]*|[\d.]+:\d+", text, re.ASCII) else json.dumps(text)
