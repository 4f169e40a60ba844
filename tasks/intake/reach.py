"""Opens a connection to a host and port or to a socket, all of it by one deadline."""

from __future__ import annotations

# Not the module socket: it makes an enum of each kind of constant, and its import costs a hook
# more than half of an empty Python.
import _socket
import os
from stat import S_ISSOCK

from tasks.config.redis_url import address
from tasks.transfer.hanging import HungError, look
from tasks.transfer.keepalive import KEEPALIVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from _socket import socket
    from typing import Any

    from tasks.config.redis_url import RedisUrl
    from tasks.intake.deadline import Deadline

#: localhost is always these (RFC 6761), so that no look-up is needed for it.
_LOOPBACK = ("127.0.0.1", "::1")
_NAME_THE_HOST = "name a host of the certificate in the URL, or set ssl_check_hostname=false"
_RENEW = "renew the certificate of Redis, or correct the clock of this node"
#: What to do if OpenSSL says that a certificate is not yet valid or has expired, or is for another
#: host name or another IP address.
_STEPS = {9: _RENEW, 10: _RENEW, 62: _NAME_THE_HOST, 64: _NAME_THE_HOST}
_SPEAKS_TLS = "check that Redis is running, and takes TLS at this port, or leave TLS out of the URL"


class UnreachableError(Exception):
    """There is no connection; the text says to what, and why."""


def reach(
    url: RedisUrl, place: tuple[str, int] | None, deadline: Deadline
) -> socket | ssl.SSLSocket:
    """Return a connected socket: to the host and port, or else to the URL's Unix socket.

    If the URL asks for TLS, its handshake is done.

    Raises:
        UnreachableError: it cannot be reached in time.
    """
    where = url.path if place is None else address(*place)
    try:
        if place is None:
            return _connected(_unix_family(), url.path, deadline)
        connected = _reach_host(*place, deadline)
        return _with_tls(url, connected, place[0], deadline) if url.has_tls else connected
    except (OSError, ValueError) as error:
        # To connect to a file is "Connection refused".
        is_other = place is None and _is_other(where)
        why = "it is not a socket" if is_other else reason(error)
        raise UnreachableError(f"{where}: {why}") from None


def _is_other(path: str) -> bool:
    """Return whether something else than a socket is there."""
    try:
        return not S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):  # Redis removes its socket when it ends
        return False


def reason(error: Exception) -> str:
    """Return why a step of the network failed, on one line."""
    # Two classes before Python 3.10.
    if isinstance(error, (TimeoutError, _socket.timeout)):
        return "no answer in time"
    text = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)
    return " ".join(str(text).split()) or type(error).__name__


def _unix_family() -> int:
    family: int | None = getattr(_socket, "AF_UNIX", None)
    if family is None:
        raise OSError("this system has no Unix sockets for Python; use redis:// or rediss://")
    return family


def _reach_host(host: str, port: int, deadline: Deadline) -> socket:
    failed: Exception | None = None
    places = _addresses(host, port, deadline)
    for number, (family, place) in enumerate(places):
        try:
            return _connected(family, place, deadline.share(len(places) - number))
        except OSError as error:
            # The first address is the usual one: its error tells more.
            failed = failed or error
    raise failed or OSError("it has no address")


def _connected(family: int, place: Any, deadline: Deadline) -> socket:
    connecting = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        connecting.settimeout(deadline.left_s())
        if isinstance(place, tuple):  # else it is the path of a Unix socket
            _keep_alive(connecting)
        connecting.connect(place)
    except BaseException:
        connecting.close()
        raise
    return connecting


def _keep_alive(connecting: socket) -> None:
    for option in KEEPALIVE:
        try:
            connecting.setsockopt(*option)
        except OSError:  # a system that names it and cannot do it
            return


def _addresses(host: str, port: int, deadline: Deadline) -> list[tuple[int, Any]]:
    if host == "localhost":
        return [(_family(number), (number, port)) for number in _LOOPBACK]
    if ":" in host or host.replace(".", "").isdigit():
        return _look_up(host, port, _socket.AI_NUMERICHOST)
    try:
        return look(lambda: _look_up(host, port), deadline.left_s())  # it has no timeout
    except HungError:
        raise OSError("no answer to the look-up of its name in time") from None


def _family(number: str) -> int:
    return _socket.AF_INET6 if ":" in number else _socket.AF_INET


def _look_up(host: str, port: int, flags: int = 0) -> list[tuple[int, Any]]:
    # As bytes: for a text, Python would import the codec of international names.
    found = _socket.getaddrinfo(host.encode("ascii"), port, type=_socket.SOCK_STREAM, flags=flags)
    return [(family, place) for family, _, _, _, place in found]


def _with_tls(url: RedisUrl, connected: socket, host: str, deadline: Deadline) -> ssl.SSLSocket:
    import socket

    # What ssl wraps must be a socket of the module socket.
    wrapped = socket.socket(fileno=connected.detach())
    try:
        context = _tls_context(url)
        secured = context.wrap_socket(wrapped, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        wrapped.close()
        raise
    try:
        secured.settimeout(deadline.left_s())
        secured.do_handshake()
    except Exception as error:
        secured.close()
        if getattr(error, "verify_message", ""):
            code = getattr(error, "verify_code", 0)
            step = _STEPS.get(code, "name its authority with ssl_ca_certs")
            why = f"its certificate is not accepted: {reason(error).rstrip('.')}; {step}"
            raise OSError(why) from None
        if isinstance(error, socket.timeout):  # of Python 3.8: not yet a TimeoutError
            raise OSError(f"{reason(error)}; {_SPEAKS_TLS}") from None
        raise
    return secured


def _tls_context(url: RedisUrl) -> ssl.SSLContext:
    # Imported late: only TLS needs it.
    import ssl

    def unusable(name: str, path: str, error: OSError, content: str) -> OSError:
        # OpenSSL's own words name a line of its source.
        why = (
            f"it has no {content} in PEM form" if isinstance(error, ssl.SSLError) else reason(error)
        )
        return OSError(f"{name}: cannot use {path}: {why}; correct {name} in FARMHAUL_REDIS_URL")

    try:
        context = ssl.create_default_context(cafile=url.ssl_ca_certs or None)
    except OSError as error:
        raise unusable("ssl_ca_certs", url.ssl_ca_certs, error, "certificate") from None
    context.check_hostname = url.ssl_check_hostname
    if url.ssl_certfile:
        try:
            context.load_cert_chain(url.ssl_certfile, url.ssl_keyfile or None)
        except OSError as error:
            content = "certificate and key that belong together"
            raise unusable("ssl_certfile", url.ssl_certfile, error, content) from None
    return context
