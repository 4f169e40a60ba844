"""Print the modules of more than 300 lines: ``python -m tests.module_sizes``.

A long module is a reason to look for a second subject in it, and never an error.
"""

from __future__ import annotations

from pathlib import Path

LINES = 300


def main() -> None:
    for folder in ("tasks", "workers", "tests"):
        for path in sorted(Path(folder).rglob("*.py")):
            if path.name.startswith("test_"):
                continue  # a list of tests has one subject, however long
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > LINES:
                print(f"note: {path} has {lines} lines: does it hold a second subject?")


if __name__ == "__main__":
    main()
