"""All commands of ``farmhaul``, and what becomes of their errors.

Each module holds one command, or two that belong together, and imports what it needs when it runs.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from tasks.config.environment import SettingsError
from tasks.config.remedies import explained
from tasks.intake.errors import BadInputError
from tasks.intake.exit_codes import BAD_INPUT, FAILED, FAULT, INTERRUPTED, NO_REDIS, complain
from tasks.intake.inbox import InboxError
from tasks.transfer.errors import UploadError

#: The commands: the module of ``workers.cli`` that holds each, and its line in ``farmhaul --help``.
COMMANDS = {
    "cancel": ("uploads", "Cancel uploads."),
    "check": ("check", "Compare files on disk with what ftrack has of them."),
    "doctor": ("doctor", "Check what uploads need."),
    "enqueue": ("hook", "Queue files and image sequences for upload."),
    "exporter": ("processes", "Serve metrics for Prometheus at /metrics until stopped."),
    "fetch": ("fetch", "Download files from ftrack.server into a folder."),
    "flush-spool": ("hook", "Enqueue the uploads in this host's spool (FARMHAUL_SPOOL)."),
    "key": ("key", "Print keys for nodes that must not have FARMHAUL_SECRET_KEY."),
    "limit": ("limit", "Show or change the limits that all workers share."),
    "retry": ("uploads", "Make ended uploads pending again."),
    "status": ("status", "Show the state of uploads, and why they wait or failed."),
    "watch": ("watch", "Show uploads as they change."),
    "worker": ("processes", "Start a worker, with the options of celery worker."),
}

#: The exit code of each kind of error that a command raises; the first kind that fits counts.
CODES: dict[type[Exception], int] = {
    BadInputError: BAD_INPUT,
    SettingsError: BAD_INPUT,
    InboxError: NO_REDIS,
    UploadError: FAILED,
}


#: What keeps our output from being written.
UNWRITABLE = {errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO}


class Commands(click.Group):
    """Imports the one command that runs: Redis' client alone takes longer than ``--help``."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command; None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"workers.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the lines of all commands without importing these."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="farmhaul")
def cli() -> None:
    """Upload the files of a render farm into ftrack's media store, each exactly once."""


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code; an error becomes lines on stderr."""
    try:
        return _run(arguments) or 0
    except tuple(CODES) as error:
        return complain(
            explained(error), next(CODES[kind] for kind in CODES if isinstance(error, kind))
        )
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        # What is still buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:  # the reader of our output has closed it
            return 0
        return complain(f"the output cannot be written: {error.strerror}", FAULT)
    except KeyboardInterrupt:
        return complain("interrupted; uploads that are queued continue", INTERRUPTED)
    except Exception as error:
        if (problem := _redis_problem(error)) is None:
            raise
        return complain(problem, NO_REDIS)


def _redis_problem(error: Exception) -> str | None:
    # Only now: a command that calls Redis has imported its client.
    import redis

    from workers.wording import redis_problem

    return redis_problem(error) if isinstance(error, redis.RedisError) else None


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
