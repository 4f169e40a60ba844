"""hook.env: where it is, how it is read, and what is said when it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.intake.hook_env import HookEnvError, hook_environment, parse, spool_in
from tests.helpers.skipping import need_root


def write(path: Path, content: str | bytes) -> dict[str, str]:
    """Write hook.env; return the environment that names it."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return {"FARMHAUL_HOOK_ENV": str(path)}


def test_the_file_wins_over_the_environment(tmp_path: Path) -> None:
    named = write(tmp_path / "my settings.env", "FARMHAUL_SPOOL='/a b'\n")
    found = hook_environment({**named, "FARMHAUL_SPOOL": "/other", "FARMHAUL_PATH_MAP": "x"})
    assert (found["FARMHAUL_SPOOL"], found["FARMHAUL_PATH_MAP"]) == ("/a b", "x")


def test_without_a_file_there_is_the_environment_and_a_spool() -> None:
    assert hook_environment({"HOME": "/x"}) == {
        "HOME": "/x",
        "FARMHAUL_SPOOL": "/var/spool/farmhaul",
    }


def test_a_spool_that_is_not_absolute_is_not_used() -> None:
    assert spool_in({"FARMHAUL_SPOOL": "spool"}) == "/var/spool/farmhaul"
    assert spool_in({"FARMHAUL_SPOOL": "/s"}) == "/s"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (r"FARMHAUL_PATH_MAP='P:\=/mnt;\\nas\x=/c'", r"P:\=/mnt;\\nas\x=/c"),
        ('FARMHAUL_PATH_MAP="a b"', "a b"),
        ("FARMHAUL_PATH_MAP=a#b  # a comment", "a#b"),
        ("  export FARMHAUL_PATH_MAP = 'a'", "a"),
        ("FARMHAUL_PATH_MAP='$HOME `x`'", "$HOME `x`"),
        ("FARMHAUL_PATH_MAP=", ""),
        ("FARMHAUL_PATH_MAP=''", ""),
        ("FARMHAUL_PATH_MAP='a\tb'\t# a comment", "a\tb"),
        ("FARMHAUL_PATH_MAP='x=y'", "x=y"),
        ("FARMHAUL_PATH_MAP='Ü'", "Ü"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_read_as_shells_and_notepad_write_them(
    line: str, value: str, encoding: str, end: str
) -> None:
    text = f"# settings{end}{end}{line}{end}FARMHAUL_SPOOL='/s'{end}"
    assert parse(text.encode(encoding)) == (
        {"FARMHAUL_PATH_MAP": value, "FARMHAUL_SPOOL": "/s"},
        [],
    )


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("FARMHAUL_REDIS_URL", "line 1 is not NAME='VALUE'"),
        ("FARMHAUL_REDIS_URL='a", "line 1 is not NAME='VALUE'"),
        ("FARMHAUL_REDIS_URL='a' b", "line 1 is not NAME='VALUE'"),
        ("FARMHAUL_REDIS_URL='a'#b", "line 1 is not NAME='VALUE'"),
        ("FARMHAUL_REDIS_URL=a b", "line 1 is not NAME='VALUE'"),
        ("FARMHAUL_REDIS_URL=a'b'", "line 1 is not NAME='VALUE'"),
        ("FARMHAUL REDIS_URL=a", "line 1 is not NAME='VALUE'"),
        ("='a'", "line 1 is not NAME='VALUE'"),
        (". /etc/farmhaul/other.env", "line 1 is not NAME='VALUE'"),
        ("FARMHAUL_REDIS_URL='a\x1b'", "line 1 has FARMHAUL_REDIS_URL with a character that does"),
        ("FARMHAUL_REDIS_URL='a\u200b'", "line 1 has FARMHAUL_REDIS_URL with a character that"),
        (
            'FARMHAUL_REDIS_URL="$URL"',
            "line 1 has FARMHAUL_REDIS_URL with $ or `; write its value in",
        ),
    ],
)
def test_a_line_that_is_no_setting_is_named_and_spoils_no_other(line: str, fault: str) -> None:
    settings, [said] = parse(f"{line}\nFARMHAUL_SPOOL='/s'\n".encode())
    assert said.startswith(fault)
    assert settings == {"FARMHAUL_SPOOL": "/s"}


def test_a_byte_that_is_not_utf_8_is_said_and_the_rest_is_known(tmp_path: Path) -> None:
    named = write(tmp_path / "hook.env", b"FARMHAUL_SPOOL='/s'\nFARMHAUL_PATH_MAP='\xdc'\n")
    with pytest.raises(HookEnvError) as error:
        hook_environment(named)
    assert str(error.value) == (
        f"{tmp_path}/hook.env: line 2 is not UTF-8 text; save the file as UTF-8"
    )
    assert error.value.settings["FARMHAUL_SPOOL"] == "/s"


def test_a_file_that_is_named_and_does_not_exist_is_said(tmp_path: Path) -> None:
    with pytest.raises(HookEnvError, match="there is no file /nowhere") as error:
        hook_environment({"FARMHAUL_HOOK_ENV": "/nowhere"})
    assert error.value.settings["FARMHAUL_SPOOL"] == "/var/spool/farmhaul"


def test_a_file_that_never_ends_is_said() -> None:
    with pytest.raises(HookEnvError, match="/dev/zero has more than 1 MiB; is it the right file"):
        hook_environment({"FARMHAUL_HOOK_ENV": "/dev/zero"})


def test_a_fifo_in_its_place_holds_up_no_hook(tmp_path: Path) -> None:
    fifo = tmp_path / "hook.env"
    os.mkfifo(fifo)
    writer = os.open(fifo, os.O_RDWR)  # else the test would wait, if it fails
    try:
        with pytest.raises(HookEnvError, match="is a FIFO; make it a file"):
            hook_environment({"FARMHAUL_HOOK_ENV": str(fifo)})
    finally:
        os.close(writer)


def test_a_file_that_its_user_may_not_read_is_said_with_the_user(tmp_path: Path) -> None:
    need_root("A SETTINGS FILE OF ANOTHER USER WAS NOT TESTED")
    write(tmp_path / "hook.env", "FARMHAUL_SPOOL='/s'\n")
    (tmp_path / "hook.env").chmod(0o600)
    for folder in [tmp_path, *list(tmp_path.parents)[:3]]:
        folder.chmod(0o755)
    code = (
        "import os, sys, pwd; from tasks.intake.hook_env import *; os.setuid(65534)\n"
        "try: hook_environment({'FARMHAUL_HOOK_ENV': sys.argv[1]})\n"
        "except HookEnvError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "hook.env")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "hook.env cannot be read by the user nobody: Permission denied" in done.stdout


def test_a_file_of_utf_16_without_a_mark_is_said(tmp_path: Path) -> None:
    named = write(tmp_path / "hook.env", "FARMHAUL_SPOOL='/s'\n".encode("utf-16-le"))
    with pytest.raises(HookEnvError, match="is not UTF-8 text; save the file as UTF-8"):
        hook_environment(named)


@pytest.mark.parametrize(
    ("line", "inherited"),
    [
        ("FARMHAUL_HOOK_KEY_FILE='/key'", "FARMHAUL_HOOK_KEY"),
        ("FARMHAUL_HOOK_KEY='key'", "FARMHAUL_HOOK_KEY_FILE"),
    ],
)
def test_the_file_wins_in_whichever_form_it_has_a_setting(
    tmp_path: Path, line: str, inherited: str
) -> None:
    named = write(tmp_path / "hook.env", f"{line}\n")
    assert inherited not in hook_environment({**named, inherited: "of the manager"})
