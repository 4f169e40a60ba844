"""The commands of hooks, as ``farmhaul --help`` lists them; ``tasks.intake.command`` runs them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tasks.intake import command
from tasks.intake.options import Command
from workers.cli.waiting import prepare

#: The intake reads the options itself, --help too.
AS_THEY_ARE = {
    "ignore_unknown_options": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}


def _listed(described: Command) -> click.Command:
    @click.command(
        described.name,
        help=described.about.partition("\n")[0],
        context_settings=AS_THEY_ARE,
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def run(arguments: Sequence[str]) -> None:
        raise SystemExit(command.main([described.name, *arguments], prepare))

    return run


enqueue = _listed(command.ENQUEUE)
flush_spool = _listed(command.FLUSH_SPOOL)
