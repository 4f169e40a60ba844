"""``farmhaul doctor``: check what uploads need."""

from __future__ import annotations

import sys

import click

from workers.cli import output
from workers.exit_codes import FAULT


@click.command()
@click.option("--put", is_flag=True, help="Also send the media store a few bytes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines, even on a terminal.")
def doctor(put: bool, as_json: bool) -> None:
    """Check what uploads need. For each problem, shows the next step.

    \b
    farmhaul doctor
    farmhaul doctor --put

    Run it on a worker's node, as the worker's user and with its environment. Exits with 1 if
    there is a fault. Warnings do not change the exit code.
    """  # noqa: D301 click takes \b for "do not wrap"
    from workers.doctor import diagnose

    human = output.is_terminal(sys.stdout) and not as_json
    faults = 0
    for finding in diagnose(put=put):
        click.echo(finding.line(human=human))
        faults += finding.level == "fault"
    if faults:
        raise SystemExit(FAULT)
