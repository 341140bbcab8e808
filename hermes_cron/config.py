"""`load`: the configuration from flags, the environment and a file, by the schema in `settings`.

A flag wins over the environment, the environment over the file, the file over the default. Whatever cannot be used is a
`ConfigError` that names the key and where its value came from, and never shows the value: it may be a secret.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hermes_cron.document import Node, read
from hermes_cron.errors import ConfigError
from hermes_cron.settings import NO_SECRET, Option, Secret, Settings, duration_text, mask_url

PREFIX = "HERMES_CRON_"
RESERVED = frozenset(PREFIX + name for name in ("HOME", "CONFIG", "LOG_LEVEL", "LOG_FORMAT", "FAILPOINTS"))
"""Variables that are ours and no keys; so is every one that starts with HERMES_CRON_TEST_."""

_NOTHING: Mapping[str, object] = MappingProxyType({})
_TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_HOME = re.compile(r"\$HERMES_CRON_HOME\b|\$\{HERMES_CRON_HOME\}")
# What Kubernetes puts into every container beside a Service whose name begins with hermes-cron; its PORT is an address.
_SERVICE = re.compile(
    r"HERMES_CRON_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)=.*|"
    r"HERMES_CRON_(\w+_)?PORT=(tcp|udp|sctp)://.*",
    re.ASCII | re.DOTALL,
)


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


@dataclass(frozen=True, slots=True)
class _Given:
    """A value as it was given: `source` is for the list of sources, `where` the same to the line, for errors."""

    value: object = field(repr=False)
    source: str
    where: str
    base: Path | None = None
    """The folder that relative file names in it start from; None for the current one."""


def _schema(section: type, prefix: str = "") -> Iterator[tuple[str, Option | type]]:
    """Every section and key below a section, depth first."""
    for part in fields(section):
        inner = part.metadata.get("section")
        yield prefix + part.name, inner or part.metadata["option"]
        if inner:
            yield from _schema(inner, f"{prefix}{part.name}.")


_PARTS = dict(_schema(Settings))
SECTIONS: Mapping[str, type] = MappingProxyType({k: part for k, part in _PARTS.items() if isinstance(part, type)})
OPTIONS: Mapping[str, Option] = MappingProxyType({k: part for k, part in _PARTS.items() if isinstance(part, Option)})
"""Every key, dotted, in the schema's order."""


def variable(key: str) -> str:
    """The environment variable of a key: `broker.url` is HERMES_CRON_BROKER__URL."""
    return PREFIX + key.upper().replace(".", "__")


_VARIABLES = {variable(key): key for key in OPTIONS}


def value_of(settings: Settings, key: str) -> Any:
    """The value of a dotted key."""
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def is_inline_key(text: str) -> bool:
    """Whether `cron.chronos.nas_public_key` holds the key itself (PEM or JWK), and not the name of a file."""
    return text.lstrip().startswith(("-----BEGIN", "{"))


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
    notes: list[str] = []
    given = _from_file(file, lenient, notes) if file else {}
    given |= _from_environment(environ) | _from_flags(flags)
    values = {key: _value(key, option, given.get(key), home, environ) for key, option in OPTIONS.items()}
    sources = {key: given[key].source if key in given else "default" for key in OPTIONS}
    return Config(_settings(Settings, values), home, file, MappingProxyType(sources), tuple(notes))


def example_yaml() -> str:
    """A file with every key, commented out at its default: as it is, it changes nothing."""
    lines = [
        "# Configuration of hermes-cron. Every key stands here at its default.",
        "# A flag wins over the environment (broker.url: HERMES_CRON_BROKER__URL), and that over this file.",
        "",
    ]
    for key, part in _PARTS.items():
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


def _from_file(file: Path, lenient: bool, notes: list[str]) -> dict[str, _Given]:
    top = read(file)
    entries = top.entries()
    if entries is None:
        raise ConfigError(f"{file} must hold keys with values, like `broker:` with `url: ...` below it.")
    ours = {part.name for part in fields(Settings)}
    foreign = [name for name in entries if name not in ours]
    if lenient and foreign and "cron" in entries:
        notes.append(f"{file}: left alone, as they are no keys of ours: {', '.join(foreign)}.")
        entries = {name: node for name, node in entries.items() if name in ours}
    return dict(_walk(entries, "", file))


def _walk(entries: Mapping[str, Node], prefix: str, file: Path) -> Iterator[tuple[str, _Given]]:
    for name, node in entries.items():
        key = prefix + name
        if key in OPTIONS and not node.empty():
            yield key, _Given(_plain(key, node), f"file {file}", node.where, file.parent)
        elif key in SECTIONS:
            inner = node.entries()
            if inner is None:
                raise ConfigError(f"{key} is a section of keys, and here it has a value ({node.where}).", field=key,
                                  hint=_known(key))  # fmt: skip
            yield from _walk(inner, key + ".", file)
        elif key not in OPTIONS:
            raise ConfigError(f"There is no key {key} ({node.where}).", hint=_guess(key), field=key)


