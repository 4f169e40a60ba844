"""AYON: queues what the PRODUCT_metadata.json of its farm submission names.

python3 farmhaul_ayon.py renderMain_metadata.json --root work=/mnt/prod --version-id UUID
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from typing import Any

#: The file on all farm nodes.
HOOK = "/opt/farmhaul-hook/farmhaul-hook.pyz"
HOOK_WINDOWS = r"C:\Program Files\farmhaul-hook\farmhaul-hook.pyz"
HERE = HOOK_WINDOWS if os.name == "nt" else HOOK

sys.path.insert(0, HERE)


#: Options that go into each line, as the keys of a manifest.
TARGET = ("version_id", "context", "asset_type", "task", "comment", "status", "also_in")


def target_of(one: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Return what the line of a representation says of its version.

    With a context, the asset and the number of the version are those that AYON has.

    Raises:
        ValueError: AYON has no number, without which all renders would go into one version.
    """
    target = {key: options[key] for key in TARGET if options[key] is not None}
    if {"thumbnail", "ftrackreview"} & set(one["tags"] or ()) or one.get("thumbnail"):
        target.pop("also_in", None)  # media is only in ftrack.server
    if "context" in target:
        target["asset"] = one.get("productName")
        if one.get("version") is None:
            raise ValueError("its instance has no version, which --context needs")
        target["version_key"] = f"v{one['version']}"
    return target


def representations(
    metadata: Any, *, one_version: bool = True
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the representations, each with what is known of its instance, and what is wrong."""
    found, faults = [], []
    for instance in metadata["instances"]:
        for one in instance.get("representations") or ():
            if isinstance(one, dict):
                found.append({**instance, "tags": (), **one})
            else:
                faults.append(f"{one!r} is no representation")
    names = Counter(one.get("name") for one in found if one_version)
    for one in found:
        # Several products have representations of one name, and here they share a version.
        product = one.get("productName") if names[one.get("name")] > 1 else ""
        one["name"] = "_".join(filter(None, [product, one.get("name")]))
    return found, faults


def skipped(one: dict[str, Any]) -> bool:
    """Return whether AYON publishes no such file to ftrack."""
    tags = set(one["tags"] or ())
    is_media = {"thumbnail", "ftrackreview"} & tags or one.get("thumbnail")
    # "delete" is for files that only others are made of; media is uploaded nevertheless.
    return "publish_on_farm" in tags or ("delete" in tags and not is_media)


def line(
    hook: Any, one: dict[str, Any], roots: dict[str, str], target: dict[str, Any]
) -> dict[str, Any]:
    """Return the line of a manifest for a representation.

    Raises:
        ValueError: its files are not one sequence, or it names an unknown root.
    """
    # AYON writes paths without their root: {root[work]}/project/…
    folder = one.get("stagingDir") or ""
    for name, place in roots.items():
        folder = folder.replace(f"{{root[{name}]}}", place)
    _, unknown, name = folder.partition("{root[")
    if unknown:
        raise ValueError(f"write --root {name.partition(']')[0]}=FOLDER, which its path needs")
    path = hook.files(folder, one["files"])
    tags = set(one["tags"] or ())
    if one.get("thumbnail") or "thumbnail" in tags:
        return {"path": path, **target, "name": "thumbnail", "thumbnail": True}
    if "ftrackreview" in tags:
        return {"path": path, **target, "reviewable": True, **review(path, one)}
    return {"path": path, **target, "name": one["name"]}


def review(path: str, one: dict[str, Any]) -> dict[str, str]:
    """Return what AYON knows of a movie; a hook does not look at the file for the rest."""
    # AYON's only name for a movie, whatever its resolution.
    known = {"name": "ftrackreview-mp4"} if path.lower().endswith(".mp4") else {}
    if path.lower().endswith(".pdf"):
        return known
    if one.get("resolutionWidth") and one.get("resolutionHeight"):
        known["resolution"] = f"{one['resolutionWidth']}x{one['resolutionHeight']}"
    if not path.lower().endswith((".png", ".jpg", ".jpeg")):
        if one.get("fps"):
            known["fps"] = str(one["fps"])
        if isinstance(one.get("frameStart"), int) and isinstance(one.get("frameEnd"), int):
            # In ftrack, the frames of a movie count from 0, and the end is their number.
            known["frame_range"] = f"{one['frameStart']}-{one['frameEnd']}"
    return known


def collect(hook: Any, options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the lines of a manifest, and what cannot be queued; one does not hold up others."""
    metadata = json.loads(hook.read_text(options.metadata))
    found, faults = representations(metadata, one_version=not options.context)
    if not found and not faults:
        raise ValueError("it names no representation")
    roots = dict(root.partition("=")[::2] for root in options.root)
    uploads = []
    for one in found:
        try:
            if skipped(one):
                tell(0, f"{one['name']} is left out, as AYON publishes no such file")
            else:
                uploads.append(line(hook, one, roots, target_of(one, vars(options))))
        except ValueError as error:
            faults.append(f"{one['name']}: {error}")
        except Exception as error:  # noqa: BLE001 anything may be in a file
            faults.append(f"{one['name']}: {type(error).__name__}: {error}")
    return uploads, faults


def main() -> int:
    parser = argparse.ArgumentParser(description="Queue the files of an AYON metadata file.")
    parser.add_argument("metadata")
    parser.add_argument("--root", action="append", default=[], metavar="NAME=FOLDER")
    version = parser.add_mutually_exclusive_group(required=True)
    version.add_argument("--version-id", metavar="UUID")
    version.add_argument("--context", metavar="PATH|UUID", help="make the version here")
    for key in TARGET[2:]:
        parser.add_argument(f"--{key.replace('_', '-')}")
    parser.add_argument("--dry-run", action="store_true", help="print the manifest, queue nothing")
    options = parser.parse_args()
    try:
        import farmhaul_hook as hook  # noqa: PLC0415 it may not be installed here
    except Exception as error:  # noqa: BLE001 one line in the log of the job
        return tell(3, f"{options.metadata}: not queued: install {HERE} on this node: {error}")
    try:
        uploads, faults = collect(hook, options)
    except Exception as error:  # noqa: BLE001 as above
        return tell(2, f"{options.metadata}: not queued: {type(error).__name__}: {error}")
    if options.dry_run:
        for upload in uploads:
            print(json.dumps(upload))
        return tell(2, f"not queued: {'; '.join(faults)}") if faults else 0
    if not uploads and not faults:
        return tell(0, "nothing is queued, because everything is left out")
    code, text = hook.enqueue(uploads, faults)
    return tell(code, text[len("farmhaul: ") :])


def tell(code: int, text: str) -> int:
    """Print a line for the log of the job, and return the exit code."""
    # In ASCII: what a file says may not print, or not in the encoding of a manager's log.
    plain = "".join(one if " " <= one <= "~" else ascii(one)[1:-1] for one in text)
    print(f"farmhaul: {plain}", file=sys.stderr if code else sys.stdout)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
