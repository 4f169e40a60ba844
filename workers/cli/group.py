"""All commands of ``farmhaul``, and what becomes of their errors.

Each module holds one command, or two that belong together, and imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click
import redis

from tasks.config.environment import SettingsError
from tasks.config.remedies import explained
from tasks.intake.errors import BadInputError
from tasks.intake.exit_codes import BAD_INPUT, FAILED, INTERRUPTED, NO_REDIS, complain
from tasks.intake.inbox import InboxError
from tasks.transfer.errors import UploadError
from workers.cli.check import check
from workers.cli.doctor import doctor
from workers.cli.fetch import fetch
from workers.cli.hook import enqueue, flush_spool
from workers.cli.key import key
from workers.cli.limit import limit
from workers.cli.processes import exporter, worker
from workers.cli.status import status
from workers.cli.uploads import cancel, retry
from workers.cli.watch import watch
from workers.wording import redis_problem

#: The exit code of each kind of error that a command raises; the first kind that fits counts.
CODES: dict[type[Exception], int] = {
    BadInputError: BAD_INPUT,
    SettingsError: BAD_INPUT,
    InboxError: NO_REDIS,
    redis.RedisError: NO_REDIS,
    UploadError: FAILED,
}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="farmhaul")
def cli() -> None:
    """Upload the files of a render farm into ftrack's media store, each exactly once."""


for command in (enqueue, check, status, watch, retry, cancel, limit, fetch, flush_spool):
    cli.add_command(command)
for command in (key, doctor, exporter, worker):
    cli.add_command(command)


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code; an error becomes lines on stderr."""
    try:
        return _run(arguments) or 0
    except tuple(CODES) as error:
        text = redis_problem(error) if isinstance(error, redis.RedisError) else explained(error)
        return complain(text, next(CODES[kind] for kind in CODES if isinstance(error, kind)))
    except BrokenPipeError:
        # The reader of our output has closed it; what is still buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return complain("interrupted; uploads that are queued continue", INTERRUPTED)


def _run(arguments: Sequence[str]) -> int | None:
    # Not cli.main(), which exits with 1 when the reader closes the pipe.
    try:
        with cli.make_context("farmhaul", list(arguments) or ["--help"]) as context:
            code: int | None = cli.invoke(context)
            return code
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        raise BadInputError(error.format_message() + _hint(error)) from None


def _hint(error: click.ClickException) -> str:
    """Return the line with which click itself ends a usage error; empty for other errors."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"\nTry '{context.command_path} --help' for help." if context else ""
