"""AYON: makes a manifest from the PRODUCT_metadata.json that its farm submission writes.

farmhaul_ayon.py beauty_metadata.json --root work=/mnt/prod --version-id UUID | \
    farmhaul-hook --manifest -
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, Iterator  # noqa: UP035 Python 3.7

FRAME = re.compile(r"([0-9]+)(?=\.[^.0-9]+$)")


def lines(metadata: dict[str, Any], roots: dict[str, str], version_id: str) -> Iterator[Any]:
    """Yield a line of a manifest for each representation."""
    for instance in metadata["instances"]:
        for representation in instance["representations"]:
            files = representation["files"]
            names = [files] if isinstance(files, str) else files
            folder = representation.get("stagingDir") or instance.get("stagingDir") or ""
            # AYON writes paths without their root: {root[work]}/project/…
            folder = re.sub(r"\{root\[(\w+)\]\}", lambda match: roots[match[1]], folder)
            name = f"{instance.get('productName', '')}_{representation['name']}".strip("_")
            yield {"path": f"{folder}/{sequence(names)}", "version_id": version_id, "name": name}


def sequence(names: list[str]) -> str:
    """Return names that differ only by their frame as one sequence."""
    if len(names) == 1:
        return names[0]
    found = [match for match in map(FRAME.search, names) if match]
    ends = {match.string[: match.start()] + "|" + match.string[match.end() :] for match in found}
    widths = {len(match[1]) for match in found}
    if len(found) != len(names) or len(ends) != 1 or len(widths) != 1:
        raise ValueError(
            f"{names[0]} and the other {len(names) - 1} are not one sequence of frames"
        )
    first = found[0]
    frames = ", ".join(str(frame) for frame in sorted(int(match[1]) for match in found))
    mark = f"%0{widths.pop()}d"
    return f"{names[0][: first.start()]}{mark}{names[0][first.end() :]} [{frames}]"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write a manifest for an AYON metadata file.")
    parser.add_argument("metadata", type=Path)
    parser.add_argument("--root", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--version-id", required=True)
    options = parser.parse_args()
    try:
        metadata = json.loads(options.metadata.read_text(encoding="utf-8"))
        roots = dict(root.split("=", 1) for root in options.root)
        found = list(lines(metadata, roots, options.version_id))
    except KeyError as error:
        print(f"farmhaul: {options.metadata} or --root has no {error}", file=sys.stderr)
        return 2
    except (OSError, ValueError, TypeError) as error:
        print(f"farmhaul: {options.metadata}: {error}", file=sys.stderr)
        return 2
    for line in found:
        print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
