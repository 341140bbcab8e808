"""`Place`: what a `redis://` or `rediss://` URL says of a store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from hermes_cron.errors import ConfigError

PREFIX = "hermes-cron:"
"""What every key begins with, unless the URL says otherwise."""

_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")


@dataclass(frozen=True)
class Place:
    """Where a store is kept; `where` names it in errors, without a secret."""

    where: str
    prefix: str
    tls: bool
    secret: str
    options: Mapping[str, Any]


def read_place(url: str) -> Place:
    """The place that a URL names: `redis://[USER:PASSWORD@]HOST[:PORT][/DB][?prefix=NAME:]`.

    Raises:
        ConfigError: It cannot be read, or says something that we do not know.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "127.0.0.1", parts.port or 6379
    except ValueError as error:
        # The URL itself is not repeated, for it may hold a password.
        raise _refused("cannot be read") from error
    database = re.fullmatch(r"/?(\d{0,5})", parts.path)
    if database is None or parts.fragment:
        raise _refused("must end with a database's number, or with none")
    db = int(database[1] or 0)
    tls = parts.scheme.lower() == "rediss"
    prefix, chosen = _query(parts.query, tls)
    password = unquote(parts.password or "")
    options = {"host": host, "port": port, "db": db, **chosen}
    if password:
        options |= {"username": unquote(parts.username or "") or None, "password": password}
    shown = f"[{host}]" if ":" in host else host
    return Place(f"{parts.scheme}://{shown}:{port}/{db}", prefix, tls, password, options)


def _query(query: str, tls: bool) -> tuple[str, dict[str, Any]]:
    allowed = ("prefix", *_TLS_OPTIONS) if tls else ("prefix",)
    chosen = dict(parse_qsl(query, keep_blank_values=True))
    for name in chosen:
        if name not in allowed:
            raise _refused(f"has the option {name!r}, which is none of {', '.join(allowed)}")
    prefix = chosen.pop("prefix", PREFIX)
    if re.fullmatch(r"[\x21-\x7e]{1,100}", prefix) is None:
        raise _refused("has a prefix that is not 1 to 100 letters, digits and signs")
    if not tls:
        return prefix, {}
    asked = chosen.setdefault("ssl_cert_reqs", "required")
    if asked not in ("required", "none"):
        raise _refused("has an ssl_cert_reqs that is neither required nor none")
    return prefix, {**chosen, "ssl_check_hostname": asked == "required"}


def _refused(what: str) -> ConfigError:
    hint = "Write redis://USER:PASSWORD@HOST:6379/0, with rediss: for TLS, and ?prefix=NAME: for keys of its own."
    return ConfigError(f"store.url {what}.", hint=hint, field="store.url")