def _plain(key: str, node: Node) -> object:
    try:
        return node.value()
    except ValueError as error:
        raise ConfigError(f"{key} {error} ({node.where}).", field=key) from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    found = {}
    for name, value in sorted(environ.items()):
        if name in _VARIABLES:
            key = _VARIABLES[name]
            found[key] = _Given(_parsed(value, OPTIONS[key].default), f"environment {name}", name)
        elif name.startswith(PREFIX) and not _is_no_key(name, value):
            close = _close(name.removeprefix(PREFIX).lower().replace("__", "."), OPTIONS)
            hint = f"Did you mean {variable(close)}?" if close else "Names are like HERMES_CRON_BROKER__URL."
            raise ConfigError(f"The environment variable {name} is no key of hermes-cron.", hint=hint, field=name)
    return found


def _is_no_key(name: str, value: str) -> bool:
    if name in RESERVED or name.startswith(PREFIX + "TEST_"):
        return True
    return _SERVICE.fullmatch(f"{name}={value}") is not None


def _from_flags(flags: Mapping[str, object]) -> dict[str, _Given]:
    found = {}
    for key, value in flags.items():
        if key not in OPTIONS:
            raise ConfigError(f"There is no key {key} (given as a flag).", hint=_guess(key), field=key)
        if value is not None:
            parsed = _parsed(value, OPTIONS[key].default) if isinstance(value, str) else value
            found[key] = _Given(parsed, f"flag {key}", "given as a flag")
    return found


def _parsed(value: str, default: object) -> object:
    """The value that a text stands for, where its key wants no text; the text itself where it stands for none."""
    text = value.strip()
    if isinstance(default, bool):
        return _TRUTHS.get(text.lower(), value)
    if isinstance(default, int) and re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
        return int(text)
    if isinstance(default, tuple):
        return re.sub(r"[\"']", "", text.removeprefix("[").removesuffix("]"))
    return value


def _value(key: str, option: Option, given: _Given | None, home: Path, environ: Mapping[str, str]) -> object:
    if given is None:
        value = option.default
    elif given.value == "" and option.default in ("", NO_SECRET):
        # Empty is how a key is taken back: HERMES_CRON_CRON__PROVIDER= goes back to the built-in.
        value = option.default
    else:
        value = _understood(key, option, given)
    if isinstance(value, str) and value and (key == "store.url" or _names_file(key, value)):
        value = _HOME.sub(lambda _: str(home), value)
        if key == "store.url":
            return re.sub(r"(?<=^sqlite:///)~/", lambda _: _tilde("~/", environ), value)
        value = _tilde(value, environ)
        base = given.base if given is not None else None
        return str(base / value) if base is not None else value
    return value


def _understood(key: str, option: Option, given: _Given) -> object:
    try:
        if isinstance(given.value, str):
            given.value.encode()
        return option.read(given.value)
    except UnicodeEncodeError:
        raise ConfigError(f"{key} must be UTF-8 text ({given.where}).", field=key) from None
    except ValueError as error:
        raise ConfigError(f"{key} {error} ({given.where}).", field=key) from None


def _names_file(key: str, value: str) -> bool:
    if key == "cron.chronos.nas_public_key":
        return not is_inline_key(value)
    return key.endswith("_file")


def _settings(section: type, values: Mapping[str, object], prefix: str = "") -> Any:
    """The section and all below it, made of the values by dotted key."""
    given = {}
    for part in fields(section):
        inner = part.metadata.get("section")
        key = prefix + part.name
        given[part.name] = _settings(inner, values, key + ".") if inner else values[key]
    return section(**given)


def _guess(key: str) -> str:
    """The hint for a key that does not exist."""
    close = _close(key, OPTIONS) or _close(key, [section for section in SECTIONS if not key.startswith(section + ".")])
    return f"Did you mean {close}?" if close else _known(key.rpartition(".")[0])


def _close(key: str, known: Collection[str]) -> str:
    """The one that ends alike, or else is spelled alike; empty where there is none."""
    same = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    close = same if len(same) == 1 else difflib.get_close_matches(key, known, 1, 0.75)
    return close[0] if close else ""


def _known(section: str) -> str:
    prefix = section + "." if section in SECTIONS else ""
    names = [key.removeprefix(prefix) for key in _PARTS if key.startswith(prefix)]
    inside = f"In {section} there are" if prefix else "There are"
    return f"{inside} {', '.join(name for name in names if '.' not in name)}."


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


def _yaml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(duration_text(item) for item in value)}]"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool | int):
        return str(value).lower()
    text = value.reveal() if isinstance(value, Secret) else str(value)
    return text if re.fullmatch(r"[A-Za-z][\w./:$-]*|[\d.]+:\d+", text, re.ASCII) else json.dumps(text)
