"""FARMHAUL_REDIS_URL, read strictly and in this place alone.

    redis://[user:password@]host[:6379][/DB]
    rediss://…                                     the same with TLS, and ?ssl_ca_certs=FILE
    unix://[user:password@]/path/to/redis.sock[?db=DB]
    sentinel://[user:password@]host[:26379],host,…/MASTER[/DB]

The user and password are those of the Redis server. The sentinels' own are the parameters
``sentinel_username`` and ``sentinel_password``.
"""

from __future__ import annotations

import re

from tasks.transfer.named_tuple import NamedTuple

PORT = 6379
SENTINEL_PORT = 26379

_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "ssl_cert_reqs")
#: The parameters that a URL of each scheme may have.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "redis": (),
    "rediss": _TLS,
    "unix": ("db",),
    "sentinel": ("sentinel_username", "sentinel_password"),
}
_HOST = r"(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
_FORM = (
    "is not a Redis URL; write redis://host:6379/0, rediss://host:6379/0 for TLS, "
    "unix:///path/redis.sock or sentinel://host:26379,host:26379/MASTER/0"
)
_ESCAPES = (
    "in a user, password or parameter, write %23 for #, %25 for %, %2F for /, %3F for ?, "
    "%40 for @, %5B for [, %5D for ], %26 for & and %20 for a space"
)


class RedisUrl(NamedTuple):
    """Where Redis is, and how to log in.

    ``hosts`` are the server or the sentinels, each with its port. For unix:// there are none, and
    ``path`` is the socket. ``master`` is the name that sentinels know their master by.
    """

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    db: int = 0
    user: str = ""
    password: str = ""
    master: str = ""
    sentinel_user: str = ""
    sentinel_password: str = ""
    ssl_ca_certs: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    ssl_check_hostname: bool = True

    @property
    def where(self) -> str:
        """The host and port, the socket, or the sentinels: for messages, without the login."""
        return self.path or ",".join(address(host, port) for host, port in self.hosts)

    def __repr__(self) -> str:
        return f"RedisUrl({self.scheme}://{self.where})"


def address(host: str, port: int) -> str:
    """Return a host and port as a URL has them: an IPv6 address is in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_redis_url(text: str) -> RedisUrl:
    """Read a URL.

    Raises:
        ValueError: it is not such a URL; the message never repeats it, because it may contain
            a password.
    """
    scheme, colon, rest = text.partition("://")
    if not colon or scheme not in _PARAMETERS:
        raise ValueError(_FORM)
    if not rest.isprintable() or " " in rest:
        raise ValueError(f"contains a space or an unprintable character; {_ESCAPES}")
    # The last @, so that one in the password is noticed as such. The path of a socket may have one.
    login, _, rest = ("", "", rest) if rest.startswith("/") else rest.rpartition("@")
    if "#" in rest:
        raise ValueError(f"contains a #; {_ESCAPES}")
    user, password = _login(login) if login else ("", "")
    place, _, query = rest.partition("?")
    url = RedisUrl(scheme, user=user, password=password)
    return _with_parameters(_with_place(url, place), query)


def _login(text: str) -> tuple[str, str]:
    user, _, password = text.partition(":")
    user, password = _unescaped(user, "/?#[]@"), _unescaped(password, "/?#[]@")
    if not password:
        raise ValueError("has a user without a password; write user:password@ or :password@")
    return user, password


def _unescaped(text: str, reserved: str) -> str:
    """Replace the escapes of a text in which none of the reserved characters may stand."""
    if any(character in text for character in reserved):
        raise ValueError(f"contains a character that must be escaped; {_ESCAPES}")
    if "%" not in text:
        return text
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise ValueError(f"contains a % that starts no escape; {_ESCAPES}")
    # Imported late: few URLs have escapes, and a hook must start fast.
    from urllib.parse import unquote

    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("has escapes that are not UTF-8; write %C3%A4 for ä") from None
    if "\0" in plain:
        raise ValueError("contains %00, which no password or path can have")
    return plain


def _with_place(url: RedisUrl, text: str) -> RedisUrl:
    if url.scheme == "unix":
        if not re.fullmatch(r"/[^/].*", text):
            raise ValueError("has no path of a socket; write unix:///path/redis.sock")
        return url._replace(path=_unescaped(text, "[]"))
    if url.scheme == "sentinel":
        match = re.fullmatch(r"([^/]+)/([A-Za-z0-9._-]+)(?:/([0-9]{1,9}))?", text)
        if match is None:
            raise ValueError(
                "is not a Sentinel URL; write sentinel://host:26379,host:26379/MASTER[/DB]"
            )
        hosts = tuple(_host(host, SENTINEL_PORT) for host in match[1].split(","))
        return url._replace(hosts=hosts, master=match[2], db=int(match[3] or 0))
    match = re.fullmatch(r"([^/]*)(?:/([0-9]{0,9}))?", text)
    if match is None:
        raise ValueError(_FORM)
    return url._replace(hosts=(_host(match[1], PORT),), db=int(match[2] or 0))


def _host(text: str, default_port: int) -> tuple[str, int]:
    match = re.fullmatch(_HOST, text)
    if match is None:
        raise ValueError(_FORM)
    port = int(match["port"] or default_port)
    if not 0 < port < 1 << 16:
        raise ValueError("has a port that is not from 1 to 65535")
    return match["host"].strip("[]"), port


def _with_parameters(url: RedisUrl, query: str) -> RedisUrl:
    values: dict[str, str] = {}
    for name, _, value in (pair.partition("=") for pair in query.split("&") if pair):
        if name not in _PARAMETERS[url.scheme]:
            raise ValueError(_unknown(name, url.scheme, query))
        if name in values:
            raise ValueError(f"has the parameter {name} twice")
        reserved = "?#[]@" if name.startswith("ssl_") else "/?#[]@"
        values[name] = _unescaped(value, reserved)
        if not value:
            raise ValueError(f"has the parameter {name} without a value")
    return _with_values(url, values)


def _unknown(name: str, scheme: str, query: str) -> str:
    if "password" in query or not re.fullmatch("[A-Za-z_]{1,40}", name):
        # It may be the rest of a password with an & in it.
        return f"has an unknown parameter; {_ESCAPES}"
    known = " and ".join(_PARAMETERS[scheme]) or "no parameters"
    return f"has the unknown parameter {name}; a {scheme}:// URL may have {known}"


def _with_values(url: RedisUrl, values: dict[str, str]) -> RedisUrl:
    if values.pop("ssl_cert_reqs", "required") != "required":
        raise ValueError(
            "has another ssl_cert_reqs than required: a certificate that is not verified protects "
            "nothing; name the authority's file with ssl_ca_certs"
        )
    check = values.pop("ssl_check_hostname", "true").lower()
    if check not in {"true", "false"}:
        raise ValueError("has another ssl_check_hostname than true or false")
    db = values.pop("db", str(url.db))
    if not re.fullmatch("[0-9]{1,9}", db):
        raise ValueError("has a db that is not a number")
    if "ssl_keyfile" in values and "ssl_certfile" not in values:
        raise ValueError("has ssl_keyfile without ssl_certfile")
    user = values.pop("sentinel_username", "")
    if user and "sentinel_password" not in values:
        raise ValueError("has sentinel_username without sentinel_password")
    changed = url._replace(db=int(db), ssl_check_hostname=check == "true", sentinel_user=user)
    return changed._replace(**values)  # type: ignore[arg-type] # the others are texts
