"""AYON: queues what the PRODUCT_metadata.json of its farm submission names.

python3 farmhaul_ayon.py renderMain_metadata.json --root work=/mnt/prod --version-id UUID
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Iterator  # noqa: UP035 Python 3.8

#: The file on all farm nodes.
HOOK = "/opt/farmhaul-hook/farmhaul-hook.pyz"
HOOK_WINDOWS = r"C:\Program Files\farmhaul-hook\farmhaul-hook.pyz"

sys.path.insert(0, HOOK_WINDOWS if os.name == "nt" else HOOK)
import farmhaul_hook  # noqa: E402 it is in that file


class UnreadableError(Exception):
    """A representation that cannot be sent: what it is, and why."""


def representations(metadata: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each representation, and what is known of it."""
    for instance in metadata["instances"]:
        for one in instance["representations"]:
            folder = one.get("stagingDir") or instance.get("stagingDir") or ""
            name = f"{instance.get('productName', '')}_{one.get('name', '')}".strip("_")
            yield name, {**one, "stagingDir": folder}


def line(name: str, one: dict[str, Any], roots: dict[str, str], version_id: str) -> dict[str, Any]:
    """Return the line of a manifest for a representation.

    Raises:
        UnreadableError: its files are not one sequence, or it names an unknown root.
    """
    try:
        # AYON writes paths without their root: {root[work]}/project/…
        folder = re.sub(r"\{root\[(\w+)\]\}", lambda match: roots[match[1]], one["stagingDir"])
        path = farmhaul_hook.files(folder, one["files"])
    except KeyError as error:
        raise UnreadableError(f"{name}: there is no {error} in the metadata or in --root") from None
    except (ValueError, TypeError) as error:
        raise UnreadableError(f"{name}: {error}") from None
    return {"path": path, "version_id": version_id, "name": name}


def main() -> int:
    parser = argparse.ArgumentParser(description="Queue the files of an AYON metadata file.")
    parser.add_argument("metadata", type=Path)
    parser.add_argument("--root", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--version-id", required=True)
    parser.add_argument("--dry-run", action="store_true", help="print the manifest, queue nothing")
    options = parser.parse_args()
    try:
        metadata = json.loads(options.metadata.read_text(encoding="utf-8"))
        roots = dict(root.split("=", 1) for root in options.root)
        found = list(representations(metadata))
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        print(f"farmhaul: {options.metadata}: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    uploads, unreadable = [], []
    for name, one in found:
        try:
            uploads.append(line(name, one, roots, options.version_id))
        except UnreadableError as error:
            unreadable.append(str(error))
    code = 0
    if options.dry_run:
        for upload in uploads:
            print(json.dumps(upload))
    elif uploads:
        code, text = farmhaul_hook.enqueue(uploads)
        print(text)
    # One representation that cannot be read does not hold up the others.
    for text in unreadable:
        print(f"farmhaul: not queued: {text}", file=sys.stderr)
    return max(code, 2) if unreadable else code


if __name__ == "__main__":
    sys.exit(main())
