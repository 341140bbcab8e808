"""`python -m hermes_cron`, and the command `hermes-cron`."""

from __future__ import annotations

from hermes_cron.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
