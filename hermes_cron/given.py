"""What was given for which key, and where: by a file, by the environment, by flags."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hermes_cron.document import Node, read
from hermes_cron.errors import ConfigError
from hermes_cron.keys import OPTIONS, PREFIX, SECTIONS, close_key, guess, inside, variable

RESERVED = frozenset(PREFIX + name for name in ("HOME", "CONFIG", "LOG_LEVEL", "LOG_FORMAT", "FAILPOINTS"))
"""Variables that are ours and no keys; so is every one that starts with HERMES_CRON_TEST_."""

_VARIABLES = {variable(key): key for key in OPTIONS}
_TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
# What Kubernetes puts into every container beside a Service whose name begins with hermes-cron; its PORT is an address.
_SERVICE = re.compile(
    r"HERMES_CRON_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)=.*|"
    r"HERMES_CRON_(\w+_)?PORT=(tcp|udp|sctp)://.*",
    re.ASCII | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was given: `source` is for the list of sources, `where` the same to the line, for errors."""

    value: object = field(repr=False)
    source: str
    where: str
    base: Path | None = None
    """The folder that relative file names in it start from; None for the current one."""


def from_file(file: Path, *, lenient: bool) -> tuple[dict[str, Given], tuple[str, ...]]:
    """What a file gives, and notes about what was left alone in it because it is another program's.

    Raises:
        ConfigError: It cannot be read, is no YAML, or has a key that we do not know.
    """
    entries = read(file).entries()
    if entries is None:
        raise ConfigError(f"{file} must hold keys with values, like `broker:` with `url: ...` below it.")
    ours = {name: node for name, node in entries.items() if name in OPTIONS or name in SECTIONS}
    foreign = [name for name in entries if name not in ours]
    if not (lenient and foreign and "cron" in entries):
        return dict(_walk(entries, "", file)), ()
    note = f"{file}: left alone, as they are no keys of ours: {', '.join(foreign)}."
    return dict(_walk(ours, "", file)), (note,)


def from_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    """What the environment gives.

    Raises:
        ConfigError: A variable has our prefix and is no key.
    """
    found = {}
    for name, value in sorted(environ.items()):
        if name in _VARIABLES:
            key = _VARIABLES[name]
            found[key] = Given(_parsed(key, value), f"environment {name}", name)
        elif name.startswith(PREFIX) and not _is_no_key(name, value):
            close = close_key(name.removeprefix(PREFIX).lower().replace("__", "."))
            hint = f"Did you mean {variable(close)}?" if close else "Names are like HERMES_CRON_BROKER__URL."
            raise ConfigError(f"The environment variable {name} is no key of hermes-cron.", hint=hint, field=name)
    return found


def from_flags(flags: Mapping[str, object]) -> dict[str, Given]:
    """What flags give, by dotted key; None is a flag that was not given.

    Raises:
        ConfigError: One is no key.
    """
    found = {}
    for key, value in flags.items():
        if key not in OPTIONS:
            raise ConfigError(f"There is no key {key} (given as a flag).", hint=guess(key), field=key)
        if value is not None:
            parsed = _parsed(key, value) if isinstance(value, str) else value
            found[key] = Given(parsed, f"flag {key}", "given as a flag")
    return found


def _walk(entries: Mapping[str, Node], prefix: str, file: Path) -> Iterator[tuple[str, Given]]:
    for name, node in entries.items():
        key = prefix + name
        if key in SECTIONS:
            below = node.entries()
            if below is None:
                says = f"{key} is a section of keys, and here it has a value ({node.where})."
                raise ConfigError(says, hint=inside(key), field=key)
            yield from _walk(below, key + ".", file)
        elif key not in OPTIONS:
            raise ConfigError(f"There is no key {key} ({node.where}).", hint=guess(key), field=key)
        elif not node.empty():
            yield key, Given(_plain(key, node), f"file {file}", node.where, file.parent)


def _plain(key: str, node: Node) -> object:
    try:
        return node.value()
    except ValueError as error:
        raise ConfigError(f"{key} {error} ({node.where}).", field=key) from None


def _is_no_key(name: str, value: str) -> bool:
    ours = name in RESERVED or name.startswith(PREFIX + "TEST_")
    return ours or _SERVICE.fullmatch(f"{name}={value}") is not None


def _parsed(key: str, value: str) -> object:
    """The value that a text stands for, where its key wants no text; the text itself where it stands for none."""
    default, text = OPTIONS[key].default, value.strip()
    if isinstance(default, bool):
        return _TRUTHS.get(text.lower(), value)
    if isinstance(default, int) and re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
        return int(text)
    if isinstance(default, tuple):
        return re.sub(r"[\"']", "", text.removeprefix("[").removesuffix("]"))
    return value
