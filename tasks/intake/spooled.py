"""Read the files of a spool: bodies and manifests."""

from __future__ import annotations

from tasks.intake.bodies import make_bodies
from tasks.intake.envelope import open_entry, sign
from tasks.intake.errors import BadInputError
from tasks.intake.flush import NotNowError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tasks.intake.flush import Build, Built


def reader(settings: Any, host: str) -> Build:
    """Return what ``flush`` reads the files of a spool with.

    Args:
        settings: the path map and the roots, for manifests.
        host: the name of this host.
    """

    def build(path: str, content: bytes, written_at: float) -> Built:
        if ".jsonl" in path:
            if not settings.storage_roots:
                raise NotNowError("is left, because FARMHAUL_STORAGE_ROOTS is not set here")
            return _manifest(content, written_at, settings, host)
        # Opened as a worker does that, so that what no worker would take in is put aside.
        return [content], len(open_entry(sign(content, ()), ()).requests), ()

    return build


def _manifest(content: bytes, written_at: float, settings: Any, host: str) -> Built:
    from tasks.config.texts import NotTextError, decode_text
    from tasks.intake.salvage import sort_out

    try:
        lines = decode_text(content, "surrogateescape").split("\n")
    except NotTextError as error:
        raise BadInputError(str(error)) from None
    requests, refused = sort_out(lines, settings)
    if not requests:
        raise BadInputError("; ".join(reason for _, reason in refused))
    return make_bodies(requests, written_at, host), len(requests), refused
