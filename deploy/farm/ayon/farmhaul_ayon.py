"""AYON: queues what the PRODUCT_metadata.json of its farm submission names.

python3 farmhaul_ayon.py renderMain_metadata.json --root work=/mnt/prod --version-id UUID

What a version gets is what AYON's own plug-ins make (ynput/ayon-ftrack at 5501457,
integrate_ftrack_instances.py). README.md names what is different.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The file on all farm nodes.
HOOK = "/opt/farmhaul-hook/farmhaul-hook.pyz"
HOOK_WINDOWS = r"C:\Program Files\farmhaul-hook\farmhaul-hook.pyz"
HERE = HOOK_WINDOWS if os.name == "nt" else HOOK

sys.path.insert(0, HERE)

#: Options that go into each line, as the keys of a manifest.
TARGET = ("version_id", "context", "asset_type", "task", "comment", "status")
#: Where AYON registers the paths of files.
UNMANAGED = "ftrack.unmanaged"
#: AYON's types of products, and the asset types that it gives them.
ASSET_TYPES = {
    "camera": "cam", "look": "look", "mayaascii": "scene", "model": "geo", "rig": "rig",
    "setdress": "setdress", "pointcache": "cache", "render": "render", "prerender": "render",
    "render2d": "render", "nukescript": "comp", "write": "render", "review": "mov",
    "plate": "img", "audio": "audio", "workfile": "scene", "animation": "cache", "image": "img",
    "reference": "reference",
}  # fmt: skip
MOVIES = frozenset(
    ("avi", "flv", "m2v", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mxf", "ogv", "webm", "wmv")
)
PICTURES = frozenset(
    [
        *("bmp", "cin", "dpx", "exr", "gif", "hdr", "jpeg", "jpg", "png", "psd", "sgi", "tga"),
        *("tif", "tiff", "tx", "webp"),
    ]
)
#: A higher value is a time base that was mistaken for a rate.
MAX_FPS = 1000
#: How files of pictures begin, how much of them is read, and which blocks of a JPEG have its size.
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
HEAD_BYTES = 1 << 20
SIZED = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Component(NamedTuple):
    """A component that AYON makes of a representation, in a version of this asset."""

    asset: str
    one: dict[str, Any]
    name: str
    kind: str  # "thumbnail", "picture" (a thumbnail of this name), "review", "source" or "file"
    is_thumbnail: bool = False


def tags_of(one: dict[str, Any]) -> set[str]:
    tags = one.get("tags")
    return {str(tag) for tag in tags} if isinstance(tags, (list, tuple)) else set()


def extension(one: dict[str, Any]) -> str:
    """Return the extension of a representation's files, in lower case and without its dot."""
    files = one.get("files")
    name = str(files[0]) if isinstance(files, list) and files else str(files)
    return str(one.get("ext") or Path(name).suffix).lower().lstrip(".")


def components(product: str, found: list[dict[str, Any]]) -> Iterator[Component]:
    """Yield what AYON makes of the representations of an instance."""
    thumbnails, reviews, others = [], [], []
    for one in found:
        if one.get("thumbnail") or "thumbnail" in tags_of(one):
            thumbnails.append(one)
        elif "ftrackreview" in tags_of(one):
            reviews.append(one)
        else:
            others.append(one)
    kind, name = ("thumbnail", "thumbnail") if reviews else ("picture", "ftrackreview-image")
    movies = [one for one in reviews if extension(one) in MOVIES]
    for number, review in enumerate(movies or reviews):
        # The first one is of the product; each other one has an asset of its own.
        asset = f"{product}_{review.get('name')}" if number else product
        is_movie = bool(movies)
        thumbnail = matching(review, movies or reviews, thumbnails)
        if thumbnail:
            yield Component(asset, thumbnail, name, kind, is_movie)
            yield from source(asset, thumbnail, name)
        review_name = "ftrackreview-mp4" if is_movie else "ftrackreview-image"
        yield from source(asset, review, review_name)
        yield Component(asset, review, review_name, "review", not is_movie)
    if thumbnails and not reviews:
        yield from source(product, thumbnails[0], name)
        yield Component(product, thumbnails[-1], name, kind, is_thumbnail=True)
    for one in others:
        yield Component(product, one, str(one.get("name") or ""), "file")


def source(asset: str, one: dict[str, Any], name: str) -> Iterator[Component]:
    """Yield the second component of media that stays on disk: its path."""
    if "delete" not in tags_of(one):
        yield Component(asset, one, f"{name}_src", "source")


