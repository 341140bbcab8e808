"""The self-hostable NAS: holds the alarms of agents that sleep, and wakes them. Knows the contract, not the agent."""

from __future__ import annotations

from hermes_cron.nas.room import Nas, open_nas

__all__ = ["Nas", "open_nas"]
