"""Pushes signed entries into the inbox, a list in Redis from which workers take them in.

One LPUSH, and the states of records in the same round trip. The client is a small one of its own,
because redis-py alone takes longer to import than a hook may take.
"""

from __future__ import annotations

import time

from tasks.config.redis_url import address
from tasks.intake.deadline import Deadline
from tasks.intake.reach import UnreachableError, reach, reason
from tasks.intake.refusals import PASSING, explained, step_for
from tasks.intake.resp import Connection, RefusalError, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks.config.redis_url import RedisUrl

INBOX = "farmhaul:inbox"
#: The beginning of the key of a record, as in ``tasks.records.keys``.
RECORD = "farmhaul:upload:"
#: A Redis that is loading, or is no master at the moment, is asked again after this time.
PAUSE_S = 0.2


class InboxError(Exception):
    """Nothing was pushed, as far as is known; the text is one line that says where and why."""


class _PassingError(InboxError):
    """It may be otherwise in a moment, or at another server."""


def push(
    url: RedisUrl,
    entries: Sequence[bytes],
    upload_ids: Sequence[str] = (),
    timeout_s: float = 1.5,
) -> list[str | None]:
    """Push entries, and return the state of the record of each upload.

    A state is None if there is no record, or if this user may not read it. All of it takes at
    most ``timeout_s``, the look-up of names included.

    Raises:
        InboxError: nothing was pushed, or the connection broke before the answer came. To push
            the same again does no harm.
    """
    deadline = Deadline(timeout_s)
    try:
        return _push(url, entries, upload_ids, deadline, 0)
    except _PassingError as error:
        passing = error
    try:
        time.sleep(min(PAUSE_S, deadline.left_s() / 2))
        return _push(url, entries, upload_ids, deadline, 1)
    except (InboxError, TimeoutError) as error:
        # Without time for it, the second try tells less than the first.
        raise (passing if deadline.is_over else error) from None


def _push(
    url: RedisUrl,
    entries: Sequence[bytes],
    upload_ids: Sequence[str],
    deadline: Deadline,
    attempt: int,
) -> list[str | None]:
    place = _place(url, deadline, attempt)
    where = address(*place) if place else url.path
    try:
        # A master that does not answer may be one that the sentinels are about to replace.
        within = deadline.share(2) if url.scheme == "sentinel" and not attempt else deadline
        connected = reach(url, place, within)
    except (UnreachableError, TimeoutError) as error:
        kind = _PassingError if url.scheme == "sentinel" else InboxError
        raise kind(_unreachable(str(error))) from None
    try:
        return _exchange(Connection(connected, deadline), url, entries, upload_ids)
    except RefusalError as refusal:
        kind = _PassingError if refusal.code in PASSING else InboxError
        raise kind(explained(refusal, where)) from None
    except OSError as error:
        raise InboxError(_unreachable(f"{where}: {reason(error)}")) from None
    finally:
        connected.close()


def _unreachable(text: str) -> str:
    why, _, step = text.partition("; ")
    return f"Redis is not reachable ({why}); {step or step_for(why)}"


def _place(url: RedisUrl, deadline: Deadline, attempt: int) -> tuple[str, int] | None:
    if url.scheme != "sentinel":
        return url.hosts[0] if url.hosts else None
    # Imported late: most farms have no sentinels.
    from tasks.intake.sentinels import NoMasterError, find_master

    try:
        # The second time another sentinel is asked first: it may know more.
        return find_master(url, deadline, attempt)
    except NoMasterError as error:
        raise InboxError(str(error)) from None


def _exchange(
    connection: Connection, url: RedisUrl, entries: Sequence[bytes], upload_ids: Sequence[str]
) -> list[str | None]:
    login = [word for word in (url.user, url.password) if word]
    commands = [command("AUTH", *login)] if login else []
    if url.db:
        # An entry in another database would be lost, so this is answered before the push.
        connection.send([*commands, command("SELECT", str(url.db))])
        if login:
            connection.status("AUTH")
        connection.status("SELECT")
        login, commands = [], []
    commands.append(command("LPUSH", INBOX, *entries))
    commands += [command("HGET", RECORD + upload_id, "state") for upload_id in upload_ids]
    # A Redis that closes the connection may have said why: that is read below.
    try:  # noqa: SIM105 contextlib is slow to import
        connection.send(commands)
    except ConnectionError:
        pass
    refused: Exception | None = None
    try:
        if login:
            refused = connection.refusal("AUTH")
        connection.integer("LPUSH")
    except (RefusalError, OSError) as error:
        raise refused or error from None
    return _states(connection, len(upload_ids))


def _states(connection: Connection, count: int) -> list[str | None]:
    states: list[str | None] = []
    try:
        while len(states) < count:
            states.append(_state(connection))
    except OSError:
        # The entries are pushed: this is no reason to push them again.
        states += [None] * (count - len(states))
    return states


def _state(connection: Connection) -> str | None:
    try:
        state = connection.text("HGET")
    except RefusalError:
        return None
    return state if state and state.isascii() and state.isalpha() and state.islower() else None
