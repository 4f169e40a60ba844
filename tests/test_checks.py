"""The checks of our own in .ci/, which pre-commit runs."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKS = Path(__file__).resolve().parent.parent / ".ci"
BODY = "\n\nA frozen worker came back and wrote on, because nobody asked the record."


def run(check: str, *files: Path) -> subprocess.CompletedProcess[str]:
    command: list[str | Path] = [sys.executable, CHECKS / f"{check}.py", *files]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "message",
    [
        f"{'x' * 72}{BODY}",
        f"Keep the lease{BODY}\n\nSigned-off-by: A Person <person@example.com>\n",
        f"# a comment; with more than it may have{'x' * 72}\nKeep the lease{BODY}",
        f"Keep the lease{BODY}\n# ------------------------ >8 ------------------------\n;",
        "Merge branch 'main'",
        "fixup! Keep the lease; and more",
    ],
)
def test_a_commit_message_with_a_short_subject_and_a_body_passes(
    message: str, tmp_path: Path
) -> None:
    file = tmp_path / "message"
    file.write_text(message)

    checked = run("commit_message", file)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (f"{'x' * 73}{BODY}", "73 characters"),
        (f"Keep the lease; log it{BODY}", '";"'),
        (f"Keep the lease{BODY[1:]}", "not blank"),
        ("Keep the lease\n", "no body"),
        ("Keep the lease\n\n# a comment\n\nSigned-off-by: A Person <a@b>\n", "no body"),
        (
            "Keep the lease\n\n# ------------------------ >8 ------------------------\ndiff",
            "no body",
        ),
        ("# only a comment\n", "empty"),
    ],
)
def test_a_commit_message_that_breaks_a_rule_is_refused(
    message: str, problem: str, tmp_path: Path
) -> None:
    file = tmp_path / "message"
    file.write_text(message)

    checked = run("commit_message", file)

    assert checked.returncode == 1
    assert problem in checked.stderr


def test_a_phrase_is_found_across_the_lines_of_a_comment(tmp_path: Path) -> None:
    file = tmp_path / "some.lua"
    # Put together, as this file is checked too.
    file.write_text("local x = 1\n-- It can" + "\n-- not be read.\n-- I cannot not.\n")

    checked = run("phrases", file)

    assert (checked.returncode, checked.stdout.count("\n")) == (1, 1)
    assert checked.stdout.startswith(f"{file}:2:")
    assert "cannot" in checked.stdout


def test_lua_that_redis_cannot_compile_is_reported_by_its_line(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.lua", tmp_path / "bad.lua"
    good.write_text("local x = 1\nreturn x\n")
    bad.write_text("local x = 1\ngoto = 2 // 1\n")  # Lua 5.3 has //, and Redis has Lua 5.1

    checked = run("lua_syntax", good, bad)

    assert (checked.returncode, checked.stdout.count("\n")) == (1, 1)
    assert checked.stdout.startswith(f"{bad}:2:")
