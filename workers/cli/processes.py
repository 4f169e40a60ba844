"""``farmhaul worker`` and ``farmhaul exporter``: the two commands that run until stopped."""

from __future__ import annotations

import os

import click

from tasks.config.settings import Settings
from tasks.intake.errors import BadInputError, printable
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
    try:
        code = celery.main(arguments, standalone_mode=False)
    except Exception as error:
        if not (why := _option_fault(error)):
            raise
        raise BadInputError(f"the worker cannot start: {why}") from None
    raise SystemExit(code)


def _option_fault(error: Exception) -> str:
    """Return what is wrong with an option that celery finds only as it starts; or an empty text."""
    if isinstance(error, OSError) and error.filename and isinstance(error.strerror, str):
        path = printable(os.fsdecode(error.filename))
        return f"{path}: {error.strerror}; name a file that this user may write"
    if isinstance(error, ModuleNotFoundError):
        return f"--pool needs the package {error.name}, which is not installed; use prefork"
    if isinstance(error, KeyError) and "does not exist" in str(error):
        return f"{error.args[0]}; name one of this host"
    if isinstance(error, AttributeError) and error.name == "join":  # of Celery's own text
        return "--autoscale takes two numbers, the larger one first, such as 8,2"
    return ""


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
