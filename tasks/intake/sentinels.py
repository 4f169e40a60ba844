"""Asks the sentinels which Redis is the master."""

from __future__ import annotations

from tasks.config.redis_url import address, parse_redis_url
from tasks.intake.reach import UnreachableError, reach, reason
from tasks.intake.refusals import step_for
from tasks.intake.resp import Connection, NotRedisError, RefusalError, command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tasks.config.redis_url import RedisUrl
    from tasks.intake.deadline import Deadline

_LOGIN_CODES = {"NOAUTH", "WRONGPASS", "NOPERM"}


class NoMasterError(Exception):
    """No sentinel names a master; the text is one line that explains why."""


def find_master(url: RedisUrl, deadline: Deadline, first: int = 0) -> tuple[str, int]:
    """Return the host and port of the master that a sentinel names.

    The sentinels are asked one after the other, beginning with number ``first``. None of them
    can use up the time of the others, or that of the master.

    Raises:
        NoMasterError: no sentinel names a master in time.
    """
    first %= len(url.hosts)
    sentinels = url.hosts[first:] + url.hosts[:first]
    wants_login = knows_none = False
    unreachable = ""
    for number, place in enumerate(sentinels):
        try:
            # One share more, for the master itself.
            master = _ask(url, place, deadline.share(len(sentinels) - number + 1))
        except RefusalError as refusal:
            wants_login = wants_login or refusal.code in _LOGIN_CODES
            unreachable = unreachable or f"{address(*place)}: it is not a sentinel"
        except UnreachableError as error:
            unreachable = unreachable or str(error)
        except OSError as error:
            unreachable = unreachable or f"{address(*place)}: {reason(error)}"
        else:
            if master is not None:
                return master
            knows_none = True
    why = _explained(url, unreachable, wants_login=wants_login, knows_none=knows_none)
    raise NoMasterError(why)


def _explained(url: RedisUrl, unreachable: str, *, wants_login: bool, knows_none: bool) -> str:
    if knows_none:
        return (
            f"no sentinel knows a master {url.master} ({url.where}); check FARMHAUL_REDIS_URL, "
            "and that a master is elected"
        )
    if wants_login and url.sentinel_password:
        return (
            f"the sentinels do not accept their login ({url.where}); check sentinel_username and "
            "sentinel_password in FARMHAUL_REDIS_URL"
        )
    if wants_login:
        return (
            f"the sentinels want a login of their own ({url.where}); add "
            "?sentinel_password=PASSWORD to FARMHAUL_REDIS_URL"
        )
    why, _, step = unreachable.partition("; ")
    return f"no sentinel is reachable ({why}); {step or _step_to_reach(why)}"


def _step_to_reach(why: str) -> str:
    if "[SSL" in why:
        return step_for(why)
    step = "check FARMHAUL_REDIS_URL, and that the sentinels are running"
    # A port that takes TLS ends other connections so.
    return f"{step} without TLS (with it, the URL has ?ssl=true)" if "reset by" in why else step


def _ask(url: RedisUrl, place: tuple[str, int], deadline: Deadline) -> tuple[str, int] | None:
    connected = reach(url, place, deadline)
    try:
        named = _named(Connection(connected, deadline), url)
    finally:
        connected.close()
    if named is None:
        return None
    host, port = [*named, None, None][:2]
    try:
        # The host is checked as one of a URL is.
        return parse_redis_url(f"redis://{address(host or '', int(port or ''))}").hosts[0]
    except ValueError:
        raise NotRedisError("it names no host and port") from None


def _named(connection: Connection, url: RedisUrl) -> list[str | None] | None:
    login = [word for word in (url.sentinel_user, url.sentinel_password) if word]
    commands = [command("AUTH", *login)] if login else []
    commands.append(command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", url.master))
    connection.send(commands)
    refused = connection.refusal("AUTH") if login else None
    try:
        return connection.texts("SENTINEL")
    except RefusalError as refusal:
        raise refused or refusal from None
