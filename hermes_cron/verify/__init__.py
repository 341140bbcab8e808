"""The verify room: is this fire really from NAS, and for us?"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from hermes_cron.clock import Clock, utc_now
from hermes_cron.errors import ConfigError, TokenRejected
from hermes_cron.interfaces import FireVerifier
from hermes_cron.settings import CronSettings
from hermes_cron.verify.reasons import Reason

GROUP = "hermes_cron.verifiers"
"""The entry point group where an installed package offers a verifier: a function with this one's parameters."""


def get_fire_verifier(settings: CronSettings, *, home: Path, clock: Clock = utc_now) -> FireVerifier:
    """The verifier that `cron.verifier` names, with the keys it is configured with. Opens no connection.

    Only what this one needs is imported: waking up must be quick. Under `home` it keeps what it learned.

    Raises:
        ConfigError: A setting that it needs is blank or wrong: it never means "anything goes" (I3).
    """
    if settings.verifier == "nas-jwt":
        from hermes_cron.verify.token import nas_verifier  # noqa: PLC0415 - see above.

        return nas_verifier(settings.chronos, home=home, clock=clock)
    if settings.verifier == "cron-key":
        from hermes_cron.verify.cron_key import cron_key_verifier  # noqa: PLC0415 - see above.

        return cron_key_verifier(settings.key_file, clock=clock)
    return _offered(settings, home, clock)


def _offered(settings: CronSettings, home: Path, clock: Clock) -> FireVerifier:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow, and seldom needed.

    for entry in entry_points(group=GROUP, name=settings.verifier):
        verifier: FireVerifier = entry.load()(settings, home=home, clock=clock)
        return verifier
    raise ConfigError(
        f"cron.verifier names no verifier that is installed: {settings.verifier!r}.", field="cron.verifier",
        hint="Supported are nas-jwt, cron-key, and what installed packages offer.",
    )  # fmt: skip


class RefuseAll:
    """A `FireVerifier` for an agent that no one may fire from outside: it refuses every token (I3)."""

    def __call__(self, token: str, body: bytes) -> NoReturn:
        """Refuse.

        Raises:
            TokenRejected: Always.
        """
        raise TokenRejected(Reason.NOT_CONFIGURED)

    def ready(self) -> bool:
        """Always: it needs nothing to refuse."""
        return True


refuse_all = RefuseAll()
