"""`hermes-cron openapi`: the API's OpenAPI document."""

from __future__ import annotations

import click

from hermes_cron import office
from hermes_cron.cli.show import emit_json


@click.command()
def openapi() -> None:
    """Print the API's OpenAPI 3.1 document, as /openapi.json serves it."""
    emit_json(office.openapi())
