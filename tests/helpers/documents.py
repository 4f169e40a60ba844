"""README.md and docs/ as tests read them."""

from __future__ import annotations

import os
import pty
import re
import subprocess

from tests.sandbox.process import CHECKOUT

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
DOCS = {path.name: path.read_text(encoding="utf-8") for path in (CHECKOUT / "docs").glob("*.md")}
UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


def section(text: str, heading: str) -> str:
    found = re.search(rf"(?ms)^## {re.escape(heading)}$.*?(?=^## |\Z)", text)
    assert found, f"there is no heading {heading}"
    return found[0]


def first_cells(markdown: str) -> list[str]:
    """What stands in backticks in the first column of the tables."""
    rows = [line for line in markdown.splitlines() if line.startswith("| `")]
    cells = [re.split(r"(?<!\\)\|", row)[1].replace(r"\|", "|") for row in rows]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def block_after(text: str, mark: str) -> str:
    found = re.search(rf"<!-- [^\n]*{re.escape(mark)}[^\n]* -->\n```\w*\n(.*?)```", text, re.DOTALL)
    assert found, f"there is no block after a comment with {mark!r}"
    return found[1]


def plain(text: str) -> str:
    """Leave out what is another each time: ids, times, the folders of this machine."""
    text = re.sub(r"/\S*/v003/", "…/v003/", UUID.sub("…", text.replace("\r\n", "\n")))
    return re.sub(r"(?m)^\[ *\d+\.\d s\]", "[…]", text)


def on_a_terminal(command: list[str], environment: dict[str, str]) -> str:
    """Run a command with a terminal as its output; gives what a person reads there."""
    screen, slave = pty.openpty()
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave
    )
    os.close(slave)
    shown = b""
    with open(screen, "rb", buffering=0) as reader:
        try:
            while block := reader.read(4096):
                shown += block
        except OSError:  # how Linux says that the other end is closed
            pass
    assert process.wait() == 0
    return shown.decode()


def key_pattern(documented: str) -> re.Pattern[str]:
    """Read ``farmhaul:upload:ID`` and the like: capitals and … stand for anything."""
    text = re.sub(r"[A-Z]{2,}|…", "\0", documented)
    suffix = "(?:\x06\x16\\d)?" if documented == "farmhaul" else ""
    return re.compile(re.escape(text).replace("\0", ".*") + suffix)
