"""Who may ask what: judged before the path is even looked up, so that a stranger learns nothing of what there is.

With keys configured a bearer key opens the door: its scope `read` for what only reads, `write` for what changes.
Without keys the door answers this machine alone, judged by the peer's address *and* by the name it was called by,
since a web page can make a name of its own point here (DNS rebinding); and never what came through a proxy.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Collection, Mapping
from typing import Any

import falcon

from hermes_cron.api.answers import Refusal
from hermes_cron.apikeys import READ, WRITE, KeyRing

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_PASSED_ON = re.compile(
    r"HTTP_(X_FORWARDED(_.*)?|FORWARDED|VIA|X_REAL_IP|X_CLIENT_IP|TRUE_CLIENT_IP|X_CLUSTER_CLIENT_IP|"
    r"X_ORIGINAL_.*|CF_.*|CDN_LOOP|X_ENVOY_.*|X_AMZN_.*|X_CLOUD_TRACE_CONTEXT|FLY_.*)"
)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")

_log = logging.getLogger("hermes_cron.api.porter")


class Porter:
    """Falcon middleware: lets a request in, or raises Refusal; and tells the browser what a page may do.

    `files` are the paths of what the page needs that asks for a key: they need none, nothing of anybody is in them.
    """

    def __init__(self, keys: KeyRing | None, names: Collection[str] = (), files: Collection[str] = ()) -> None:
        self._keys = keys
        self._files = frozenset(files)
        self._names = LOCAL_NAMES | {name.lower() for name in names}

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Let it in, or refuse it."""
        resp.set_headers(HEADERS)
        resp.set_header("Cache-Control", "no-store")
        try:
            self._judge(req)
        except Refusal as refusal:
            _log.info("%s %s was refused: %s", req.method, req.path, refusal.code)
            raise

    def lets_in(self, req: falcon.Request) -> bool:
        """Whether it would be let in: for what is open to all, and tells more to some."""
        try:
            self._judge(req)
        except Refusal:
            return False
        return True

    def _judge(self, req: falcon.Request) -> None:
        if self._keys is None:
            self._judge_local(req)
        elif req.method != "GET" or req.path not in self._files:
            self._judge_key(req, self._keys)

    def _judge_key(self, req: falcon.Request, keys: KeyRing) -> None:
        # A server joins repeated headers with a comma, which no key has: two headers never pass for one.
        scheme, _, presented = str(req.env.get("HTTP_AUTHORIZATION", "")).partition(" ")
        key = keys.find(presented.strip(" ")) if scheme.lower() == "bearer" else None
        if key is None:
            headers = {"WWW-Authenticate": "Bearer"}
            raise Refusal(401, "unauthorized", "This needs a good API key.", headers=headers)
        scope = READ if req.method in _SAFE else WRITE
        if not key.opens(scope):
            headers = {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}
            raise Refusal(403, "scope_missing", f"This needs an API key with the scope {scope}.", headers=headers)
        if scope == WRITE:
            _log.info("%s %s by the API key %s", req.method, req.path, key.name)

    def _judge_local(self, req: falcon.Request) -> None:
        if not is_local(req.env):
            words = "Without API keys (web.api_keys_file) this answers its own machine only."
            raise Refusal(403, "not_local", words)
        if called(req.env) not in self._names:
            words = "Without API keys (web.api_keys_file) this answers to localhost and its configured name only."
            raise Refusal(421, "host_unknown", words)
        if req.method not in _SAFE:
            _judge_source(req)


def is_local(env: Mapping[str, Any]) -> bool:
    """Whether the request comes from this machine, and not through a proxy on it."""
    if any(_PASSED_ON.fullmatch(name) for name in env):
        return False
    try:
        peer = ipaddress.ip_address(str(env.get("REMOTE_ADDR", "")))
    except ValueError:
        return False
    mapped = getattr(peer, "ipv4_mapped", None)
    return bool((mapped or peer).is_loopback)


def called(env: Mapping[str, Any]) -> str:
    """The name, without its port, by which the request calls us; empty where it has none that can be one."""
    match = _HOST.fullmatch(str(env.get("HTTP_HOST", "")))
    return match[1].lower() if match else ""


def name_of_bind(bind: str) -> Collection[str]:
    """The names that belong to an address to listen on: none where it is a wildcard, a socket or a file."""
    host = bind.rpartition(":")[0]
    if "/" in bind or host in ("", "0.0.0.0", "[::]"):  # noqa: S104 - nothing is bound here.
        return ()
    return (host.lower(),)


def _judge_source(req: falcon.Request) -> None:
    """Refuse what a page of another origin made a browser send (CSRF)."""
    env = req.env
    site, origin = env.get("HTTP_SEC_FETCH_SITE"), env.get("HTTP_ORIGIN")
    if site is not None and site not in ("same-origin", "none"):
        raise Refusal(403, "foreign_origin", "A page of another origin may not do this.")
    if origin is not None and str(origin).lower() not in _own_origins(req):
        raise Refusal(403, "foreign_origin", "A page of another origin may not do this.")
    kind = (req.content_type or "").partition(";")[0].strip().lower()
    # No form can be sent without a content type; a script of another origin can, and then it shows by its Origin.
    bare = not kind and not req.content_length and "HTTP_TRANSFER_ENCODING" not in env
    from_page = site is not None or origin is not None or "HTTP_REFERER" in env
    if kind != falcon.MEDIA_JSON and (not bare or from_page):
        raise Refusal(415, "media_type", "What changes something must be sent as application/json.")


def _own_origins(req: falcon.Request) -> Collection[str]:
    host = str(req.env.get("HTTP_HOST", "")).lower()
    return (f"http://{host}", f"https://{host}")
