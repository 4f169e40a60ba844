"""Which errors of the HTTP libraries are faults of this node, and not an outage of a service."""

from __future__ import annotations

import errno
import re
import socket
import ssl

import requests
import urllib3

from tasks.transfer.errors import OwnFault

NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
#: OpenSSL's libraries that read files of certificates; those of a server are read by "SSL".
FILE_LIBRARIES = {"X509", "PEM"}
#: X509_V_ERR_…: the issuer is not known, in five forms. The other codes are faults of the
#: certificate itself, such as an expired one.
UNKNOWN_ISSUER = {2, 18, 19, 20, 21}
#: What OpenSSL says of an answer that is no TLS: up to 3.1, and later.
NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}
#: The texts of requests and http.client for what they raise as a plain OSError.
NO_BUNDLE = "Could not find a suitable TLS CA certificate bundle"
NO_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")
#: What urllib3 raises if it gets no connection to a proxy.
NO_PROXY = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.SSLError,
)


def causes_of(error: BaseException) -> list[BaseException]:
    """Return an error and what caused it, the deepest last."""
    causes = [error]
    while (deeper := _cause_of(causes[-1])) is not None and deeper not in causes:
        causes.append(deeper)
    return causes


def own_fault(error: BaseException) -> OwnFault | None:
    """Return what is wrong on this node, or None if the error may be due to the service."""
    causes = causes_of(error)
    deepest = causes[-1]
    if any(isinstance(cause, urllib3.exceptions.ProxyError) for cause in causes):
        return _proxy_fault(causes)
    not_usable = requests.exceptions.InvalidProxyURL, urllib3.exceptions.ProxySchemeUnknown
    if isinstance(deepest, not_usable):
        return "proxy"
    if isinstance(deepest, requests.exceptions.InvalidSchema):
        return "socks" if "SOCKS" in str(deepest) else None
    is_of_tls = any(isinstance(cause, urllib3.exceptions.SSLError) for cause in causes[:-1])
    return _tls_fault(deepest) if is_of_tls else _system_fault(deepest)


def _tls_fault(deepest: BaseException) -> OwnFault | None:
    if isinstance(deepest, ssl.SSLCertVerificationError):
        return "authority" if deepest.verify_code in UNKNOWN_ISSUER else None
    if isinstance(deepest, ssl.SSLError) and deepest.reason in NO_TLS:
        return "tls"
    is_file = isinstance(deepest, ssl.SSLError) and deepest.library in FILE_LIBRARIES
    # ssl cannot open the file, for example because it is another user's.
    return "ca_file" if is_file or isinstance(deepest, PermissionError) else None


def _system_fault(deepest: BaseException) -> OwnFault | None:
    if isinstance(deepest, socket.gaierror):
        return "no_name"
    if isinstance(deepest, OSError) and deepest.errno in NO_ROUTE:
        return "no_route"
    return "ca_file" if type(deepest) is OSError and NO_BUNDLE in str(deepest) else None


def _proxy_fault(causes: list[BaseException]) -> OwnFault | None:
    deepest = causes[-1]
    if type(deepest) is OSError and (refusal := NO_TUNNEL.match(str(deepest))):
        status = int(refusal[1])
        if status == requests.codes.proxy_authentication_required:
            return "proxy_login"
        # A proxy answers 502, 503 or 504 for a host behind it that does not answer.
        return None if status >= requests.codes.internal_server_error else "proxy"
    # A connection that broke later may have broken behind the proxy.
    return "proxy" if any(isinstance(cause, NO_PROXY) for cause in causes) else None


def _cause_of(error: BaseException) -> BaseException | None:
    candidates = (getattr(error, "reason", None), *error.args, error.__cause__)
    return next((cause for cause in candidates if isinstance(cause, BaseException)), None)
