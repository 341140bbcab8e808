"""`python -m hermes_cron`, and the command `hermes-cron`."""

from __future__ import annotations

import gc

# Nothing that an import makes is garbage, and looking for it is a fifth of a short command's time. `cli` enables it
# again once the command is loaded.
gc.disable()

from hermes_cron.cli import main  # noqa: E402 - see above.

__all__ = ["main"]

if __name__ == "__main__":
    main()
