"""``farmhaul flush-spool``: send what hooks had to keep on disk."""

from __future__ import annotations

import click

from tasks.config.redis_client import fail_fast_redis
from tasks.config.settings import Settings
from tasks.intake.manifest import BadInputError
from tasks.records.record import open_record


@click.command(name="flush-spool")
def flush_spool() -> None:
    """Send what enqueue has spooled while Redis was away (FARMHAUL_SPOOL)."""
    from tasks.spool import Spool
    from workers.app import app

    settings = Settings.from_environment()
    if not settings.spool:
        raise BadInputError("FARMHAUL_SPOOL is not set, so there is no spool to send")
    record = open_record(settings, fail_fast_redis(settings))
    try:
        count = Spool(settings.spool).flush(app, record, settings)
    except OSError as error:
        raise BadInputError(
            f"FARMHAUL_SPOOL: {error.filename} cannot be read: {error.strerror}; "
            "run this as the hooks' user"
        ) from None
    click.echo(f"{count} uploads sent from the spool")
