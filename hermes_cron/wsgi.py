"""`gunicorn hermes_cron.wsgi:application`: webhook, API and dashboard, configured by environment and file.

Nothing is connected here, so that gunicorn may fork after the import (`--preload`).
"""

from __future__ import annotations

import sys
from functools import partial

from hermes_cron.bootstrap import require_shared, the_api_keys, the_broker, the_store, the_verifier, web_client
from hermes_cron.config import load
from hermes_cron.errors import HermesCronError
from hermes_cron.logs import set_up_logging
from hermes_cron.server import BOOT_ERROR, WsgiApp
from hermes_cron.webapp import Desk, make_webapp


def make_application() -> WsgiApp:
    """The web application of one of many web processes, beside workers elsewhere.

    Raises:
        ConfigError: The configuration cannot be used so; `memory://` cannot, for one.
    """
    config = load()
    require_shared(config, "gunicorn hermes_cron.wsgi:application")
    broker = the_broker(config)
    desk = Desk(partial(web_client, config, broker), the_api_keys(config), config.settings.web.bind)
    return make_webapp(the_verifier(config), broker, partial(the_store, config), desk)


def _application() -> WsgiApp:
    set_up_logging()
    try:
        return make_application()
    except HermesCronError as error:
        # A traceback would hide the sentence from its reader; gunicorn gives up on this code instead of trying again.
        print(f"hermes-cron: {error} [{error.code}]", file=sys.stderr)  # noqa: T201 - it is for people.
        sys.exit(BOOT_ERROR)


application = _application()
