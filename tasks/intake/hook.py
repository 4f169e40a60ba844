"""The library of hooks: hands finished renders over from inside a render manager.

    sys.path.insert(0, "/opt/farmhaul-hook/farmhaul-hook.pyz")
    import farmhaul_hook
    code, line = farmhaul_hook.enqueue([{"path": …, "version_id": …}])

Nothing here raises, waits for more than 2 s or starts a process. An upload is written to disk
before anything else, so that it is not lost if this process is killed, if the settings cannot be
read or if Redis is away: farmhaul flush-spool, a worker on this host, or the next hook sends it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time

from tasks.config.environment import SettingsError
from tasks.config.hook_settings import HookSettings
from tasks.intake import disk, inbox
from tasks.intake.bodies import make_bodies
from tasks.intake.envelope import sign
from tasks.intake.errors import BadInputError
from tasks.intake.flush import flush
from tasks.intake.hook_env import HookEnvError, hook_environment, spool_in
from tasks.intake.job import files, flag, outputs, ranges, sequence, upload
from tasks.intake.salvage import sort_out
from tasks.intake.spool import Spool
from tasks.intake.spooled import reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

__all__ = ["enqueue", "files", "flag", "outputs", "ranges", "refuse", "sequence", "upload"]

DONE = 0
REFUSED = 2
NOT_QUEUED = 3

#: How many spooled files a hook sends along, and the time within which it begins to. With the
#: time limit of a command to Redis, it then ends within 2 s.
SPOOLED_AT_ONCE = 100
SPOOLED_WITHIN_S = 0.3


def enqueue(uploads: Iterable[dict[str, Any]]) -> tuple[int, str]:
    """Hand uploads over; return an exit code and one line for the log. Never raises.

    The code is 0 if farmhaul has the uploads or will send them from the spool, 2 if it refuses
    some of them, and 3 if somebody has to fix something before they can be sent. What is not sent
    is in the file that the line names. Uploads that are not refused are sent in any case.
    """
    try:
        return _answer(*_enqueue([upload for upload in uploads if upload]))
    except Exception as error:  # noqa: BLE001 an error of the hook must not stop a farm
        return _answer(NOT_QUEUED, f"nothing is queued: {type(error).__name__}: {error}")


def refuse(uploads: Iterable[dict[str, Any]], reason: str) -> tuple[int, str]:
    """Keep uploads for somebody to look at; return an exit code and one line. Never raises."""
    try:
        lines = [_line(upload) for upload in uploads if upload]
        aside = _Kept(spool_in(_environment()[0]), lines, ".bad").path
        return _answer(REFUSED, f"refused, set aside as {aside}: {reason}")
    except Exception as error:  # noqa: BLE001 as in enqueue
        return _answer(NOT_QUEUED, f"{reason}; nothing is kept: {type(error).__name__}: {error}")


def _enqueue(uploads: Sequence[dict[str, Any]]) -> tuple[int, str]:
    if not uploads:
        return DONE, "the job names no ftrack id; nothing is queued"
    began = time.time()
    what = str(uploads[0].get("path", "an upload"))
    if len(uploads) > 1:
        what += f" and {len(uploads) - 1} more"
    environment, trouble = _environment()
    lines = [_line(upload) for upload in uploads]
    kept = _Kept(spool_in(environment), lines)
    try:
        if trouble:
            raise BadInputError(trouble)
        settings = HookSettings.from_environment(environment)
        requests, refused = sort_out(lines, settings)
        bodies = make_bodies(requests, began, socket.gethostname())
    except (BadInputError, SettingsError) as error:
        why = "; ".join(str(error).splitlines())
        return NOT_QUEUED, f"{what}: not queued, {kept.settle()}: {why}"
    if refused:
        said = kept.set_aside(refused)
        if not requests:
            return REFUSED, f"{what}: {said}"
        what = f"{said}; {what}"
    code = REFUSED if refused else DONE
    try:
        inbox.push(settings.redis_url, [sign(body, settings.hook_keys) for body in bodies])
    except inbox.InboxError as error:
        place = kept.settle()
        return (NOT_QUEUED if kept.trouble else code), f"{what}: {error}; {place}"
    kept.discard()
    return code, "; ".join(
        [f"{what}: {len(requests)} queued", *_send_along(kept.spool, settings, began)]
    )


class _Kept:
    """Uploads on disk: in the spool, or in the folder for temporary files."""

    def __init__(self, spool: str, lines: Sequence[str], suffix: str = ".jsonl.new") -> None:
        self.spool = Spool(spool)
        self.lines = lines
        self.trouble = ""
        self.path = self._write(lines, suffix)

    def _write(self, lines: Sequence[str], suffix: str) -> str:
        content = "".join(f"{line}\n" for line in lines).encode("ascii")
        try:
            return self.spool.keep_manifest(content, suffix)
        except OSError as error:
            import tempfile

            self.trouble = f"the spool {self.spool.folder} cannot be written ({error.strerror})"
            suffix = suffix.replace(".new", "")
            return disk.write_new(tempfile.gettempdir(), content, suffix, "farmhaul-")

    def settle(self) -> str:
        """Make sure that the uploads are on the disk; return where, for the log."""
        try:
            if not self.trouble:
                return f"kept in {self.spool.settle([self.path])[0]}, and sent later"
            disk.sync(self.path)
        except OSError:
            pass  # they are there, unless the host goes down in the next seconds
        if not self.trouble:
            return f"kept in {self.path}, and sent later"
        return f"kept in {self.path}, because {self.trouble}; move it to {self.spool.manifests}"

    def set_aside(self, refused: Sequence[tuple[str, str]]) -> str:
        """Keep refused lines as .bad, and the others as they are; return what to say."""
        bad = [line for line, _ in refused]
        good = [line for line in self.lines if line not in bad]
        whole, aside = self.path, self._write(bad, ".bad")
        self.path = self._write(good, ".jsonl.new") if good else ""
        self.spool.discard([whole])
        reasons = "; ".join(reason for _, reason in refused)
        return f"{len(bad)} refused, set aside as {aside}: {reasons}"

    def discard(self) -> None:
        self.spool.discard([self.path])


def _environment() -> tuple[dict[str, str], str]:
    """Return the environment, and what is wrong with hook.env."""
    try:
        return hook_environment(), ""
    except HookEnvError as error:
        return dict(error.settings), str(error)


def _line(upload: dict[str, Any]) -> str:
    # What is not JSON becomes a list, which no key takes: it is refused with a reason, not lost.
    return json.dumps(upload, default=lambda value: [repr(value)])


def _send_along(spool: Spool, settings: HookSettings, began: float) -> list[str]:
    """Send some of what earlier hooks have spooled; return what to say of it."""
    said: list[str] = []
    rest_s = SPOOLED_WITHIN_S - (time.time() - began)
    if rest_s <= 0:
        return said

    def push(bodies: Sequence[bytes]) -> None:
        inbox.push(settings.redis_url, [sign(body, settings.hook_keys) for body in bodies])

    # The uploads of this hook are queued. farmhaul flush-spool says what is wrong with a spool.
    with contextlib.suppress(inbox.InboxError, OSError):
        flush(
            spool,
            reader(settings, socket.gethostname()),
            push,
            lambda path, reason: said.append(f"{path}: {reason}"),
            limit=SPOOLED_AT_ONCE,
            until=time.monotonic() + rest_s,
        )
    return said


def _answer(code: int, text: str) -> tuple[int, str]:
    # ASCII, because the encoding of a manager's log is not known.
    line = " ".join(text.split()).encode("ascii", "backslashreplace").decode("ascii")
    return code, f"farmhaul: {line}"
