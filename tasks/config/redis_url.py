"""FARMHAUL_REDIS_URL, read strictly and in this place alone.

    redis://[user:password@]host[:6379][/DB]
    rediss://…                                     the same with TLS, and ?ssl_ca_certs=FILE
    unix://[user:password@]/path/to/redis.sock[?db=DB]
    sentinel://[user:password@]host[:26379],host,…/MASTER[/DB]

The user and password are those of the Redis server. The sentinels' own are the parameters
``sentinel_username`` and ``sentinel_password``. With ``ssl=true``, TLS is used with the sentinels
and with the server, and the parameters of rediss:// are valid too.
"""

from __future__ import annotations

import os

from tasks.config.texts import visible
from tasks.transfer.named_tuple import NamedTuple

PORT = 6379
SENTINEL_PORT = 26379

#: How long the name of a host may be (RFC 1035), and an address of IPv6 as a text.
NAME_SIZES = range(1, 254)
ADDRESS_SIZES = range(2, 46)
#: A longer parameter is not shown.
MAX_SHOWN = 40

_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname", "ssl_cert_reqs")
#: The parameters that a URL of each scheme may have.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "redis": (),
    "rediss": _TLS,
    "unix": ("db",),
    "sentinel": ("sentinel_username", "sentinel_password", "ssl", *_TLS),
}
_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_LETTERS = _NAME - frozenset("._-")
_NUMERIC = frozenset("0123456789ABCDEFabcdef:.")
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
    ssl: bool = False
    ssl_ca_certs: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    ssl_check_hostname: bool = True

    @property
    def has_tls(self) -> bool:
        """Whether connections are encrypted, those to sentinels included."""
        return self.scheme == "rediss" or self.ssl

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


#: All authorities of the world take 0.2 MB.
_MOST_PEM_BYTES = 1 << 24
#: The forms of PKCS #8 and of OpenSSL before its version 1.
_ENCRYPTED = (b"-----BEGIN ENCRYPTED ", b"Proc-Type: 4,ENCRYPTED")


def file_faults(url: RedisUrl) -> list[str]:
    """Return a line for each file of a URL that cannot be read, such as that of an authority."""
    names = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
    return [f"{name}: {fault}" for name in names for fault in unreadable(getattr(url, name))]


def unreadable(path: str) -> list[str]:
    """Return why a file has no certificate or key, in a list; an empty one without a path.

    That it looks like one is all that a hook has the time to find out.
    """
    if not path:
        return []
    shown = visible(path)
    try:
        if not os.path.isfile(path) and os.path.exists(path):  # to open a FIFO would hang
            return [f"{shown} is not a file"]
        with open(path, "rb") as file:
            content = file.read(_MOST_PEM_BYTES)
    except OSError as error:
        return [f"cannot read {shown}: {error.strerror}"]
    if b"-----BEGIN " not in content:
        return [f"{shown} has no certificate or key in PEM form"]
    if any(mark in content for mark in _ENCRYPTED):  # OpenSSL would ask on the terminal, and wait
        return [f"{shown} has a key with a pass phrase; openssl pkey writes it without one"]
    return []


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
    # Imported late: few URLs have escapes, and a hook must start fast.
    import re
    from urllib.parse import unquote

    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise ValueError(f"contains a % that starts no escape; {_ESCAPES}")
    if any(chr(int(code, 16)) in _LETTERS for code in re.findall("%(..)", text)):
        # Nobody escapes these: it is a % of the password with two characters after it.
        raise ValueError(f"contains a % with the code of a letter or digit; {_ESCAPES}")
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("has escapes that are not UTF-8; write %C3%A4 for ä") from None
    if "\0" in plain:
        raise ValueError("contains %00, which no password or path can have")
    return plain


def _with_place(url: RedisUrl, text: str) -> RedisUrl:
    if url.scheme == "unix":
        if not text.startswith("/") or text[1:2] in {"", "/"}:
            raise ValueError("has no path of a socket; write unix:///path/redis.sock")
        return url._replace(path=_unescaped(text, "[]"))
    if url.scheme == "sentinel":
        listed, _, rest = text.partition("/")
        master, slash, db = rest.partition("/")
        if not (listed and master and _NAME.issuperset(master)) or (
            slash and not _is_number(db, 9)
        ):
            raise ValueError(
                "is not a Sentinel URL; write sentinel://host:26379,host:26379/MASTER[/DB]"
            )
        hosts = tuple(_host(host, SENTINEL_PORT) for host in listed.split(","))
        return url._replace(hosts=hosts, master=master, db=int(db or 0))
    host, _, db = text.partition("/")
    if db and not _is_number(db, 9):
        raise ValueError(_FORM)
    return url._replace(hosts=(_host(host, PORT),), db=int(db or 0))


def _host(text: str, default_port: int) -> tuple[str, int]:
    bracket = text.find("]") + 1  # of the address of IPv6, which has colons
    name, colon, port = text[bracket:].partition(":")
    if bracket:
        fits = text[0] == "[" and not name
        name = text[1 : bracket - 1]
        fits = fits and len(name) in ADDRESS_SIZES and _NUMERIC.issuperset(name)
    else:
        fits = len(name) in NAME_SIZES and _NAME.issuperset(name)
    if not fits or (colon and not _is_number(port, 5)):
        raise ValueError(_FORM)
    number = int(port or default_port)
    if not 0 < number < 1 << 16:
        raise ValueError("has a port that is not from 1 to 65535")
    return name, number


def _is_number(text: str, digits: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= digits


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
    is_name = name.isascii() and name.replace("_", "").isalpha() and len(name) <= MAX_SHOWN
    if "password" in query or not is_name:
        # It may be the rest of a password with an & in it.
        return f"has an unknown parameter; {_ESCAPES}"
    known = " and ".join(_PARAMETERS[scheme]) or "no parameters"
    return f"has the unknown parameter {name}; a {scheme}:// URL may have {known}"


def _with_values(url: RedisUrl, values: dict[str, str]) -> RedisUrl:
    ssl = _is_true("ssl", values.pop("ssl", "false"))
    if url.scheme == "sentinel" and not ssl and any(name in _TLS for name in values):
        raise ValueError("has parameters of TLS without ssl=true")
    # The second is how Celery's manual writes it.
    if values.pop("ssl_cert_reqs", "required") not in {"required", "CERT_REQUIRED"}:
        raise ValueError(
            "has another ssl_cert_reqs than required: a certificate that is not verified protects "
            "nothing; name the authority's file with ssl_ca_certs"
        )
    check = _is_true("ssl_check_hostname", values.pop("ssl_check_hostname", "true"))
    db = values.pop("db", str(url.db))
    if not _is_number(db, 9):
        raise ValueError("has a db that is not a number")
    if "ssl_keyfile" in values and "ssl_certfile" not in values:
        raise ValueError("has ssl_keyfile without ssl_certfile")
    user = values.pop("sentinel_username", "")
    if user and "sentinel_password" not in values:
        raise ValueError("has sentinel_username without sentinel_password")
    changed = url._replace(db=int(db), ssl=ssl, ssl_check_hostname=check, sentinel_user=user)
    return changed._replace(**values)  # type: ignore[arg-type] # the others are texts


def _is_true(name: str, text: str) -> bool:
    if text.lower() not in {"true", "false"}:
        raise ValueError(f"has another {name} than true or false")
    return text.lower() == "true"
