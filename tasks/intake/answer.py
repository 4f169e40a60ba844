"""What ``enqueue`` prints: readable text on a terminal, otherwise a line of JSON."""

from __future__ import annotations

from tasks.config.texts import visible
from tasks.intake.json_text import json_text
from tasks.intake.ranges import compact, holes, some_of
from tasks.intake.request import PublishRequest
from tasks.transfer.names import file_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tasks.intake.build import Component
    from tasks.intake.request import Request


def upload_line(request: Request, state: str, *, human: bool) -> str:
    """Return the line for an upload; in JSON, ``size`` is in bytes or null."""
    if human:
        path = visible(request.path)
        return f"{state:<10} {request.upload_id}  {size(request.size_bytes):>9}  {path}"
    more: dict[str, Any] = {}
    target = request.files[0].target if isinstance(request, PublishRequest) else request.target
    if isinstance(request, PublishRequest):
        more["files"] = len(request.files)
    if target.new_version:
        more["version_id"] = target.version_id
    return json_text(
        {
            "upload_id": request.upload_id,
            "component_id": request.component_id,
            "path": request.path,
            "size": request.size_bytes,
            "state": state,
            **more,
        },
        comma=", ",
        colon=": ",
    )


def component_line(component: Component, *, human: bool) -> str:
    """Return the line for a component that is not queued; in JSON, as ``upload_line``."""
    target, files = component.target, component.files
    sizes = [file.size_bytes for file in files]
    size_bytes = None if None in sizes else sum(size or 0 for size in sizes)
    values: dict[str, Any] = {
        "kind": "file",
        "name": target.name,
        "file_type": file_type(component.path.rpartition("/")[2]),
        "component_id": target.component_id,
        "path": component.path,
        "files": len(files),
        "size": size_bytes,
    }
    missing: list[str] = []
    if component.container is not None:
        numbers = [int(str(file.target.name)) for file in files]
        missing = holes(numbers)
        values.update(kind="sequence", file_type=component.container.file_type)
        values.update(frames=compact(numbers), missing=missing)
    if component.entry.publish is not None:
        values["publish"] = component.entry.publish
    if not human:
        return json_text(values, comma=", ", colon=": ")
    count = f"{len(files)} {'file' if len(files) == 1 else 'files'}"
    return visible(
        f"{values['kind']:<8}  {target.name or target.component_id}  "
        f"{values['file_type'] or '(no file type)'}  {count}  {size(size_bytes)}  {component.path}"
        f"{f' without {some_of(missing)}' if missing else ''}"
    )


def size(size_bytes: int | None) -> str:
    """Return a size in decimal units, such as ``12.3 MB``; ``?`` if it is unknown."""
    if size_bytes is None:
        return "?"
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:  # noqa: PLR2004 the step of the units
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
