"""``farmhaul worker`` and ``farmhaul exporter``: the two commands that run until stopped."""

from __future__ import annotations

import click

from tasks.config.settings import Settings
from workers.cli.whole import Whole


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def worker(options: tuple[str, ...]) -> None:
    """Start a worker, with the options of celery worker."""
    from celery.bin.celery import celery

    from workers.app import app

    # As app.worker_main() does, which drops the exit code.
    celery.params[0].default = app
    arguments = ["worker", "--loglevel=INFO", "--without-gossip", "--without-mingle", *options]
    raise SystemExit(celery.main(arguments, standalone_mode=False))


@click.command()
@click.option(
    "--port", metavar="PORT", type=Whole(1, 65535), default=9840, show_default=True,
    help="TCP port to listen on.",
)  # fmt: skip
@click.option("--address", default="127.0.0.1", show_default=True, help="Address to listen on.")
def exporter(port: int, address: str) -> None:
    """Serve metrics for Prometheus at /metrics until stopped.

    One exporter serves the whole farm.

    \b
    farmhaul exporter --port 9840
    """  # noqa: D301 click takes \b for "do not wrap"
    from workers.metrics_server import serve

    serve(Settings.from_environment(), address, port)
