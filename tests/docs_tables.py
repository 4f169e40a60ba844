"""Update the tables in docs/ that follow from the code.

    python -m tests.docs_tables

- docs/cli.md: the options of each command, in the code's order.
- docs/configuration.md: each variable with its default, in the code's order.
- docs/cli.md: the states of an upload, and the moves from each to the next.

The words that a page already has for an option or a variable stay, because a page has more room
than a terminal. A new option gets the words of ``--help``, a new variable empty cells.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click

from tasks.intake.command import ENQUEUE, FLUSH_SPOOL
from tasks.records.states import MOVES, STATES
from workers.cli import group

ROOT = Path(__file__).resolve().parent.parent
CLI = ROOT / "docs" / "cli.md"
CONFIGURATION = ROOT / "docs" / "configuration.md"
SETTINGS = [ROOT / "tasks" / "config" / name for name in ("hook_settings.py", "settings.py")]

OPTIONS = re.compile(r"(?m)^\| option \| does \|\n\|---\|---\|\n(?:\|.*\n)+")
VARIABLES = re.compile(r"(?m)(^\| variable \| default \|.*\n\|[-|]+\n)((?:\|.*\n)+)")
STATE_TABLE = re.compile(r"(?s)(<!-- states -->\n).*?(<!-- /states -->)")
VARIABLE = re.compile(r"(?:FTRACK|FARMHAUL)_[A-Z0-9_]+")
#: How a default in the code reads on the page; other defaults are shown as they are.
SHOWN = {"()": "none", "''": "none", "NO_LIMIT": "no limit", "False": "`off`"}


def with_options(text: str) -> str:
    """Return the text with the options of each section ``## farmhaul NAME`` as in the code."""
    parts = re.split(r"(?m)^(?=## farmhaul )", text)
    return "".join(_section(part) for part in parts)


def _section(part: str) -> str:
    name = re.match(r"## farmhaul (\S+)", part)
    if name is None or name[1] == "worker" or name[1] not in group.COMMANDS:  # Celery's own options
        return part
    records = shown_options(name[1])
    written = dict(re.findall(r"(?m)^\| `(.+?)` \| (.+) \|$", part))
    rows = [
        f"| `{cell}` | {written.get(cell) or _cell(does)} |\n"
        for cell, does in ((_cell(option), does) for option, does in records)
    ]
    return OPTIONS.sub(lambda _: "| option | does |\n|---|---|\n" + "".join(rows), part, count=1)


def shown_options(name: str) -> list[tuple[str, str]]:
    """Return the options that ``farmhaul NAME --help`` shows, and what it says of each."""
    for hook_command in (ENQUEUE, FLUSH_SPOOL):
        if hook_command.name == name:
            return [(option.shown, option.does) for option in hook_command.options]
    command = group.cli.get_command(click.Context(group.cli), name)
    if command is None:
        raise ValueError(f"no command {name}")
    context = click.Context(command, info_name=name, help_option_names=["-h", "--help"])
    options = [it for it in command.get_params(context) if isinstance(it, click.Option)]
    return [record for option in options if (record := option.get_help_record(context))]


def defaults() -> dict[str, str]:
    """Return the default of each variable that the settings read, in the code's order."""
    found: dict[str, str] = {}
    nodes = [node for path in SETTINGS for node in _expressions(path)]
    for node in nodes:
        if isinstance(node, ast.Constant) and VARIABLE.fullmatch(str(node.value)):
            found.setdefault(str(node.value), "none")
    for node in nodes:
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = str(node.args[0].value)
            given = [*node.args[2:], *(it.value for it in node.keywords if it.arg == "default")]
            if name in found and given:
                found[name] = _default(ast.unparse(given[0]))
    return dict(sorted(found.items(), key=lambda item: not item[0].startswith("FTRACK_")))


def _expressions(path: Path) -> list[ast.expr]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    expressions = [node for node in nodes if isinstance(node, ast.expr)]
    return sorted(expressions, key=lambda node: node.lineno)


def _default(code: str) -> str:
    return SHOWN.get(code) or "`" + code.strip("'").removesuffix(".0") + "`"


def with_variables(text: str) -> str:
    """Return the text with the variables and defaults of its first such table as in the code."""

    def table(match: re.Match[str]) -> str:
        cells = [re.split(r"(?<!\\)\|", row)[1:-1] for row in match[2].splitlines()]
        written = {row[0].strip(): [cell.strip() for cell in row[2:]] for row in cells}
        rows = [
            " | ".join([f"| `{name}`", default, *written.get(f"`{name}`", ["", "", ""])]) + " |\n"
            for name, default in defaults().items()
        ]
        return match[1] + "".join(rows)

    return VARIABLES.sub(table, text, count=1)


def with_states(text: str) -> str:
    """Return the text with the table of states between its marks as in the code."""
    rows = []
    for state, meaning in STATES.items():
        moves = [f"`{move.after}`: {move.why}" for move in MOVES if move.before == state]
        rows.append(f"| `{state}` | {meaning} | {'; '.join(moves)} |\n")
    table = "| state | means | next |\n|---|---|---|\n" + "".join(rows)
    return STATE_TABLE.sub(lambda match: match[1] + table + match[2], text)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


if __name__ == "__main__":
    for page, update in ((CLI, with_options), (CLI, with_states), (CONFIGURATION, with_variables)):
        page.write_text(update(page.read_text(encoding="utf-8")), encoding="utf-8")
