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
import time

from tasks.config.environment import SettingsError
from tasks.config.hook_settings import HookSettings
from tasks.config.texts import read_text, visible
from tasks.intake import disk, inbox
from tasks.intake.bodies import make_bodies
from tasks.intake.deliver import SPOOLED_AT_ONCE, flush_spool, host_name, signed, user_name
from tasks.intake.errors import BadInputError
from tasks.intake.hook_env import HookEnvError, hook_environment, spool_in
from tasks.intake.job import files, flag, job_uploads, sequence, upload
from tasks.intake.ranges import shortest as ranges
from tasks.intake.salvage import sort_out
from tasks.intake.spool import Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

__all__ = [
    "enqueue",
    "files",
    "flag",
    "job_uploads",
    "ranges",
    "read_text",
    "refuse",
    "sequence",
    "upload",
]

DONE = 0
REFUSED = 2
NOT_QUEUED = 3
#: The longest line for a log, in characters: some faults, each with a path.
MAX_ANSWER = 4000
#: A hook that has taken longer leaves what is spooled to the next one.
SPOOLED_WITHIN_S = 0.3


def enqueue(
    uploads: Iterable[dict[str, Any]] | dict[str, Any], faults: Sequence[str] = ()
) -> tuple[int, str]:
    """Hand uploads over; return an exit code and one line for the log. Never raises.

    The code is 0 if farmhaul has the uploads or will send them from the spool, 2 if it refuses
    some of them, and 3 if somebody has to fix something before they can be sent. What is not sent
    is in the file that the line names. Uploads that are not refused are sent in any case.

    Args:
        uploads: lines of a manifest, or a single one; empty ones do not count.
        faults: what else of the job cannot be queued, as texts for the line. The code is then at
            least 2, because nobody would look for it in ftrack.
    """
    try:
        # Of a dict in the place of a list, only the keys would be kept.
        lines = [uploads] if isinstance(uploads, dict) else uploads
        given = [upload for upload in lines if upload]
        if given:
            code, text = _enqueue(given)
        elif faults:
            code, text = REFUSED, "nothing is queued"
        else:
            code, text = DONE, "the job names no ftrack id; nothing is queued"
        if faults:
            code, text = max(code, REFUSED), f"{text}; not queued: {'; '.join(faults)}"
        return _answer(code, text)
    except Exception as error:  # noqa: BLE001 an error of the hook must not stop a farm
        return _answer(NOT_QUEUED, f"nothing is queued: {_reason(error)}")


def refuse(uploads: Iterable[dict[str, Any]], reason: str) -> tuple[int, str]:
    """Keep uploads for somebody to look at; return an exit code and one line. Never raises."""
    try:
        lines = [_line(upload) for upload in uploads if upload]
        if not lines:
            return _answer(REFUSED, f"refused: {reason}")
        kept = _Kept(spool_in(_environment()[0]), lines, ".bad")
        return _answer(REFUSED, f"refused, {kept.aside(kept.path)}: {reason}")
    except Exception as error:  # noqa: BLE001 as in enqueue
        return _answer(NOT_QUEUED, f"{reason}; nothing is kept: {_reason(error)}")


def _enqueue(uploads: Sequence[Any]) -> tuple[int, str]:
    began = time.time()
    what = str(uploads[0].get("path") if isinstance(uploads[0], dict) else "an upload")
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
        bodies = make_bodies(requests, began, host_name(), user_name())
    except Exception as error:  # noqa: BLE001 whatever it is, the uploads are kept
        return NOT_QUEUED, f"{what}: not queued, {kept.settle()}: {_reason(error)}"
    if refused:
        said = kept.set_aside(refused)
        if not requests:
            return REFUSED, f"{what}: {said}"
        what = f"{said}; {what}"
    code = REFUSED if refused else DONE
    try:
        inbox.push(settings.redis_url, signed(bodies, settings))
    except Exception as error:  # noqa: BLE001 as above
        place = kept.settle()
        return (NOT_QUEUED if kept.trouble else code), f"{what}: {_reason(error)}; {place}"
    kept.discard()
    along = [] if kept.trouble else _send_along(settings, began)
    return code, "; ".join([f"{what}: {len(requests)} queued", *along])


