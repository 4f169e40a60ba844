"""Check a commit message: python .ci/commit_message.py FILE, as the commit-msg hook calls it.

The subject states one effect; the body gives the cause and the reason. A program can only see
that there is a body, so it is the reviewer who judges whether the body explains the change.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

MAX_SUBJECT = 72  # characters, so that `git log --oneline` fits a terminal
SCISSORS = "# ------------------------ >8 ------------------------"  # git commit --verbose
# git writes the first kind itself; `git rebase --autosquash` removes the others.
NOT_CHECKED = re.compile(r"Merge |(fixup|squash|amend)! ")
TRAILER = re.compile(r"[A-Za-z][A-Za-z-]*: \S.*")


def problems(message: str) -> list[str]:
    """Return what is wrong with a commit message, one problem each."""
    text = message.partition(SCISSORS)[0]
    lines = [line.rstrip() for line in text.splitlines() if not line.startswith("#")]
    subject, *rest = "\n".join(lines).strip("\n").split("\n")
    if NOT_CHECKED.match(subject):
        return []
    found = []
    if not subject:
        found.append("the message is empty")
    if len(subject) > MAX_SUBJECT:
        found.append(f"the subject has {len(subject)} characters, more than {MAX_SUBJECT}")
    if ";" in subject:
        found.append('the subject contains ";": make one commit for each change')
    if rest and rest[0]:
        found.append("the line after the subject is not blank")
    if not any(line and not TRAILER.fullmatch(line) for line in rest):
        found.append("there is no body: give the cause of the change and the reason for it")
    return found


def main() -> int:
    """Print what is wrong with the message in the file, and return the exit code."""
    found = problems(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for problem in found:
        print(f"commit message: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
