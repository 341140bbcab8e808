"""The configuration's schema: every key, its default, what may stand there, and one sentence about it.

By this tree of frozen dataclasses `hermes_cron.config` reads files, the environment and flags, and writes the commented
example. A reader turns what stands in a source into the key's value, or raises ValueError with the end of "KEY must".
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

Reader = Callable[[object], object]

_DURATION = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([smhdw]?)", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BIND = re.compile(r"fd://\d{1,5}|unix:/[^\0]+|(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})", re.ASCII)
_SECRET_PARTS = re.compile(r"(?<=://)(?!/)(?:([^:@/?#]*):)?.*@", re.DOTALL)
_SECRET_QUERY = re.compile(r"(?i)(?<=[?&])([^=&]*(?:pass|pwd|token|secret|key)[^=&]*=)[^&]*")


class Secret:
    """A text that shows itself as `***` wherever it is printed; `reveal` gives it out."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return "***"


NO_SECRET = Secret()


@dataclass(frozen=True, slots=True)
class Option:
    """One key: its default, how to read it, and one sentence about it."""

    default: object
    read: Reader
    about: str


def mask_url(text: str) -> str:
    """The URL with the password in it, if any, shown as `***`."""
    masked = _SECRET_PARTS.sub(lambda found: f"{found[1]}:***@" if found[1] is not None else "***@", text)
    return _SECRET_QUERY.sub(r"\1***", masked)


def duration_seconds(value: object) -> float:
    """Seconds of `15m`, `3h`, `7d`, `90s` or a number.

    Raises:
        ValueError: It is none of these.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return float(value)
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be seconds or a duration like 90s, 15m, 3h, 7d")
    return float(match[1]) * _UNITS[match[2]]


def duration_text(seconds: float) -> str:
    """The duration as a person writes it: `15m`, `24h`, `7d`."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds % size == 0 and seconds >= size * (2 if unit == "d" else 1):
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


def text(value: object) -> str:
    """Read one line of text, or several."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("must be text; put it in quotes")
    return value


def truth(value: object) -> bool:
    """Read true or false; 1 and 0 say the same."""
    if not isinstance(value, bool | int) or value not in (0, 1):
        raise ValueError("must be true or false")
    return bool(value)


def secret(value: object) -> Secret:
    """Read a text that must not be shown."""
    return value if isinstance(value, Secret) else Secret(text(value).strip())


def public_key(value: object) -> str:
    """Read a public key, or the name of the file it is in."""
    if "PRIVATE KEY" in text(value):
        raise ValueError("must be a public key, and this is a private one: keep that to yourself")
    return text(value)


def seconds(least: float, most: float) -> Reader:
    """The reader of a duration within these bounds, in seconds."""

    def read(value: object) -> float:
        got = duration_seconds(value)
        if not least <= got <= most:
            raise ValueError(f"must be from {least:g} to {most:g} seconds")
        return got

    return read


def whole(least: int, most: int) -> Reader:
    """The reader of a whole number within these bounds."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"must be a whole number from {least} to {most}")
        return value

    return read


def choice(*allowed: str) -> Reader:
    """The reader of one of these words."""

    def read(value: object) -> str:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return str(value)

    return read


def name(pattern: str, words: str) -> Reader:
    """The reader of a text of this pattern."""

    def read(value: object) -> str:
        if not isinstance(value, str) or re.fullmatch(pattern, value, re.ASCII) is None:
            raise ValueError(f"must be {words}")
        return value

    return read


_named = name(r"[A-Za-z][A-Za-z0-9_-]{0,63}", "a name: letters, digits, - and _")


