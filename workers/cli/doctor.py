"""``farmhaul doctor``: check what uploads need."""

from __future__ import annotations

import click

from tasks.intake.exit_codes import FAULT
from workers.cli import output


@click.command()
@click.option("--put", is_flag=True, help="Also send the media store a few bytes.")
@output.json_option
def doctor(put: bool, human: bool) -> None:
    """Check what uploads need. For each problem, shows the next step.

    \b
    farmhaul doctor
    farmhaul doctor --put

    Run it on a worker's node, as the worker's user and with its environment. Exits with 1 if
    there is a fault. Warnings do not change the exit code.
    """  # noqa: D301 click takes \b for "do not wrap"
    from workers.doctor import diagnose

    faults = 0
    for finding in diagnose(put=put):
        output.show(*finding.line(human=human).split("\n"))
        faults += finding.level == "fault"
    if faults:
        raise SystemExit(FAULT)
