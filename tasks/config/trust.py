"""What the libraries for HTTPS and TLS read themselves: files of certificates, and proxies.

They would report a fault in these as an outage of ftrack or of Redis.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from tasks.config.redis_url import RedisUrl, unreadable
from tasks.config.texts import is_host, visible
from tasks.transfer.errors import OwnFault, OwnSettingsError

#: requests takes the first of these that is set.
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
#: Where the operating system keeps its authorities in one file: Debian, Red Hat, SUSE, Alpine.
SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
#: OpenSSL looks for the certificates of a folder by these names; "openssl rehash" makes them.
HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")


def bundle_faults(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for a variable whose file no call of ftrack or the store can use."""
    name = bundle_variable(environment)
    if name and (why := _bundle_fault(environment[name])):
        yield f"{name}: {why}; correct it, or unset it to trust the authorities of certifi"


def proxy_faults(environment: Mapping[str, str], server_url: str) -> Iterator[str]:
    """Yield a line for the proxy of a server, if no call can take it."""
    name, proxy = _proxy_for(server_url, environment)
    if why := _proxy_fault(proxy):
        yield f"{name}: {why}"


def bundle_variable(environment: Mapping[str, str]) -> str:
    """Return the variable that names the authorities for HTTPS, or "" if certifi's count."""
    return next((name for name in BUNDLES if environment.get(name)), "")


def system_bundle() -> str:
    """Return the operating system's file of authorities, which requests does not read, or ""."""
    return next(filter(os.path.isfile, SYSTEM_BUNDLES), "")


def remedy_for(error: OwnSettingsError, environment: Mapping[str, str]) -> str:
    """Return what to do about a fault of this node: it names the variable and its value."""
    bundle, system = bundle_variable(environment), system_bundle()
    value = f"{bundle}={visible(environment.get(bundle, ''))}"
    proxy = shown_proxy(error.url, environment)
    such_as = f", such as that of this system, {system}" if system else ""
    unset = f"set REQUESTS_CA_BUNDLE to a file with that authority{such_as}; restart the worker"
    # Where the store is, ftrack says: no setting of this node does.
    setting = f", or correct FTRACK_SERVER={error.url}" if error.service == "ftrack" else ""
    remedies: dict[OwnFault, str] = {
        "ca_file": f"correct {value}" if bundle else "install the package certifi again",
        "authority": f"add the authority to {value}" if bundle else unset,
        "socks": f"set {proxy} to an http proxy, or name the host in NO_PROXY; restart the worker",
        "proxy": f"correct {proxy}, name the host in NO_PROXY, or start the proxy",
        "proxy_login": f"correct the user and the password in {proxy}; restart the worker",
        "no_route": f"see whether the host is up, and correct the network of that node{setting}",
        "tls": f"look for a firewall or a proxy that answers in its place{setting}",
        "no_name": f"correct the DNS of that node{setting}",
    }
    return remedies[error.fault]


def _proxy_for(url: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the variable of the proxy for a URL, and its value, both empty if there is none."""
    scheme = urlsplit(url).scheme
    for name in (f"{scheme}_proxy", "all_proxy"):
        # urllib takes an empty one for a wish to have none.
        spelling = name if name in environment else name.upper()
        if value := environment.get(spelling, ""):
            return spelling, value
    return "", ""


def shown_proxy(url: str, environment: Mapping[str, str]) -> str:
    """Return the variable of the proxy for a URL, with its value, but without its login."""
    name, value = _proxy_for(url, environment)
    return f"{name}={_without_login(value)}" if name else "the proxy of the system's settings"


def _without_login(proxy: str) -> str:
    head, at, host = proxy.rpartition("@")
    scheme, colon, _ = head.partition("://")
    return visible(f"{scheme}://***@{host}" if colon else f"***@{host}") if at else visible(proxy)


def redis_tls_faults(url: RedisUrl) -> Iterator[str]:
    """Yield a line for each file of a URL that can be read and is not what TLS needs."""
    authorities, own, key = url.ssl_ca_certs, url.ssl_certfile, url.ssl_keyfile
    if authorities and not unreadable(authorities) and (why := _bundle_fault(authorities)):
        yield f"FARMHAUL_REDIS_URL: ssl_ca_certs: {why}"
    if own and not unreadable(own) and not unreadable(key):
        try:
            _context().load_cert_chain(own, key or None)
        except (OSError, ValueError):
            pair = "its key" if key else "a key"
            shown = visible(own)
            yield f"FARMHAUL_REDIS_URL: ssl_certfile: {shown} is not a PEM certificate with {pair}"


def _bundle_fault(path: str) -> str:
    """Return why a file, or a folder, has no certificates of authorities; empty if it has."""
    shown = visible(path)
    try:
        if os.path.isdir(path):
            if any(map(HASHED_NAME.fullmatch, os.listdir(path))):
                return ""
            return f"{shown} has no certificate with a hashed name; run openssl rehash {shown}"
        for fault in unreadable(path):
            return fault
        _context().load_verify_locations(path)
    except ssl.SSLError:
        return f"{shown} has no certificate in PEM form"
    except OSError as error:
        return f"cannot read {shown}: {error.strerror}"
    return ""


def _proxy_fault(text: str) -> str:
    if not text:
        return ""
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        # requests adds a missing scheme, but not before a login.
        fits = bool(url.hostname) and url.port != 0 and ("://" in text or "@" not in text)
        fits = fits and is_host(url.hostname or "") and text.split() == [text]
    except ValueError:
        fits = False
    if not fits:
        # Not the value: it may have a password, and nobody knows where.
        return "is not the URL of a proxy; write http://proxy.studio:3128"
    if url.scheme.startswith("socks"):
        return f"{_without_login(text)} is a SOCKS proxy; farmhaul needs an http proxy"
    if url.scheme not in {"http", "https"}:
        return f"{url.scheme} is no scheme of a proxy; write http://proxy.studio:3128"
    return ""


def _context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