class _Kept:
    """Uploads on disk: in the spool, or in the folder for temporary files, or nowhere."""

    def __init__(self, spool: str, lines: Sequence[str], suffix: str = ".jsonl.new") -> None:
        self.spool = Spool(spool)
        self.lines = lines
        self.trouble = ""
        self.path = self._write(lines, suffix)

    def _write(self, lines: Sequence[str], suffix: str) -> str:
        """Return the path of a new file, or an empty text if no folder takes it."""
        content = "".join(f"{line}\n" for line in lines).encode("ascii")
        try:
            if not self.trouble:
                return self.spool.keep_manifest(content, suffix)
        except (OSError, ValueError) as error:  # ValueError: the name contains a NUL
            why = getattr(error, "strerror", None) or error
            self.trouble = f"the spool {self.spool.folder} cannot be written ({why})"
        import tempfile

        try:
            folder = tempfile.gettempdir()
            return disk.write_new(folder, content, suffix.replace(".new", ""), "farmhaul-")
        except OSError as error:
            self.trouble += f", nor can a temporary file ({error.strerror})"
            return ""

    def settle(self) -> str:
        """Make sure that the uploads are on the disk; return where, for the log."""
        if not self.path:
            return f"and not kept, because {self.trouble}; enqueue it again when that is fixed"
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
        aside = self._write(bad, ".bad")
        rest = self._write(good, ".jsonl.new") if aside and good else ""
        if aside and (rest or not good):  # else the disk is full, and the first file stays
            self.spool.discard([self.path])
            self.path = rest
        reasons = "; ".join(reason for _, reason in refused)
        return f"{len(bad)} refused, {self.aside(aside)}: {reasons}"

    def aside(self, path: str) -> str:
        """Return where refused uploads are, for the log."""
        return f"set aside as {path}" if path else f"and not kept, because {self.trouble}"

    def discard(self) -> None:
        self.spool.discard([self.path])


def _environment() -> tuple[dict[str, str], str]:
    """Return the environment, and what is wrong with hook.env."""
    try:
        return hook_environment(), ""
    except HookEnvError as error:
        return dict(error.settings), str(error)


def _line(upload: object) -> str:
    # What is not JSON becomes a list, which nothing takes: it is refused with a reason, not lost.
    try:
        return json.dumps(upload, default=lambda value: [repr(value)])
    except (TypeError, ValueError, RecursionError):  # odd keys, or a value that contains itself
        return json.dumps([repr(upload)])


def _reason(error: Exception) -> str:
    """Return an error as a text for the log: its own words if they are for people."""
    if isinstance(error, (BadInputError, SettingsError, inbox.InboxError)):
        return "; ".join(str(error).splitlines())
    return f"{type(error).__name__}: {error}"


def _send_along(settings: HookSettings, began: float) -> list[str]:
    """Send some of what earlier hooks have spooled; return what to say of it."""
    said: list[str] = []
    until = time.monotonic() + SPOOLED_WITHIN_S - (time.time() - began)
    # The uploads of this hook are queued. farmhaul flush-spool says what is wrong with a spool.
    with contextlib.suppress(inbox.InboxError, OSError):
        flush_spool(settings, said.append, limit=SPOOLED_AT_ONCE, until=until)
    return said


def _answer(code: int, text: str) -> tuple[int, str]:
    # Whoever submits a job chooses what is said, and how much of it there is.
    if len(text) > MAX_ANSWER:
        text = f"{text[: MAX_ANSWER // 2]} … {text[-MAX_ANSWER // 2 :]}"
    # ASCII, because the encoding of a manager's log is not known.
    line = visible(" ".join(text.split())).encode("ascii", "backslashreplace").decode("ascii")
    return code, f"farmhaul: {line}"
