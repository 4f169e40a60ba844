"""Read the files of a spool: bodies, manifests, and requests of the former version."""

from __future__ import annotations

from tasks.intake.bodies import make_bodies
from tasks.intake.envelope import open_entry, sign
from tasks.intake.errors import BadInputError
from tasks.intake.flush import NotNowError
from tasks.intake.request import from_spool

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
        # Imported late, as below: every hook looks at its spool, and few find something in it.
        import json

        if ".jsonl" in path:
            if not settings.storage_roots:
                raise NotNowError("is left, because FARMHAUL_STORAGE_ROOTS is not set here")
            return _manifest(content, written_at, settings, host)
        # Since then, somebody may have enqueued a newer file for the component: both forms say
        # when they were asked for.
        values = json.loads(content)
        if not isinstance(values, dict):
            raise BadInputError("it is not a JSON object")
        if "requests" in values:
            return [content], len(open_entry(sign(content, ()), ()).requests), ()
        request = from_spool(values)
        return make_bodies([request], request.asked_at or written_at, host), 1, ()

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