def matching(
    review: dict[str, Any], reviews: list[dict[str, Any]], thumbnails: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """Return the thumbnail of a review: of several, that with its output name."""

    def belong(thumbnail: dict[str, Any], other: dict[str, Any]) -> bool:
        name = thumbnail.get("outputName")
        return bool(name) and (name == other.get("outputName") or name in tags_of(other))

    named = [one for one in thumbnails for other in reviews if belong(one, other)]
    if len(named) > 1:
        return next((one for one in thumbnails if belong(one, review)), thumbnails[0])
    return thumbnails[0] if thumbnails else None


def target_of(one: dict[str, Any], asset: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return what the line of a component says of its version.

    With a context, the asset and the number of the version are those that AYON has.

    Raises:
        ValueError: AYON has no number, without which all renders would go into one version.
    """
    target = {key: options[key] for key in TARGET if options[key] is not None}
    if "context" not in target:
        return target
    product = str(one.get("productBaseType") or one.get("productType") or "").lower()
    family = one.get("ftrackFamily") or ASSET_TYPES.get(product, "upload")
    target.setdefault("asset_type", family)
    if one.get("comment"):
        target.setdefault("comment", one["comment"])
    # The file has no key for the version 1 (create_skeleton_instance of ayon-core).
    if one.get("version", 1) is None:
        raise ValueError("its instance has no version, which --context needs")
    return {**target, "asset": asset, "version_number": str(one.get("version", 1))}


def line(
    hook: Any, component: Component, roots: dict[str, str], options: dict[str, Any]
) -> dict[str, Any]:
    """Return the line of a manifest for a component.

    Raises:
        ValueError: its files are not one sequence, or it names an unknown root.
    """
    one, place = component.one, options["only_in"] or options["also_in"] or UNMANAGED
    # AYON writes paths without their root: {root[work]}/project/…
    folder = one.get("stagingDir") or ""
    for name, root in roots.items():
        folder = folder.replace(f"{{root[{name}]}}", root)
    _, unknown, name = folder.partition("{root[")
    if unknown:
        raise ValueError(f"write --root {name.partition(']')[0]}=FOLDER, which its path needs")
    target = target_of(one, component.asset, options)
    found = {"path": hook.files(folder, files_of(component)), **target}
    # All of a version's components become visible together.
    found.update(publish=component.asset or "publish", name=component.name)
    if component.is_thumbnail:
        found["thumbnail"] = True
    meta = media_of(component, found["path"])
    if component.kind in {"picture", "review"}:
        found["reviewable"] = True
    elif component.kind == "source":
        found["only_in"] = place
    elif component.kind == "file":
        found["only_in" if options["only_in"] else "also_in"] = place
    if component.kind in {"picture", "review"} and extension(one) == "pdf":
        del found["name"]
    elif meta or "reviewable" in found:
        found["metadata"] = {"ftr_meta": json.dumps(meta or {"format": "image"})}
    return found


def files_of(component: Component) -> str | list[str]:
    """Return the names of a component's files. Of media, AYON takes the first file.

    Raises:
        ValueError: they are no names.
    """
    files = component.one["files"]
    names = [files] if isinstance(files, str) else files
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"its files are no names: {files!r:.100}")
    return names if component.kind == "file" else names[:1]


def media_of(component: Component, path: str) -> dict[str, Any]:
    """Return what AYON says of a movie or of a picture, as far as its file and the disk tell it.

    Raises:
        ValueError: a movie for review has no rate or no frames, without which it does not play.
    """
    one, kind = component.one, extension(component.one)
    size = (one.get("width"), one.get("height"))
    rendered = (one.get("resolutionWidth"), one.get("resolutionHeight"))
    rate = float(one.get("fps") or 0) if kind in MOVIES else 0
    if not 0 <= rate < MAX_FPS:
        raise ValueError(f"this movie cannot have {rate} frames per second")
    if kind in MOVIES and component.kind == "review":
        first, last = one.get("frameStartFtrack"), one.get("frameEndFtrack")
        if first is None or last is None:
            first, last = one.get("frameStart"), one.get("frameEnd")
        if not rate or first is None or last is None:
            raise ValueError("AYON's file has no fps, frameStart or frameEnd of this movie")
        # In ftrack, the frames of a movie count from 0, and the end is their number. AYON leaves
        # out the size, with which some movies do not play.
        count = int(last) - int(first) + 1
        if count < 1:
            raise ValueError(f"this movie cannot have {count} frames")
        return {"frameIn": 0, "frameOut": count, "frameRate": rate}
    if kind in MOVIES:
        sized = {"width": rendered[0], "height": rendered[1]} if all(rendered) else {}
        return {**({"frameRate": rate} if rate else {}), **sized}
    if kind not in PICTURES and component.kind == "file":
        return {}
    if not all(size):
        size = picture_size(path) or (rendered if component.kind == "file" else (None, None))
    return {"width": size[0], "height": size[1], "format": "image"} if all(size) else {}


def picture_size(path: str) -> tuple[int, int] | None:
    """Return width and height of a PNG or JPEG file, or None."""
    try:
        if not Path(path).is_file():  # a FIFO would hang the publish
            return None
        with Path(path).open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return None

    def number(place: int, size: int) -> int:
        return int.from_bytes(head[place : place + size], "big")

    if head.startswith(PNG):
        return number(16, 4), number(20, 4)
    place = len(JPEG)
    while head.startswith(JPEG) and place < len(head):
        if number(place + 1, 1) in SIZED:
            return number(place + 7, 2), number(place + 5, 2)
        place += 2 + number(place + 2, 2)
    return None


def instances(metadata: Any, *, one_version: bool) -> tuple[list[list[dict[str, Any]]], list[str]]:
    """Return the representations of each instance, with what is known of it, and what is wrong."""
    shared = {key: metadata[key] for key in ("fps", "comment") if metadata.get(key)}
    shared.update((key, metadata[key]) for key in ("frameStart", "frameEnd") if key in metadata)
    found: list[list[dict[str, Any]]] = []
    faults = []
    for instance in metadata["instances"]:
        found.append([])
        ones = instance.get("representations") or () if isinstance(instance, dict) else None
        if not isinstance(ones, (list, tuple)):
            faults.append(f"{instance!r:.100} is no instance")
            continue
        for one in ones:
            texts = [one.get("name"), instance.get("productName")] if isinstance(one, dict) else [5]
            if all(text is None or isinstance(text, str) for text in texts):
                found[-1].append({**shared, **instance, "tags": (), **one})
            else:
                faults.append(f"{one!r:.100} is no representation")
    every = [one for group in found for one in group if one_version]
    names = Counter(one.get("name") for one in every)
    for one in every:
        # Several products have representations of one name, and here they share a version.
        product = one.get("productName") if names[one.get("name")] > 1 else ""
        one["name"] = "_".join(filter(None, [product, one.get("name")]))
    return found, faults


def collect(hook: Any, options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the lines of a manifest, and what cannot be queued; one does not hold up others."""
    metadata = json.loads(hook.read_text(options.metadata))
    found, faults = instances(metadata, one_version=not options.context)
    if not any(found) and not faults:
        raise ValueError("it names no representation")
    roots = dict(root.partition("=")[::2] for root in options.root)
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for group in found:
        product = str(group[0].get("productName") or "") if group else ""
        for component in components(product, list(published(group))):
            name = component.name
            try:
                made = line(hook, component, roots, vars(options))
                key = (component.asset if options.context else "", name)
                if lines.setdefault(key, made)["path"] != made["path"]:
                    raise ValueError(f"{name} would get two files, and this is the second one")
            except ValueError as error:
                faults.append(f"{component.one.get('name')}: {error}")
            except Exception as error:  # noqa: BLE001 anything may be in a file
                faults.append(f"{component.one.get('name')}: {type(error).__name__}: {error}")
    return list(lines.values()), list(dict.fromkeys(faults))


def published(group: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the representations that AYON publishes to ftrack, and name the others."""
    for one in group:
        tags = tags_of(one)
        is_media = {"thumbnail", "ftrackreview"} & tags or one.get("thumbnail")
        # "delete" is for files that only others are made of; media is uploaded nevertheless.
        if "publish_on_farm" in tags or ("delete" in tags and not is_media):
            tell(0, f"{one.get('name')} is left out, as AYON publishes no such file")
        else:
            yield one


def main() -> int:
    parser = argparse.ArgumentParser(description="Queue the files of an AYON metadata file.")
    parser.add_argument("metadata")
    parser.add_argument("--root", action="append", default=[], metavar="NAME=FOLDER")
    version = parser.add_mutually_exclusive_group(required=True)
    version.add_argument("--version-id", metavar="UUID")
    version.add_argument("--context", metavar="PATH|UUID", help="make the version here")
    for key in TARGET[2:]:
        parser.add_argument(f"--{key.replace('_', '-')}")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--also-in", metavar="LOCATION", help=f"in place of {UNMANAGED}")
    place.add_argument("--only-in", metavar="LOCATION", help="upload only thumbnails and reviews")
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
