"""How the options of a hook's commands are read, and what their help looks like."""

from __future__ import annotations

import pytest

from tasks.intake.errors import BadInputError
from tasks.intake.options import HELP, Command, Option, help_text, read_options

COMMAND = Command(
    "enqueue",
    "[OPTIONS] PATH...",
    "Queue files.\n\nfarmhaul enqueue FILE",
    (
        Option("--name", "TEXT", "Name of the new component, " + "which is said at length " * 4),
        Option("--allow-empty", "", "Accept files of 0 bytes."),
        Option("--metadata", "KEY=VALUE", "Repeatable.", repeatable=True),
        Option("--manifest", "FILENAME", "Read it.", once=True),
        HELP,
    ),
)


def given(*arguments: str) -> tuple[dict[str, object], list[str]]:
    """Return what was given, without what was not."""
    values, others = read_options(COMMAND, arguments)
    return {key: value for key, value in values.items() if value not in (None, False, [])}, others


@pytest.mark.parametrize(
    ("arguments", "values", "others"),
    [
        ([], {}, []),
        (["a", "--name", "n", "b"], {"name": "n"}, ["a", "b"]),
        (["--name=n", "--allow-empty"], {"name": "n", "allow_empty": True}, []),
        (["--name", "one", "--name", "two"], {"name": "two"}, []),
        (["--name", "-left"], {"name": "-left"}, []),
        (["--name=--allow-empty"], {"name": "--allow-empty"}, []),
        (["--name", "--", "a"], {"name": "--"}, ["a"]),
        (["--name=a=b"], {"name": "a=b"}, []),
        (["--name="], {"name": ""}, []),
        (["--metadata", "a=b", "p", "--metadata=c=d"], {"metadata": ["a=b", "c=d"]}, ["p"]),
        (["a", "--", "-b", "--name", "--"], {}, ["a", "-b", "--name", "--"]),
        (["-", ""], {}, ["-", ""]),
        (["-h"], {"help": True}, []),
        (["--help"], {"help": True}, []),
    ],
    ids=repr,
)
def test_options_and_paths_may_come_in_any_order(
    arguments: list[str], values: dict[str, object], others: list[str]
) -> None:
    if values.get("name") == "":
        assert read_options(COMMAND, arguments)[0]["name"] == ""
    assert given(*arguments) == (values, others)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--nam", "no such option: --nam; did you mean --name?"),
        ("--allow", "no such option: --allow; did you mean --allow-empty?"),
        ("--zzz", "no such option: --zzz"),
        ("-x.exr", "no such option: -x.exr; if it is a file, write ./-x.exr"),
        ("-5", "no such option: -5"),
        ("--name", "--name requires an argument: --name TEXT"),
        ("--allow-empty=yes", "--allow-empty takes no value"),
        ("--help=", "--help takes no value"),
    ],
)
def test_a_usage_error_names_the_option_and_the_help(argument: str, said: str) -> None:
    with pytest.raises(BadInputError) as raised:
        read_options(COMMAND, ["a", argument])

    line, hint = str(raised.value).splitlines()
    assert line.startswith(said)
    assert hint == "Try 'farmhaul enqueue --help' for help."


def test_a_second_manifest_is_not_lost() -> None:
    assert given("--manifest", "a", "--manifest=a") == ({"manifest": "a"}, [])
    with pytest.raises(BadInputError, match="--manifest FILENAME is given twice"):
        read_options(COMMAND, ["--manifest", "a", "--manifest", "b"])


def test_an_option_is_not_the_value_of_another_one() -> None:
    # What a shell makes of: --name $NAME --allow-empty
    with pytest.raises(BadInputError, match="--name TEXT is followed by the option --allow-empty"):
        read_options(COMMAND, ["a", "--name", "--allow-empty"])


def test_the_help_describes_the_command_and_each_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")

    lines = help_text(COMMAND).splitlines()

    assert lines[:5] == [
        "Usage: farmhaul enqueue [OPTIONS] PATH...", "", "  Queue files.", "",
        "  farmhaul enqueue FILE",
    ]  # fmt: skip
    assert "  --allow-empty         Accept files of 0 bytes." in lines
    assert "  -h, --help            Show this message and exit." in lines
    assert max(map(len, lines)) <= 60
