"""Scale-to-zero cron you can trust: one-shot alarms outside, claims and a ledger inside."""

from __future__ import annotations

__version__ = "0.1.0"
