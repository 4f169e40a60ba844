"""``farmhaul flush-spool``: enqueue the requests that hooks have kept on disk."""

from __future__ import annotations

import click

from tasks.config.redis_client import fail_fast_redis
from tasks.config.settings import Settings
from tasks.intake.errors import BadInputError
from tasks.records.commands import Commands
from tasks.records.scripts import open_scripts


@click.command(name="flush-spool")
def flush_spool() -> None:
    """Enqueue the uploads in this host's spool (FARMHAUL_SPOOL).

    Hooks put them there while Redis was unreachable.

    \b
    farmhaul flush-spool

    The next farmhaul enqueue on this host, and a worker on this host, also do this.
    """  # noqa: D301 click takes \b for "do not wrap"
    from tasks.spool import Spool
    from workers.app import app

    settings = Settings.from_environment()
    if not settings.spool:
        raise BadInputError("FARMHAUL_SPOOL is not set, so there is no spool to flush")
    commands = Commands(open_scripts(settings, fail_fast_redis(settings)))
    try:
        count = Spool(settings.spool).flush(app, commands, settings)
    except OSError as error:
        raise BadInputError(
            f"FARMHAUL_SPOOL: {error.filename} cannot be read: {error.strerror}; "
            "run farmhaul flush-spool as the hooks' user"
        ) from None
    click.echo(f"{count} {'upload' if count == 1 else 'uploads'} enqueued from the spool")
