"""The providers room: who wakes us. The built-in ticker, NAS (chronos), or a plugin of the user's."""

from __future__ import annotations

from hermes_cron.providers.registry import ProviderInfo, list_providers
from hermes_cron.providers.resolve import configured_cron_scheduler, resolve_cron_scheduler

__all__ = ["ProviderInfo", "configured_cron_scheduler", "list_providers", "resolve_cron_scheduler"]
