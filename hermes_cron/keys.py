"""The keys of the configuration by their dotted names, in the schema's order, and what they are called elsewhere."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from hermes_cron.settings import Option, Settings

PREFIX = "HERMES_CRON_"


def _schema(section: type, prefix: str = "") -> Iterator[tuple[str, Option | type]]:
    for part in fields(section):
        inner = part.metadata.get("section")
        yield prefix + part.name, inner or part.metadata["option"]
        if inner:
            yield from _schema(inner, f"{prefix}{part.name}.")


PARTS: Mapping[str, Option | type] = MappingProxyType(dict(_schema(Settings)))
"""Every section and key, depth first."""

SECTIONS: Mapping[str, type] = MappingProxyType({key: part for key, part in PARTS.items() if isinstance(part, type)})
OPTIONS: Mapping[str, Option] = MappingProxyType({key: part for key, part in PARTS.items() if isinstance(part, Option)})


def variable(key: str) -> str:
    """The environment variable of a key: `broker.url` is HERMES_CRON_BROKER__URL."""
    return PREFIX + key.upper().replace(".", "__")


def value_of(settings: Settings, key: str) -> Any:
    """The value of a key in these settings."""
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def made_of(values: Mapping[str, object]) -> Settings:
    """The settings that have these values, one for every key."""
    settings: Settings = _made(Settings, values, "")
    return settings


def is_inline_key(text: str) -> bool:
    """Whether `cron.chronos.nas_public_key` holds the key itself (PEM or JWK), and not the name of a file."""
    return text.lstrip().startswith(("-----BEGIN", "{"))


def names_file(key: str, value: str) -> bool:
    """Whether this value of this key is the name of a file."""
    return key.endswith("_file") or (key == "cron.chronos.nas_public_key" and not is_inline_key(value))


def close_key(name: str, known: Collection[str] = OPTIONS) -> str:
    """The key that ends alike, or else is spelled alike; empty where there is none."""
    same = [key for key in known if key.rpartition(".")[2] == name.rpartition(".")[2]]
    close = same if len(same) == 1 else difflib.get_close_matches(name, known, 1, 0.75)
    return close[0] if close else ""


def guess(name: str) -> str:
    """The hint for a key that does not exist."""
    close = close_key(name) or close_key(name, [key for key in SECTIONS if not name.startswith(key + ".")])
    return f"Did you mean {close}?" if close else inside(name.rpartition(".")[0])


def inside(section: str) -> str:
    """The hint that lists what there is in a section, or at the top where it is none."""
    prefix = section + "." if section in SECTIONS else ""
    names = [key.removeprefix(prefix) for key in PARTS if key.startswith(prefix)]
    place = f"In {section} there are" if prefix else "There are"
    return f"{place} {', '.join(name for name in names if '.' not in name)}."


def _made(section: type, values: Mapping[str, object], prefix: str) -> Any:
    given = {}
    for part in fields(section):
        inner = part.metadata.get("section")
        key = prefix + part.name
        given[part.name] = _made(inner, values, key + ".") if inner else values[key]
    return section(**given)
