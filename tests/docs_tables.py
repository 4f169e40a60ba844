"""Brings the tables of options in docs/cli.md up to what the command has.

    python -m tests.docs_tables

Options come and go as in the code, in its order, a new one with the words of ``--help``. Words
that stand there stay: a reader of the page has more room than one of a terminal.
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from workers.cli import cli

CLI = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
TABLE = re.compile(r"(?m)^\| option \| does \|\n\|---\|---\|\n(?:\|.*\n)+")


def with_tables(text: str) -> str:
    """Give the text with the table of each section ``## farmhaul NAME`` as the code has it."""
    parts = re.split(r"(?m)^(?=## farmhaul )", text)
    return "".join(_section(part) for part in parts)


def _section(part: str) -> str:
    name = re.match(r"## farmhaul (\S+)", part)
    if name is None or name[1] == "worker" or name[1] not in cli.commands:  # Celery's own options
        return part
    command = cli.commands[name[1]]
    context = click.Context(command, info_name=name[1], help_option_names=["-h", "--help"])
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    records = [record for one in options if (record := one.get_help_record(context))]
    written = dict(re.findall(r"(?m)^\| `(.+?)` \| (.+) \|$", part))
    rows = [
        f"| `{cell}` | {written.get(cell) or _cell(does)} |\n"
        for cell, does in ((_cell(what), does) for what, does in records)
    ]
    return TABLE.sub(lambda _: "| option | does |\n|---|---|\n" + "".join(rows), part, count=1)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


if __name__ == "__main__":
    CLI.write_text(with_tables(CLI.read_text(encoding="utf-8")), encoding="utf-8")
