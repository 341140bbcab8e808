"""Which providers there are: bundled ones, the user's folders, installed packages. Looking runs none of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from hermes_cron import __version__, document
from hermes_cron.errors import ConfigError
from hermes_cron.providers.trust import distrust

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
    for info in (_builtin(), *_folders(_HERE, BUNDLED), *_folders(home / "plugins", USER), *_packages()):
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
    all_of_them = list_providers(home)
    found = next((info for info in all_of_them if info.name == name), None)
    if found is None:
        names = ", ".join(dict.fromkeys(info.name for info in all_of_them))
        message = f"There is no provider {name!r} in the package, in {home / 'plugins'} or among installed packages."
        raise ConfigError(message, hint=f"Choose one of: {names}.", field="cron.provider")
    return found


def entry_point(name: str) -> EntryPoint:
    """The entry point of an installed provider."""
    return next(iter(entry_points(group=GROUP, name=name)))


def _builtin() -> ProviderInfo:
    about = "The ticker in this process: exact while it lives; such a process cannot sleep at zero."
    return ProviderInfo(BUILTIN, about, __version__, BUNDLED, str(_HERE / "builtin.py"))


def _folders(root: Path, source: str) -> Iterator[ProviderInfo]:
    try:
        names = sorted(path.name for path in root.iterdir())
    except OSError:
        return
    for name in names:
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
    for point in entry_points(group=GROUP):
        about = point.dist.metadata if point.dist is not None else None
        summary = _line(about["Summary"]) if about is not None and "Summary" in about else ""
        version = point.dist.version if point.dist is not None else ""
        problem = "" if _NAME.fullmatch(point.name) else "its name is not of letters, digits, - and _."
        yield ProviderInfo(point.name, summary, version, PACKAGE, point.value, problem)
