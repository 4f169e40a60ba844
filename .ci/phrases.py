"""Report phrases to avoid, which codespell cannot find: it looks at single words.

python .ci/phrases.py FILE ...

The phrases are in .codespell/phrases.txt, a line each: `regular expression -> replacement`.
A space in a phrase also matches a line break, with the marker of a comment after it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PHRASES = Path(__file__).resolve().parent.parent / ".codespell" / "phrases.txt"
GAP = r"(?: |\s*\n\s*(?:(?:#|--|//|\*|>) ?)?)"


def read_phrases() -> list[tuple[re.Pattern[str], str]]:
    """Return each phrase as a pattern, with what to write instead."""
    lines = PHRASES.read_text(encoding="utf-8").splitlines()
    pairs = [line.split(" -> ") for line in lines if line and not line.startswith("#")]
    return [
        (re.compile(rf"\b{phrase.replace(' ', GAP)}\b", re.IGNORECASE), better)
        for phrase, better in pairs
    ]


def main() -> int:
    """Print each phrase found in the files, and return the exit code."""
    phrases = read_phrases()
    code = 0
    for path in sys.argv[1:]:
        text = Path(path).read_text(encoding="utf-8")
        for phrase, better in phrases:
            for match in phrase.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                print(f'{path}:{line}: "{" ".join(match[0].split())}" ==> {better}')
                code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
