"""From checked requests to the inbox: kept on disk, pushed, and taken off the disk again.

With a spool, a request is on disk before anything else is tried, so a hook that is killed loses
nothing: the next one sends what it has kept.
"""

from __future__ import annotations

import os
import time
from _socket import gethostname  # the module socket is slow to import

from tasks.intake.bodies import make_bodies
from tasks.intake.envelope import sign
from tasks.intake.inbox import InboxError, push
from tasks.transfer.hanging import HungError, look
from tasks.transfer.named_tuple import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tasks.config.hook_settings import HookSettings
    from tasks.intake.request import Request
    from tasks.intake.spool import Spool

    Say = Callable[[str], object]

#: A hook must return within 2 seconds, so all of its talk with Redis has these together.
TOTAL_S = 1.5
#: The slowest line that a large request is to get through, in bytes a second.
SLOWEST = 1 << 20
#: How many files of the spool go along; a hook must not wait for thousands.
SPOOLED_AT_ONCE = 100
#: How long the name of a user is waited for.
NAME_S = 0.2
#: How long ``farmhaul flush-spool`` waits for another process that sends the same spool.
FLUSH_WAIT_S = 5.0

#: The states of an upload that starts again when it is enqueued. If it was located, a worker asks
#: ftrack whether it still is.
STARTS_AGAIN = {"failed", "cancelled", "superseded", "located"}


class Delivered(NamedTuple):
    """What became of requests: the state of each, and the entries that are in the inbox.

    A state is "queued", "spooled", or that of the record of an upload that was enqueued before.
    """

    states: list[str]
    entries: list[bytes]


def deliver(requests: Sequence[Request], settings: HookSettings, say: Say) -> Delivered:
    """Push requests, or keep them in the spool if Redis is not reachable.

    Args:
        requests: what ``build_requests`` has checked.
        settings: where the inbox is, and the spool.
        say: gets lines for the log of the hook.

    Raises:
        BadInputError: a request is too large; nothing was sent.
        InboxError: nothing was sent, and there is no spool, or it cannot be written.
    """
    bodies = make_bodies(requests, time.time(), host_name(), user_name())
    entries = signed(bodies, settings)
    ids = [request.upload_id for request in requests] if settings.may_read else []
    # From here on: to check 10,000 files takes longer than a hook may wait for Redis.
    end = time.monotonic() + TOTAL_S
    if not settings.spool:
        found = _push(settings, entries, end, ids)
        return Delivered(_states(found, requests), entries)

    from tasks.intake.spool import Spool

    spool = Spool(settings.spool)
    kept, fault = _keep(spool, bodies)
    try:
        found = _push(settings, entries, end, ids)
    except InboxError as error:
        _settle(spool, kept, error, fault)
        say(
            f"{error}. The uploads are kept in {settings.spool} until the next enqueue, "
            "flush-spool or a worker on this host sends them"
        )
        return Delivered(["spooled"] * len(requests), [])
    spool.discard(kept)
    try:
        if fault is None:  # else it may hang
            flush_spool(settings, say, limit=SPOOLED_AT_ONCE, until=end)
    except (InboxError, OSError):
        pass  # these uploads are queued; farmhaul doctor reports what is wrong with the spool
    return Delivered(_states(found, requests), entries)


def flush_spool(
    settings: HookSettings,
    say: Say,
    *,
    limit: int | None = None,
    until: float | None = None,
    wait_s: float = 0.0,
) -> int:
    """Push what is in the spool, and return the number of uploads.

    Args:
        settings: where the inbox is, and the spool.
        say: gets a line for each file that cannot be sent.
        limit: the maximum number of files.
        until: stop at this time (``time.monotonic``).
        wait_s: how long to wait for another process that sends the spool.

    Raises:
        InboxError: Redis is not reachable, or full; what is not sent stays.
        OSError: the folder cannot be read.
    """
    from tasks.intake.spool import Spool

    spool = Spool(settings.spool)
    if not spool.waiting():  # the rule, so what reads files is not imported
        return 0
    from tasks.intake.flush import flush
    from tasks.intake.spooled import reader

    def send(bodies: Sequence[bytes]) -> object:
        end = time.monotonic() + TOTAL_S if until is None else until
        return _push(settings, signed(bodies, settings), end)

    return flush(
        spool,
        reader(settings, host_name()),
        send,
        lambda path, reason: say(f"{path} {reason}"),
        limit=limit,
        until=until,
        wait_s=wait_s,
    )


def host_name() -> str:
    """Return the name of this host, as an envelope can have it."""
    name = gethostname()[:255]
    return name if name.isprintable() and name else "unknown"


def user_name() -> str:
    """Return who runs this process, by its environment or its system; it proves nothing."""
    said = [os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME")]
    name = (next(filter(None, said), "") or _name_of_user_id())[:255]
    return name if name.isprintable() else ""


def _name_of_user_id() -> str:
    """Return what the system calls this user; a directory of users may hang, and is not waited for.

    Empty on Windows, which sets USERNAME.
    """
    if os.name == "nt":
        return ""
    import pwd

    user_id = os.getuid()
    try:
        return look(lambda: pwd.getpwuid(user_id).pw_name, NAME_S)
    except (KeyError, HungError):
        return f"uid {user_id}"


def signed(bodies: Sequence[bytes], settings: HookSettings) -> list[bytes]:
    """Return the entries of bodies."""
    return [sign(body, settings.hook_keys) for body in bodies]


def _push(
    settings: HookSettings, entries: Sequence[bytes], end: float, ids: Sequence[str] = ()
) -> list[str | None]:
    timeout_s = end - time.monotonic() + sum(map(len, entries)) / SLOWEST
    return push(settings.redis_url, entries, ids, max(timeout_s, 0.1))


def _states(found: Sequence[str | None], requests: Sequence[Request]) -> list[str]:
    if not found:
        return ["queued"] * len(requests)
    return [state if state and state not in STARTS_AGAIN else "queued" for state in found]


def _keep(spool: Spool, bodies: Sequence[bytes]) -> tuple[list[str], OSError | None]:
    """Keep bodies; return their paths, and the error that has prevented others."""
    kept: list[str] = []
    try:
        for body in bodies:
            kept.append(spool.keep(body))  # noqa: PERF401 what was kept until an error counts
    except OSError as error:
        return kept, error
    return kept, None


def _settle(spool: Spool, kept: Sequence[str], error: InboxError, fault: OSError | None) -> None:
    """Make sure that the bodies stay on disk.

    Raises:
        InboxError: they cannot; its text has both reasons.
    """
    try:
        if fault is not None:
            raise fault
        spool.settle(kept)
    except OSError as why:
        folder = spool.folder
        raise InboxError(
            f"{error}; FARMHAUL_SPOOL cannot be written either: {why.strerror} in {folder}"
        ) from None
