"""The provider chronos: NAS holds the alarms and calls back, so that the agent may sleep at zero."""

from __future__ import annotations

from hermes_cron.providers.chronos.scheduler import ChronosCronScheduler
from hermes_cron.providers.loading import ProviderContext


def register(ctx: ProviderContext) -> None:
    """Offer the provider, as configured in `cron.chronos`."""
    ctx.register_cron_scheduler(ChronosCronScheduler(ctx.settings.chronos))
