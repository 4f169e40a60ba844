"""What the libraries for HTTPS and TLS read themselves: files of certificates, and proxies.

They would report a fault in these as an outage of ftrack or of Redis.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from urllib.parse import urlsplit

from tasks.config.redis_url import RedisUrl
from tasks.config.texts import visible

#: requests takes the first of these that is set.
BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def https_faults(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each variable with which no call of ftrack or the store can succeed."""
    bundle = next((name for name in BUNDLES if environment.get(name)), "")
    if bundle and (why := _bundle_fault(environment[bundle])):
        yield f"{bundle}: {why}; correct it, or unset it to trust the authorities of certifi"
    for name in PROXIES:
        if why := _proxy_fault(environment.get(name, "")):
            yield f"{name}: {why}"


def redis_tls_faults(url: RedisUrl) -> Iterator[str]:
    """Yield a line for each file of a URL that can be read and is not what TLS needs."""
    if os.path.isfile(url.ssl_ca_certs) and (why := _bundle_fault(url.ssl_ca_certs)):
        yield f"FARMHAUL_REDIS_URL: ssl_ca_certs: {why}"
    if os.path.isfile(url.ssl_certfile):
        try:
            _context().load_cert_chain(url.ssl_certfile, url.ssl_keyfile or None)
        except FileNotFoundError:
            return  # said already
        except (OSError, ValueError):
            pair = "its key" if url.ssl_keyfile else "a key"
            shown = visible(url.ssl_certfile)
            yield f"FARMHAUL_REDIS_URL: ssl_certfile: {shown} is not a PEM certificate with {pair}"


def _bundle_fault(path: str) -> str:
    """Return why a file, or a folder, has no certificates of authorities; empty if it has."""
    shown = visible(path)
    try:
        if os.path.isdir(path):
            return "" if os.listdir(path) else f"{shown} is an empty folder"
        with open(path, "rb"):
            pass
        _context().load_verify_locations(path)
    except ssl.SSLError:
        return f"{shown} has no certificate in PEM form"
    except OSError as error:
        return f"cannot read {shown}: {error.strerror}"
    return ""


def _proxy_fault(text: str) -> str:
    # Not the value: it may have a password.
    if not text.strip():
        return ""
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        fits = bool(url.hostname) and url.port != 0
    except ValueError:
        fits = False
    if not fits:
        return "is not the URL of a proxy; write http://proxy.studio:3128"
    if url.scheme.startswith("socks") and find_spec("socks") is None:
        return f"a proxy of {url.scheme}:// needs PySocks; install it, or use an http proxy"
    return ""


def _context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
