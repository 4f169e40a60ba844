"""What ``enqueue`` prints for an upload: readable text on a terminal, otherwise a line of JSON."""

from __future__ import annotations

from tasks.intake.json_text import json_text
from tasks.intake.request import PublishRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tasks.intake.request import Request


def upload_line(request: Request, state: str, *, human: bool) -> str:
    """Return the line for an upload; in JSON, ``size`` is in bytes or null."""
    if human:
        return f"{state:<10} {request.upload_id}  {size(request.size_bytes):>9}  {request.path}"
    files = {"files": len(request.files)} if isinstance(request, PublishRequest) else {}
    return json_text(
        {
            "upload_id": request.upload_id,
            "component_id": request.component_id,
            "path": request.path,
            "size": request.size_bytes,
            "state": state,
            **files,
        },
        comma=", ",
        colon=": ",
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
