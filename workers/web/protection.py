"""A login for all that Flower shows, and headers that limit what a browser does with its pages.

The content security policy allows no inline script, so a page that you add loads its scripts from
``/static`` or from another file of this server. It may have inline styles.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any
from urllib.parse import urlsplit

from flower.urls import settings
from flower.views import BaseHandler
from flower.views.monitor import Metrics
from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError, OutputTransform, authenticated

#: The only inline script of Flower's own, on the page Workers (``templates/workers.html``), as the
#: option auto_refresh renders it.
INLINE_SCRIPTS = ("\nvar autorefresh = 1;\n", "\nvar autorefresh = 0;\n")


def _source(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


POLICY = {
    "default-src": "'none'",
    "script-src": " ".join(["'self'", *map(_source, INLINE_SCRIPTS)]),
    # DataTables and a page of Flower's set styles of single elements.
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
#: The hosts by which a browser on the same machine names a Flower that needs no login.
LOOPBACK = re.compile(r"(127\.0\.0\.1|\[::1\]|localhost)(:\d+)?", re.IGNORECASE)
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    # For browsers that do not know frame-ancestors.
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: Flower compares the header Origin, which that would empty.
    "Referrer-Policy": "same-origin",
}


class ProtectiveHeaders(OutputTransform):
    """Adds the headers to each response: to pages, files, and errors."""

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, _finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Tornado calls this before it sends the headers."""
        for name, value in HEADERS.items():
            headers[name] = value
        return status_code, headers, chunk


def _refuse_other_sites(page: BaseHandler) -> None:
    """Refuse what a page elsewhere has a browser on this machine ask, if no login protects Flower.

    Its name may lead to loopback, and then its scripts may read the answer. Or it sends a form.

    Raises:
        HTTPError: the request names another host than loopback, or comes from another site.
    """
    options = page.application.options
    if options.basic_auth or options.auth or options.unix_socket:
        return
    words = page.request.headers
    origin = words.get("Origin")
    is_here = LOOPBACK.fullmatch(page.request.host)
    is_other = origin is not None and urlsplit(origin).netloc != page.request.host
    if not is_here or is_other or words.get("Sec-Fetch-Site") == "cross-site":
        raise HTTPError(403, "without a login, Flower answers only pages of its own on loopback")


def protect() -> None:
    """Change Flower's handlers and settings; call it before Flower is made."""
    settings["transforms"] = [ProtectiveHeaders]
    # Flower asks for no login here, and the names of workers and tasks are not for everybody.
    Metrics.get = authenticated(Metrics.get)
    find_user = BaseHandler.get_current_user

    def current_user(page: BaseHandler) -> Any:
        try:
            return find_user(page)
        except TypeError:  # hmac.compare_digest compares no strings outside ASCII
            raise HTTPError(401) from None

    BaseHandler.get_current_user = current_user

    def prepare(page: BaseHandler) -> None:
        _refuse_other_sites(page)

    BaseHandler.prepare = prepare
