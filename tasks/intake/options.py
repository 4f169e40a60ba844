"""The options of the hook's commands: how they are read, and their help.

Not argparse, which refuses a value, or a path after ``--``, that begins with a dash: hooks pass on
names that others have chosen. Every Python reads these options in the same way.
"""

from __future__ import annotations

from tasks.intake.errors import BadInputError
from tasks.transfer.named_tuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

WIDTH = 100


class Option(NamedTuple):
    """An option: a flag, or with ``value``, which is how the help names its value.

    Of several values, the last one counts; a repeatable one has all; a second ``once`` is refused.
    """

    name: str
    value: str
    does: str
    repeatable: bool = False
    once: bool = False

    @property
    def key(self) -> str:
        """The name in Python."""
        return self.name.lstrip("-").replace("-", "_")

    @property
    def shown(self) -> str:
        """The option as the help shows it."""
        if self.name == HELP.name:
            return f"-h, {self.name}"
        return f"{self.name} {self.value}" if self.value else self.name


class Command(NamedTuple):
    """A command; ``about`` is its description, whose lines the help prints as they are."""

    name: str
    usage: str
    about: str
    options: tuple[Option, ...]

    @property
    def program(self) -> str:
        """How the user calls it."""
        return f"farmhaul {self.name}"


HELP = Option("--help", "", "Show this message and exit.")


def read_options(command: Command, arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the value of each option by its key, and the other arguments.

    A flag that is not given is False, an option None, a repeatable one an empty list.

    Raises:
        BadInputError: an option is unknown, or has no value, or one too many.
    """
    known = {option.name: option for option in command.options}
    known["-h"] = HELP
    values: dict[str, Any] = {
        option.key: [] if option.repeatable else None if option.value else False
        for option in command.options
    }
    others: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            others += rest
        elif not argument.startswith("-") or argument == "-":
            others.append(argument)
        else:
            name, equals, text = argument.partition("=")
            option = known.get(name)
            if option is None:
                raise _usage_error(command, f"no such option: {name}{_similar(name, known)}")
            value = _value(command, option, text if equals else None, rest)
            if value in known and not equals:
                # A shell leaves out the value of a variable that is not set: --name $NAME --wait
                raise _usage_error(
                    command,
                    f"{option.shown} is followed by the option {value}: is a variable empty? As a "
                    f"value, it is {name}={value}",
                )
            if option.repeatable:
                values[option.key].append(value)
            elif option.once and values[option.key] not in {None, value}:
                # Whoever gives two wants both.
                raise _usage_error(command, f"{option.shown} is given twice; use each by itself")
            else:
                values[option.key] = value
    return values, others


def _value(command: Command, option: Option, text: str | None, rest: Any) -> str | bool:
    if not option.value:
        if text is not None:
            raise _usage_error(command, f"{option.name} takes no value")
        return True
    value: str | None = next(rest, None) if text is None else text
    if value is None:
        raise _usage_error(command, f"{option.name} requires an argument: {option.shown}")
    return value


def _usage_error(command: Command, text: str) -> BadInputError:
    return BadInputError(f"{text}\nTry '{command.program} --help' for help.")


def _similar(name: str, known: dict[str, Option]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name, [*known], n=1)
    return f"; did you mean {found[0]}?" if found else f"; if it is a file, write ./{name}"


def help_text(command: Command) -> str:
    """Return what ``--help`` prints."""
    import shutil
    import textwrap

    width = min(shutil.get_terminal_size().columns, WIDTH)
    column = max(len(option.shown) for option in command.options) + 4
    lines = [f"Usage: {command.program} {command.usage}", ""]
    lines += [f"  {line}".rstrip() for line in command.about.splitlines()]
    lines += ["", "Options:"]
    for option in command.options:
        first, *others = textwrap.wrap(option.does, max(width - column, 20))
        lines.append(f"  {option.shown:<{column - 2}}{first}")
        lines += [" " * column + line for line in others]
    return "\n".join(lines)