def timezone(value: object) -> str:
    """Read the name of a zone that exists."""
    key = text(value)
    try:
        return ZoneInfo(key).key
    except (LookupError, ValueError, OSError) as error:
        close = difflib.get_close_matches(key, available_timezones(), 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise ValueError(f"must be a time zone like Europe/Lisbon or UTC{hint}") from error


def ladder(value: object) -> tuple[float, ...]:
    """Read rising durations, in seconds: a list, or a text with commas."""
    items = [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or len(items) > 16:
        raise ValueError("must be a list of durations like [15m, 3h]; [] for none")
    rungs = tuple(duration_seconds(item) for item in items)
    if any(late <= early for early, late in zip((0.0, *rungs), rungs, strict=False)):
        raise ValueError("must rise from one duration to the next")
    return rungs


def any_url(value: object) -> str:
    """Read a URL of any scheme."""
    if re.fullmatch(r"[a-z][a-z0-9+.-]*://\S*", text(value), re.ASCII) is None:
        raise ValueError("must be a URL like redis://host:6379/0")
    return text(value)


def http_url(value: object) -> str:
    """Read an http(s) URL with a host, without credentials and fragment."""
    try:
        parts = urlsplit(text(value))
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or any(not char.isprintable() or char == " " for char in text(value)):
        raise ValueError("must be an http:// or https:// URL")
    if "@" in parts.netloc or "#" in text(value):
        raise ValueError("must be a URL without credentials and without #")
    return text(value)


def base_url(value: object) -> str:
    """Read an http(s) URL that paths are added to: no query, and no slash at its end."""
    if "?" in http_url(value):
        raise ValueError("must be a URL without a query: paths are added to it")
    return http_url(value).rstrip("/")


def bind(value: object) -> str:
    """Read an address to listen on."""
    match = _BIND.fullmatch(value) if isinstance(value, str) else None
    if match is None or (match[2] and int(match[2]) > 65_535):
        raise ValueError("must be host:port (0.0.0.0:8080, [::1]:8080), fd://3 or unix:/path")
    return str(value)


def _option(default: object, about: str, read: Reader, *, shown: bool = True) -> Any:
    """A key of a section; `shown` False keeps its value out of the section's repr, as it may hold a password."""
    return field(default=default, repr=shown, metadata={"option": Option(default, read, about)})


def _section(section: type) -> Any:
    """A section of keys."""
    return field(default_factory=section, metadata={"section": section})


@dataclass(frozen=True, slots=True)
class ChronosSettings:
    """Managed cron: NAS holds the alarms and calls back, so that the agent may sleep at zero."""

    portal_url: str = _option("", "Where NAS is; also the issuer of its fire tokens.", base_url)
    callback_url: str = _option("", "This agent's own URL, as NAS reaches it.", base_url)
    expected_audience: str = _option("", "The audience that a fire token must be for: this agent.", text)
    nas_jwks_url: str = _option("", "Where NAS publishes the keys that sign fire tokens.", http_url)
    nas_public_key: str = _option("", "Instead of that: one pinned key, as PEM or JWK, or a file with it.", public_key)
    access_token: Secret = _option(NO_SECRET, "The agent's access token at NAS.", secret)
    access_token_file: str = _option("", "Instead of that: a file with it, read again when it changes.", text)
    access_token_command: str = _option("", "Instead of that: a command that prints it.", text)
    require_bound_tokens: bool = _option(False, "Refuse fire tokens that are not bound to their body.", truth)
    ladder: tuple[float, ...] = _option(
        (900.0, 10_800.0, 86_400.0, 604_800.0), "How long after the next wake to have NAS wake us again.", ladder
    )


@dataclass(frozen=True, slots=True)
class CronSettings:
    """Who wakes the agent, and how it knows that the call is real."""

    provider: str = _option("", "Who wakes us: empty for the built-in ticker, or chronos, or a plugin's name.", _named)
    fallback: str = _option("builtin", "If the provider is unusable: builtin or fail.", choice("builtin", "fail"))
    timezone: str = _option("UTC", "The zone of jobs that name none.", timezone)
    chronos: ChronosSettings = _section(ChronosSettings)
    verifier: str = _option("nas-jwt", "How a fire is verified: nas-jwt, cron-key, or a plugin's name.", _named)
    key_file: str = _option("", "A file with the secret that per-job keys are derived from; for cron-key.", text)


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """The queue between the webhook and the workers."""

    url: str = _option(
        "memory://", "The queue; memory:// joins web and worker of one process only.", any_url, shown=False
    )
    queue: str = _option(
        "hermes-cron", "The queue's name.", name(r"[A-Za-z0-9._:-]{1,200}", "1 to 200 letters, digits, . _ : -")
    )
    signing_key_file: str = _option("", "A file with the secrets that sign messages; then unsigned are refused.", text)


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where jobs, fires and runs are kept."""

    url: str = _option(
        "sqlite:///$HERMES_CRON_HOME/hermes-cron.db",
        "The store (sqlite, postgresql, redis); SQLite belongs to one host.",
        any_url,
        shown=False,
    )
    keep_fires: int = _option(10_000, "How many fires of each job its ledger keeps; 0: all, for ever.", whole(0, 10**9))
    keep_days: int = _option(90, "For how many days it keeps every fire, besides.", whole(1, 36_500))


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The webhook, the API and the dashboard."""

    bind: str = _option("127.0.0.1:8080", "Where to listen: host:port, fd://N or unix:/path.", bind)
    api_keys_file: str = _option("", "The API keys' file; without it API and dashboard answer loopback only.", text)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What runs the tasks."""

    concurrency: int = _option(4, "How many runs at a time.", whole(1, 1000))
    pool: str = _option("threads", "What runs are isolated in: threads or processes.", choice("threads", "processes"))
    lease_seconds: float = _option(30.0, "How long a run is held without a sign of life.", seconds(15, 3600))
    drain_seconds: float = _option(30.0, "How long running tasks may take to end at shutdown.", seconds(0, 86_400))


@dataclass(frozen=True, slots=True)
class ShellSettings:
    """The task `shell`."""

    enabled: bool = _option(False, "Let jobs run commands on this machine.", truth)


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The task `http`."""

    allow_private: bool = _option(False, "Let jobs call private and loopback addresses.", truth)


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """The task `prompt`."""

    url: str = _option("", "The OpenAI-compatible API that prompts go to.", base_url)
    api_key_file: str = _option("", "The file with the key for it.", text)


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """The tasks that come in the box."""

    shell: ShellSettings = _section(ShellSettings)
    http: HttpSettings = _section(HttpSettings)
    prompt: PromptSettings = _section(PromptSettings)


@dataclass(frozen=True, slots=True)
class Settings:
    """Every key of the configuration."""

    app: str = _option("", "The application with your tasks, module:attr; the flag -A.", text)
    cron: CronSettings = _section(CronSettings)
    broker: BrokerSettings = _section(BrokerSettings)
    store: StoreSettings = _section(StoreSettings)
    web: WebSettings = _section(WebSettings)
    worker: WorkerSettings = _section(WorkerSettings)
    tasks: TaskSettings = _section(TaskSettings)
