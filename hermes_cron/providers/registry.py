"""Which providers there are: bundled ones, the user's folders, installed packages. Looking runs none of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hermes_cron import document
from hermes_cron.errors import ConfigError
from hermes_cron.providers.trust import distrust
from hermes_cron.version import __version__

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint  # For its name; why it is not simply imported is said below.

GROUP = "hermes_cron.providers"
"""The group of entry points by which an installed package offers a provider."""

BUILTIN = "builtin"
BUNDLED, USER, PACKAGE = "bundled", "user", "package"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class ProviderInfo:
    """One provider as it describes itself. `source` is bundled, user or package; `path` where its code is.

    `problem` says why it cannot be used; empty when nothing is known against it.
    """

    name: str
    description: str
    version: str
    source: str
    path: str
    problem: str = ""


def list_providers(home: Path) -> Sequence[ProviderInfo]:
    """All providers, the usable one first where two have a name. Runs no code of theirs, and opens no connection."""
    found: list[ProviderInfo] = []
    for info in _all(home):
        first = next((other for other in found if other.name == info.name), None)
        if first is not None:
            problem = f"the {first.source} provider of this name comes first ({first.path})."
            info = replace(info, problem=info.problem or problem)  # noqa: PLW2901 - the same one, with its problem.
        found.append(info)
    return found


def find_provider(name: str, home: Path) -> ProviderInfo:
    """The provider of this name; a bundled one is never hidden by another.

    Raises:
        ConfigError: There is none.
    """
    # Nothing is looked at beyond the first: an agent that is woken by a fire has no time to look through packages.
    found = next((info for info in _all(home, {name}) if info.name == name), None)
    if found is None:
        names = ", ".join(dict.fromkeys(info.name for info in _all(home)))
        message = f"There is no provider {name!r} in the package, in {home / 'plugins'} or among installed packages."
        raise ConfigError(message, hint=f"Choose one of: {names}.", field="cron.provider")
    return found


def load_package(name: str) -> object:
    """What the entry point of an installed provider names; this runs its code."""
    loaded: object = next(point for point in _entry_points() if point.name == name).load()
    return loaded


def _all(home: Path, names: Collection[str] = ()) -> Iterator[ProviderInfo]:
    """All of these names, or simply all, in the order in which one comes before another of its name."""
    yield _builtin()
    yield from _folders(_HERE, BUNDLED, names)
    yield from _folders(home / "plugins", USER, names)
    yield from _packages()


def _entry_points() -> Sequence[EntryPoint]:
    # A third of what this room costs to import, and only who looks beyond the folders needs it.
    from importlib.metadata import entry_points  # noqa: PLC0415 - as was just said.

    return tuple(entry_points(group=GROUP))


def _builtin() -> ProviderInfo:
    about = "The ticker in this process: exact while it lives; such a process cannot sleep at zero."
    return ProviderInfo(BUILTIN, about, __version__, BUNDLED, str(_HERE / "builtin.py"))


def _folders(root: Path, source: str, names: Collection[str]) -> Iterator[ProviderInfo]:
    try:
        there = sorted(names or (path.name for path in root.iterdir()))
    except OSError:
        return
    for name in there:
        folder = root / name
        if _NAME.fullmatch(name) and folder.is_dir() and (folder / "plugin.yaml").exists():
            yield _described(folder, source)


def _described(folder: Path, source: str) -> ProviderInfo:
    # What a folder says about itself is read only after it is known whose it is.
    problem = distrust(folder) if source == USER else ""
    about: dict[str, str] = {}
    if not problem:
        try:
            about = _about(folder / "plugin.yaml")
        except (ConfigError, ValueError) as error:
            problem = f"its plugin.yaml cannot be read: {error}"
    if not problem and not (folder / "__init__.py").is_file():
        problem = f"{folder} has no __init__.py."
    return ProviderInfo(
        folder.name, about.get("description", ""), about.get("version", ""), source, str(folder), problem
    )


def _about(file: Path) -> dict[str, str]:
    entries = document.read(file).entries()
    if entries is None:
        raise ConfigError(f"{file} is no list of keys and values.")
    known = ("name", "description", "version")
    return {key: _line(node.value()) for key, node in entries.items() if key in known}


def _line(value: object) -> str:
    text = "" if value is None else str(value)
    return "".join(char for char in " ".join(text.split()) if char.isprintable())[:500]


def _packages() -> Iterator[ProviderInfo]:
    for point in _entry_points():
        about = point.dist.metadata if point.dist is not None else None
        summary = _line(about["Summary"]) if about is not None and "Summary" in about else ""
        version = point.dist.version if point.dist is not None else ""
        problem = "" if _NAME.fullmatch(point.name) else "its name is not of letters, digits, - and _."
        yield ProviderInfo(point.name, summary, version, PACKAGE, point.value, problem)
