"""`check`: what is wrong between keys that are each right, for `config check` and `doctor`."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from hermes_cron.config import Config
from hermes_cron.errors import ConfigError
from hermes_cron.keys import OPTIONS, names_file, value_of

_CHRONOS = "cron.chronos."
_TOKENS = ("access_token", "access_token_file", "access_token_command")
_URLS = ("cron.chronos.portal_url", "cron.chronos.callback_url", "cron.chronos.nas_jwks_url", "tasks.prompt.url")


def check(config: Config) -> list[ConfigError]:
    """Every contradiction and gap that can be seen without opening a connection; looks for the files that are named.

    Nothing is raised: `load` has accepted each value, and a process that needs none of the keys may run.
    """
    found = [*_missing(config), *_doubled(config), *_apart(config), *_open_to_listeners(config), *_files(config)]
    if config.settings.tasks.prompt.api_key_file and not config.settings.tasks.prompt.url:
        found.append(_problem("tasks.prompt.url", "is missing: there is a key for it, but nowhere to send it."))
    url = config.settings.store.url
    if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
        says = "starts from the current directory, so each start may find another store."
        hint = "An absolute path has four slashes: sqlite:////var/lib/hermes-cron.db."
        found.append(_problem("store.url", says, hint))
    return found


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine alone, as it is written."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _problem(key: str, says: str, hint: str = "") -> ConfigError:
    return ConfigError(f"{key} {says}", hint=hint, field=key)


def _missing(config: Config) -> Iterator[ConfigError]:
    cron = config.settings.cron
    if cron.verifier == "cron-key" and not cron.key_file:
        yield _problem("cron.key_file", "is missing: without a key every fire is refused.")
    if cron.provider != "chronos":
        return
    for name in ("portal_url", "callback_url", "expected_audience"):
        if not getattr(cron.chronos, name):
            yield _problem(
                _CHRONOS + name, "is missing, and cron.provider chronos needs it.", OPTIONS[_CHRONOS + name].about
            )
    if cron.verifier == "nas-jwt" and not (cron.chronos.nas_jwks_url or cron.chronos.nas_public_key):
        hint = "Give that, or cron.chronos.nas_public_key."
        yield _problem(_CHRONOS + "nas_jwks_url", "is missing: without a key every fire is refused.", hint)
    if not any(getattr(cron.chronos, name) for name in _TOKENS):
        hint = f"Give one of {', '.join(_TOKENS)}."
        yield _problem(_CHRONOS + "access_token", "is missing: without one NAS holds no alarm for us.", hint)


def _doubled(config: Config) -> Iterator[ConfigError]:
    for names in (_TOKENS, ("nas_jwks_url", "nas_public_key")):
        given = [_CHRONOS + name for name in names if value_of(config.settings, _CHRONOS + name)]
        if len(given) > 1:
            sources = ", ".join(f"{key} ({config.sources[key]})" for key in given)
            yield _problem(given[0], f"is one of {len(given)} that say the same: {sources}.", "Give one of them only.")


def _open_to_listeners(config: Config) -> Iterator[ConfigError]:
    for key in _URLS:
        url = value_of(config.settings, key)
        if url.startswith("http://") and not is_loopback(url):
            says = f"is http:// and leads to another machine ({config.sources[key]}): tokens and keys could be read."
            yield _problem(key, says, "Use https://.")


def _apart(config: Config) -> Iterator[ConfigError]:
    ours, theirs = config.settings.cron.chronos.callback_url, config.settings.cron.chronos.portal_url
    if ours and theirs and is_loopback(ours) and not is_loopback(theirs):
        says = "is a loopback address, which NAS cannot reach from where it is."
        yield _problem(_CHRONOS + "callback_url", says, "Give this agent's URL as the outside knows it.")


def _files(config: Config) -> Iterator[ConfigError]:
    for key in OPTIONS:
        name = value_of(config.settings, key)
        if not isinstance(name, str) or not name or not names_file(key, name):
            continue
        if not Path(name).is_file():
            yield _problem(key, f"names {name}, which is no file ({config.sources[key]}).")
        elif not os.access(name, os.R_OK):
            yield _problem(key, f"names {name}, which this user may not read ({config.sources[key]}).")
